package ingest

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"trustpack/evidence"
)

// BenchmarkRevocationToCut revokes devices while 10,000 connections with
// client certificates are open, whose other ends another process holds: of
// 1,250 devices with 8 each, of which ten are revoked, and of one device with
// all. ms-cut is what the log says of the slowest; ms-seen is from the
// operator's call to the moment at which the device's side has seen the end of
// its last connection. Ten others are put in quarantine, ms-quarantine, and
// released: ms-release is from the call to the receipt of a batch, over a
// connection on which one was refused before.
func BenchmarkRevocationToCut(b *testing.B) {
	const open = 10_000
	for _, each := range []int{8, open} {
		b.Run(fmt.Sprintf("each=%d", each), func(b *testing.B) {
			needFiles(b, open+2000)
			r := newRig(b, func(c *Config) {
				c.Limits.ConnectionsPerDevice, c.Limits.UnknownConnections = each, open
				c.Timeouts.Idle = time.Hour
			})
			r.tenant("nord")
			pairs := r.certified(b, "nord", open/each)
			held, ended := r.hold(b, each, pairs)
			defer held()
			if have := r.s.sessions.count(); have < open {
				b.Fatalf("%d connections are open", have)
			}
			var cut, seen, apart, back time.Duration
			carla := r.admin("carla")
			gone := func(n int) {
				if who := <-ended; who != deviceNumber(n) {
					b.Fatalf("the connections of %q ended", who)
				}
			}
			b.ResetTimer()
			for n := range min(open/each, 10) {
				began := time.Now()
				if _, err := carla.RevokeDevice(b.Context(), "nord", deviceNumber(n), "stolen", "T"); err != nil {
					b.Fatal(err)
				}
				gone(n)
				seen = max(seen, time.Since(began))
				rec, err := r.admin("erin").Receipt(b.Context(), "nord", deviceNumber(n), 0)
				if err != nil || rec.Cut == nil || rec.Cut.Connections != each {
					b.Fatalf("%v %+v", err, rec.Cut)
				}
				cut = max(cut, time.Duration(rec.Cut.ElapsedMS*float64(time.Millisecond)))
			}
			for n := 10; n < min(open/each, 20); n++ {
				began := time.Now()
				if _, err := carla.QuarantineDevice(b.Context(), "nord", deviceNumber(n), "odd", "T"); err != nil {
					b.Fatal(err)
				}
				gone(n)
				apart = max(apart, time.Since(began))
				c := r.deviceClient(&pairs[n])
				_, err := c.Send(b.Context(), []byte(r.line(1, 1)))
				if p, ok := err.(*Problem); !ok || p.Code != CodeQuarantined {
					b.Fatalf("sent in quarantine: %v", err)
				}
				began = time.Now()
				if _, err := carla.ReleaseDevice(b.Context(), "nord", deviceNumber(n), "found", "T"); err != nil {
					b.Fatal(err)
				}
				if _, err := c.Send(b.Context(), []byte(r.line(1, 1))); err != nil {
					b.Fatal(err)
				}
				back = max(back, time.Since(began))
			}
			b.ReportMetric(0, "ns/op") // it is done once, whatever b.N is
			b.ReportMetric(float64(cut.Microseconds())/1e3, "ms-cut")
			b.ReportMetric(float64(seen.Microseconds())/1e3, "ms-seen")
			if back > 0 {
				b.ReportMetric(float64(apart.Microseconds())/1e3, "ms-quarantine")
				b.ReportMetric(float64(back.Microseconds())/1e3, "ms-release")
			}
			if worst := max(seen, apart, back); worst > time.Second {
				b.Errorf("a decision took %v to be seen as effective; want a second at most. The log says that the slowest cut took %v", worst, cut)
			}
		})
	}
}

func deviceNumber(i int) string { return fmt.Sprintf("m-%05d", i) }

