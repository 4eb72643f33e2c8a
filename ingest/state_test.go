package ingest

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// plainDevice and plainState are the state without locks and limiters, for
// comparing.
type plainDevice struct {
	Key                               deviceKey
	Record                            evidence.Device
	Requested                         provisionStep
	Approvals, Rotation               []Approval
	CodeHash                          string
	CodeUntil, Issued, Activated      time.Time
	Decision                          *Decision
	Released                          evidence.DeviceState
	SeenFrom                          []contact
	Windows                           map[int64]*window
	LastSeen, LastAccepted, LastEvent time.Time
	Accepted                          int64
	Firmware                          string
	Life                              life
}

type plainState struct {
	Tenants   map[string]evidence.Tenant
	Books     map[string]map[string]*evidence.Books
	Closed    map[string]map[string]bool
	Dead      map[string][]int64
	Fates     map[string]map[int64]fate
	Operators map[string]operator
	OpFor     []string
	Devices   map[deviceKey]plainDevice
	Latest    map[deviceName]deviceKey
	For       map[string]deviceKey
	Alerts    map[string]*AlertRecord
	Config    evidence.ConfigApplied
	Versions  []ConfigVersion
	Exports   map[string]*ExportRecord
	Purges    map[string]*PurgeRecord
	Roles     map[string]*RoleChange
	Grants    map[string]*GrantRecord
	Breaks    map[string]*BreakGlass
	Refusals  map[Code]int64
	Drills    int64
	DrillRuns drillRuns
	Order     []deviceKey
}

func plainOf(st *state) plainState {
	p := plainState{
		Tenants: map[string]evidence.Tenant{}, Books: map[string]map[string]*evidence.Books{}, Closed: map[string]map[string]bool{}, Dead: map[string][]int64{}, Fates: map[string]map[int64]fate{},
		Operators: map[string]operator{}, OpFor: slices.Sorted(maps.Keys(st.operatorFor)), Devices: map[deviceKey]plainDevice{},
		Latest: map[deviceName]deviceKey{}, For: map[string]deviceKey{}, Alerts: st.alerts, Config: st.config, Versions: st.versions, Exports: st.exports, Purges: st.purges, Roles: st.roleChanges, Grants: st.grants, Breaks: st.breaks, Refusals: st.refusals, Drills: st.drills, DrillRuns: st.drillRuns,
	}
	for id, t := range st.tenants {
		p.Tenants[id], p.Books[id], p.Closed[id], p.Dead[id], p.Fates[id] = t.Tenant, t.books, t.closed, t.dead, t.fates
	}
	for n, o := range st.operators {
		p.Operators[n] = *o
	}
	for k, d := range st.devices {
		p.Devices[k] = plainDevice{
			d.key, d.record, d.requested, d.approvals, d.rotation, d.codeHash, d.codeUntil, d.issued, d.activated, d.decision, d.released, d.seenFrom,
			d.windows, d.lastSeen, d.lastAccepted, d.lastEvent, d.accepted, d.firmware, d.life,
		}
	}
	for i, d := range st.order {
		if int(d.number) != i {
			panic("a device stands under another's number")
		}
		p.Order = append(p.Order, d.key)
	}
	for n, d := range st.latest {
		p.Latest[n] = d.key
	}
	for fp, d := range st.deviceFor {
		p.For[fp] = d.key
	}
	return p
}

func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// foldCopy folds a copy of the ledger of a running ingest, as a restart after
// a crash at this moment would.
func (r *rig) foldCopy() plainState {
	r.t.Helper()
	t := r.t.(*testing.T)
	led, err := ledger.OpenReadOnly(filepath.Join(copyDir(t, r.dir), "ledger"), ledger.Options{Instance: "test.example/ingest"})
	if err != nil {
		t.Fatal(err)
	}
	defer led.Close()
	st, missed, err := foldAll(led, r.config.Replay.Window)
	if err != nil {
		t.Fatal(err)
	}
	if len(missed) != 0 {
		t.Errorf("gaps that were not recorded: %v", missed)
	}
	return plainOf(st)
}

