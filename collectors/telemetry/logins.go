package telemetry

import (
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// login is a session: roles for a time, by the groups that the provider names.
type login struct {
	Name        string    `json:"name"`
	Roles       []string  `json:"roles"`
	Groups      []string  `json:"groups"`
	Issuer      string    `json:"issuer"`
	Subject     string    `json:"subject_sha256"`
	Until       time.Time `json:"until"`
	Fingerprint string    `json:"fingerprint"`
	Source      string    `json:"source"`
	Linked      bool      `json:"linked"`
	Why         string    `json:"why"` // of a logout
}

// logins are the sessions that began in the period, each with its end and the
// acts that were done in it once it was over.
func (r *run) logins() part {
	p, entries := r.fromControl(KindLogins, func(e entry) bool {
		return e.Time.Before(r.period.To) && e.Result != "refused" && (e.Type == evidence.EntryOperatorLogin || e.Type == evidence.EntryOperatorLogout || e.Actor != nil && e.Actor.Credential != "")
	})
	type session struct {
		login
		began, ended entry
		acts         int
		late         []any
	}
	var all []*session
	open := map[string]*session{} // by fingerprint
	for _, e := range entries {
		if e.Type != evidence.EntryOperatorLogin && e.Type != evidence.EntryOperatorLogout {
			s := open[e.Actor.Credential]
			if s == nil {
				continue
			}
			if s.acts++; !e.Time.Before(s.Until) || !s.ended.Time.IsZero() {
				s.late = append(s.late, e.id())
			}
			continue
		}
		var d login
		if err := e.data(&d); err != nil {
			p.gap("a login", err)
			continue
		}
		if e.Type == evidence.EntryOperatorLogout {
			if s := open[d.Fingerprint]; s != nil {
				s.ended, s.Why = e, d.Why
			}
			continue
		}
		s := &session{login: d, began: e}
		open[d.Fingerprint] = s
		if r.period.Contains(e.Time) {
			all = append(all, s)
		}
	}
	for _, s := range all {
		p.add(s.began.id(), map[string]any{
			"operator": s.Name, "roles": list(s.Roles), "groups": list(s.Groups), "issuer": s.Issuer, "subject_sha256": s.Subject, "source": s.Source,
			"linked": s.Linked, "canary": strings.HasPrefix(s.Name, evidence.CanaryPrefix), "time": ts(s.began.Time), "until": ts(s.Until),
			"hours": s.Until.Sub(s.began.Time).Hours(), "ended_at": ts(s.ended.Time), "ended_why": s.Why, "acts": s.acts, "late": list(s.late),
		})
	}
	return p
}

// inSession tells whether entry at was made in a session, and whether that gave
// the role and was open then.
func (r *run) inSession(role string, at entry) (session, held bool) {
	if at.Actor == nil || at.Actor.Credential == "" {
		return false, false
	}
	for _, e := range r.control {
		if e.index >= at.index {
			break
		}
		if e.Type != evidence.EntryOperatorLogin && e.Type != evidence.EntryOperatorLogout || e.Result == "refused" {
			continue
		}
		var d login
		if e.data(&d) != nil || d.Fingerprint != at.Actor.Credential {
			continue
		}
		session = true
		held = e.Type == evidence.EntryOperatorLogin && slices.Contains(d.Roles, role) && at.Time.Before(d.Until)
	}
	return session, held
}
