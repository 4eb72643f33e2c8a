package ingest

import (
	"fmt"
	"time"

	"trustpack/evidence"
)

// watchExternals reads the lists of revoked certificates that have changed, cuts
// the connections of what is on them, and raises an alert for each list that is
// past its next update, or resolves it. A file that cannot be read leaves the
// list that is known in force, until that expires.
func (s *Server) watchExternals(now time.Time) error {
	for _, ca := range s.set.Load().externals.list {
		if ca.revoked == nil {
			continue
		}
		before := ca.revoked.now.Load()
		err, said := ca.revoked.read(now), ""
		if err != nil {
			said = err.Error()
		}
		if said != ca.revoked.said && err != nil {
			s.log.Error("the list of revoked certificates of an external CA cannot be read; the one before stays in force", "ca", ca.Name, "error", err)
		}
		ca.revoked.said = said
		list := ca.revoked.now.Load()
		if err := s.tellExpired(ca, list, now); err != nil {
			return err
		}
		if list == before {
			continue
		}
		for _, c := range s.sessions.external() {
			if p := s.vouched(c.external); p != nil && p.Code == CodeRevoked {
				if err := s.refusals.add(refused{code: p.Code, path: c.listener, fingerprint: c.fingerprint, source: c.source, detail: p.Detail}); err != nil {
					return err
				}
				s.sessions.cut(c.fingerprint)
			}
		}
	}
	return nil
}

// external lists the open connections that showed a certificate of an external
// CA.
func (ss *sessions) external() []*session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	var out []*session
	for _, list := range ss.byKey {
		for _, c := range list {
			if c.external != nil {
				out = append(out, c)
			}
		}
	}
	return out
}

// tellExpired raises or resolves the alert of an expired list.
func (s *Server) tellExpired(ca *externalCA, list *revocationList, now time.Time) error {
	expired := now.After(list.nextUpdate)
	s.decide.Lock()
	defer s.decide.Unlock()
	open := s.openAlert(AlertCRLExpired, func(a *AlertRecord) bool { return a.Detail == crlAlert(ca) })
	switch {
	case expired && open == nil:
		e := s.entry(evidence.EntryAlertRaised, evidence.AuditEntry{})
		a := evidence.Alert{ID: alertID(AlertCRLExpired, e.Time, ca.Name), Kind: AlertCRLExpired, Since: list.nextUpdate, Detail: crlAlert(ca)}
		e.Target, e.Data = a.ID, raw(a)
		_, err := s.record(e)
		return err
	case !expired && open != nil:
		_, err := s.record(s.entry(evidence.EntryAlertResolved, evidence.AuditEntry{
			Target: open.ID, Data: raw(map[string]string{"id": open.ID, "resolution": "a newer list was read"}),
		}))
		return err
	}
	return nil
}

func crlAlert(ca *externalCA) string {
	what := "are refused"
	if ca.ExpiredCRL == ExpiredCRLAccept {
		what = "are accepted all the same, as the policy says"
	}
	return fmt.Sprintf("the list of revoked certificates of the external CA %s is past its next update; its certificates %s", ca.Name, what)
}
