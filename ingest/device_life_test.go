package ingest

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// request asks for a device as ben.
func (r *rig) request(tenant, device string, change ...func(*DeviceRequest)) DeviceRecord {
	r.t.Helper()
	req := DeviceRequest{Tenant: tenant, Device: device, Type: "meter", Site: "here", Fleet: "f1", Reason: "new flat"}
	for _, c := range change {
		c(&req)
	}
	d, err := r.admin("ben").RequestDevice(r.t.Context(), req)
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

// latest is the device as the list has it.
func (r *rig) latest(tenant, device string) DeviceRecord {
	r.t.Helper()
	list, err := r.admin("erin").FindDevices(r.t.Context(), DeviceQuery{Tenant: tenant, Prefix: device})
	if err != nil || len(list) == 0 {
		r.t.Fatal(err, list)
	}
	return list[len(list)-1]
}

func TestRequestIsActivatedByTheFirstValidContact(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	d := r.request("nord", "m-1")
	if d.State != evidence.DeviceRequested || d.RequestedBy != "ben" || d.RequestReason != "new flat" || d.Type != "meter" || d.Site != "here" || d.Fleet != "f1" ||
		d.RequestExpires == nil || !d.RequestExpires.Equal(r.clock.now().Add(30*day)) {
		t.Fatalf("%+v", d)
	}
	code, _, err := r.admin("carla").ApproveDevice(t.Context(), "nord", "m-1", "ok")
	if err != nil {
		t.Fatal(err)
	}
	if d := r.latest("nord", "m-1"); d.State != evidence.DeviceApproved || len(d.Approvals) != 1 || d.Approvals[0].Actor != "carla" {
		t.Errorf("approved: %+v", d)
	}
	pair, err := r.deviceClient(nil).Enrol(t.Context(), "nord", "m-1", code)
	if err != nil {
		t.Fatal(err)
	}
	if d := r.latest("nord", "m-1"); d.State != evidence.DeviceIssued || d.ActivatedAt != nil {
		t.Errorf("issued: %+v", d)
	}
	// A contact that is refused activates nothing.
	body := r.line(1, 1)
	if res, _ := r.dial(pair).raw(t, fmt.Sprintf("POST /v1/tenants/sued/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%s", len(body), body)); res.StatusCode != 403 {
		t.Fatal(res.Status)
	}
	if d := r.latest("nord", "m-1"); d.State != evidence.DeviceIssued {
		t.Errorf("after a refused contact: %+v", d)
	}
	r.send(r.deviceClient(pair), r.line(1, 1))
	if d := r.latest("nord", "m-1"); d.State != evidence.DeviceActive || d.ActivatedAt == nil {
		t.Errorf("active: %+v", d)
	}
}

func TestRequestForms(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	for name, change := range map[string]func(*DeviceRequest){
		"tenant":           func(q *DeviceRequest) { q.Tenant = "Nord!" },
		"no tenant":        func(q *DeviceRequest) { q.Tenant = "" },
		"device":           func(q *DeviceRequest) { q.Device = "a/b" },
		"type":             func(q *DeviceRequest) { q.Type = "" },
		"reason":           func(q *DeviceRequest) { q.Reason = " \t" },
		"long reason":      func(q *DeviceRequest) { q.Reason = strings.Repeat("x", 2001) },
		"site":             func(q *DeviceRequest) { q.Site = "a\nb" },
		"site with blanks": func(q *DeviceRequest) { q.Site = " a" },
		"fleet":            func(q *DeviceRequest) { q.Fleet = strings.Repeat("x", 257) },
		// A fleet that only looks like a critical one must not pass for another.
		"fleet with blanks": func(q *DeviceRequest) { q.Fleet = "grid " },
	} {
		req := DeviceRequest{Tenant: "nord", Device: "m-1", Type: "meter", Site: "s", Fleet: "f", Reason: "x"}
		change(&req)
		if _, err := r.admin("ben").RequestDevice(t.Context(), req); err == nil {
			t.Errorf("%s is taken", name)
		} else if p, ok := err.(*Problem); !ok || p.Code != CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := r.admin("ben").RequestDevice(t.Context(), DeviceRequest{Tenant: "west", Device: "m-1", Type: "meter", Reason: "x"})
	refusedWith(t, err, CodeNotFound)
	if n := len(r.control(evidence.EntryDeviceRequested)); n != 0 {
		t.Errorf("%d requests in the log", n)
	}
}

func TestUnusedRequestExpires(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Approvals.RequestValid, c.Approvals.CodeValid = 48*time.Hour, time.Hour })
	r.tenant("nord")
	r.request("nord", "asked")
	r.request("nord", "untick")
	r.clock.add(47 * time.Hour)
	r.request("nord", "approved")
	if _, _, err := r.admin("carla").ApproveDevice(t.Context(), "nord", "approved", ""); err != nil {
		t.Fatal(err)
	}
	r.clock.add(time.Hour - 1)
	r.tick()
	if n := len(r.control(evidence.EntryRequestExpired)); n != 0 {
		t.Fatalf("%d requests expired before their time", n)
	}
	r.clock.add(1)
	// It is over at the moment, whether a tick has come or not.
	_, _, err := r.admin("carla").ApproveDevice(t.Context(), "nord", "untick", "")
	refusedWith(t, err, CodeConflict)
	r.tick()
	r.tick()
	expired := r.control(evidence.EntryRequestExpired)
	if len(expired) != 3 {
		t.Fatalf("%+v", expired)
	}
	for _, e := range expired {
		if e.Actor != nil || e.Tenant != "nord" || e.Generation != 1 || e.Reason == "" || strings.Contains(e.Reason, "code") != (e.Device == "approved") {
			t.Errorf("%+v", e)
		}
	}
	if d := r.latest("nord", "asked"); d.State != evidence.DeviceExpired {
		t.Errorf("%+v", d)
	}
	_, _, err = r.admin("carla").ApproveDevice(t.Context(), "nord", "asked", "")
	refusedWith(t, err, CodeConflict)
	_, err = r.admin("carla").RevokeDevice(t.Context(), "nord", "asked", "x", "")
	refusedWith(t, err, CodeConflict)
	r.restart()
	if d := r.latest("nord", "approved"); d.State != evidence.DeviceExpired {
		t.Errorf("after a restart: %+v", d)
	}
	if d := r.request("nord", "asked"); d.Generation != 2 {
		t.Errorf("asked anew: %+v", d)
	}
}

