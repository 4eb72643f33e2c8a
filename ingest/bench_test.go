package ingest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

const benchConnections = 256

// benchRig has one device for each connection.
func benchRig(b *testing.B) (*rig, []*rawBench) {
	r := newRig(b, func(c *Config) {
		c.Rates = Rates{Rate{1e9, 1 << 30}, Rate{1e9, 1 << 30}}
		c.Replay.Window = 1 << 20
	})
	r.tenant("nord")
	var conns []*rawBench
	for i := range benchConnections {
		pair := r.enrol("nord", fmt.Sprintf("d-%d", i))
		conns = append(conns, &rawBench{pair: pair})
	}
	return r, conns
}

// rawBench is a device that sends batch after batch over one kept connection.
type rawBench struct {
	pair *tls.Certificate
	http *http.Client
	seq  int
}

func (c *rawBench) open(ca []byte, now func() time.Time) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	c.http = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{*c.pair}, Time: now}, MaxIdleConnsPerHost: 1,
	}}
}

func (c *rawBench) body(buf []byte, n int, at string) []byte {
	buf = buf[:0]
	for range n {
		c.seq++
		buf = fmt.Appendf(buf, `{"seq":%d,"time":%q,"type":"power.v1","fw":"1.4.2","data":{"kw":%d.25,"phase":"l2","meter":{"kwh":%d.125}}}`+"\n", c.seq, at, c.seq%400, c.seq)
	}
	return buf
}

func (c *rawBench) post(url string, body []byte, want int) error {
	res, err := c.http.Post(url, "application/x-ndjson", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != want {
		return fmt.Errorf("answered %s", res.Status)
	}
	return nil
}

func benchmarkHTTPS(b *testing.B, perRequest int) {
	r, conns := benchRig(b)
	addr, _ := r.s.Addrs()
	at := r.clock.now().Format(time.RFC3339)
	for _, c := range conns {
		c.open(r.ca, r.clock.now)
		if err := c.post("https://"+addr+"/v1/telemetry", c.body(nil, 1, at), 202); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var g errgroup.Group
	for _, c := range conns {
		g.Go(func() error {
			var buf []byte
			for left.Add(-1) >= 0 {
				buf = c.body(buf, perRequest, at)
				if err := c.post("https://"+addr+"/v1/telemetry", buf, 202); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N*perRequest)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// The client runs in the same process and is part of what is measured.
func BenchmarkHTTPS1(b *testing.B)   { benchmarkHTTPS(b, 1) }
func BenchmarkHTTPS100(b *testing.B) { benchmarkHTTPS(b, 100) }

// BenchmarkEmptyHandler is what the requests cost with nothing behind them:
// the same connections, TLS and bodies, a handler that only reads.
func BenchmarkEmptyHandler(b *testing.B) {
	r, conns := benchRig(b)
	r.s.public.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			b.Error(err)
		}
		w.WriteHeader(http.StatusAccepted)
	})
	addr, _ := r.s.Addrs()
	for _, c := range conns {
		c.open(r.ca, r.clock.now)
	}
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var g errgroup.Group
	for _, c := range conns {
		g.Go(func() error {
			var buf []byte
			for left.Add(-1) >= 0 {
				buf = c.body(buf, 1, "2026-07-01T10:00:00Z")
				if err := c.post("https://"+addr+"/empty", buf, 202); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// BenchmarkJudgeLine is the scan and validation of one event.
func BenchmarkJudgeLine(b *testing.B) {
	rules, err := loadRules(testConfig(b))
	if err != nil {
		b.Fatal(err)
	}
	line := string(bytes.TrimSpace((&rawBench{}).body(nil, 1, "2026-07-01T10:00:00Z")))
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	var e event
	s := &scanner{}
	for b.Loop() {
		s.event(&e, line, 32)
		if code, detail := rules.judge(s, &e); code != "" {
			b.Fatal(code, detail)
		}
	}
}
