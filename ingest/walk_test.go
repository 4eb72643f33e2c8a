package ingest

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"trustpack/evidence"
)

// TestGapsAgeOut records a number that never came as a gap, once, when it has
// been missing for replay.gap_after and not before; then it comes too late.
func TestGapsAgeOut(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Replay.GapAfter = time.Hour })
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	c := r.deviceClient(pair)
	gaps := func() (out []gapData) {
		t.Helper()
		if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
			t.Fatal(err)
		}
		for _, e := range r.control(evidence.EntryGap) {
			var g gapData
			if err := unmarshal(e.Data, &g); err != nil {
				t.Fatal(err)
			}
			out = append(out, g)
		}
		return out
	}
	r.send(c, r.line(1, 1), r.line(4, 1))
	r.clock.add(time.Hour - 1)
	if g := gaps(); len(g) != 0 {
		t.Errorf("too early: %v", g)
	}
	if rec := r.send(c, r.line(3, 1)); rec.Accepted != 1 {
		t.Errorf("a late one: %+v", rec)
	}
	r.clock.add(1)
	for range 2 {
		if g := gaps(); !slices.Equal(g, []gapData{{0, 2, 2}}) {
			t.Errorf("gaps %v, want 2 alone, once", g)
		}
	}
	r.restart()
	c = r.deviceClient(pair)
	if rec := r.send(c, r.line(2, 1)); rec.Refused != 1 || rec.Lines[0].Code != CodeReplayStale {
		t.Errorf("it comes after all: %+v", rec)
	}
	if g := gaps(); len(g) != 1 {
		t.Errorf("after a restart: %v", g)
	}
	r.sameAsFold()
}

// TestAFutureEventMovesNoMark: one from the future is kept as a dead letter,
// and what follows is as if it had never been: no gap, nothing stale, no
// newest event that is not.
func TestAFutureEventMovesNoMark(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Replay.Window, c.Replay.GapAfter = 100, time.Hour })
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1"))
	r.send(c, r.line(1, 1))
	now := r.clock.now()
	if rec := r.send(c, eventLine(5000, now.Add(11*time.Minute), 1)); rec.DeadLettered != 1 || rec.Lines[0].Code != CodeTimeFuture {
		t.Fatalf("%+v", rec)
	}
	if rec := r.send(c, r.line(2, 1), eventLine(3, now.Add(-time.Minute), 1)); rec.Accepted != 2 {
		t.Errorf("what follows: %+v", rec)
	}
	list, err := r.admin("erin").Devices(t.Context(), "nord")
	if err != nil || len(list) != 1 || !list[0].LastEvent.Equal(now) {
		t.Errorf("%+v %v", list, err)
	}
	r.clock.add(2 * time.Hour)
	if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
		t.Fatal(err)
	}
	if g := r.control(evidence.EntryGap); len(g) != 0 {
		t.Errorf("gaps: %+v", g)
	}
	r.sameAsFold()
}

// TestUnapprovedRowsAreSummed: what one operator may take in 24 hours without
// another's consent is the sum of it, and what was approved is not in that.
func TestUnapprovedRowsAreSummed(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Exports = ExportPolicy{UnapprovedRows: 3, MaxRows: 100, PerDay: 50, SpikeRows: 1000, Valid: 100 * time.Hour}
	})
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "a"))
	began := r.clock.now()
	r.send(c, r.line(1, 1), r.line(2, 1))
	r.clock.add(time.Second)
	later := r.clock.now()
	r.send(c, r.line(3, 1))
	var err error
	if r.pairs["finn"], err = r.admin("root.admin").AddOperator(t.Context(), "finn", []string{RoleExporter}, "test"); err != nil {
		t.Fatal(err)
	}
	ask := func(who string, from, to time.Time, rows int64, state string) string {
		t.Helper()
		req := ExportRequest{Tenant: "nord", Format: "csv", Destination: "d", Reason: "r", From: from.Format(time.RFC3339)}
		if !to.IsZero() {
			req.To = to.Format(time.RFC3339)
		}
		x, err := r.admin(who).RequestExport(t.Context(), req)
		if err != nil || x.State != state || x.Rows != rows {
			t.Errorf("%s: %+v, %v; want %d rows, %s", who, x, err, rows, state)
		}
		return x.ID
	}
	ask("emil", began, later, 2, ExportReady)
	pending := ask("emil", began, later, 2, ExportPending) // 4 are more than 3
	if _, err := r.admin("carla").ApproveExport(t.Context(), pending, "ok", ""); err != nil {
		t.Fatal(err)
	}
	ask("emil", later, time.Time{}, 1, ExportReady) // 3 are not, and what was approved does not count
	r.restart()
	ask("emil", later, time.Time{}, 1, ExportPending)
	ask("finn", began, time.Time{}, 3, ExportReady) // another's own
	ask("finn", later, time.Time{}, 1, ExportPending)
	r.clock.add(day)
	ask("emil", began, time.Time{}, 3, ExportReady)
}