func TestRequestFromBeforeRequestsExpired(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	old := evidence.Device{Tenant: "nord", ID: "old", Generation: 1, Type: "meter", State: evidence.DeviceRequested}
	if _, err := r.s.record(r.s.entry(evidence.EntryDeviceRequested, evidence.AuditEntry{Tenant: "nord", Device: "old", Generation: 1, Data: raw(old)})); err != nil {
		t.Fatal(err)
	}
	r.clock.add(30*day - 1)
	r.tick()
	if d := r.latest("nord", "old"); d.State != evidence.DeviceRequested {
		t.Errorf("%+v", d)
	}
	r.clock.add(1)
	r.tick()
	if d := r.latest("nord", "old"); d.State != evidence.DeviceExpired {
		t.Errorf("%+v", d)
	}
}

func TestDecline(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	r.request("nord", "m-1")
	_, err := r.admin("ben").DeclineDevice(t.Context(), "nord", "m-1", "no", "")
	refusedWith(t, err, CodeForbidden)
	_, err = r.admin("carla").DeclineDevice(t.Context(), "nord", "m-1", "", "")
	refusedWith(t, err, CodeInvalid)
	if d, err := r.admin("carla").DeclineDevice(t.Context(), "nord", "m-1", "wrong site", "T-3"); err != nil || d.State != evidence.DeviceDeclined {
		t.Fatal(d, err)
	}
	if e := r.control(evidence.EntryDeviceDeclined); len(e) != 1 || e[0].Reason != "wrong site" || e[0].Ticket != "T-3" || e[0].Actor.Name != "carla" {
		t.Errorf("%+v", e)
	}
	_, _, err = r.admin("dora").ApproveDevice(t.Context(), "nord", "m-1", "")
	refusedWith(t, err, CodeConflict)
	r.enrol("nord", "m-2")
	_, err = r.admin("carla").DeclineDevice(t.Context(), "nord", "m-2", "no", "")
	refusedWith(t, err, CodeConflict)
}

