package telemetry

import (
	"encoding/json"
	"fmt"
	"time"
)

// counts is what the tenant's own log says of one day.
type counts struct{ accepted, deadLettered, duplicate, refused int64 }

// activity is what the tenant's log says of one device generation.
type activity struct {
	tenant, device string
	generation     int
	accepted       int64
	first, last    time.Time // received
	spans          []span    // silences longer than any threshold could be of interest to; see silences
	at             []received
}

// span is a time in which nothing came.
type span struct{ from, to time.Time }

// received is the time and index of an accepted event, kept only for devices
// that were revoked or quarantined.
type received struct {
	time  time.Time
	index int64
}

// tenantEntry counts an entry of a tenant's log.
func (r *run) tenantEntry(tenant string) func(int64, []byte) error {
	watched := r.decidedDevices()
	shortest := r.shortestSilence()
	purged, err := r.purgedOf(tenant)
	return func(index int64, data []byte) error {
		var e struct {
			T         string    `json:"t"`
			Received  time.Time `json:"received"`
			Device    string    `json:"device"`
			Gen       int       `json:"gen"`
			Duplicate int64     `json:"duplicate"`
			Refused   int64     `json:"refused"`
			Replays   *int64    `json:"replays"`

			// What a device sent: the commitment to it, or itself in older logs.
			Payload string          `json:"payload"`
			Data    json.RawMessage `json:"data"`
			Bytes   string          `json:"bytes"`
		}
		if err != nil {
			return err
		}
		if err := json.Unmarshal(data, &e); err != nil {
			return fmt.Errorf("entry %d of log %s is not JSON: %w", index, tenant, err)
		}
		if e.Device != "" {
			r.senders[deviceKey(tenant, e.Device, e.Gen)] = true
		}
		r.payloadOf(tenant, purged, index, e.Received, e.Payload, len(e.Data) > 0 || e.Bytes != "")
		if !r.period.Contains(e.Received) && e.T != "event" {
			return nil
		}
		day := tenant + "/" + e.Received.UTC().Format(time.DateOnly)
		if r.period.Contains(e.Received) && r.counts[day] == nil {
			r.counts[day] = &counts{}
		}
		switch e.T {
		case "event":
			if r.period.Contains(e.Received) {
				r.counts[day].accepted++
			}
			if e.Replays != nil { // entered by an operator: no sign of life
				r.replayed[fmt.Sprintf("%s/%010d", tenant, *e.Replays)] = index
				return nil
			}
			key := deviceKey(tenant, e.Device, e.Gen)
			a := r.activity[key]
			if a == nil {
				a = &activity{tenant: tenant, device: e.Device, generation: e.Gen, first: e.Received}
				r.activity[key] = a
			}
			if !a.last.IsZero() && e.Received.Sub(a.last) > shortest {
				a.spans = append(a.spans, span{a.last, e.Received})
			}
			a.accepted, a.last = a.accepted+1, e.Received
			if watched[key] {
				a.at = append(a.at, received{e.Received, index})
			}
		case "deadletter":
			r.counts[day].deadLettered++
		case "tally":
			r.counts[day].duplicate += e.Duplicate
			r.counts[day].refused += e.Refused
		default:
			return fmt.Errorf("entry %d of log %s is of the unknown type %q", index, tenant, e.T)
		}
		return nil
	}
}
