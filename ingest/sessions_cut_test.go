package ingest

import (
	"testing"
)

// TestCutReachesEveryCredentialShown revokes a device whose connections showed
// its certificate, something else of it in a request, or both.
func TestCutReachesEveryCredentialShown(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	pair, other := r.enrol("nord", "m-1"), r.enrol("nord", "m-2")
	bystander := r.dial(other)
	if status := bystander.post(t, r.line(1, 1)); status != 202 {
		t.Fatal(status)
	}
	own := r.dial(pair)
	if status := own.post(t, r.line(1, 1)); status != 202 {
		t.Fatal(status)
	}
	bare := r.dial(nil)
	if res, _ := bare.raw(t, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	print := fingerprintOf(pair.Leaf.Raw)
	shown := 0
	r.s.sessions.mu.Lock()
	var open []*session
	for c := range r.s.sessions.all {
		open = append(open, c)
	}
	r.s.sessions.mu.Unlock()
	for _, c := range open {
		if c.listener == "public" && (c.fingerprint == "" || c.fingerprint == print) {
			for range 2 {
				r.s.sessions.bindToken(c, print)
			}
			if c.fingerprint == print {
				r.s.sessions.bindToken(c, "sha256:of-a-token")
			}
			shown++
		}
	}
	if shown < 2 {
		t.Fatalf("%d connections", shown)
	}
	if _, err := r.admin("carla").RevokeDevice(t.Context(), "nord", "m-1", "stolen", ""); err != nil {
		t.Fatal(err)
	}
	own.ended(t)
	bare.ended(t)
	if rec, _ := r.receipt("nord", "m-1", 0); rec.Cut == nil || rec.Cut.Connections != shown {
		t.Errorf("%+v, of %d connections", rec.Cut, shown)
	}
	if status := bystander.post(t, r.line(2, 1)); status != 202 {
		t.Error(status)
	}
	// What is closed is not kept under any credential.
	r.s.sessions.mu.Lock()
	defer r.s.sessions.mu.Unlock()
	for _, fp := range []string{print, "sha256:of-a-token", ""} {
		if n := len(r.s.sessions.byKey[fp]); n != 0 {
			t.Errorf("%d connections are kept under %q", n, fp)
		}
	}
}
