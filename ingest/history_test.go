package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/internal/durable"
	"trustpack/ledger"
)

// history is an ingest to which things happen by chance: all that its logs can
// hold.
type history struct {
	t      testing.TB
	rnd    *rand.Rand
	clock  *testClock
	dir    string
	config Config
	log    bytes.Buffer
	s      *Server
	ops    int
	disk   durable.FS // nil: the disk
}

func newHistory(t testing.TB, seed uint64) *history {
	h := &history{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), clock: newClock(), dir: filepath.Join(t.TempDir(), "ingest"), config: testConfig(t)}
	h.config.Replay.Window = 40
	h.config.DeadLetters.PerTenant = 30
	h.config.Approvals.CriticalFleets = []string{"a"}
	h.config.Exports.UnapprovedRows = 5
	h.config.Rates = Rates{Rate{1e9, 1 << 30}, Rate{1e9, 1 << 30}}
	if err := Init(h.dir, InitOptions{Instance: "test.example/ingest", Org: "Test", FirstAdmin: "root.admin", Now: h.clock.now}); err != nil {
		t.Fatal(err)
	}
	h.open()
	t.Cleanup(h.close)
	return h
}

func (h *history) open() {
	h.t.Helper()
	s, err := Open(Options{Dir: h.dir, Config: h.config, Now: h.clock.now, Clock: evidence.ClockSimulated, Logger: slog.New(slog.NewTextHandler(&h.log, nil)), disk: h.disk})
	if err != nil {
		h.t.Fatal(err)
	}
	h.s = s
}

func (h *history) close() {
	h.t.Helper()
	if err := h.s.Close(context.Background()); err != nil {
		h.t.Fatal(err)
	}
}

// patient is a recorder that takes deadlines.
type patient struct{ *httptest.ResponseRecorder }

func (patient) SetReadDeadline(time.Time) error  { return nil }
func (patient) SetWriteDeadline(time.Time) error { return nil }

// admin calls what an operator may, who may or may not be allowed to.
func (h *history) admin(f func(*adminCall) (any, *Problem), op string, body any, path ...string) any {
	data, err := json.Marshal(body)
	if err != nil {
		h.t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(data))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(path); i += 2 {
		r.SetPathValue(path[i], path[i+1])
	}
	h.ops++
	a := &adminCall{s: h.s, w: patient{httptest.NewRecorder()}, r: r, id: fmt.Sprint(h.ops), op: &operator{Operator: evidence.Operator{Name: op}}, role: "some"}
	out, p := f(a)
	if p == nil {
		return out
	}
	if p.Status >= 500 {
		h.t.Fatalf("an act of %s: %v", op, p)
	}
	if err := a.refuse(p); err != nil {
		h.t.Fatal(err)
	}
	return nil
}

func (h *history) record(typ string, e evidence.AuditEntry) {
	h.t.Helper()
	h.s.decide.Lock()
	defer h.s.decide.Unlock()
	if _, err := h.s.record(h.s.entry(typ, e)); err != nil {
		h.t.Fatal(err)
	}
}

// some is a device, if there is one yet.
func (h *history) some() *device {
	all := h.s.st.someDevices(func(*device) bool { return true })
	if len(all) == 0 {
		return nil
	}
	return all[h.rnd.IntN(len(all))]
}

// send sends lines as a device does.
func (h *history) send(d *device, lines ...string) {
	c := &call{set: h.s.set.Load(), d: d, t: h.s.st.tenant(d.key.tenant)}
	b := h.s.batch(c)
	b.texts = append(b.texts, lines...)
	if p := h.s.scan(c, b); p != nil {
		return
	}
	if err := h.s.take(b); err != nil {
		if p, ok := err.(*Problem); !ok || p.Status >= 500 {
			h.t.Fatal(err)
		}
		return
	}
	b.release()
}

