package ingest

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/internal/durable"
)

// testClock is a clock that the test moves.
type testClock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *testClock {
	return &testClock{t: time.Date(2026, 7, 1, 10, 0, 0, 0, time.UTC)}
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *testClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

const powerSchema = `{
 "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
 "required": ["kw"], "additionalProperties": false,
 "properties": {"kw": {"type": "number", "minimum": -1000}, "phase": {"enum": ["l1", "l2", "l3"]},
                "meter": {"type": "object", "properties": {"kwh": {"type": "number"}}}},
 "x-ranges": {"kw": {"max": 500}}
}`

// rig is a running ingest with an operator of each kind.
type rig struct {
	t      testing.TB
	dir    string
	clock  *testClock
	config Config
	read   func(file []byte) (Config, error)
	logger *slog.Logger
	disk   durable.FS
	lost   bool // the ledger's: serving ends in an error
	s      *Server
	ca     []byte
	pairs  map[string]*tls.Certificate // operators
	stop   func()

	clients struct {
		sync.Mutex
		hangUp []func()
	}
}

// newRig makes and starts an ingest; change may alter the configuration.
func newRig(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, dir: filepath.Join(t.TempDir(), "ingest"), clock: newClock(), config: testConfig(t), pairs: map[string]*tls.Certificate{}}
	for _, c := range change {
		c(&r.config)
	}
	if err := Init(r.dir, InitOptions{Instance: "test.example/ingest", Org: "Test GmbH", FirstAdmin: "root.admin", Now: r.clock.now}); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(r.dir, "operators", "root.admin.crt"), filepath.Join(r.dir, "operators", "root.admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	r.pairs["root.admin"] = &pair
	if r.ca, err = os.ReadFile(filepath.Join(r.dir, "ca", "root.crt")); err != nil {
		t.Fatal(err)
	}
	r.start()
	t.Cleanup(func() { r.stop() })
	for name, role := range map[string]string{"ben": RoleProvisioner, "carla": RoleApprover, "dora": RoleApprover, "emil": RoleExporter, "erin": RoleAuditor} {
		if r.pairs[name], err = r.admin("root.admin").AddOperator(t.Context(), name, []string{role}, "test"); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func testConfig(t testing.TB) Config {
	c := DefaultConfig()
	c.Listen, c.AdminListen = "127.0.0.1:0", "127.0.0.1:0"
	c.Approvals.Roles = 1 // most tests are not about who makes operators
	c.Schemas = t.TempDir()
	if err := os.WriteFile(filepath.Join(c.Schemas, "power.v1.schema.json"), []byte(powerSchema), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

func (r *rig) start() {
	r.t.Helper()
	s, err := Open(Options{Dir: r.dir, Config: r.config, Now: r.clock.now, Clock: evidence.ClockSimulated, Sample: true, Version: "test", ReadConfig: r.read, Logger: r.logger, disk: r.disk})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	r.s = s
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			r.hangUp() // an idle connection is asked to leave, and given a second for it
			cancel()
			if err := <-ended; (err != nil) != r.lost {
				r.t.Errorf("serving: %v", err)
			}
		})
	}
}

// opened notes how a client lets go of its idle connections.
func (r *rig) opened(hangUp func()) {
	r.t.Cleanup(hangUp)
	r.clients.Lock()
	defer r.clients.Unlock()
	r.clients.hangUp = append(r.clients.hangUp, hangUp)
}

func (r *rig) hangUp() {
	r.clients.Lock()
	defer r.clients.Unlock()
	for _, hangUp := range r.clients.hangUp {
		hangUp()
	}
}

func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	r.start()
}

func (r *rig) admin(name string) *AdminClient {
	r.t.Helper()
	_, addr := r.s.Addrs()
	c, err := NewAdminClient(ClientOptions{URL: "https://" + addr, CA: r.ca, Certificate: r.pairs[name], Now: r.clock.now})
	if err != nil {
		r.t.Fatal(err)
	}
	r.opened(c.Close)
	return c
}

func (r *rig) deviceClient(pair *tls.Certificate) *DeviceClient {
	r.t.Helper()
	addr, _ := r.s.Addrs()
	c, err := NewDeviceClient(ClientOptions{URL: "https://" + addr, CA: r.ca, Certificate: pair, Now: r.clock.now})
	if err != nil {
		r.t.Fatal(err)
	}
	r.opened(c.Close)
	return c
}

func (r *rig) tenant(id string) {
	r.t.Helper()
	if err := r.admin("root.admin").AddTenant(r.t.Context(), evidence.Tenant{ID: id, Name: id}, "test"); err != nil {
		r.t.Fatal(err)
	}
}

// enrol provisions a device and gives its credential.
func (r *rig) enrol(tenant, device string, change ...func(*DeviceRequest)) *tls.Certificate {
	r.t.Helper()
	req := DeviceRequest{Tenant: tenant, Device: device, Type: "meter", Site: "here", Fleet: "f1", Reason: "test"}
	for _, c := range change {
		c(&req)
	}
	if _, err := r.admin("ben").RequestDevice(r.t.Context(), req); err != nil {
		r.t.Fatal(err)
	}
	code, _, err := r.admin("carla").ApproveDevice(r.t.Context(), tenant, device, "ok")
	if err != nil {
		r.t.Fatal(err)
	}
	pair, err := r.deviceClient(nil).Enrol(r.t.Context(), tenant, device, code)
	if err != nil {
		r.t.Fatal(err)
	}
	return pair
}

// line is one event at the clock's time.
func (r *rig) line(seq int, kw float64) string {
	return eventLine(seq, r.clock.now(), kw)
}

func eventLine(seq int, at time.Time, kw float64) string {
	return fmt.Sprintf(`{"seq":%d,"time":%q,"type":"power.v1","data":{"kw":%v}}`, seq, at.Format(time.RFC3339), kw)
}

func (r *rig) send(c *DeviceClient, lines ...string) Receipt {
	r.t.Helper()
	rec, err := c.Send(r.t.Context(), []byte(strings.Join(lines, "\n")))
	if err != nil {
		r.t.Fatal(err)
	}
	return rec
}

// refusedWith checks that err is the problem with the code.
func refusedWith(t testing.TB, err error, code Code) *Problem {
	t.Helper()
	p, ok := err.(*Problem)
	if !ok || p.Code != code {
		t.Fatalf("got %v, want problem %s", err, code)
	}
	return p
}

// control lists the entries of a type in the control log.
func (r *rig) control(typ string) []evidence.AuditEntry {
	r.t.Helper()
	var out []evidence.AuditEntry
	for data, err := range r.s.led.Entries(controlLog, 0, 1<<62) {
		if err != nil {
			r.t.Fatal(err)
		}
		var e evidence.AuditEntry
		if err := unmarshal(data, &e); err != nil {
			r.t.Fatal(err)
		}
		if e.Type == typ {
			out = append(out, e)
		}
	}
	return out
}

// scanEvent reads one line.
func scanEvent(line []byte, maxDepth int) event {
	e, _ := scanWith(line, maxDepth)
	return e
}

// scanWith also gives the scanner, which holds the event's data.
func scanWith(line []byte, maxDepth int) (event, *scanner) {
	var e event
	s := &scanner{}
	s.event(&e, string(line), maxDepth)
	return e, s
}
