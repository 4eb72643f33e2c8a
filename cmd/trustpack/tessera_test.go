package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// tesseraFsck has logs that were exported read by Tessera's fsck.
func (s *served) tesseraFsck(t *testing.T, logs ...string) {
	program := tesseraProgram(t)
	for _, log := range logs {
		out := filepath.Join(t.TempDir(), log)
		key := s.export(t, log, out)
		runTessera(t, program, log, "file://"+filepath.ToSlash(out)+"/", key)
	}
}

// tesseraFsckServed has logs read by Tessera's fsck as the running ingest
// serves them. That needs an operator's certificate, which fsck cannot show: a
// proxy on loopback shows it.
func (s *served) tesseraFsckServed(t *testing.T, logs ...string) {
	program := tesseraProgram(t)
	base := filepath.Join(s.ingestDir(), "operators", "admin")
	pair, err := tls.LoadX509KeyPair(base+".crt", base+".key")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.root)
	to, err := url.Parse(s.admin)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}}
	defer transport.CloseIdleConnections()
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: transport,
	})
	defer proxy.Close()
	for _, log := range logs {
		runTessera(t, program, log, proxy.URL+"/log/"+log+"/", s.verifierKey(t, log))
	}
}

// tesseraProgram is Tessera's fsck, which the variable TESSERA_FSCK names.
func tesseraProgram(t *testing.T) string {
	t.Helper()
	program := os.Getenv("TESSERA_FSCK")
	if program == "" {
		t.Skip("TESSERA_FSCK does not name Tessera's fsck program")
	}
	return program
}

// export writes the log as files and its verifier key into a file, which it names.
func (s *served) export(t *testing.T, log, out string) (key string) {
	t.Helper()
	key = filepath.Join(t.TempDir(), log+".vkey")
	if b, err := exec.Command("trustpack", "ledger", "export", s.ledgerDir(), out, "--log", log, "--vkey", key).CombinedOutput(); err != nil {
		t.Fatalf("exporting %s: %v\n%s", log, err, b)
	}
	return key
}

// verifierKey writes the verifier key that the running ingest tells into a file.
func (s *served) verifierKey(t *testing.T, log string) string {
	t.Helper()
	logs, err := s.operator("admin").Logs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range logs {
		if l.Name == log {
			key := filepath.Join(t.TempDir(), log+".vkey")
			if err := os.WriteFile(key, []byte(l.VerifierKey+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return key
		}
	}
	t.Fatalf("the ingest lists no log %s", log)
	return ""
}

// runTessera runs fsck, which exits 0 even where it finds faults, and may hang
// with fewer than a few workers.
func runTessera(t *testing.T, program, log, storage, key string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b, err := exec.CommandContext(ctx, program, "-N", "8", "--storage_url="+storage, "--public_key="+key, "--ui=false").CombinedOutput()
	if err != nil || !bytes.Contains(b, []byte("Successfully fsck'd")) {
		t.Errorf("Tessera's fsck of %s: %v\n%s", log, err, b)
	}
}
