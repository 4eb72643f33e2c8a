package telemetry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// issued is a certificate that signed itself, with its key, in files.
type issued struct {
	cert, key string
	pair      tls.Certificate
}

func issue(t *testing.T, ip string, from, to time.Time) issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: ip}, NotBefore: from, NotAfter: to, IPAddresses: []net.IP{net.ParseIP(ip)},
		IsCA: true, BasicConstraintsValid: true,
	}, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: ip}}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	out := issued{cert: filepath.Join(dir, "c.crt"), key: filepath.Join(dir, "c.key")}
	certPEM, keyPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	for file, body := range map[string][]byte{out.cert: certPEM, out.key: keyPEM} {
		if err := os.WriteFile(file, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out.pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return out
}

// Whatever keeps the two from speaking is told apart, with what to do, after
// one try.
func TestCheckAccessWhereNobodyAnswers(t *testing.T) {
	s := story(t)
	now := time.Now()
	good := issue(t, "127.0.0.1", now.Add(-time.Hour), now.Add(time.Hour))
	old := issue(t, "127.0.0.1", now.Add(-2*time.Hour), now.Add(-time.Hour))
	early := issue(t, "127.0.0.1", now.Add(time.Hour), now.Add(2*time.Hour))
	elsewhere := issue(t, "127.0.0.2", now.Add(-time.Hour), now.Add(time.Hour))
	listen := func(c issued, clients *x509.CertPool) *httptest.Server {
		srv := httptest.NewUnstartedServer(s)
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{c.pair}}
		if clients != nil {
			srv.TLS.ClientCAs, srv.TLS.ClientAuth = clients, tls.RequireAndVerifyClientCert
		}
		srv.StartTLS()
		t.Cleanup(srv.Close)
		return srv
	}
	plain := httptest.NewServer(s)
	defer plain.Close()
	away := httptest.NewServer(s)
	away.Close()
	https := func(srv *httptest.Server) string { return strings.Replace(srv.URL, "http:", "https:", 1) }
	ours := listen(good, nil).URL
	for name, c := range map[string]struct {
		url          string
		root, client issued
		state        evidence.AccessState
		said         string
		cert         evidence.AccessState
		certSaid     string
	}{
		"well":         {ours, good, good, evidence.AccessGranted, "", evidence.AccessGranted, "until 2"},
		"another root": {ours, elsewhere, good, evidence.AccessLacking, "ca must hold the root certificate of this ingest", evidence.AccessGranted, "until"},
		"another host": {listen(elsewhere, nil).URL, elsewhere, good, evidence.AccessLacking, "name in url a host", evidence.AccessGranted, "until"},
		"expired":      {listen(old, nil).URL, old, good, evidence.AccessLacking, "out of its time", evidence.AccessGranted, "until"},
		"refused":      {listen(good, x509.NewCertPool()).URL, good, elsewhere, evidence.AccessLacking, "does not take the certificate in cert", evidence.AccessGranted, "until"},
		"our own old":  {ours, good, old, evidence.AccessGranted, "", evidence.AccessLacking, "it ended on "},
		"our own soon": {ours, good, early, evidence.AccessGranted, "", evidence.AccessLacking, "it begins on "},
		"plain":        {https(plain), good, good, evidence.AccessUnknown, "HTTP response to HTTPS client: is the ingest running", evidence.AccessGranted, "until"},
		"away":         {https(away), good, good, evidence.AccessUnknown, "is the ingest running", evidence.AccessGranted, "until"},
	} {
		tries := 0
		got := checkAt(t, Config{URL: c.url, CA: c.root.cert, Cert: c.client.cert, Key: c.client.key},
			Deps{Now: time.Now, Clock: evidence.ClockSystem, Backoff: func(int) time.Duration { tries++; return 0 }})
		if row := rowFor(t, got, "cert: valid"); row.State != c.cert || !strings.Contains(row.Said, c.certSaid) || len(row.Kinds) != 31 {
			t.Errorf("%s: %+v", name, row)
		}
		for _, f := range families() {
			row := rowFor(t, got, f.reads)
			if row.State != c.state || !strings.Contains(row.Said, c.said) {
				t.Errorf("%s: %+v, want %s, %q", name, row, c.state, c.said)
			}
		}
		if row := rowFor(t, got, "clock: the same time"); (row.State == evidence.AccessGranted) != (c.state == evidence.AccessGranted) {
			t.Errorf("%s: %+v", name, row)
		}
		if tries != 0 {
			t.Errorf("%s: it was tried %d times again", name, tries)
		}
	}
}