// lines are some events by chance: in order, late, with holes, doubled, bad.
func (h *history) lines(d *device) (out []string) {
	d.mu.Lock()
	high, boot := int64(-1), int64(h.rnd.IntN(3))
	if h.rnd.IntN(10) == 0 {
		boot = int64(h.rnd.IntN(2 * maxBoots))
	}
	if w := d.windows[boot]; w != nil {
		high = w.high
	}
	d.mu.Unlock()
	for range 1 + h.rnd.IntN(6) {
		seq := high + 1
		switch h.rnd.IntN(6) {
		case 0:
			seq = max(0, high-h.rnd.Int64N(60))
		case 1:
			seq = high + h.rnd.Int64N(60)
		}
		seq = max(seq, 0)
		at, kw := h.clock.now(), h.rnd.IntN(600)
		zone := []*time.Location{time.UTC, time.FixedZone("", 7200)}[h.rnd.IntN(2)]
		if h.rnd.IntN(20) == 0 {
			at = at.Add(time.Duration(h.rnd.IntN(40)-20) * time.Minute)
		}
		line := fmt.Sprintf(`{"boot":%d,"seq":%d,"fw":"4.%d","time":%q,"type":"power.v1","data":{"kw":%d}}`, boot, seq, h.rnd.IntN(3), at.In(zone).Format(time.RFC3339Nano), kw)
		if h.rnd.IntN(15) == 0 {
			line = line[:h.rnd.IntN(len(line))]
		}
		out, high = append(out, line), max(high, seq)
	}
	return out
}

// step is one thing that happens.
func (h *history) step() {
	pick := func(n int) string { return string(rune('a' + h.rnd.IntN(n))) }
	tenant, d := "t"+pick(3), h.some()
	if d == nil || h.rnd.IntN(12) == 0 {
		h.admin(h.s.addTenant, "root.admin", map[string]any{"id": tenant, "name": "Tenant " + tenant})
		h.admin(h.s.requestDevice, "ben", map[string]string{"tenant": tenant, "device": "d-" + pick(4), "type": "meter", "fleet": pick(2), "reason": "r"})
		return
	}
	at := []string{"tenant", d.key.tenant, "device", d.key.id}
	e := evidence.AuditEntry{Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation}
	switch n := h.rnd.IntN(40); {
	case n < 2:
		h.admin(h.s.approveDevice, []string{"ben", "carla", "dora"}[h.rnd.IntN(3)], nil, at...)
	case n < 5:
		if d.record.State == evidence.DeviceApproved || d.record.State == evidence.DeviceRequested {
			e.Data = raw(evidence.Credential{Fingerprint: fmt.Sprintf("sha256:%d", h.rnd.Uint64()), Method: "x509", KeyType: "ed25519", NotBefore: h.clock.now(), NotAfter: h.clock.now().Add(day)})
			h.record(evidence.EntryDeviceIssued, e)
		}
		fallthrough
	case n < 6:
		if d.record.State == evidence.DeviceIssued || d.record.State == evidence.DeviceActive {
			e.Data = raw(sourceData{"f", "192.0.2." + pick(9)})
			h.record([]string{evidence.EntryDeviceActivated, evidence.EntryCredentialSeen}[h.rnd.IntN(2)], e)
		}
	case n < 8:
		typ := []string{evidence.EntryQuarantined, evidence.EntryReleased, evidence.EntryReleased, evidence.EntryRevoked}[h.rnd.IntN(4)]
		if typ != evidence.EntryRevoked || h.rnd.IntN(4) == 0 {
			h.admin(func(a *adminCall) (any, *Problem) { return h.s.decideDevice(a, typ) }, "carla", map[string]string{"reason": "why", "ticket": "T"}, at...)
		}
	case n < 9 && len(d.record.Credentials) > 0:
		h.rotate(d, at)
	case n < 10:
		h.clock.add(time.Duration(h.rnd.Int64N(int64(30 * time.Hour))))
		h.tick()
	case n < 11:
		for _, a := range h.s.listAlerts() {
			if h.rnd.IntN(3) == 0 {
				f := []func(*adminCall) (any, *Problem){h.s.acknowledgeAlert, h.s.resolveAlert}[h.rnd.IntN(2)]
				h.admin(f, "carla", map[string]string{"ticket": "T", "resolution": "seen"}, "id", a.ID)
			}
		}
	case n < 14:
		letters, _, err := h.s.deadLetters("", "", 100)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, l := range letters {
			if h.rnd.IntN(4) == 0 {
				f := []func(*adminCall) (any, *Problem){h.s.replayDeadLetter, h.s.discardDeadLetter}[h.rnd.IntN(2)]
				h.admin(f, "carla", map[string]string{"reason": "why"}, "tenant", l.Tenant, "index", itoa(l.Index))
			}
		}
	case n < 15:
		h.export(d.key.tenant)
		h.purge(d.key.tenant)
	case n < 16:
		h.policy()
	case n < 17:
		if err := h.s.refusals.add(refused{code: CodeTenantMismatch, tenant: d.key.tenant, source: pick(5), events: h.rnd.Int64N(5)}); err != nil {
			h.t.Fatal(err)
		}
	default:
		h.send(d, h.lines(d)...)
	}
	h.clock.add(time.Duration(h.rnd.Int64N(int64(time.Minute))))
}