// TestReadiness: ready while it can make durable and is not about to end; alive
// as long as it answers.
func TestReadiness(t *testing.T) {
	r := newRig(t)
	public, admin := r.s.Addrs()
	want := func(status int, body string) {
		t.Helper()
		for _, addr := range []string{public, admin} {
			for path, want := range map[string]struct {
				status int
				body   string
			}{"/readyz": {status, body}, "/healthz": {200, "ok\n"}} {
				tc := tls.Client(r.tcp(addr).conn, &tls.Config{InsecureSkipVerify: true, Time: r.clock.now})
				c := &rawConn{tc, newReader(tc)}
				if res, got := c.raw(t, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); res.StatusCode != want.status || got != want.body {
					t.Errorf("%s: %d %q, want %d %q", path, res.StatusCode, got, want.status, want.body)
				}
			}
		}
	}
	want(200, "ready\n")
	r.s.closing.Store(true)
	want(503, "draining\n")
	r.s.closing.Store(false)
	r.s.lose(fmt.Errorf("the disk is gone"))
	want(503, "durability lost\n")
}

// TestBothTimesAreKept, as they were, however far the device's is off.
func TestBothTimesAreKept(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1"))
	now := r.clock.now()
	for i, x := range []struct {
		off   time.Duration
		t     string
		flags []string
	}{
		{0, "event", nil}, {2 * time.Minute, "event", nil}, {2*time.Minute + time.Second, "event", flagAhead}, {-2*time.Minute - time.Second, "event", flagBehind},
		{10 * time.Minute, "event", flagAhead}, {10*time.Minute + time.Second, "deadletter", nil}, {-7 * day, "event", flagBehind}, {-7*day - time.Second, "deadletter", nil},
	} {
		at := now.Add(x.off).In(time.FixedZone("", 3600)).Format(time.RFC3339)
		r.send(c, fmt.Sprintf(`{"seq":%d,"time":%q,"type":"power.v1","data":{"kw":1}}`, i, at))
		data, err := r.s.led.Entry("nord", int64(i))
		if err != nil {
			t.Fatal(err)
		}
		var e tenantEntry
		if err := unmarshal(data, &e); err != nil {
			t.Fatal(err)
		}
		if e.T != x.t || !slices.Equal(e.Flags, x.flags) || !e.Received.Equal(now) || e.T == "event" && e.Time != at {
			t.Errorf("%v: %s", x.off, data)
		}
	}
}

// TestHeartbeatOfADevice is held to the interval of the device where it has one
// of its own.
func TestHeartbeatOfADevice(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Heartbeat = HeartbeatPolicy{
			DefaultInterval: time.Hour, Missed: 2, Types: map[string]time.Duration{"meter": 10 * time.Minute},
			Devices: map[string]time.Duration{"nord/slow": time.Hour},
		}
	})
	r.tenant("nord")
	for _, d := range []string{"usual", "slow"} {
		r.send(r.deviceClient(r.enrol("nord", d)), r.line(1, 1))
	}
	silent := func() (out []string) {
		t.Helper()
		if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
			t.Fatal(err)
		}
		for _, a := range r.s.listAlerts() {
			out = append(out, a.Devices...)
		}
		return out
	}
	r.clock.add(20*time.Minute + 1)
	if got := silent(); !slices.Equal(got, []string{"nord/usual"}) {
		t.Errorf("after two of the type's intervals: %v", got)
	}
	r.clock.add(100*time.Minute - 1)
	if got := silent(); len(got) != 1 {
		t.Errorf("after two of the device's own: %v", got)
	}
	r.clock.add(1)
	if got := silent(); len(got) != 2 || got[0] != "nord/slow" {
		t.Errorf("and a moment later: %v", got)
	}
	bad := r.config
	bad.Heartbeat.Devices = map[string]time.Duration{"slow": time.Hour}
	if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), `ingest.heartbeat.devices.slow`) {
		t.Errorf("a device without its tenant: %v", err)
	}
}