func TestRetiredDeviceIsOutAndItsNameIsFree(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	old := r.enrol("nord", "m-1", func(q *DeviceRequest) { q.Fleet = "old-fleet" })
	open := r.dial(old)
	if status := open.post(t, r.line(7, 1)); status != 202 {
		t.Fatal(status)
	}
	if _, err := r.admin("ben").RetireDevice(t.Context(), "nord", "m-1", "scrapped", "T-4"); err != nil {
		t.Fatal(err)
	}
	open.ended(t)
	d := r.latest("nord", "m-1")
	if d.State != evidence.DeviceRetired || d.Retirement == nil || d.Retirement.Action != "retire" || d.Retirement.Actor != "ben" || d.Retirement.Reason != "scrapped" {
		t.Errorf("%+v", d)
	}
	_, err := r.deviceClient(old).Send(t.Context(), []byte(r.line(8, 1)))
	refusedWith(t, err, CodeRetired)
	_, err = r.admin("carla").RevokeDevice(t.Context(), "nord", "m-1", "x", "")
	refusedWith(t, err, CodeConflict)
	_, err = r.admin("carla").ReleaseDevice(t.Context(), "nord", "m-1", "x", "")
	refusedWith(t, err, CodeConflict)

	// The new generation has nothing of the old: numbers, credentials, decision,
	// firmware, places.
	fresh := r.enrol("nord", "m-1")
	if d := r.latest("nord", "m-1"); d.Generation != 2 || d.Accepted != 0 || d.Retirement != nil || d.LastSeen != nil || len(d.Credentials) != 1 || d.Fleet != "f1" ||
		d.Credentials[0].Fingerprint != fingerprintOf(fresh.Leaf.Raw) || len(d.Approvals) != 1 {
		t.Errorf("%+v", d)
	}
	if rec := r.send(r.deviceClient(fresh), r.line(7, 2)); rec.Accepted != 1 {
		t.Errorf("the number of the old generation counts for the new: %+v", rec)
	}
	_, err = r.deviceClient(old).Send(t.Context(), []byte(r.line(9, 1)))
	refusedWith(t, err, CodeRetired)
	// The old one's history stays as it was.
	list, err := r.admin("erin").FindDevices(t.Context(), DeviceQuery{Tenant: "nord", Prefix: "m-1"})
	if err != nil || len(list) != 2 || list[0].Accepted != 1 || list[0].Fleet != "old-fleet" || list[0].Credentials[0].Fingerprint != fingerprintOf(old.Leaf.Raw) {
		t.Errorf("%+v %v", list, err)
	}
	r.request("nord", "m-3")
	_, err = r.admin("ben").RetireDevice(t.Context(), "nord", "m-3", "x", "")
	refusedWith(t, err, CodeConflict)
}

