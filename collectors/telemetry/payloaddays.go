package telemetry

import (
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// payloadDay is what was received of a tenant in one UTC day and is kept beside
// its log or in it.
type payloadDay struct {
	tenant, day string
	payloads    int64 // that entries commit to
	kept        int64 // of them, those that no purge erased
	inEntries   int64 // what stands in entries themselves, where no purge can reach it
}

// purgedOf is the spans of a tenant's log whose payloads were purged before the
// period's end, as the control log has it.
func (r *run) purgedOf(tenant string) (spans [][2]int64, err error) {
	for _, e := range r.control {
		if e.Type != evidence.EntryPurged || e.Tenant != tenant || !e.Time.Before(r.period.To) {
			continue
		}
		var x struct{ Erased ledger.Purge }
		if err := e.data(&x); err != nil {
			return nil, err
		}
		if x.Erased.Log == tenant {
			spans = append(spans, [2]int64{x.Erased.First, x.Erased.End})
		}
	}
	return spans, nil
}

// payloadOf counts an entry's payload, where it was received before the
// period's end.
func (r *run) payloadOf(tenant string, purged [][2]int64, index int64, received time.Time, payload string, inEntry bool) {
	if payload == "" && !inEntry || !received.Before(r.period.To) {
		return
	}
	key := tenant + "/" + received.UTC().Format(time.DateOnly)
	d := r.payloads[key]
	if d == nil {
		d = &payloadDay{tenant: tenant, day: received.UTC().Format(time.DateOnly)}
		r.payloads[key] = d
	}
	if inEntry {
		d.inEntries++
		return
	}
	d.payloads++
	for _, span := range purged {
		if index >= span[0] && index < span[1] {
			return
		}
	}
	d.kept++
}

// payloadDays is, for each tenant and day up to the period's end, whether what
// came on it is kept still.
func (r *run) payloadDays() part {
	p, _ := r.fromControl(KindPayloadDays, r.upToEnd(evidence.EntryPurged))
	p.note = join(p.note, "days are those of receipt; kept is what no entry of a purge covers, and the ingest's disk is not seen from here")
	for _, v := range r.logs {
		if v.name == controlLog {
			continue
		}
		p.requests = append(p.requests, v.requests...)
		if v.err != nil {
			p.gap("log "+v.name, v.err)
		}
	}
	for id, d := range r.payloads {
		p.add(id, map[string]any{"tenant": d.tenant, "day": d.day + "T00:00:00Z", "payloads": d.payloads, "kept": d.kept, "in_entries": d.inEntries})
	}
	return p
}