// TestSilencesAreAlertsOfTheirOwn: those of a fleet that fall silent together
// are one alert, and one that does so later is another.
func TestSilencesAreAlertsOfTheirOwn(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Heartbeat = HeartbeatPolicy{DefaultInterval: 10 * time.Minute, Missed: 2} })
	r.tenant("nord")
	clients := map[string]*DeviceClient{}
	for _, d := range []string{"a", "b", "c", "d", "e"} {
		clients[d] = r.deviceClient(r.enrol("nord", d))
	}
	seq := 0
	pass := func(d time.Duration, report ...string) (kinds []string) {
		t.Helper()
		r.clock.add(d)
		seq++
		for _, d := range report {
			r.send(clients[d], r.line(seq, 1))
		}
		if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
			t.Fatal(err)
		}
		for _, a := range r.s.listAlerts() {
			kinds = append(kinds, a.Kind+" "+strings.Join(a.Devices, " "))
		}
		slices.Sort(kinds)
		return kinds
	}
	pass(0, "a", "b", "c", "d", "e")
	pass(15*time.Minute, "d", "e")
	together := []string{"fleet.silent nord/a nord/b nord/c"}
	for range 3 {
		if got := pass(6*time.Minute, "d", "e"); !slices.Equal(got, together) {
			t.Errorf("%q", got)
		}
	}
	if got := pass(21*time.Minute, "e"); !slices.Equal(got, append([]string{"device.silent nord/d"}, together...)) {
		t.Errorf("%q", got)
	}
}

// lines of a log that a test reads.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logLines) read(t *testing.T) (out []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range strings.Split(strings.TrimSpace(l.buf.String()), "\n") {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, e)
	}
	return out
}

// TestRequestsAreNamedInTheLog: what is refused, what operators do and what
// fails stands in the process's log as JSON under the ID that the answer and
// the entry have.
func TestRequestsAreNamedInTheLog(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	log := &logLines{}
	r.logger = slog.New(slog.NewJSONHandler(log, nil))
	r.restart()
	find := func(id, msg string) (out map[string]any) {
		t.Helper()
		for _, e := range log.read(t) {
			if e["request_id"] == id && e["msg"] == msg {
				return e
			}
		}
		t.Errorf("the log has no %q with request %s:\n%v", msg, id, log.read(t))
		return map[string]any{}
	}
	c := r.deviceClient(pair)
	status, h, _ := post(t, c.client, "/v1/telemetry", []byte(r.line(1, 1)), "X-Tenant", "sued")
	id := h.Get("X-Request-Id")
	if e := find(id, "refused"); status != 403 || e["code"] != "tenant.mismatch" || e["tenant"] != "nord" || e["device"] != "m-1" {
		t.Errorf("%v", e)
	}
	if entries := r.control(evidence.EntryRefusal); entries[len(entries)-1].RequestID != id {
		t.Errorf("the entry has %s, the answer %s", entries[len(entries)-1].RequestID, id)
	}
	if err := r.admin("root.admin").AddTenant(t.Context(), evidence.Tenant{ID: "west"}, "test"); err != nil {
		t.Fatal(err)
	}
	entries := r.control(evidence.EntryTenantAdded)
	if e := find(entries[len(entries)-1].RequestID, "operator"); e["operator"] != "root.admin" || e["action"] != "tenant.add" || e["status"] != 201.0 {
		t.Errorf("%v", e)
	}
	r.s.lose(fmt.Errorf("the disk is gone"))
	_, h, _ = post(t, c.client, "/v1/telemetry", []byte(r.line(2, 1)))
	if e := find(h.Get("X-Request-Id"), "request failed"); e["code"] != "durability.lost" {
		t.Errorf("%v", e)
	}
	for _, e := range log.read(t) {
		if text := fmt.Sprint(e); strings.Contains(text, "kw") || strings.Contains(text, "PRIVATE") {
			t.Errorf("the log holds what a device sent: %v", e)
		}
	}
}
