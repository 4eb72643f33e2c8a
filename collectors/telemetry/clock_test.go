package telemetry

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"trustpack/evidence"
)

func TestTheIngestsOwnClockIsEvidence(t *testing.T) {
	s := newServed(t)
	check := func(n int, c evidence.ClockCheck) string {
		return entry{index: s.control(day(n), evidence.AuditEntry{Type: evidence.EntryClockChecked, Target: "clock"}, c)}.id()
	}
	check(-3, evidence.ClockCheck{NTP: "unsynchronised"}) // of the quarter before
	s.checkpoint()
	got := collectFrom(t, s, Config{})[KindClock]
	if got.Completeness.State != evidence.Incomplete || !strings.Contains(got.Completeness.Gaps[0].Reason, "holds none in the period") || len(got.Population.Items) != 0 {
		t.Errorf("none in the period: %+v", got.Completeness)
	}
	id := check(3, evidence.ClockCheck{Wall: day(3), SinceS: 3600, DriftMS: 1.5, JumpMS: -1200, HeldMS: 1200, NTP: "unsynchronised", NTPSource: "adjtimex", OffsetUS: 12, MaxErrorUS: 500})
	s.checkpoint()
	got = collectFrom(t, s, Config{})[KindClock]
	if got.Completeness.State != evidence.Complete || len(got.Population.Items) != 1 {
		t.Fatalf("%+v", got.Completeness)
	}
	body, err := json.Marshal(item(t, got, id))
	if want := `{"detail":"","drift_ms":1.5,"held_ms":1200,"jump_ms":-1200,"max_error_us":500,"ntp":"unsynchronised","ntp_source":"adjtimex","offset_us":12,"since_s":3600,"time":"2026-07-04T00:00:00Z","wall":"2026-07-04T00:00:00Z"}`; err != nil || string(body) != want {
		t.Errorf("%s, want %s", body, want)
	}
}

func TestASimulatedClockIsNotChecked(t *testing.T) {
	s := newServed(t)
	s.control(day(1), evidence.AuditEntry{Type: evidence.EntryTenantAdded, Tenant: "nord"}, nil)
	s.checkpoint()
	s.broken["/v1/admin/config"] = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"instance":"example.com/test","clock":"simulated","config":{}}`))
	}
	got := collectFrom(t, s, Config{})[KindClock]
	if got.Completeness.State != evidence.Complete || !strings.Contains(got.Completeness.Note, "simulated clock") {
		t.Errorf("%+v", got.Completeness)
	}
}
