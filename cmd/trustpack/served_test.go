package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/ingest"
	"trustpack/ledger"
)

// served is a folder as 'trustpack init' makes it, for an ingest that runs as
// a process of its own, on ports that stay the same from start to start.
type served struct {
	t             *testing.T
	dir, config   string
	public, admin string // https://host:port
	root          []byte
}

// initServed makes the folder. The events' rates are lifted, since a test
// sends as fast as it can; further lines go into the ingest's section.
func initServed(t *testing.T, lines ...string) *served {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("trustpack", "init", dir, "--org", "Acme", "--system", "Meters", "--instance", "acme.example/meters").CombinedOutput(); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	s := &served{t: t, dir: dir, config: filepath.Join(dir, "trustpack.yaml")}
	data, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	public, admin := quietPort(t), quietPort(t)
	for admin == public {
		admin = quietPort(t)
	}
	const rates = "\n  rates:\n    device: {per_second: 1000000, burst: 1000000}\n    tenant: {per_second: 1000000, burst: 1000000}\n"
	more := strings.Join(append(lines, ""), "\n")
	text := strings.NewReplacer("127.0.0.1:8443", public, "127.0.0.1:8444", admin, "\ningest:\n", "\ningest:"+rates+more).Replace(string(data))
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.public, s.admin = "https://"+public, "https://"+admin
	if s.root, err = os.ReadFile(filepath.Join(s.ingestDir(), "ca", "root.crt")); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *served) ingestDir() string { return filepath.Join(s.dir, "state", "ingest") }
func (s *served) ledgerDir() string { return filepath.Join(s.ingestDir(), "ledger") }

// quietPort finds a free port below those that systems give to outgoing
// connections: while the ingest is down, the clients that knock must not be
// given its port as their own.
func quietPort(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return addr
	}
	t.Fatal("no free port was found")
	return ""
}

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

// process is one run of the ingest.
type process struct {
	cmd    *exec.Cmd
	out    watched
	errOut watched
	ended  chan struct{}
	err    error // of Wait, once ended is closed
}

// start begins 'trustpack ingest serve', or the command given instead.
func (s *served) start(instead ...*exec.Cmd) *process {
	s.t.Helper()
	p := &process{cmd: exec.Command("trustpack", "ingest", "serve", "--config", s.config), ended: make(chan struct{})}
	if len(instead) > 0 {
		p.cmd = instead[0]
	}
	p.out = watched{want: []byte("ready: "), found: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.errOut
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	s.t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it has ended already in a test that passes
		<-p.ended
	})
	return p
}

// ready waits until the process has said that it serves.
func (s *served) ready(p *process) *process {
	s.t.Helper()
	select {
	case <-p.out.found:
	case <-p.ended:
		s.t.Fatalf("the ingest ended before it was ready: %v\n%s%s", p.err, p.out.String(), p.errOut.String())
	case <-time.After(patience):
		s.t.Fatalf("the ingest is not ready after %v\n%s%s", patience, p.out.String(), p.errOut.String())
	}
	return p
}

// kill ends the process as kill -9 does.
func (s *served) kill(p *process) {
	s.t.Helper()
	select {
	case <-p.ended:
		s.t.Fatalf("the ingest ended by itself: %v\n%s", p.err, p.errOut.String())
	default:
	}
	if err := p.cmd.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	<-p.ended
}

// stop ends the process in good order.
func (s *served) stop(p *process) {
	s.t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		s.t.Fatal(err)
	}
	<-p.ended
	if p.err != nil {
		s.t.Fatalf("stopping the ingest: %v\n%s", p.err, p.errOut.String())
	}
}

// watched keeps what a process writes and tells when want was in it.
type watched struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	want  []byte
	found chan struct{}
	once  sync.Once
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(b)
	if w.found != nil && bytes.Contains(w.buf.Bytes(), w.want) {
		w.once.Do(func() { close(w.found) })
	}
	return len(b), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// operator gives a client for the operator whose files init or 'operator add'
// has written.
func (s *served) operator(name string) *ingest.AdminClient {
	s.t.Helper()
	base := filepath.Join(s.ingestDir(), "operators", name)
	pair, err := tls.LoadX509KeyPair(base+".crt", base+".key")
	if err != nil {
		s.t.Fatal(err)
	}
	return s.adminClient(&pair)
}

func (s *served) adminClient(pair *tls.Certificate) *ingest.AdminClient {
	s.t.Helper()
	c, err := ingest.NewAdminClient(ingest.ClientOptions{URL: s.admin, CA: s.root, Certificate: pair, Timeout: 20 * time.Second})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// device is a device as the tests enrol it.
type device struct{ tenant, id string }

// enrol adds the tenants and enrols the devices, which the admin requests and
// an approver of its own approves.
func (s *served) enrol(ctx context.Context, devices ...device) map[device]*tls.Certificate {
	s.t.Helper()
	admin := s.operator("admin")
	check := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	pair, err := admin.AddOperator(ctx, "approver", []string{ingest.RoleApprover}, "test")
	check(err)
	approver := s.adminClient(pair)
	enroller, err := ingest.NewDeviceClient(ingest.ClientOptions{URL: s.public, CA: s.root})
	check(err)
	defer enroller.Close()
	tenants, out := map[string]bool{}, map[device]*tls.Certificate{}
	for _, d := range devices {
		if !tenants[d.tenant] {
			check(admin.AddTenant(ctx, evidence.Tenant{ID: d.tenant, Name: d.tenant}, "test"))
			tenants[d.tenant] = true
		}
		_, err := admin.RequestDevice(ctx, ingest.DeviceRequest{Tenant: d.tenant, Device: d.id, Type: "meter", Reason: "test"})
		check(err)
		code, _, err := approver.ApproveDevice(ctx, d.tenant, d.id, "test")
		check(err)
		out[d], err = enroller.Enrol(ctx, d.tenant, d.id, code)
		check(err)
	}
	return out
}

func (s *served) deviceClient(pair *tls.Certificate, http1 bool) *ingest.DeviceClient {
	s.t.Helper()
	c, err := ingest.NewDeviceClient(ingest.ClientOptions{URL: s.public, CA: s.root, Certificate: pair, HTTP1: http1, Timeout: 10 * time.Second})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// stored is every entry of every log, and every entry's payload or nil, of an
// ingest that is stopped.
func (s *served) stored() (entries, payloads map[string][][]byte) {
	s.t.Helper()
	led, err := ledger.OpenReadOnly(s.ledgerDir(), ledger.Options{Instance: "acme.example/meters"})
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() {
		if err := led.Close(); err != nil {
			s.t.Error(err)
		}
	}()
	entries, payloads = map[string][][]byte{}, map[string][][]byte{}
	for _, log := range led.Logs() {
		for entry, err := range led.Entries(log, 0, led.Size(log)) {
			if err != nil {
				s.t.Fatal(err)
			}
			payload, _, err := led.Payload(log, int64(len(entries[log])))
			if err != nil && !errors.Is(err, ledger.ErrNoPayload) {
				s.t.Fatal(err)
			}
			entries[log], payloads[log] = append(entries[log], bytes.Clone(entry)), append(payloads[log], payload)
		}
	}
	return entries, payloads
}

// fsck derives every log again and wants nothing wrong.
func (s *served) fsck() {
	s.t.Helper()
	report, err := ledger.Fsck(s.ledgerDir(), ledger.FsckOptions{Instance: "acme.example/meters"})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range report.Problems {
		s.t.Errorf("fsck: %s", p)
	}
}