func TestTransferIsAnActOfTwo(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	r.tenant("sued")
	old := r.enrol("nord", "m-1")
	open := r.dial(old)
	if status := open.post(t, r.line(5, 1)); status != 202 {
		t.Fatal(status)
	}
	ctx := t.Context()
	pair, err := r.admin("root.admin").AddOperator(ctx, "both", []string{RoleProvisioner, RoleApprover}, "")
	if err != nil {
		t.Fatal(err)
	}
	r.pairs["both"] = pair
	move := TransferRequest{ToTenant: "sued", Site: "there", Fleet: "f2", Reason: "sold", Ticket: "T-5"}
	_, err = r.admin("carla").TransferDevice(ctx, "nord", "m-1", move)
	refusedWith(t, err, CodeForbidden)
	for to, code := range map[string]Code{"nord": CodeConflict, "west": CodeNotFound} {
		_, err = r.admin("both").TransferDevice(ctx, "nord", "m-1", TransferRequest{ToTenant: to, Reason: "x"})
		refusedWith(t, err, code)
	}
	_, err = r.admin("both").TransferDevice(ctx, "nord", "m-1", TransferRequest{ToTenant: "sued"})
	refusedWith(t, err, CodeInvalid)
	d, err := r.admin("both").TransferDevice(ctx, "nord", "m-1", move)
	if err != nil || d.Transfer == nil || d.Transfer.ToTenant != "sued" || d.Transfer.RequestedBy != "both" {
		t.Fatalf("%+v %v", d, err)
	}
	_, err = r.admin("ben").TransferDevice(ctx, "nord", "m-1", move)
	refusedWith(t, err, CodeConflict)
	_, err = r.admin("both").ApproveTransfer(ctx, "nord", "m-1", "")
	refusedWith(t, err, CodeApprovalSelf)
	_, err = r.admin("ben").ApproveTransfer(ctx, "nord", "m-1", "")
	refusedWith(t, err, CodeForbidden)
	// Nothing has changed so far.
	if status := open.post(t, r.line(6, 1)); status != 202 {
		t.Fatal(status)
	}
	waiting, err := r.admin("erin").FindDevices(ctx, DeviceQuery{Transfer: true})
	if err != nil || len(waiting) != 1 || waiting[0].ID != "m-1" {
		t.Errorf("%+v %v", waiting, err)
	}
	r.restart()
	open = r.dial(old)
	if status := open.post(t, r.line(7, 1)); status != 202 {
		t.Fatal(status)
	}
	moved, err := r.admin("carla").ApproveTransfer(ctx, "nord", "m-1", "contract 9")
	if err != nil || moved.Tenant != "sued" || moved.Generation != 1 || len(moved.Code) != 32 {
		t.Fatalf("%+v %v", moved, err)
	}
	open.ended(t)
	was := r.latest("nord", "m-1")
	if was.State != evidence.DeviceRetired || was.Retirement == nil || was.Retirement.Action != "transfer" || was.MovedTo == nil || *was.MovedTo != (Binding{"sued", 1}) || was.Transfer != nil || was.Accepted != 3 {
		t.Errorf("%+v", was)
	}
	now := r.latest("sued", "m-1")
	if now.State != evidence.DeviceApproved || now.MovedFrom == nil || *now.MovedFrom != (Binding{"nord", 1}) || now.Site != "there" || now.Fleet != "f2" || now.Type != "meter" ||
		now.RequestedBy != "both" || len(now.Approvals) != 1 || now.Approvals[0].Actor != "carla" || len(now.Credentials) != 0 || now.Accepted != 0 {
		t.Errorf("%+v", now)
	}
	_, err = r.deviceClient(old).Send(ctx, []byte(r.line(8, 1)))
	refusedWith(t, err, CodeRetired)
	for data, err := range r.s.led.Entries(controlLog, 0, 1<<62) {
		if err != nil || strings.Contains(string(data), moved.Code) {
			t.Fatalf("the code itself is in the log: %v", err)
		}
	}
	// The code is of the new binding alone.
	_, err = r.deviceClient(nil).Enrol(ctx, "nord", "m-1", moved.Code)
	refusedWith(t, err, CodeEnrolBadCode)
	fresh, err := r.deviceClient(nil).Enrol(ctx, "sued", "m-1", moved.Code)
	if err != nil {
		t.Fatal(err)
	}
	if rec := r.send(r.deviceClient(fresh), r.line(5, 2)); rec.Accepted != 1 {
		t.Errorf("the new binding inherits numbers: %+v", rec)
	}
	if r.s.led.Size("nord") != 3 || r.s.led.Size("sued") != 1 {
		t.Errorf("%d and %d entries in the tenants' logs", r.s.led.Size("nord"), r.s.led.Size("sued"))
	}
	rec, vkey := r.receipt("nord", "m-1", 0)
	if err := rec.Check(vkey); err != nil || rec.Decision.Action != "transfer" || rec.Decision.Actor != "carla" {
		t.Errorf("%v %+v", err, rec.Decision)
	}
	// The state is the fold of the log.
	before := plainOf(r.s.st)
	r.restart()
	same(t, "before and after a restart", plainOf(r.s.st), before)
	st, _, err := foldAll(r.s.led, r.s.st.window)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the logs alone", plainOf(st), plainOf(r.s.st))
	// And back again: as a new generation, with nothing of the first.
	if _, err := r.admin("ben").TransferDevice(ctx, "sued", "m-1", TransferRequest{ToTenant: "nord", Reason: "bought back"}); err != nil {
		t.Fatal(err)
	}
	if back, err := r.admin("dora").ApproveTransfer(ctx, "sued", "m-1", ""); err != nil || back.Generation != 2 {
		t.Errorf("%+v %v", back, err)
	}
}

