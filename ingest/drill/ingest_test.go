package drill

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/ingest"
)

const meterSchema = `{"type":"object","required":["power_kw"],"additionalProperties":false,
	"properties":{"power_kw":{"type":"number","minimum":0,"maximum":50}}}`

// realIngest starts a real ingest on loopback and makes it a target.
func realIngest(t *testing.T, clock evidence.Clock, now func() time.Time) (Target, *ingest.Server) {
	t.Helper()
	dir := t.TempDir()
	if err := ingest.Init(dir, ingest.InitOptions{Instance: "test.example/drill", Org: "Test", FirstAdmin: "anna", Now: now, Clock: clock}); err != nil {
		t.Fatal(err)
	}
	schemas := filepath.Join(dir, "schemas")
	if err := os.Mkdir(schemas, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(schemas, "meter.v1.schema.json"), []byte(meterSchema), 0o644); err != nil {
		t.Fatal(err)
	}
	config := ingest.DefaultConfig()
	config.Listen, config.AdminListen, config.Schemas = "127.0.0.1:0", "127.0.0.1:0", schemas
	config.Limits.BodyBytes, config.Limits.Lines = 256<<10, 2000
	config.Rates.Device = ingest.Rate{PerSecond: 5, Burst: 3000}
	config.Rates.Tenant = ingest.Rate{PerSecond: 100, Burst: 30_000}
	server, err := ingest.Open(ingest.Options{Dir: dir, Config: config, Now: now, Clock: clock, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	root, err := os.ReadFile(filepath.Join(dir, "ca", "root.crt"))
	if err != nil {
		t.Fatal(err)
	}
	public, admin := server.Addrs()
	target := Target{
		PublicURL: "https://" + public, AdminURL: "https://" + admin, CA: x509.NewCertPool(), Now: now,
		EventType: "meter.v1",
	}
	target.CA.AppendCertsFromPEM(root)
	if target.EventData, err = Sample([]byte(meterSchema)); err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(dir, "operators", "anna")
	if target.Requester, err = tls.LoadX509KeyPair(base+".crt", base+".key"); err != nil {
		t.Fatal(err)
	}
	target.Approver = newOperator(t, target, "carla", "approver")
	return target, server
}

// newOperator adds an operator as the target's requester, who is an admin.
func newOperator(t *testing.T, target Target, name, role string) tls.Certificate {
	t.Helper()
	k := key(t)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, k)
	if err != nil {
		t.Fatal(err)
	}
	e, err := endpointOf(target, target.AdminURL)
	if err != nil {
		t.Fatal(err)
	}
	var issued struct {
		Certificate string `json:"certificate"`
	}
	in := map[string]any{"name": name, "roles": []string{role}, "csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))}
	if err := call(context.Background(), e, e.with(target.Requester), "POST", "/v1/admin/operators", in, &issued); err != nil {
		t.Fatal(err)
	}
	var chain tls.Certificate
	for rest := []byte(issued.Certificate); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		chain.Certificate = append(chain.Certificate, block.Bytes)
	}
	chain.PrivateKey = k
	return chain
}

// movedIngest is a real ingest by the clock from, which is moved on where a drill
// lets time pass, so that nobody waits for it.
func movedIngest(t *testing.T, from func() time.Time) Target {
	t.Helper()
	var moved atomic.Int64
	now := func() time.Time { return from().Add(time.Duration(moved.Load())) }
	target, server := realIngest(t, evidence.ClockSimulated, now)
	target.Wait = func(ctx context.Context, d time.Duration) error {
		moved.Add(int64(d))
		return server.Tick(ctx, now())
	}
	return target
}

func TestARealIngestPassesEveryDrill(t *testing.T) {
	t.Parallel() // it waits more than it works
	t.Run("system clock", func(t *testing.T) {
		target, _ := realIngest(t, evidence.ClockSystem, time.Now)
		passesEvery(t, target)
	})
	t.Run("a clock that is moved", func(t *testing.T) {
		passesEvery(t, movedIngest(t, func() time.Time { return time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC) }))
	})
}

// A drill that needs time to pass says so where it does not.
func TestAClockThatStandsStill(t *testing.T) {
	t.Parallel() // it waits more than it works
	noon := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	target, _ := realIngest(t, evidence.ClockSimulated, func() time.Time { return noon })
	results, err := Run(context.Background(), target, []string{"ID-02.expired-certificate", "AU-08"})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Verdict != NotAvailable || !strings.Contains(r.Got, "clock went on by 0s") {
			t.Errorf("%s: %s: %s", r.ID, r.Verdict, r.Got)
		}
	}
}

func passesEvery(t *testing.T, target Target) {
	t.Helper()
	results, err := Run(context.Background(), target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		t.Logf("%-34s %-13s %8.2f ms  %-14s %s", r.ID, r.Verdict, r.LatencyMS, r.LogEntry, r.Got)
		if r.Verdict != Passed {
			t.Errorf("%s: %s", r.ID, r.Verdict)
		}
		if r.Sent == "" || r.Got == "" || r.LatencyMS <= 0 {
			t.Errorf("%s: sent %q, got %q, in %v ms", r.ID, r.Sent, r.Got, r.LatencyMS)
		}
		if r.LogEntry == "" && r.ID != "TR-01.server-certificate" {
			t.Errorf("%s: the entry about it was not found", r.ID)
		}
	}
	positions, err := Post(context.Background(), target, results)
	if err != nil || len(positions) != len(results) {
		t.Errorf("posted %d results as %v: %v", len(results), positions, err)
	}
	notLeftBehind(t, target)
}

// notLeftBehind checks that no canary can still send, and no alert is open.
func notLeftBehind(t *testing.T, target Target) {
	t.Helper()
	r, err := newRun(target)
	if err != nil {
		t.Fatal(err)
	}
	var reply struct {
		Devices []json.RawMessage `json:"devices"`
	}
	if err := r.either(context.Background(), "GET", "/v1/admin/devices", nil, &reply); err != nil {
		t.Fatal(err)
	}
	var alerts struct {
		Alerts []struct {
			Kind       string     `json:"kind"`
			ResolvedAt *time.Time `json:"resolved_at"`
		} `json:"alerts"`
	}
	if err := r.either(context.Background(), "GET", "/v1/admin/alerts", nil, &alerts); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, a := range alerts.Alerts {
		kinds = append(kinds, a.Kind)
		if a.ResolvedAt == nil {
			t.Errorf("an alert is left open: %+v", a)
		}
	}
	for _, want := range []string{"device.silent", "export.spike", "replay.conflict"} {
		if !slices.Contains(kinds, want) {
			t.Errorf("alerts after the drills: %v, and none %s", kinds, want)
		}
	}
	var operators struct {
		Operators []evidence.Operator `json:"operators"`
	}
	if err := r.either(context.Background(), "GET", "/v1/admin/operators", nil, &operators); err != nil {
		t.Fatal(err)
	}
	if len(operators.Operators) != 2 {
		t.Errorf("operators after the drills: %+v", operators.Operators)
	}
	if len(reply.Devices) < 10 {
		t.Errorf("%d canaries in the registry", len(reply.Devices))
	}
	for _, d := range reply.Devices {
		if bytes.Contains(d, []byte(`"state":"active"`)) || bytes.Contains(d, []byte(`"state":"quarantined"`)) {
			t.Errorf("left behind: %s", d)
		}
	}
}
