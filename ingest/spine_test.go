package ingest

import (
	"encoding/json"
	"testing"

	"trustpack/evidence"
)

func unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

func canonicalOf(v any) ([]byte, error) { return evidence.CanonicalJSON(v) }

func TestDeviceFromRequestToReceipt(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	c := r.deviceClient(pair)
	rec := r.send(c, r.line(1, 1.5), r.line(2, 2.5))
	if rec.Accepted != 2 || rec.Tenant != "nord" || rec.Log != "test.example/ingest/nord" || rec.FirstIndex != 0 || rec.Count != 2 || rec.Lines != nil {
		t.Fatalf("receipt %+v", rec)
	}
	devices, err := r.admin("erin").Devices(t.Context(), "nord")
	if err != nil || len(devices) != 1 {
		t.Fatal(devices, err)
	}
	if d := devices[0]; d.State != evidence.DeviceActive || d.Accepted != 2 || d.ActivatedAt == nil || len(d.Approvals) != 1 || d.RequestedBy != "ben" {
		t.Errorf("device %+v", d)
	}
	if n := len(r.control(evidence.EntryDeviceActivated)); n != 1 {
		t.Errorf("%d activations", n)
	}
	excerpt, err := r.admin("erin").Excerpt(t.Context(), "nord", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := excerpt.Verify(excerpt.VerifierKey); err != nil {
		t.Error(err)
	}
	r.restart()
	c = r.deviceClient(pair)
	if rec := r.send(c, r.line(1, 1.5), r.line(2, 2.5), r.line(3, 1)); rec.Duplicate != 2 || rec.Accepted != 1 || *rec.Lines[1].Index != 1 {
		t.Errorf("after the restart: %+v", rec)
	}
}
