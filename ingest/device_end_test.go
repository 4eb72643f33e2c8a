package ingest

import (
	"testing"
	"time"

	"trustpack/evidence"
)

// TestBatchThatWaitedTooLong is approved by nobody, whether a tick has come or
// not.
func TestBatchThatWaitedTooLong(t *testing.T) {
	for _, tick := range []bool{false, true} {
		r := newRig(t, func(c *Config) { c.Approvals.RequestValid = 48 * time.Hour })
		r.tenant("nord")
		asked, err := r.admin("ben").RequestDevices(t.Context(), []byte("tenant,device,type,reason\nnord,b-1,meter,x\nnord,b-2,meter,x\n"), false)
		if err != nil {
			t.Fatal(err)
		}
		r.clock.add(48 * time.Hour)
		if tick {
			r.tick()
		}
		_, err = r.admin("carla").ApproveBatch(t.Context(), asked.Batch, "ok")
		refusedWith(t, err, CodeConflict)
		r.tick()
		for _, id := range []string{"b-1", "b-2"} {
			if d := r.latest("nord", id); d.State != evidence.DeviceExpired || len(d.Approvals) != 0 {
				t.Errorf("%+v", d)
			}
		}
		if n := len(r.control(evidence.EntryDeviceApproved)); n != 0 {
			t.Errorf("%d approvals", n)
		}
	}
}

// TestTransferEndsEveryCredential of the old binding: a token as well as a
// certificate beside it in its overlap, renewal, a code that was ordered; and
// the old key is not certified for the new tenant.
func TestTransferEndsEveryCredential(t *testing.T) {
	r := newRig(t, allowTokens)
	r.tenant("nord")
	r.tenant("sued")
	ctx := t.Context()
	tok := r.tokenDevice("nord", "m-1")
	c := r.withToken(tok.Token, nil)
	r.send(c, r.line(1, 1))
	pair, _, err := c.Renew(ctx, "m-1")
	if err != nil {
		t.Fatal(err)
	}
	both := r.deviceClient(pair)
	r.send(both, r.line(2, 1))
	code, _, err := r.admin("carla").RotateDevice(ctx, "nord", "m-1", "why", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.admin("ben").TransferDevice(ctx, "nord", "m-1", TransferRequest{ToTenant: "sued", Reason: "sold"}); err != nil {
		t.Fatal(err)
	}
	r.send(c, r.line(3, 1))
	moved, err := r.admin("carla").ApproveTransfer(ctx, "nord", "m-1", "")
	if err != nil {
		t.Fatal(err)
	}
	if r.tokenSessions(tok)+r.shown(pair) != 0 {
		t.Errorf("open: %d connections of the token, %d of the certificate", r.tokenSessions(tok), r.shown(pair))
	}
	_, err = c.Send(ctx, []byte(r.line(4, 1)))
	refusedWith(t, err, CodeRetired)
	_, err = both.Send(ctx, []byte(r.line(4, 1)))
	refusedWith(t, err, CodeRetired)
	_, err = c.RenewToken(ctx)
	refusedWith(t, err, CodeRetired)
	_, _, err = both.Renew(ctx, "m-1")
	refusedWith(t, err, CodeRetired)
	_, err = r.deviceClient(nil).Enrol(ctx, "nord", "m-1", code)
	refusedWith(t, err, CodeEnrolBadCode)
	enrol := func(csr string) error {
		var out struct{ Certificate, CA string }
		return r.deviceClient(nil).call(ctx, "POST", "/v1/enroll", map[string]string{"tenant": "sued", "device": "m-1", "code": moved.Code, "csr": csr}, &out)
	}
	refusedWith(t, enrol(csrOf(t, pair)), CodeEnrolBadCSR)
	_, csr, err := NewCSR("m-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := enrol(string(csr)); err != nil {
		t.Error(err)
	}
}

// TestReceiptOfAnEarlierGeneration outlives the device's re-creation and a
// restart; the one that is in use has none.
func TestReceiptOfAnEarlierGeneration(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	old := r.enrol("nord", "m-1")
	r.send(r.deviceClient(old), r.line(1, 1))
	if _, err := r.admin("carla").RevokeDevice(t.Context(), "nord", "m-1", "stolen", "T-8"); err != nil {
		t.Fatal(err)
	}
	r.send(r.deviceClient(r.enrol("nord", "m-1")), r.line(1, 1))
	r.clock.add(time.Minute)
	_, err := r.deviceClient(old).Send(t.Context(), []byte(r.line(2, 1)))
	refusedWith(t, err, CodeRevoked)
	for range 2 {
		_, err = r.admin("erin").Receipt(t.Context(), "nord", "m-1", 0)
		refusedWith(t, err, CodeConflict)
		_, err = r.admin("erin").Receipt(t.Context(), "nord", "m-1", 3)
		refusedWith(t, err, CodeNotFound)
		rec, vkey := r.receipt("nord", "m-1", 1)
		if err := rec.Check(vkey); err != nil || rec.Generation != 1 || rec.Decision.Ticket != "T-8" || rec.FirstRefused.Fingerprint != fingerprintOf(old.Certificate[0]) || !rec.FirstRefused.Time.Equal(r.clock.now()) {
			t.Errorf("%v %+v", err, rec)
		}
		rec.Generation = 2
		if err := rec.Check(vkey); err == nil {
			t.Error("it passes for the next generation's")
		}
		r.restart()
	}
}
