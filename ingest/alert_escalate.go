package ingest

import (
	"time"

	"trustpack/evidence"
)

// escalateAlerts enters, once an alert, that nobody acknowledged it within the
// time of its severity. Who is told of alerts is told of that.
func (s *Server) escalateAlerts(now time.Time) error {
	within := s.cfg().Alerts.AcknowledgeWithin
	if len(within) == 0 {
		return nil
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	for _, a := range s.listAlerts() {
		severity := alertSeverity(a.Kind)
		limit, ok := within[severity]
		if !ok || a.AcknowledgedAt != nil || a.ResolvedAt != nil || a.EscalatedAt != nil || now.Sub(a.RaisedAt) <= limit {
			continue
		}
		e := evidence.AuditEntry{Tenant: a.Tenant, Target: a.ID, Data: raw(map[string]string{"id": a.ID, "severity": severity, "within": limit.String()})}
		if _, err := s.record(s.entry(evidence.EntryAlertEscalated, e)); err != nil {
			return err
		}
	}
	return nil
}
