package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"trustpack/evidence"
	"trustpack/ingest"
)

// ingestResult is what a run against an ingest has measured.
type ingestResult struct {
	benchResult
	EmptyHandler float64 `json:"empty_handler_requests_per_second"` // of net/http with mutual TLS, which only reads the same body
	Ratio        float64 `json:"ratio_to_empty_handler"`            // requests a second of the ingest over that
}

func (a *app) benchIngest() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "ingest",
		Short: "Send events over mutual TLS to an ingest made for the purpose",
		Long: `Makes an ingest with its own ledger on loopback, enrols a device for each
connection, and lets all of them send batch after batch, each waiting for its
durable answer. The same client first sends the same bodies to an empty net/http
handler, so that the ratio says what the ingest costs. Client and server share
this process and its cores.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if f.connections < f.tenants {
				a.progress("a connection is one device's, of one tenant: using %d connections", f.tenants)
				f.connections = f.tenants
			}
			a.spareThread()
			return f.inBenchDir(func(dir string) error {
				r, err := a.loadIngest(cmd.Context(), &f, dir)
				if err != nil {
					return err
				}
				if f.json {
					return a.printJSON(r)
				}
				return a.table(append(r.rows(),
					[]string{"requests a second of an empty handler", fmt.Sprintf("%.0f", r.EmptyHandler)},
					[]string{"ratio to it", fmt.Sprintf("%.2f", r.Ratio)}))
			})
		},
	}
	f.add(cmd, "devices that send at once, each over one kept connection")
	return cmd
}

const benchSchema = `{
 "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["kw"], "additionalProperties": false,
 "properties": {"kw": {"type": "number", "minimum": -1000}, "phase": {"enum": ["l1", "l2", "l3"]},
                "meter": {"type": "object", "properties": {"kwh": {"type": "number"}}}},
 "x-ranges": {"kw": {"max": 500}}
}`

// startBenchIngest makes an ingest in dir and runs it until stop is called.
func startBenchIngest(ctx context.Context, dir string) (s *ingest.Server, stop func() error, err error) {
	schemas := filepath.Join(dir, "schemas")
	if err := os.Mkdir(schemas, 0o700); err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(filepath.Join(schemas, "power.v1.schema.json"), []byte(benchSchema), 0o600); err != nil {
		return nil, nil, err
	}
	state := filepath.Join(dir, "ingest")
	if err := ingest.Init(state, ingest.InitOptions{Instance: "bench.example/ingest", Org: "Bench", FirstAdmin: "requester"}); err != nil {
		return nil, nil, err
	}
	cfg := ingest.DefaultConfig()
	cfg.Listen, cfg.AdminListen, cfg.Schemas = "127.0.0.1:0", "127.0.0.1:0", schemas
	cfg.Rates = ingest.Rates{Device: ingest.Rate{PerSecond: 1e9, Burst: 1 << 30}, Tenant: ingest.Rate{PerSecond: 1e9, Burst: 1 << 30}}
	cfg.Limits.BodyBytes = max(cfg.Limits.BodyBytes, 4<<20)
	if s, err = ingest.Open(ingest.Options{Dir: state, Config: cfg, Version: tool()}); err != nil {
		return nil, nil, err
	}
	if err := s.Listen(); err != nil {
		return nil, nil, errors.Join(err, s.Close(ctx))
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(serving) }()
	return s, func() error { cancel(); return <-ended }, nil
}

// enrolBench enrols a device for each connection and gives their credentials.
func enrolBench(ctx context.Context, s *ingest.Server, dir string, f *benchFlags, progress func(string, ...any)) (pairs []tls.Certificate, root []byte, err error) {
	state := filepath.Join(dir, "ingest")
	if root, err = os.ReadFile(filepath.Join(state, "ca", "root.crt")); err != nil {
		return nil, nil, err
	}
	first, err := tls.LoadX509KeyPair(filepath.Join(state, "operators", "requester.crt"), filepath.Join(state, "operators", "requester.key"))
	if err != nil {
		return nil, nil, err
	}
	public, admin := s.Addrs()
	requester, err := ingest.NewAdminClient(ingest.ClientOptions{URL: "https://" + admin, CA: root, Certificate: &first})
	if err != nil {
		return nil, nil, err
	}
	defer requester.Close()
	second, err := requester.AddOperator(ctx, "approver", []string{ingest.RoleApprover}, "bench")
	if err != nil {
		return nil, nil, err
	}
	approver, err := ingest.NewAdminClient(ingest.ClientOptions{URL: "https://" + admin, CA: root, Certificate: second})
	if err != nil {
		return nil, nil, err
	}
	defer approver.Close()
	anyone, err := ingest.NewDeviceClient(ingest.ClientOptions{URL: "https://" + public, CA: root})
	if err != nil {
		return nil, nil, err
	}
	defer anyone.Close()
	progress("enrolling %d devices of %d tenants", f.connections, f.tenants)
	for i := range f.tenants {
		id := fmt.Sprintf("tenant-%d", i)
		if err := requester.AddTenant(ctx, evidence.Tenant{ID: id, Name: id}, "bench"); err != nil {
			return nil, nil, err
		}
	}
	for i := range f.connections {
		tenant, device := fmt.Sprintf("tenant-%d", i%f.tenants), fmt.Sprintf("device-%d", i)
		if _, err := requester.RequestDevice(ctx, ingest.DeviceRequest{Tenant: tenant, Device: device, Type: "meter", Reason: "bench"}); err != nil {
			return nil, nil, err
		}
		code, _, err := approver.ApproveDevice(ctx, tenant, device, "bench")
		if err != nil {
			return nil, nil, err
		}
		pair, err := anyone.Enrol(ctx, tenant, device, code)
		if err != nil {
			return nil, nil, err
		}
		pairs = append(pairs, *pair)
	}
	return pairs, root, nil
}

func (a *app) loadIngest(ctx context.Context, f *benchFlags, dir string) (r ingestResult, err error) {
	s, stop, err := startBenchIngest(ctx, dir)
	if err != nil {
		return r, err
	}
	running := true
	defer func() {
		if running {
			err = errors.Join(err, stop())
		}
	}()
	pairs, root, err := enrolBench(ctx, s, dir, f, a.progress)
	if err != nil {
		return r, err
	}
	empty, emptyRoot, err := startEmptyHandler()
	if err != nil {
		return r, err
	}
	a.progress("%v against an empty handler, then %v against the ingest", f.duration, f.duration)
	plain := *f
	plain.profile = ""
	before, err := a.sendAll(ctx, &plain, pairs, emptyRoot, empty.addr)
	if err = errors.Join(err, empty.Close()); err != nil {
		return r, err
	}
	public, _ := s.Addrs()
	if r.benchResult, err = a.sendAll(ctx, f, pairs, root, public); err != nil {
		return r, err
	}
	r.EmptyHandler, r.Ratio = before.requests, r.requests/before.requests
	running = false
	if err := stop(); err != nil {
		return r, err
	}
	bytes, err := logBytes(filepath.Join(dir, "ingest", "ledger"))
	r.DiskBytesPerEvent = float64(bytes) / (r.EventsPerSecond * r.Duration)
	return r, err
}

// sendAll connects every device and lets it send.
func (a *app) sendAll(ctx context.Context, f *benchFlags, pairs []tls.Certificate, root []byte, addr string) (r benchResult, err error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		return r, errors.New("the server's root holds no certificate")
	}
	senders := make([]*benchSender, len(pairs))
	defer func() {
		for _, b := range senders {
			if b != nil {
				_ = b.conn.Close() // all of its answers were read
			}
		}
	}()
	for i := range pairs {
		conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, Certificates: pairs[i : i+1], MinVersion: tls.VersionTLS13, ServerName: "127.0.0.1"})
		if err != nil {
			return r, fmt.Errorf("connecting to %s: %w", addr, err)
		}
		senders[i] = newBenchSender(conn, addr)
		if err := senders[i].send(1); err != nil { // the first contact is recorded
			return r, err
		}
	}
	return a.measure(ctx, f, func(worker int) error { return senders[worker].send(f.batch) })
}

// emptyHandler is an HTTPS server that reads what it is sent.
type emptyHandler struct {
	http.Server
	addr string
}

func startEmptyHandler() (*emptyHandler, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	h := &emptyHandler{addr: ln.Addr().String()}
	h.ErrorLog = log.New(io.Discard, "", 0)
	h.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return // the client has gone, and says so itself
		}
		w.WriteHeader(http.StatusAccepted)
	})
	config := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert,
	}
	go func() { _ = h.Serve(tls.NewListener(ln, config)) }() // ends with Close
	return h, pemOf(der), nil
}
