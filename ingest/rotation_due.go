package ingest

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// retireGroup is how many credentials one append retires.
const retireGroup = 256

// rotationsSeen is what the last look at all credentials left behind, so that the
// next one can be left out where it would find the same. Only Tick uses it.
type rotationsSeen struct {
	at      time.Time // zero before the first look
	changes uint64    // state.credentials then
	policy  RotationPolicy
	next    time.Time // when the first credential ends or becomes due; zero where none will
}

// first notes a time to come, where it is the first.
func (r *rotationsSeen) first(at, now time.Time) {
	if at.After(now) && (r.next.IsZero() || at.Before(r.next)) {
		r.next = at
	}
}

// credentialDuties retires what has ended and says what is due.
func (s *Server) credentialDuties(now time.Time) error {
	s.decide.Lock()
	defer s.decide.Unlock()
	s.st.mu.RLock()
	changes := s.st.credentials
	s.st.mu.RUnlock()
	policy, last := s.cfg().Rotation, s.rotations
	same := !last.at.IsZero() && last.changes == changes && last.policy == policy
	if same && !now.Before(last.at) && (last.next.IsZero() || now.Before(last.next)) {
		return nil
	}
	seen := rotationsSeen{at: now, changes: changes, policy: policy}
	if err := s.retireCredentials(now, &seen); err != nil {
		return err
	}
	if err := s.watchRotations(now, &seen); err != nil {
		return err
	}
	s.rotations = seen
	return nil
}

type ended struct {
	d          *device
	print, why string
}

// retireCredentials enters the end of each credential that has come to it, and
// cuts the connections that showed it. They were refused from the very moment
// on, which needs no tick. The caller holds s.decide.
func (s *Server) retireCredentials(now time.Time, seen *rotationsSeen) error {
	all := s.endedCredentials(now, seen)
	for len(all) > 0 {
		n := min(len(all), retireGroup)
		if err := s.retire(all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

func (s *Server) endedCredentials(now time.Time, seen *rotationsSeen) []ended {
	var out []ended
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	for _, d := range s.st.order {
		if !holds(d.record.State) {
			continue
		}
		for i := range d.record.Credentials {
			if c := &d.record.Credentials[i]; c.Retired == "" {
				if why := deadline(c, now); why != "" {
					out = append(out, ended{d, c.Fingerprint, why})
				}
				seen.first(c.Ends, now)
				seen.first(c.NotAfter, now)
				seen.first(c.NotAfter.Add(1), now) // when a certificate is past it
			}
		}
	}
	return out
}

// retire makes one append of the group. Only who holds s.decide, as the caller
// does, holds the flows of several devices at once.
func (s *Server) retire(group []ended) error {
	var held []*device
	var entries []evidence.AuditEntry
	for _, x := range group {
		if !slices.Contains(held[max(0, len(held)-1):], x.d) { // those of one device follow one another
			x.d.flow.Lock()
			held = append(held, x.d)
		}
		entries = append(entries, s.entry(evidence.EntryCredentialDead, evidence.AuditEntry{
			Tenant: x.d.key.tenant, Device: x.d.key.id, Generation: x.d.key.generation, Data: raw(retiredData{x.print, x.why}),
		}))
	}
	_, err := s.record(entries...)
	for _, d := range held {
		d.flow.Unlock()
	}
	if err != nil {
		return err
	}
	for _, x := range group {
		s.sessions.cut(x.print)
	}
	return nil
}

// DueCredential is a credential whose end is near or past and that nothing has
// replaced: the device must renew, or somebody order it.
type DueCredential struct {
	Tenant      string               `json:"tenant"`
	Device      string               `json:"device"`
	Generation  int                  `json:"generation"`
	Type        string               `json:"type"`
	Site        string               `json:"site,omitempty"`
	Fleet       string               `json:"fleet,omitempty"`
	State       evidence.DeviceState `json:"state"`
	Fingerprint string               `json:"fingerprint"`
	Method      string               `json:"method"` // "x509" or "token"
	NotAfter    time.Time            `json:"not_after"`
	DaysLeft    int                  `json:"days_left"` // whole days, rounded down; negative where the end is past

	since time.Time // when it became due
}

// dueFrom is from when on the credential is due.
func (p RotationPolicy) dueFrom(c *evidence.Credential) time.Time {
	return c.NotAfter.Add(-min(p.DueBefore, c.NotAfter.Sub(c.NotBefore)/3))
}

// dueCredentials lists what is due at now of a tenant, or of all where it is
// empty, the first to end first. A device counts with its newest credential; a
// device that may not send does not count. seen learns when there is more.
func (s *Server) dueCredentials(now time.Time, tenant string, seen *rotationsSeen) []DueCredential {
	policy, out := s.cfg().Rotation, []DueCredential{}
	s.st.mu.RLock()
	for _, d := range s.st.order {
		n := len(d.record.Credentials)
		if n == 0 || d.record.State != evidence.DeviceActive && d.record.State != evidence.DeviceIssued || tenant != "" && d.key.tenant != tenant {
			continue
		}
		c := &d.record.Credentials[n-1]
		if c.NotAfter.IsZero() {
			continue
		}
		since := policy.dueFrom(c)
		seen.first(since, now)
		if now.Before(since) {
			continue
		}
		out = append(out, DueCredential{
			d.key.tenant, d.key.id, d.key.generation, d.record.Type, d.record.Site, d.record.Fleet, d.record.State,
			c.Fingerprint, c.Method, c.NotAfter, int(math.Floor(c.NotAfter.Sub(now).Hours() / 24)), since,
		})
	}
	s.st.mu.RUnlock()
	slices.SortFunc(out, func(a, b DueCredential) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Device, b.Device), cmp.Compare(a.Generation, b.Generation))
	})
	return out
}

