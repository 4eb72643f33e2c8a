package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"trustpack/ingest"
)

// TestAlertsGoToCertifiedReceiversAlone: over HTTPS, to a receiver whose
// certificate is from a CA that the machine trusts, names the host, is in time
// and is shown over TLS 1.2 or later; to no other goes a byte of an alert.
func TestAlertsGoToCertifiedReceiversAlone(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the CAs that a machine trusts are set by SSL_CERT_FILE on Linux")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	trusted, stranger := newWebCA(t), newWebCA(t)
	here, elsewhere := net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 2)
	now := time.Now()
	receivers := map[string]struct {
		tls  *tls.Config
		want string // what is said of it; empty: it is told
	}{
		"good":      {serving(trusted.certificate(here, now.Add(time.Hour)), 0), ""},
		"stranger":  {serving(stranger.certificate(here, now.Add(time.Hour)), 0), "certificate signed by unknown authority"},
		"elsewhere": {serving(trusted.certificate(elsewhere, now.Add(time.Hour)), 0), "certificate is valid for 127.0.0.2, not 127.0.0.1"},
		"expired":   {serving(trusted.certificate(here, now.Add(-time.Minute)), 0), "certificate has expired"},
		"old":       {serving(trusted.certificate(here, now.Add(time.Hour)), tls.VersionTLS11), "protocol version"},
		"plain":     {nil, "server gave HTTP response to HTTPS client"},
	}
	lines := []string{"  alerts:", "    attempts: 2", "    backoff: 10ms", "    webhooks:"}
	heard := map[string]*alertReceiver{}
	for name, r := range receivers {
		v := newAlertReceiver(t)
		v.openTLS(r.tls)
		heard[name] = v
		lines = append(lines, fmt.Sprintf("      - {name: %s, url: \"https://%s/hook\", secret_file: secrets/pager}", name, v.addr))
	}
	s := initServed(t, lines...)
	s.alertSecrets()
	roots := filepath.Join(s.dir, "secrets", "roots.pem")
	writeFile(t, roots, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: trusted.cert.Raw})))
	cmd := exec.Command("trustpack", "ingest", "serve", "--config", s.config)
	cmd.Env = append(cmd.Environ(), "SSL_CERT_FILE="+roots, "SSL_CERT_DIR=/nowhere")
	p := s.ready(s.start(cmd))
	s.trustpack("operator", "break-glass", "open", "--role", "approver", "--minutes", "10", "--reason", "test", "--as", "admin")
	admin := s.operator("admin")
	var got ingest.AlertView
	s.eventually(ctx, "each receiver is told or given up", func() bool {
		got = s.await(ctx, admin, ingest.AlertQuery{Kind: ingest.AlertBreakGlass}, 1)[0]
		for _, d := range got.Deliveries {
			if d.State == ingest.DeliveryWaiting {
				return false
			}
		}
		return len(got.Deliveries) == len(receivers)
	})
	for _, d := range got.Deliveries {
		want := receivers[d.To].want
		if (want == "") != (d.State == ingest.DeliveryDelivered) || !strings.Contains(d.Error, want) {
			t.Errorf("%s: %s, %q; want %q", d.To, d.State, d.Error, want)
		}
		if n := len(heard[d.To].requests()); want == "" && n != 1 || want != "" && n != 0 {
			t.Errorf("%s was told %d times", d.To, n)
		}
	}
	signed(t, heard["good"].requests())
	s.stop(p)
}

// openTLS begins to listen with TLS, or without where that is nil.
func (v *alertReceiver) openTLS(c *tls.Config) {
	v.t.Helper()
	l, err := net.Listen("tcp", v.addr)
	if err != nil {
		v.t.Fatal(err)
	}
	if c != nil {
		l = tls.NewListener(l, c)
	}
	server := &http.Server{Handler: v, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	ended := make(chan struct{})
	go func() { _ = server.Serve(l); close(ended) }()
	v.t.Cleanup(func() { _ = server.Close(); <-ended })
}

// serving serves with a certificate, and with no later version of TLS than
// most, where that is not 0.
func serving(pair tls.Certificate, most uint16) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS10, MaxVersion: most}
}

// webCA signs certificates of web servers.
type webCA struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newWebCA(t *testing.T) *webCA {
	ca := &webCA{t: t}
	name := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Web CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour),
	}
	ca.key, ca.cert = ca.sign(name)
	return ca
}

func (ca *webCA) sign(cert *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	parent, signer := ca.cert, ca.key
	if parent == nil {
		parent, signer = cert, key
	}
	cert.SerialNumber, cert.NotBefore = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), signer)
	if err != nil {
		ca.t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		ca.t.Fatal(err)
	}
	return key, cert
}

// certificate is one of a server at the address.
func (ca *webCA) certificate(at net.IP, until time.Time) tls.Certificate {
	ca.t.Helper()
	key, cert := ca.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "receiver"}, IPAddresses: []net.IP{at}, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}
