package ingest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// fleetMinimum is how many devices must be overdue together, and be half of
// their fleet, for their silence to be the fleet's.
const fleetMinimum = 3

// pulse is a device as heartbeats see it.
type pulse struct {
	d        *device
	last     time.Time // last accepted event, or the activation
	interval time.Duration
}

// fleetName is a fleet within its tenant.
type fleetName struct{ tenant, fleet string }

// heartbeats raises an alert for a device that was silent for
// heartbeat.missed intervals, one for a whole fleet where that went silent,
// and resolves both when telemetry comes again.
func (s *Server) heartbeats(now time.Time) error {
	if off(guardSilence) {
		return nil
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	fleets := s.pulses()
	if err := s.resolveSilences(now, fleets); err != nil {
		return err
	}
	for _, name := range sortedFleets(fleets) {
		if err := s.checkFleet(now, name, fleets[name]); err != nil {
			return err
		}
	}
	return nil
}

// pulses groups the devices that are expected to report. Canaries' tenants
// are no exception: drills revoke what they make.
func (s *Server) pulses() map[fleetName][]pulse {
	out := map[fleetName][]pulse{}
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	for _, d := range s.st.devices {
		if d.record.State != evidence.DeviceActive {
			continue
		}
		name := fleetName{d.key.tenant, d.record.Fleet}
		out[name] = append(out[name], s.pulseOf(d))
	}
	return out
}

// pulseOf is the pulse of an active device. The caller holds st.mu.
func (s *Server) pulseOf(d *device) pulse {
	last := d.activated
	if d.letIn.After(last) {
		last = d.letIn // it was silenced, not silent
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lastAccepted.After(last) {
		last = d.lastAccepted
	}
	return pulse{d, last, s.cfg().Heartbeat.interval(d.key.deviceName, d.record.Type)}
}

func sortedFleets(m map[fleetName][]pulse) []fleetName {
	var names []fleetName
	for n := range m {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b fleetName) int {
		return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.fleet, b.fleet))
	})
	return names
}

func (p pulse) silent(now time.Time, missed int) bool {
	return now.Sub(p.last) > time.Duration(missed)*p.interval
}

// checkFleet looks for devices that are silent without an alert. When the
// first of a fleet that went down becomes silent, the others have missed all
// beats but the last, so they can be told from devices that are well.
func (s *Server) checkFleet(now time.Time, name fleetName, fleet []pulse) error {
	if !slices.ContainsFunc(fleet, func(p pulse) bool { return p.silent(now, s.cfg().Heartbeat.Missed) }) {
		return nil
	}
	covered, whole := s.coveredDevices()
	if whole[name] {
		return nil
	}
	var silent, overdue []pulse
	for _, p := range fleet {
		switch {
		case covered[p.d.name()]:
		case p.silent(now, s.cfg().Heartbeat.Missed):
			silent = append(silent, p)
			overdue = append(overdue, p)
		case p.silent(now, s.cfg().Heartbeat.Missed-1):
			overdue = append(overdue, p)
		}
	}
	if len(silent) == 0 {
		return nil
	}
	for _, list := range [][]pulse{silent, overdue} {
		slices.SortFunc(list, func(a, b pulse) int { return a.d.key.compare(b.d.key) })
	}
	if name.fleet != "" && len(overdue) >= fleetMinimum && 2*len(overdue) >= len(fleet) {
		return s.raiseSilence(AlertFleetSilent, name, overdue, fmt.Sprintf("%d of the %d devices of fleet %s are silent", len(overdue), len(fleet), name.fleet))
	}
	for _, p := range silent {
		detail := fmt.Sprintf("no telemetry for more than %d intervals of %v", s.cfg().Heartbeat.Missed, p.interval)
		if err := s.raiseSilence(AlertDeviceSilent, name, []pulse{p}, detail); err != nil {
			return err
		}
	}
	return nil
}

// coveredDevices are those for whose silence an alert is open. Where that of a
// fleet lists as many as one can, there may be more, and it covers all of it.
func (s *Server) coveredDevices() (devices map[string]bool, whole map[fleetName]bool) {
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	devices, whole = map[string]bool{}, map[fleetName]bool{}
	for _, a := range s.st.alerts {
		if a.ResolvedAt != nil || a.Kind != AlertDeviceSilent && a.Kind != AlertFleetSilent {
			continue
		}
		for _, d := range a.Devices {
			devices[d] = true
		}
		if a.Kind == AlertFleetSilent && len(a.Devices) >= maxAlertDevices {
			tenant, id, _ := strings.Cut(a.Devices[0], "/")
			if d := s.st.latest[deviceName{tenant, id}]; d != nil {
				whole[fleetName{tenant, d.record.Fleet}] = true
			}
		}
	}
	return devices, whole
}

func (s *Server) raiseSilence(kind string, name fleetName, devices []pulse, detail string) error {
	since := slices.MinFunc(devices, func(a, b pulse) int { return a.last.Compare(b.last) }).last
	e := evidence.AuditEntry{Tenant: name.tenant}
	a := evidence.Alert{Kind: kind, Since: since, Detail: detail}
	for _, p := range devices[:min(len(devices), maxAlertDevices)] {
		a.Devices = append(a.Devices, p.d.name())
	}
	if kind == AlertDeviceSilent {
		e.Device, e.Generation = devices[0].d.key.id, devices[0].d.key.generation
		a.ID = alertID(kind, since, name.tenant, e.Device)
	} else {
		a.ID = alertID(kind, since, name.tenant, name.fleet)
	}
	if s.alertExists(a.ID) {
		return nil // resolved by hand while the silence goes on: not raised again
	}
	e.Target, e.Data = a.ID, raw(a)
	_, err := s.record(s.entry(evidence.EntryAlertRaised, e))
	return err
}

func (s *Server) alertExists(id string) bool {
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	return s.st.alerts[id] != nil
}

// resolveSilences closes the alerts whose devices report again, or are no
// longer expected to: a device's when it does, a fleet's when fewer than half
// of those listed are still silent.
func (s *Server) resolveSilences(now time.Time, fleets map[fleetName][]pulse) error {
	silent := map[string]bool{}
	for _, fleet := range fleets {
		for _, p := range fleet {
			silent[p.d.name()] = p.silent(now, s.cfg().Heartbeat.Missed-1)
		}
	}
	for _, a := range s.listAlerts() {
		if a.ResolvedAt != nil || a.Kind != AlertDeviceSilent && a.Kind != AlertFleetSilent {
			continue
		}
		still := 0
		for _, d := range a.Devices {
			if silent[d] {
				still++
			}
		}
		if still > 0 && (a.Kind == AlertDeviceSilent || 2*still >= len(a.Devices)) {
			continue
		}
		e := evidence.AuditEntry{Tenant: a.Tenant, Target: a.ID, Data: raw(map[string]string{
			"id": a.ID, "resolution": fmt.Sprintf("%d of %d devices report again or are no longer expected to", len(a.Devices)-still, len(a.Devices)),
		})}
		if _, err := s.record(s.entry(evidence.EntryAlertResolved, e)); err != nil {
			return err
		}
	}
	return nil
}