func (r *rig) sameAsFold() {
	r.t.Helper()
	live, folded := plainOf(r.s.st), r.foldCopy()
	lv, fv := reflect.ValueOf(live), reflect.ValueOf(folded)
	for i := range lv.NumField() {
		if !reflect.DeepEqual(lv.Field(i).Interface(), fv.Field(i).Interface()) {
			r.t.Errorf("%s differs:\nlive   %+v\nfolded %+v", lv.Type().Field(i).Name, lv.Field(i).Interface(), fv.Field(i).Interface())
		}
	}
}

func TestStateIsTheFoldOfTheLogs(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Replay.Window = 50 })
	ctx := t.Context()
	r.tenant("nord")
	r.tenant("sued")
	pairB := r.enrol("nord", "b")
	a, b := r.deviceClient(r.enrol("nord", "a")), r.deviceClient(pairB)
	lost := r.enrol("sued", "lost")
	tick := func() {
		t.Helper()
		if err := r.s.Tick(ctx, r.clock.now()); err != nil {
			t.Fatal(err)
		}
	}
	r.send(a, r.line(1, 1), r.line(2, 1), r.line(9, 1), `{"bad`, r.line(10, 9999))
	r.send(a, r.line(1, 1), r.line(2, 2), r.line(5, 1), r.line(200, 1), r.line(3, 1))
	r.send(b, strings.Replace(r.line(1, 1), "{", `{"fw":"7","boot":4,`, 1))
	r.send(r.deviceClient(lost), r.line(1, 1))
	if _, err := r.admin("carla").QuarantineDevice(ctx, "nord", "b", "odd", ""); err != nil {
		t.Fatal(err)
	}
	_, err := r.deviceClient(pairB).Send(ctx, []byte(r.line(5, 1)))
	refusedWith(t, err, CodeQuarantined)
	if _, err := r.admin("carla").RevokeDevice(ctx, "sued", "lost", "lost", "T-2"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.admin("ben").RequestDevice(ctx, DeviceRequest{Tenant: "nord", Device: "c", Type: "meter", Reason: "r"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.admin("ben").PostDrills(ctx, []evidence.DrillResult{{ID: "x", Control: "TR-01", Verdict: "passed"}}); err != nil {
		t.Fatal(err)
	}
	r.sameAsFold()
	r.clock.add(25 * time.Hour) // gaps age, a day ends, devices are silent
	tick()
	r.send(a, r.line(201, 1), r.line(210, 1))
	tick()
	if n := len(r.control(evidence.EntryGap)); n < 4 {
		t.Errorf("%d gaps", n)
	}
	if n := len(r.control(evidence.EntryBooksClosed)); n != 2 {
		t.Errorf("%d days closed", n)
	}
	r.sameAsFold()
	before := plainOf(r.s.st)
	r.restart()
	after := plainOf(r.s.st)
	if !reflect.DeepEqual(before, after) {
		t.Errorf("restart:\nbefore %+v\nafter  %+v", before, after)
	}
	r.sameAsFold()
}

func TestStateUnderConcurrencyIsTheFold(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	r.tenant("sued")
	var wg sync.WaitGroup
	for i, tenant := range []string{"nord", "nord", "sued", "sued"} {
		name := string(rune('a' + i))
		c := r.deviceClient(r.enrol(tenant, name))
		for k := range 2 {
			wg.Go(func() {
				for n := range 30 {
					// Overlapping numbers, some with holes, some bad.
					if _, err := c.Send(t.Context(), []byte(r.line(3*n+k, 1)+"\n"+r.line(3*n+k+40, float64(k)*600))); err != nil {
						var p *Problem // the quarantine below answers a, or cuts it
						if !errors.As(err, &p) && name != "a" {
							t.Error(err)
							return
						}
					}
				}
			})
		}
	}
	wg.Go(func() {
		for range 10 {
			if _, err := r.admin("carla").QuarantineDevice(t.Context(), "nord", "a", "x", ""); err == nil {
				if _, err := r.admin("carla").ReleaseDevice(t.Context(), "nord", "a", "x", ""); err != nil {
					t.Error(err)
				}
			}
		}
	})
	wg.Wait()
	if err := r.s.refusals.flush(true); err != nil {
		t.Fatal(err)
	}
	r.sameAsFold()
	for _, id := range []string{"nord", "sued"} {
		for _, b := range r.s.st.tenant(id).listBooks("", "") {
			if b.Received != b.Accepted+b.Duplicate+b.DeadLettered+b.Refused || b.Received == 0 {
				t.Errorf("books %+v", b)
			}
		}
	}
}

func TestNothingIsAcceptedAfterTheDecision(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.ConnectionsPerDevice = 50 })
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	var wg sync.WaitGroup
	started := make(chan struct{}, 64)
	for range 8 {
		wg.Go(func() {
			c := r.deviceClient(pair)
			for n := 0; ; n++ {
				if _, err := c.Send(t.Context(), []byte(r.line(n, 1))); err != nil {
					return
				}
				select {
				case started <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 20 {
		<-started
	}
	r.clock.add(time.Second)
	if _, err := r.admin("carla").RevokeDevice(t.Context(), "nord", "m-1", "x", "T"); err != nil {
		t.Fatal(err)
	}
	size := r.s.led.Size("nord")
	r.clock.add(time.Second)
	wg.Wait()
	// One that had passed every check before the decision, and waited.
	late := scanEvent([]byte(r.line(1<<40, 1)), 32)
	b := r.s.batch(&call{set: r.s.set.Load(), d: r.s.st.device("nord", "m-1"), t: r.s.st.tenant("nord")})
	b.events = []event{late}
	err := r.s.take(b)
	refusedWith(t, err, CodeRevoked)
	if now := r.s.led.Size("nord"); now != size {
		t.Errorf("%d entries after the decision was answered", now-size)
	}
	decided := r.control(evidence.EntryRevoked)[0].Time
	for data, err := range r.s.led.Entries("nord", 0, 1<<62) {
		if err != nil {
			t.Fatal(err)
		}
		var e tenantEntry
		if err := unmarshal(data, &e); err != nil {
			t.Fatal(err)
		}
		if e.Received.After(decided) {
			t.Errorf("received %v, decided %v", e.Received, decided)
		}
	}
}

func TestHeartbeats(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Heartbeat = HeartbeatPolicy{DefaultInterval: time.Hour, Missed: 3, Types: map[string]time.Duration{"meter": 10 * time.Minute}}
	})
	r.tenant("nord")
	clients := map[string]*DeviceClient{}
	for _, d := range []string{"a", "b", "c", "d"} {
		clients[d] = r.deviceClient(r.enrol("nord", d))
	}
	seq := 0
	report := func(devices ...string) {
		t.Helper()
		seq++
		for _, d := range devices {
			r.send(clients[d], r.line(seq, 1))
		}
	}
	open := func() (out []AlertRecord) {
		t.Helper()
		if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
			t.Fatal(err)
		}
		for _, a := range r.s.listAlerts() {
			if a.ResolvedAt == nil {
				out = append(out, a)
			}
		}
		return out
	}
	report("a", "b", "c", "d")
	silentSince := r.clock.now()
	for range 3 {
		r.clock.add(10 * time.Minute)
		report("a", "b", "c")
		if o := open(); len(o) != 0 {
			t.Fatalf("%+v", o)
		}
	}
	r.clock.add(1)
	o := open()
	if len(o) != 1 || o[0].Kind != AlertDeviceSilent || !slices.Equal(o[0].Devices, []string{"nord/d"}) || !o[0].Since.Equal(silentSince) {
		t.Fatalf("%+v", o)
	}
	r.clock.add(10 * time.Minute)
	report("a", "b", "c")
	r.restart()
	for d := range clients {
		clients[d] = &DeviceClient{client: client{url: "https://" + first(r.s.Addrs()), http: clients[d].http}}
	}
	if o = open(); len(o) != 1 {
		t.Fatalf("one alert an outage, and it survives a restart: %+v", o)
	}
	report("d")
	if o = open(); len(o) != 0 {
		t.Fatalf("recovery closes it: %+v", o)
	}
	// The fleet goes: one alert that lists its devices.
	r.clock.add(time.Minute)
	report("a", "b")
	r.clock.add(time.Minute)
	report("c", "d")
	r.clock.add(29*time.Minute + 1)
	if o = open(); len(o) != 1 || o[0].Kind != AlertFleetSilent || len(o[0].Devices) != 4 {
		t.Fatalf("%+v", o)
	}
	r.clock.add(time.Minute)
	if o = open(); len(o) != 1 {
		t.Fatalf("still one: %+v", o)
	}
	report("a", "b", "c")
	if o = open(); len(o) != 1 || o[0].Kind != AlertDeviceSilent || o[0].Devices[0] != "nord/d" {
		t.Fatalf("three are back, one is not: %+v", o)
	}
	if _, err := r.admin("carla").RevokeDevice(t.Context(), "nord", "d", "gone", "T"); err != nil {
		t.Fatal(err)
	}
	if o = open(); len(o) != 0 {
		t.Fatalf("a revoked device is not silent: %+v", o)
	}
}

func first(a, _ string) string { return a }

func TestBooksAreClosedOnceADay(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1"))
	r.send(c, r.line(1, 1), r.line(1, 1), `x`)
	tick := func() []evidence.AuditEntry {
		t.Helper()
		if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
			t.Fatal(err)
		}
		return r.control(evidence.EntryBooksClosed)
	}
	r.clock.add(14*time.Hour - 1)
	if n := len(tick()); n != 0 {
		t.Errorf("closed before midnight: %d", n)
	}
	r.clock.add(1)
	r.send(c, r.line(2, 1)) // of the new day
	entries := tick()
	var b evidence.Books
	if len(entries) != 1 || unmarshal(entries[0].Data, &b) != nil || b != (evidence.Books{Tenant: "nord", Day: "2026-07-01", Received: 3, Accepted: 1, Duplicate: 1, DeadLettered: 1}) {
		t.Errorf("%+v %+v", entries, b)
	}
	r.clock.add(time.Hour)
	if n := len(tick()); n != 1 {
		t.Errorf("closed again: %d", n)
	}
	r.restart()
	if n := len(tick()); n != 1 {
		t.Errorf("closed again after a restart: %d", n)
	}
	r.clock.add(day)
	if n := len(tick()); n != 2 {
		t.Errorf("%d days closed, want 2", n)
	}
}

func TestClockNeverRunsBack(t *testing.T) {
	r := newRig(t)
	a := r.s.now()
	r.clock.add(-time.Hour)
	if b := r.s.now(); b.Before(a) {
		t.Errorf("%v after %v", b, a)
	}
}

func TestConfigVersions(t *testing.T) {
	r := newRig(t)
	r.restart()
	if n := len(r.control(evidence.EntryConfigApplied)); n != 1 {
		t.Errorf("%d versions of one configuration", n)
	}
	r.config.Limits.Lines = 77
	r.restart()
	entries := r.control(evidence.EntryConfigApplied)
	var c evidence.ConfigApplied
	if len(entries) != 2 || unmarshal(entries[1].Data, &c) != nil || c.Version != 2 || !slices.Equal(c.Diff, []string{"limits.lines: 10000 -> 77"}) || entries[1].Actor.Name == "" || entries[1].Reason == "" {
		t.Errorf("%+v %+v", entries, c)
	}
	b, err := r.admin("erin").Get(t.Context(), "/v1/admin/config")
	var got struct {
		Version   int
		Operator  string
		Config    struct{ Limits Limits }
		Listeners []map[string]any
		Schemas   []SchemaInfo
	}
	if err != nil || json.Unmarshal(b, &got) != nil || got.Version != 2 || got.Operator != "erin" || got.Config.Limits.Lines != 77 || len(got.Listeners) != 2 || len(got.Schemas) != 1 {
		t.Errorf("%v %s", err, b)
	}
}

func TestDurabilityLostStaysLost(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1"))
	r.send(c, r.line(1, 1))
	lost := errors.New("the disk is gone")
	r.s.lost.Store(&lost)
	for range 2 {
		_, err := c.Send(t.Context(), []byte(r.line(2, 1)))
		if p := refusedWith(t, err, CodeDurabilityLost); p.Status != 503 || strings.Contains(p.Detail, "disk") {
			t.Errorf("%+v", p)
		}
	}
	refusedWith(t, r.admin("root.admin").AddTenant(t.Context(), evidence.Tenant{ID: "x"}, ""), CodeDurabilityLost)
	_, err := r.deviceClient(nil).Enrol(t.Context(), "nord", "m-1", "no code")
	refusedWith(t, err, CodeDurabilityLost) // the refusal cannot be recorded
	if n := len(r.control(evidence.EntryRefusal)); n != 0 {
		t.Errorf("%d refusals were appended", n)
	}
	if _, err := r.admin("erin").Get(t.Context(), "/readyz"); err == nil {
		t.Error("ready without durability")
	}
	if _, err := r.admin("erin").Get(t.Context(), "/healthz"); err != nil {
		t.Error(err)
	}
}