// rotate orders a new credential, or is the device that has one.
func (h *history) rotate(d *device, at []string) {
	if h.rnd.IntN(2) == 0 {
		h.admin(h.s.orderRotation, []string{"carla", "dora"}[h.rnd.IntN(2)], map[string]string{"reason": "r"}, at...)
		return
	}
	used := ""
	if old := d.record.Credentials[h.rnd.IntN(len(d.record.Credentials))]; old.Retired == "" && h.rnd.IntN(3) > 0 {
		used = old.Fingerprint
	}
	_, csr, err := NewCSR("x")
	if err != nil {
		h.t.Fatal(err)
	}
	request, err := parseCSR(csr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.s.decide.Lock()
	defer h.s.decide.Unlock()
	d.flow.Lock()
	defer d.flow.Unlock()
	if p, ok := problemOf(h.s.rotate(rotation{d, used, "x"}, wanted{method: MethodCertificate, csr: request})); !ok {
		h.t.Fatal(p)
	}
}

// problemOf is false where the program failed, and did not refuse.
func problemOf(_ any, p *Problem) (*Problem, bool) { return p, p == nil || p.Status < 500 }

func (h *history) tick() {
	h.t.Helper()
	if err := h.s.Tick(h.t.Context(), h.clock.now()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *history) export(tenant string) {
	out := h.admin(h.s.requestExport, "emil", map[string]string{"tenant": tenant, "format": "csv", "destination": "disk", "reason": "why"})
	if x, ok := out.(*ExportRecord); ok {
		h.admin(h.s.approveExport, "carla", map[string]string{"reason": "ok"}, "id", x.ID)
		h.record(evidence.EntryExport, evidence.AuditEntry{Target: x.ID, Data: raw(map[string]any{"id": x.ID, "rows": 3, "bytes": 77, "sha256": "00"})})
	}
}

// purge erases what is of days before, where there is something; not each that
// is asked for is approved.
func (h *history) purge(tenant string) {
	out := h.admin(h.s.requestPurge, "ben", map[string]string{"tenant": tenant, "before": h.clock.now().Format(time.RFC3339), "reason": "retention"})
	if x, ok := out.(*PurgeRecord); ok && h.rnd.IntN(2) == 0 {
		h.admin(h.s.approvePurge, "carla", map[string]string{"reason": "ok"}, "id", x.ID)
	}
}

// policy changes the configuration, the operators, or what drills there were.
func (h *history) policy() {
	switch h.rnd.IntN(3) {
	case 0:
		next := *h.s.cfg()
		next.Limits.Lines = 1000 + h.rnd.IntN(1000)
		set, err := h.s.prepare(next)
		if err != nil {
			h.t.Fatal(err)
		}
		if _, err := h.s.enforce(set, evidence.AuditEntry{Actor: &evidence.Actor{Name: "root.admin", Role: "admin"}, Reason: "why <not>"}); err != nil {
			h.t.Fatal(err)
		}
	case 1:
		typ := []string{evidence.EntryOperatorAdded, evidence.EntryOperatorRemoved}[h.rnd.IntN(2)]
		name := "op" + string(rune('a'+h.rnd.IntN(3)))
		h.record(typ, evidence.AuditEntry{Target: name, Data: raw(evidence.Operator{Name: name, Roles: []string{RoleAuditor}, Fingerprint: fmt.Sprintf("sha256:%s%d", name, h.rnd.Uint64())})})
	case 2:
		h.record(evidence.EntryDrill, evidence.AuditEntry{Data: raw(evidence.DrillResult{ID: "x"})})
	}
}

func (h *history) snapshotFile(dir string) string {
	return filepath.Join(dir, "ledger", "snapshots", snapshotName+".snap")
}

// copied opens a copy of the ledger as it is on the disk now.
func (h *history) copied() (led *ledger.Ledger, dir string) {
	h.t.Helper()
	t, ok := h.t.(*testing.T)
	if !ok {
		h.t.Fatal("a benchmark has no copies")
	}
	dir = copyDir(t, h.dir)
	return h.reopened(dir), dir
}

func (h *history) reopened(dir string) *ledger.Ledger {
	h.t.Helper()
	seed, err := readSeed(dir)
	if err != nil {
		h.t.Fatal(err)
	}
	led, err := ledger.OpenReadOnly(filepath.Join(dir, "ledger"), ledger.Options{Instance: "test.example/ingest", Seed: seed})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { led.Close() })
	return led
}

// folded is the state made of the logs alone, and with the snapshot; used says
// whether there was one.
func (h *history) folded(led *ledger.Ledger) (alone, with plainState, used bool, err error) {
	h.t.Helper()
	full, missed, err := foldAll(led, h.config.Replay.Window)
	if err != nil || len(missed) > 0 {
		h.t.Fatalf("%d gaps missed, %v", len(missed), err)
	}
	st, from, cause := restoreState(led, h.config.Replay.Window)
	if missed, err = st.fold(led, from); err != nil || len(missed) > 0 {
		h.t.Fatalf("with the snapshot: %d gaps missed, %v", len(missed), err)
	}
	return plainOf(full), plainOf(st), from != nil, cause
}

// same fails where two states differ, and says in what.
func same(t testing.TB, what string, a, b plainState) {
	t.Helper()
	av, bv := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range av.NumField() {
		if x, y := av.Field(i).Interface(), bv.Field(i).Interface(); !reflect.DeepEqual(x, y) {
			left, right := shown(x), shown(y)
			only := func(a, b []string) string {
				return strings.Join(slices.DeleteFunc(slices.Clone(a), func(l string) bool { return slices.Contains(b, l) }), "\n\t")
			}
			t.Errorf("%s: %s differs:\n\t%s\nand\n\t%s", what, av.Type().Field(i).Name, only(left, right), only(right, left))
		}
	}
}

// shown is v in lines, with what the pointers in a device point at.
func shown(v any) []string {
	devices, ok := v.(map[deviceKey]plainDevice)
	if !ok {
		return strings.Split(string(raw(fmt.Sprintf("%+v", v))), ",")
	}
	var lines []string
	for k, d := range devices {
		for boot, w := range d.Windows {
			lines = append(lines, fmt.Sprintf("%v boot %d: %+v", k, boot, *w))
		}
		decision := fmt.Sprintf("%+v", d.Decision)
		d.Windows, d.Decision = nil, nil
		lines = append(lines, fmt.Sprintf("%v: %+v %s", k, d, decision))
	}
	slices.Sort(lines)
	return lines
}
