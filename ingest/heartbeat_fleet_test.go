package ingest

import (
	"fmt"
	"testing"
	"time"

	"trustpack/evidence"
)

// TestALargeFleetIsOneOutage: a fleet of more devices than an alert lists goes
// silent, and that is one alert, not one more for those it does not list.
func TestALargeFleetIsOneOutage(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	const devices = 2*maxAlertDevices + 100
	var entries []evidence.AuditEntry
	add := func(typ, id string, data any) {
		entries = append(entries, r.s.entry(typ, evidence.AuditEntry{Tenant: "nord", Device: id, Generation: 1, Reason: "test", Data: raw(data)}))
	}
	for i := range devices {
		id := fmt.Sprintf("m-%04d", i)
		print := evidence.SHA256Hex([]byte(id))
		add(evidence.EntryDeviceRequested, id, evidence.Device{Tenant: "nord", ID: id, Generation: 1, Type: "meter", Fleet: "f1", State: evidence.DeviceRequested})
		add(evidence.EntryDeviceApproved, id, map[string]any{"enrolment_code_sha256": print, "expires": r.s.now().Add(day)})
		add(evidence.EntryDeviceIssued, id, evidence.Credential{Fingerprint: print, Method: MethodCertificate, NotBefore: r.s.now(), NotAfter: r.s.now().Add(365 * day)})
		add(evidence.EntryDeviceActivated, id, sourceData{print, "192.0.2.1"})
		r.clock.add(time.Millisecond) // none was heard of last at the same moment as another
	}
	if _, err := r.s.record(entries...); err != nil {
		t.Fatal(err)
	}
	r.clock.add(time.Hour)
	for range 4 {
		r.clock.add(time.Second)
		r.tick()
	}
	var got []AlertRecord
	for _, a := range r.s.listAlerts() {
		if a.Kind == AlertDeviceSilent || a.Kind == AlertFleetSilent {
			got = append(got, a)
		}
	}
	if len(got) != 1 || got[0].Kind != AlertFleetSilent || len(got[0].Devices) != maxAlertDevices || got[0].Detail != fmt.Sprintf("%d of the %d devices of fleet f1 are silent", devices, devices) {
		t.Fatalf("%d alerts, the last of kind %s: %s", len(got), got[0].Kind, got[0].Detail)
	}
}