func (s *Server) listDue(a *adminCall) (any, *Problem) {
	return map[string]any{"due": s.dueCredentials(s.now(), a.r.URL.Query().Get("tenant"), &rotationsSeen{})}, nil
}

// watchRotations raises one alert a tenant and fleet in which credentials are
// due, and resolves it once none is. One that somebody resolved by hand is not
// raised again for as long as the credential that was due first still is. The
// caller holds s.decide.
func (s *Server) watchRotations(now time.Time, seen *rotationsSeen) error {
	fleets := map[fleetName][]DueCredential{}
	for _, c := range s.dueCredentials(now, "", seen) {
		name := fleetName{c.Tenant, c.Fleet}
		fleets[name] = append(fleets[name], c)
	}
	open := map[string]bool{} // by what their IDs begin with
	for name := range fleets {
		open[name.dueAlert()] = false
	}
	for _, a := range s.listAlerts() {
		if a.Kind != AlertRotationDue || a.ResolvedAt != nil {
			continue
		}
		of := a.ID[:strings.LastIndexByte(a.ID, '-')]
		if _, due := open[of]; due {
			open[of] = true
			continue
		}
		e := evidence.AuditEntry{Tenant: a.Tenant, Target: a.ID, Data: raw(map[string]string{
			"id": a.ID, "resolution": "no credential of the fleet is due any more",
		})}
		if _, err := s.record(s.entry(evidence.EntryAlertResolved, e)); err != nil {
			return err
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(fleets), fleetName.compare) {
		if !open[name.dueAlert()] {
			if err := s.raiseRotationDue(name, fleets[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

// dueAlert begins the IDs of the fleet's alerts; only the time stands behind it.
// A fleet's name is any text, so its digest stands for it.
func (n fleetName) dueAlert() string { return AlertRotationDue + "-" + n.tenant + "-" + n.digest() }

func (n fleetName) digest() string { return evidence.SHA256Hex([]byte(n.fleet))[:12] }

func (n fleetName) compare(o fleetName) int {
	return cmp.Or(cmp.Compare(n.tenant, o.tenant), cmp.Compare(n.fleet, o.fleet))
}

func (s *Server) raiseRotationDue(name fleetName, due []DueCredential) error {
	first := slices.MinFunc(due, func(a, b DueCredential) int { return a.since.Compare(b.since) })
	a := evidence.Alert{
		ID: alertID(AlertRotationDue, first.since, name.tenant, name.digest()), Kind: AlertRotationDue, Since: first.since,
		Detail: fmt.Sprintf("%d devices of fleet %q have a credential that ends soon or has ended; the first, of %s, on %s", len(due), name.fleet, due[0].Device, due[0].NotAfter.UTC().Format(time.RFC3339)),
	}
	for _, c := range due[:min(len(due), maxAlertDevices)] {
		a.Devices = append(a.Devices, c.Tenant+"/"+c.Device)
	}
	if s.known(&a) {
		return nil
	}
	for at := first.since; s.alertExists(a.ID); { // resolved when none was due for a while
		at = at.Add(1)
		a.ID = alertID(AlertRotationDue, at, name.tenant, name.digest())
	}
	_, err := s.record(s.entry(evidence.EntryAlertRaised, evidence.AuditEntry{Tenant: name.tenant, Target: a.ID, Data: raw(a)}))
	return err
}

// known reports whether somebody resolved by hand an alert of the same fleet,
// for the same time.
func (s *Server) known(a *evidence.Alert) bool {
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	of := a.ID[:strings.LastIndexByte(a.ID, '-')+1]
	for id, x := range s.st.alerts {
		if x.ResolvedBy != "" && x.Since.Equal(a.Since) && strings.HasPrefix(id, of) {
			return true
		}
	}
	return false
}