func TestTransferThatIsNotMade(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Approvals.CriticalFleets = []string{"grid"} })
	r.tenant("nord")
	r.tenant("sued")
	ctx := t.Context()
	for _, id := range []string{"declined", "late", "held", "taken", "gone"} {
		r.send(r.deviceClient(r.enrol("nord", id)), r.line(1, 1))
		if _, err := r.admin("ben").TransferDevice(ctx, "nord", id, TransferRequest{ToTenant: "sued", Reason: "sold"}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := r.admin("carla").DeclineTransfer(ctx, "nord", "declined", "", "")
	refusedWith(t, err, CodeInvalid)
	if d, err := r.admin("carla").DeclineTransfer(ctx, "nord", "declined", "not sold", ""); err != nil || d.Transfer != nil || d.State != evidence.DeviceActive {
		t.Errorf("%+v %v", d, err)
	}
	_, err = r.admin("carla").ApproveTransfer(ctx, "nord", "declined", "")
	refusedWith(t, err, CodeConflict)
	// A quarantine is not left by a transfer.
	if _, err := r.admin("ben").QuarantineDevice(ctx, "nord", "held", "odd", ""); err != nil {
		t.Fatal(err)
	}
	_, err = r.admin("carla").ApproveTransfer(ctx, "nord", "held", "")
	refusedWith(t, err, CodeConflict)
	// Nor is a name taken from a device in service.
	r.enrol("sued", "taken")
	_, err = r.admin("carla").ApproveTransfer(ctx, "nord", "taken", "")
	refusedWith(t, err, CodeConflict)
	if _, err := r.admin("ben").RevokeDevice(ctx, "nord", "gone", "stolen", ""); err != nil {
		t.Fatal(err)
	}
	_, err = r.admin("carla").ApproveTransfer(ctx, "nord", "gone", "")
	refusedWith(t, err, CodeConflict)
	r.clock.add(30 * day)
	_, err = r.admin("carla").ApproveTransfer(ctx, "nord", "late", "")
	refusedWith(t, err, CodeConflict)
	r.tick()
	if d := r.latest("nord", "late"); d.Transfer != nil || d.State != evidence.DeviceActive {
		t.Errorf("%+v", d)
	}
	ends := r.control(evidence.EntryTransferRefused)
	if len(ends) != 4 || ends[0].Actor == nil || ends[0].Reason != "not sold" {
		t.Errorf("%+v", ends)
	}
	for _, e := range ends[1:] {
		if e.Actor != nil || e.Reason == "" {
			t.Errorf("%+v", e)
		}
	}
	if n := len(r.control(evidence.EntryTransferred)); n != 0 {
		t.Errorf("%d transfers were made", n)
	}
	// Into a critical fleet, or out of one, it takes two approvals.
	if _, err := r.admin("ben").TransferDevice(ctx, "nord", "late", TransferRequest{ToTenant: "sued", Fleet: "grid", Reason: "sold"}); err != nil {
		t.Fatal(err)
	}
	if one, err := r.admin("carla").ApproveTransfer(ctx, "nord", "late", ""); err != nil || one.Code != "" {
		t.Fatalf("%+v %v", one, err)
	}
	_, err = r.admin("carla").ApproveTransfer(ctx, "nord", "late", "")
	refusedWith(t, err, CodeApprovalSelf)
	r.restart()
	if two, err := r.admin("dora").ApproveTransfer(ctx, "nord", "late", ""); err != nil || two.Code == "" {
		t.Fatalf("%+v %v", two, err)
	}
	if d := r.latest("sued", "late"); len(d.Approvals) != 2 || d.Approvals[1].Actor != "dora" {
		t.Errorf("%+v", d)
	}
}

// TestKeyIsOfOneDevice asks with a code of its own for a certificate over a key
// that another device has, or that this one had before it was made anew: who
// has that key must not come by the new credential.
func TestKeyIsOfOneDevice(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	ctx := t.Context()
	_, csr, err := NewCSR("x")
	if err != nil {
		t.Fatal(err)
	}
	enrol := func(device, code string) error {
		var out struct{ Certificate string }
		return r.deviceClient(nil).call(ctx, "POST", "/v1/enroll", map[string]string{"tenant": "nord", "device": device, "code": code, "csr": string(csr)}, &out)
	}
	approved := func(device string) string {
		r.request("nord", device)
		code, _, err := r.admin("carla").ApproveDevice(ctx, "nord", device, "")
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	if err := enrol("m-1", approved("m-1")); err != nil {
		t.Fatal(err)
	}
	other := approved("m-2")
	refusedWith(t, enrol("m-2", other), CodeEnrolBadCSR)
	if _, err := r.admin("carla").RevokeDevice(ctx, "nord", "m-1", "stolen", ""); err != nil {
		t.Fatal(err)
	}
	again := approved("m-1")
	refusedWith(t, enrol("m-1", again), CodeEnrolBadCSR)
	r.restart()
	refusedWith(t, enrol("m-1", again), CodeEnrolBadCSR)
	// The code is not spent by it.
	if _, err := r.deviceClient(nil).Enrol(ctx, "nord", "m-1", again); err != nil {
		t.Error(err)
	}
	if d := r.latest("nord", "m-1"); d.Generation != 2 || !strings.HasPrefix(d.Credentials[0].Key, "sha256:") {
		t.Errorf("%+v", d)
	}
}

// TestKeyIsKeptByItsDevice: renewing, by the device or on order, with the key
// that it has. What is dropped from the registry is forgotten with its last
// credential, and logs in which no keys stand bind none.
func TestKeyIsKeptByItsDevice(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	ctx := t.Context()
	old := r.enrol("nord", "m-1")
	csr := csrOf(t, old)
	var out struct {
		Certificate string
		CA          string
		OldUntil    time.Time `json:"old_until"`
	}
	if err := r.deviceClient(old).call(ctx, "POST", "/v1/renew", map[string]string{"csr": csr}, &out); err != nil {
		t.Fatal(err)
	}
	pair, err := pairOf(out.Certificate, old.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	r.send(r.deviceClient(pair), r.line(1, 1))
	code, _, err := r.admin("carla").RotateDevice(ctx, "nord", "m-1", "why", "")
	if err != nil {
		t.Fatal(err)
	}
	enrol := func(device, code string) error {
		return r.deviceClient(nil).call(ctx, "POST", "/v1/enroll", map[string]string{"tenant": "nord", "device": device, "code": code, "csr": csr}, &out)
	}
	if err := enrol("m-1", code); err != nil {
		t.Fatal(err)
	}
	key := r.latest("nord", "m-1").Credentials
	if len(key) != 3 || key[0].Key == "" || key[0].Key != key[1].Key || key[1].Key != key[2].Key {
		t.Errorf("%+v", key)
	}

	st := newState(64)
	d := &device{key: deviceKey{deviceName{"nord", "m-1"}, 1}}
	a, b := evidence.Credential{Fingerprint: "a", Key: "k"}, evidence.Credential{Fingerprint: "b", Key: "k"}
	bare := evidence.Credential{Fingerprint: "c"}
	for _, c := range []evidence.Credential{a, b, bare} {
		st.enterCredential(d, c)
	}
	if len(st.deviceFor) != 3 || len(st.keyFor) != 1 {
		t.Errorf("%v %v", st.deviceFor, st.keyFor)
	}
	d.record.Credentials = []evidence.Credential{b, bare}
	st.dropCredential(d, a)
	if st.keyFor["k"] != d || st.deviceFor["a"] != nil {
		t.Error("a key is forgotten of which the device has another certificate")
	}
	d.record.Credentials = []evidence.Credential{bare}
	st.dropCredential(d, b)
	if len(st.keyFor) != 0 {
		t.Errorf("%v", st.keyFor)
	}

	// A credential as logs from before have it.
	r.codeFor("nord", "m-2")
	m := r.s.st.device("nord", "m-2")
	cert, err := r.s.ca.device("nord", "m-2", 1, estKey(t).Public(), r.clock.now(), day)
	if err != nil {
		t.Fatal(err)
	}
	m.flow.Lock()
	_, err = r.s.record(r.s.entry(evidence.EntryDeviceIssued, evidence.AuditEntry{
		Tenant: "nord", Device: "m-2", Generation: 1, Data: raw(evidence.Credential{Fingerprint: fingerprintOf(cert.Raw), Method: MethodCertificate, KeyType: "ecdsa-p256", NotBefore: cert.NotBefore, NotAfter: cert.NotAfter}),
	}))
	m.flow.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	r.restart()
	r.enrol("nord", "m-3")
	r.stop()
	same(t, "the ingest and its logs", r.foldCopy(), plainOf(r.s.st))
}

// csrOf asks for a certificate over the key that the pair has.
func csrOf(t *testing.T, pair *tls.Certificate) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}
