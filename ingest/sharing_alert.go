package ingest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// raiseShared raises one alert a device until that is resolved. It says how the
// credential is shared, and which entries show it.
func (s *Server) raiseShared(d *device, f *finding) error {
	s.decide.Lock()
	defer s.decide.Unlock()
	if s.openAlert(AlertCredentialShared, func(a *AlertRecord) bool { return slices.Contains(a.Devices, d.name()) }) != nil {
		return nil
	}
	e := s.entry(evidence.EntryAlertRaised, evidence.AuditEntry{Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation})
	a := evidence.Alert{
		ID: alertID(AlertCredentialShared, e.Time, d.key.tenant, d.key.id), Kind: AlertCredentialShared, Since: f.since,
		Devices: []string{d.name()}, Detail: f.detail(d.key.tenant),
	}
	e.Target, e.Data = a.ID, raw(a)
	_, err := s.record(e)
	return err
}

// outdated is the finding that a credential asks to be renewed though another
// one that took its place is in use: one of the two is not the device.
func (c *call) outdated(now time.Time) *finding {
	return &finding{print: c.print, since: now, how: "in request " + c.id() + " it asked from " + c.sess.source + " to be renewed, though the one that took its place is in use"}
}

// detail is the finding in words: each stay with its source, entries, numbers
// and times.
func (f *finding) detail(log string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "credential %s seems to be in more than one pair of hands: %s", f.print, f.how)
	for _, s := range f.stays {
		fmt.Fprintf(&b, "; from %s entries %s/%d to %d (boot %d, seq %d to %d) at %s to %s", s.source, log, s.first, s.last, s.boot, s.low, s.high,
			time.Unix(0, s.from).UTC().Format(time.RFC3339Nano), time.Unix(0, s.until).UTC().Format(time.RFC3339Nano))
	}
	return b.String()
}
