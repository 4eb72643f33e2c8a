package ingest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// Kinds of alerts.
const (
	AlertDeviceSilent     = "device.silent"
	AlertFleetSilent      = "fleet.silent"
	AlertReplayConflict   = "replay.conflict"
	AlertLetterQuota      = "deadletter.quota"
	AlertCredentialShared = "credential.shared"
	AlertRotationDue      = "credential.rotation-due"
	AlertCRLExpired       = "crl.expired"
	AlertExportSpike      = "export.spike"
	AlertClockJump        = "clock.jump"
	AlertConfigReverted   = "config.reverted"
)

// AlertKinds lists all that there are.
func AlertKinds() []string {
	return []string{
		AlertDeviceSilent, AlertFleetSilent, AlertReplayConflict, AlertLetterQuota, AlertCredentialShared, AlertRotationDue,
		AlertCRLExpired, AlertExportSpike, AlertClockJump, AlertConfigReverted, AlertBreakGlass,
	}
}

// maxAlertDevices is how many devices one alert lists; its detail gives the
// number of all.
const maxAlertDevices = 300

// alertID is unique, and made of what may stand in a path.
func alertID(kind string, since time.Time, parts ...string) string {
	return kind + "-" + strings.Join(parts, "-") + "-" + since.UTC().Format("20060102T150405.000000000Z")
}

// openAlert finds an alert of the kind that is not resolved and for which
// match holds. The caller holds s.decide.
func (s *Server) openAlert(kind string, match func(*AlertRecord) bool) *AlertRecord {
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	for _, a := range s.st.alerts {
		if a.Kind == kind && a.ResolvedAt == nil && match(a) {
			return a
		}
	}
	return nil
}

// raiseConflict raises one alert a device until that is resolved.
func (s *Server) raiseConflict(d *device, detail string) error {
	s.decide.Lock()
	defer s.decide.Unlock()
	if s.openAlert(AlertReplayConflict, func(a *AlertRecord) bool { return slices.Contains(a.Devices, d.name()) }) != nil {
		return nil
	}
	e := s.entry(evidence.EntryAlertRaised, evidence.AuditEntry{Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation})
	a := evidence.Alert{
		ID: alertID(AlertReplayConflict, e.Time, d.key.tenant, d.key.id), Kind: AlertReplayConflict, Since: e.Time,
		Devices: []string{d.name()}, Detail: "a number was used again for other content: " + detail,
	}
	e.Target, e.Data = a.ID, raw(a)
	_, err := s.record(e)
	return err
}

// name is how alerts list a device.
func (d *device) name() string { return d.key.tenant + "/" + d.key.id }

// listAlerts lists all alerts, newest first.
func (s *Server) listAlerts() []AlertRecord {
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	out := []AlertRecord{}
	for _, a := range s.st.alerts {
		out = append(out, *a)
	}
	slices.SortFunc(out, func(a, b AlertRecord) int {
		if c := b.RaisedAt.Compare(a.RaisedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// ageGaps records as gaps the numbers that have been missing for
// replay.gap_after. They are not waited for any longer.
func (s *Server) ageGaps(now time.Time) error {
	limit := now.Add(-s.cfg().Replay.GapAfter)
	for _, d := range s.st.someDevices(func(d *device) bool { return d.hasAged(limit) }) {
		if err := s.ageDevice(d, limit); err != nil {
			return fmt.Errorf("recording gaps of %s: %w", d.name(), err)
		}
	}
	return nil
}

func (d *device) hasAged(limit time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.windows {
		if gaps, _ := w.aged(limit); len(gaps) > 0 {
			return true
		}
	}
	return false
}

func (s *Server) ageDevice(d *device, limit time.Time) error {
	d.flow.Lock()
	defer d.flow.Unlock()
	var out []bootGap
	d.mu.Lock()
	for boot, w := range d.windows {
		gaps, _ := w.aged(limit)
		for _, g := range gaps {
			out = append(out, bootGap{boot, g})
		}
	}
	d.mu.Unlock()
	change := s.snapshots.begin()
	defer change.end()
	return s.recordGaps(d, out)
}
