package telemetry

import (
	"encoding/json"
	"fmt"
	"time"

	"trustpack/evidence"
)

// setup is the ingest's configuration as GET /v1/admin/config tells it.
type setup struct {
	Instance  string          `json:"instance"`
	Operator  string          `json:"operator"` // whom the ingest took this collector for
	Version   int             `json:"version"`
	SHA256    string          `json:"sha256"`
	Clock     evidence.Clock  `json:"clock"`
	Sample    bool            `json:"sample"`
	Config    json.RawMessage `json:"config"`
	Listeners []struct {
		Name       string `json:"name"`
		Addr       string `json:"addr"`
		Scheme     string `json:"scheme"`
		TLSMin     string `json:"tls_min"`
		ClientAuth string `json:"client_auth"`
		Loopback   bool   `json:"loopback"`
	} `json:"listeners"`
	Schemas []struct {
		Type          string   `json:"type"`
		SHA256        string   `json:"sha256"`
		Required      []string `json:"required"`
		NumericFields []string `json:"numeric_fields"`
		RangedFields  []string `json:"ranged_fields"`
	} `json:"schemas"`

	Permissions []permission `json:"permissions"`

	settings settings
}

// settings is the part of Config that this collector reads.
type settings struct {
	Limits map[string]any `json:"limits"`
	Rates  struct {
		Device rate `json:"device"`
		Tenant rate `json:"tenant"`
	} `json:"rates"`
	Replay map[string]any `json:"replay"`

	DeadLetters map[string]any `json:"dead_letters"`
	Exports     map[string]any `json:"exports"`

	Time struct {
		Flag   duration `json:"flag"`
		Future duration `json:"future"`
		Past   duration `json:"past"`
	} `json:"time"`
	Heartbeat struct {
		DefaultInterval duration            `json:"default_interval"`
		Missed          int                 `json:"missed"`
		Types           map[string]duration `json:"types"`
		Devices         map[string]duration `json:"devices"` // by tenant/device; goes before that of its type
	} `json:"heartbeat"`
	Ledger struct {
		CheckpointCopy string `json:"checkpoint_copy"`
		Quorum         int    `json:"quorum"`
		Witnesses      []struct {
			Name string `json:"name"`
			URL  string `json:"url"`
			Key  string `json:"key"`
		} `json:"witnesses"`
	} `json:"ledger"`
	Approvals struct {
		CriticalFleets []string `json:"critical_fleets"`
	} `json:"approvals"`
}

type rate struct {
	PerSecond float64 `json:"per_second"`
	Burst     float64 `json:"burst"`
}

// duration is a time.Duration as JSON: "90s", or nanoseconds.
type duration time.Duration

func (d *duration) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		v, err := time.ParseDuration(s)
		*d = duration(v)
		return err
	}
	var n int64
	if err := json.Unmarshal(b, &n); err != nil {
		return fmt.Errorf("%s is no duration", b)
	}
	*d = duration(n)
	return nil
}

func (d duration) seconds() float64 { return time.Duration(d).Seconds() }

// shortest is the shortest silence that any device's rule could call one; zero
// where no rule is known.
func (s settings) shortest() time.Duration {
	h := s.Heartbeat
	shortest := time.Duration(h.DefaultInterval)
	for _, own := range []map[string]duration{h.Types, h.Devices} {
		for _, d := range own {
			if shortest == 0 || time.Duration(d) < shortest {
				shortest = time.Duration(d)
			}
		}
	}
	return shortest * time.Duration(max(h.Missed, 1))
}

// threshold is the silence after which the device must raise an alert; zero
// where no heartbeat is expected.
func (s settings) threshold(d deviceRecord) time.Duration {
	h := s.Heartbeat
	interval, ok := h.Devices[d.Tenant+"/"+d.ID]
	if !ok {
		interval, ok = h.Types[d.Type]
	}
	if !ok {
		interval = h.DefaultInterval
	}
	return time.Duration(interval) * time.Duration(max(h.Missed, 1))
}

// spikeRows is how many rows may leave within 24 hours before it is a spike; 0
// where it is not known.
func (s settings) spikeRows() int64 {
	n, _ := s.Exports["spike_rows"].(float64)
	return int64(n)
}

// inForce are settings from the moment at which they took effect.
type inForce struct {
	from time.Time
	settings
}

// readVersions folds the versions of the configuration from the control log.
func (r *run) readVersions() error {
	for _, e := range r.control {
		if e.Type != evidence.EntryConfigApplied || e.Result == "refused" {
			continue
		}
		var c evidence.ConfigApplied
		if err := e.data(&c); err != nil {
			return err
		}
		v := inForce{from: e.Time}
		if err := json.Unmarshal(c.Config, &v.settings); err != nil {
			return fmt.Errorf("configuration in control entry %d: %w", e.index, err)
		}
		r.versions = append(r.versions, v)
	}
	return nil
}

// settingsAt are the settings that were in force at t, as the control log
// tells: what is judged by a rule is judged by the rule of its time, not by
// the one that the ingest runs with now.
func (r *run) settingsAt(t time.Time) settings {
	at := r.setup.settings
	for i, v := range r.versions {
		if i == 0 || !v.from.After(t) {
			at = v.settings
		}
	}
	return at
}

// shortestSilence is the shortest that any version's rules could call one.
func (r *run) shortestSilence() time.Duration {
	shortest := r.setup.settings.shortest()
	for _, v := range r.versions {
		if d := v.shortest(); d > 0 && (shortest == 0 || d < shortest) {
			shortest = d
		}
	}
	return shortest
}
