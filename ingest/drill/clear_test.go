package drill

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/ingest"
)

// A schedule that knows that a run was cut off clears away after it at once,
// the alert that names no device too, and touches nothing of another run.
func TestARunThatWasCutOffIsClearedAway(t *testing.T) {
	target, _ := realIngest(t, evidence.ClockSystem, time.Now)
	ctx := context.Background()
	begun := func(ago time.Duration) *run {
		t.Helper()
		r, err := newRun(target)
		if err != nil {
			t.Fatal(err)
		}
		r.began = r.began.Add(-ago)
		r.id = r.began.Format(runForm) + "-abcdef"
		r.begin(ctx)
		if _, err := r.canary(ctx, TenantA, "main"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.operator(ctx, "climbing", "auditor"); err != nil {
			t.Fatal(err)
		}
		return r
	}
	other, dead := begun(20*time.Second), begun(0)
	if o := spike().attack(ctx, dead); o.verdict != Passed {
		t.Fatalf("%+v", o)
	}
	if o := spike().attack(ctx, other); o.verdict != NotAvailable || !strings.Contains(o.got, "is open") {
		t.Errorf("with an alert of another run open: %s %s", o.verdict, o.got)
	}

	policy := ingest.DrillPolicy{Every: time.Hour}
	book := &memoryBook{runs: []evidence.DrillRun{{Due: policy.Slot(time.Now()), StartedAt: dead.began}}, open: true}
	var failed []error
	broken := errors.New("no credentials yet")
	s := &Schedule{
		Table: func() Timetable { return policy }, Book: book, Now: time.Now, Alone: true, Failed: func(err error) { failed = append(failed, err) },
		Target: func() (Target, error) { return target, broken },
	}
	if err := s.step(ctx, policy); err != nil || len(failed) != 1 || book.open || s.dead.IsZero() {
		t.Fatalf("%v; told %v; open %v", err, failed, book.open)
	}
	broken = nil
	if s.clear(ctx); len(failed) != 1 || !s.dead.IsZero() {
		t.Fatalf("told %v", failed)
	}

	var devices struct {
		Devices []struct {
			ID    string               `json:"id"`
			State evidence.DeviceState `json:"state"`
		} `json:"devices"`
	}
	var operators struct {
		Operators []evidence.Operator `json:"operators"`
	}
	if err := errors.Join(other.either(ctx, "GET", "/v1/admin/devices", nil, &devices), other.either(ctx, "GET", "/v1/admin/operators", nil, &operators)); err != nil {
		t.Fatal(err)
	}
	for _, d := range devices.Devices {
		if mine := strings.HasPrefix(d.ID, other.id); mine == (d.State == evidence.DeviceRevoked) {
			t.Errorf("%s is %s", d.ID, d.State)
		}
	}
	names := ""
	for _, o := range operators.Operators {
		names += o.Name + " "
	}
	if strings.Contains(names, dead.id) || !strings.Contains(names, other.id) {
		t.Errorf("operators: %s", names)
	}
	list, err := other.alerts(ctx)
	if err != nil || len(list) == 0 {
		t.Fatalf("%+v %v", list, err)
	}
	for _, a := range list {
		if a.ResolvedAt.IsZero() {
			t.Errorf("left open: %+v", a)
		}
	}
}