// certified enters n devices that hold certificates over one key.
func (r *rig) certified(b *testing.B, tenant string, n int) (pairs []tls.Certificate) {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	var entries []evidence.AuditEntry
	for i := range n {
		id := deviceNumber(i)
		cert, err := r.s.ca.device(tenant, id, 1, key.Public(), r.clock.now(), day)
		if err != nil {
			b.Fatal(err)
		}
		pairs = append(pairs, tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert})
		add := func(typ string, data any) {
			entries = append(entries, r.s.entry(typ, evidence.AuditEntry{
				Tenant: tenant, Device: id, Generation: 1, Reason: "rollout", Actor: &evidence.Actor{Name: "ben", Role: RoleProvisioner}, Data: raw(data),
			}))
		}
		add(evidence.EntryDeviceRequested, evidence.Device{Tenant: tenant, ID: id, Generation: 1, Type: "meter", State: evidence.DeviceRequested})
		add(evidence.EntryDeviceIssued, evidence.Credential{Fingerprint: fingerprintOf(cert.Raw), Method: "x509", KeyType: "ecdsa-p256", NotBefore: cert.NotBefore, NotAfter: cert.NotAfter})
	}
	if _, err := r.s.record(entries...); err != nil {
		b.Fatal(err)
	}
	return pairs
}

// holding is what the process that holds the devices' ends is told.
type holding struct {
	Addr  string    `json:"addr"`
	CA    []byte    `json:"ca"`
	Key   []byte    `json:"key"`
	Certs [][]byte  `json:"certs"`
	Each  int       `json:"each"`
	Now   time.Time `json:"now"`
}

const holdingEnv = "INGEST_TEST_HOLDS_CONNECTIONS"

// hold has another process open the connections, each proven by a request, and
// gives the device whose connections have all ended, each time that happens.
func (r *rig) hold(b *testing.B, each int, pairs []tls.Certificate) (stop func(), ended <-chan string) {
	b.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(pairs[0].PrivateKey)
	if err != nil {
		b.Fatal(err)
	}
	addr, _ := r.s.Addrs()
	told := holding{Addr: addr, CA: r.ca, Key: key, Each: each, Now: r.clock.now()}
	for _, p := range pairs {
		told.Certs = append(told.Certs, p.Certificate[0])
	}
	child := exec.CommandContext(b.Context(), os.Args[0], "-test.run", "^TestHoldsConnections$", "-test.timeout", "10m")
	child.Env, child.Stderr = append(os.Environ(), holdingEnv+"=1"), os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	if err := json.NewEncoder(in).Encode(told); err != nil {
		b.Fatal(err)
	}
	lines, all := bufio.NewScanner(out), make(chan string, len(pairs))
	if !lines.Scan() || lines.Text() != "open" {
		b.Fatalf("the process that holds the connections says %q: %v", lines.Text(), lines.Err())
	}
	go func() {
		for lines.Scan() {
			if who, ok := strings.CutPrefix(lines.Text(), "ended "); ok {
				all <- who
			}
		}
		close(all)
	}()
	return func() {
		_ = in.Close()   // which tells it to end
		_ = child.Wait() // it may have been killed with the benchmark
		for range all {  // whatever ends with it
		}
	}, all
}

// TestHoldsConnections is the process that hold starts; alone it has nothing
// to do.
func TestHoldsConnections(t *testing.T) {
	if os.Getenv(holdingEnv) == "" {
		t.Skip("only BenchmarkRevocationToCut has use for it")
	}
	needFiles(t, 12_000)
	in := bufio.NewReader(os.Stdin)
	var told holding
	line, err := in.ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &told) != nil {
		t.Fatal("what to hold cannot be read", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(told.Key)
	if err != nil {
		t.Fatal(err)
	}
	left := make([]atomic.Int64, len(told.Certs))
	conns := make([]net.Conn, len(told.Certs)*told.Each)
	var g errgroup.Group
	g.SetLimit(8)
	for i := range conns {
		of := i / told.Each
		left[of].Store(int64(told.Each))
		g.Go(func() (err error) {
			conns[i], err = told.open(tls.Certificate{Certificate: [][]byte{told.Certs[of]}, PrivateKey: key.(crypto.Signer)})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	fmt.Println("open")
	for i, c := range conns {
		go func() {
			_, err := c.Read(make([]byte, 1))
			if of := i / told.Each; err != nil && left[of].Add(-1) == 0 {
				fmt.Println("ended " + deviceNumber(of))
			}
		}()
	}
	_, _ = io.Copy(io.Discard, in) // until it is told to end
}

func (h *holding) open(pair tls.Certificate) (net.Conn, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(h.CA)
	conn, err := tls.Dial("tcp", h.Addr, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, Time: func() time.Time { return h.Now }, NextProtos: []string{"http/1.1"}})
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write([]byte("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		return nil, err
	}
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	if err == nil && !strings.HasPrefix(string(b[:n]), "HTTP/1.1 200") {
		err = errors.New("the answer is " + string(b[:n]))
	}
	return conn, err
}
