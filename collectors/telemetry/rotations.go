package telemetry

import (
	"time"

	"trustpack/evidence"
)

// rotations are the credentials that took the place of another in the period,
// or so long before it as was asked, each with what became of the old one: when
// it was to end, when its end was entered, and whether it was seen or refused
// afterwards. A tenant's log does not say which credential an event came with;
// credential.seen and refusals do.
func (r *run) rotations() part {
	types := []string{
		evidence.EntryDeviceIssued, evidence.EntryTokenIssued, evidence.EntryDeviceRotated, evidence.EntryCredentialDead,
		evidence.EntryDeviceActivated, evidence.EntryCredentialSeen,
	}
	p, entries := r.fromControl(KindRotations, func(e entry) bool {
		return r.upToEnd(types...)(e) && e.Result != "refused" || e.Type == evidence.EntryRefusal && e.Device != "" && e.Time.Before(r.period.To)
	})
	begun := map[string]time.Time{} // of each credential, by fingerprint
	for i, e := range entries {
		var c struct {
			evidence.Credential
			New      evidence.Credential `json:"credential"`
			Replaces string              `json:"replaces"`
			OldUntil time.Time           `json:"old_until"`
			By       string              `json:"by"`
		}
		switch e.Type {
		case evidence.EntryDeviceIssued, evidence.EntryTokenIssued, evidence.EntryDeviceRotated:
			if err := e.data(&c); err != nil {
				p.gap("a credential", err)
				continue
			}
		default:
			continue
		}
		if e.Type != evidence.EntryDeviceRotated {
			begun[c.Fingerprint] = c.NotBefore
			continue
		}
		begun[c.New.Fingerprint] = c.New.NotBefore
		if !r.reach(KindRotations).Contains(e.Time) {
			continue
		}
		at := map[string]any{
			"tenant": e.Tenant, "device": e.Device, "generation": e.Generation, "by": c.By, "fingerprint": c.New.Fingerprint, "method": c.New.Method,
			"key_type": c.New.KeyType, "not_after": ts(c.New.NotAfter), "replaces": c.Replaces, "time": ts(e.Time), "old_until": ts(c.OldUntil),
			"overlap_s": c.OldUntil.Sub(e.Time).Seconds(), "old_age_days": nil, "over": c.OldUntil.Before(r.endOfSight()),
			"retired_at": "", "retired_delay_s": nil, "seen_after": 0, "first_refused_at": "",
		}
		if from, ok := begun[c.Replaces]; ok {
			at["old_age_days"] = e.Time.Sub(from).Hours() / 24
		}
		r.oldCredential(&p, at, e, c.Replaces, c.OldUntil, entries[i+1:])
		p.add(e.id(), at)
	}
	return p
}

// oldCredential follows the credential that was replaced.
func (r *run) oldCredential(p *part, at map[string]any, rotated entry, print string, until time.Time, later []entry) {
	seen := 0
	for _, e := range later {
		if e.Tenant != rotated.Tenant || e.Device != rotated.Device || e.Generation != rotated.Generation {
			continue
		}
		var c struct{ Fingerprint string }
		if err := e.data(&c); err != nil {
			p.gap("a credential", err)
			continue
		}
		if c.Fingerprint != print {
			continue
		}
		switch e.Type {
		case evidence.EntryCredentialDead:
			if at["retired_at"] == "" {
				at["retired_at"], at["retired_delay_s"] = ts(e.Time), max(0, e.Time.Sub(until).Seconds())
			}
		case evidence.EntryDeviceActivated, evidence.EntryCredentialSeen:
			if !e.Time.Before(until) {
				seen++
			}
		case evidence.EntryRefusal:
			if at["first_refused_at"] == "" && !e.Time.Before(until) {
				at["first_refused_at"] = ts(e.Time)
			}
		}
	}
	at["seen_after"] = seen
}
