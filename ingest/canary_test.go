package ingest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What leaves of canaries is counted apart, either way.
func TestCanariesExportsNeitherCauseNorHideASpike(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Exports.SpikeRows, c.Exports.CanarySpikeRows = 4, 2 })
	exports := map[string]string{}
	for _, tenant := range []string{"nord", "canary-a"} {
		r.tenant(tenant)
		r.send(r.deviceClient(r.enrol(tenant, "a")), r.line(1, 1), r.line(2, 1))
		x, err := r.ask(tenant)
		if err != nil {
			t.Fatal(err)
		}
		exports[tenant] = x.ID
	}
	fetch := func(tenant string) {
		t.Helper()
		if _, _, err := r.fetch("emil", exports[tenant]); err != nil {
			t.Fatal(err)
		}
	}
	raised := func() (tenants []string) {
		for _, a := range r.s.listAlerts() {
			tenants = append(tenants, a.Kind+" "+a.Tenant)
		}
		return tenants
	}
	fetch("canary-a")
	fetch("nord")
	fetch("nord")
	if got := raised(); len(got) != 0 {
		t.Fatalf("%v at the limits, which are not passed", got)
	}
	fetch("canary-a")
	if got := fmt.Sprint(raised()); got != "[export.spike canary-a]" {
		t.Fatalf("%v after 4 rows of canaries", got)
	}
	fetch("nord")
	if got := raised(); len(got) != 2 || !strings.Contains(fmt.Sprint(got), "[export.spike  ") && !strings.Contains(fmt.Sprint(got), "export.spike ]") {
		t.Fatalf("%q after 6 rows of a customer, beside the open alert about canaries", got)
	}
	r.sameAsFold()
}

// A device may ask for a shorter life of its certificate, and for no longer one.
func TestADeviceMayAskForAShorterLife(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Certificates.Device = time.Hour })
	r.tenant("nord")
	for seconds, want := range map[int64]time.Duration{0: time.Hour, 7: 7 * time.Second, 3600: time.Hour, 1 << 62: time.Hour} {
		device := fmt.Sprintf("d%d", seconds)
		if _, err := r.admin("ben").RequestDevice(t.Context(), DeviceRequest{Tenant: "nord", Device: device, Type: "meter", Reason: "test"}); err != nil {
			t.Fatal(err)
		}
		code, _, err := r.admin("carla").ApproveDevice(t.Context(), "nord", device, "ok")
		if err != nil {
			t.Fatal(err)
		}
		if status, _ := r.enrolFor(device, code, -1); status != http.StatusUnprocessableEntity {
			t.Errorf("a life of -1 s: %d", status)
		}
		status, cert := r.enrolFor(device, code, seconds)
		if status != http.StatusOK {
			t.Fatalf("a life of %d s: %d", seconds, status)
		}
		if got := cert.NotAfter.Sub(r.clock.now()); got != want {
			t.Errorf("a life of %d s: %v, want %v", seconds, got, want)
		}
	}
	r.sameAsFold()
}

// enrolFor asks for a certificate that lives so many seconds.
func (r *rig) enrolFor(device, code string, seconds int64) (int, *x509.Certificate) {
	r.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		r.t.Fatal(err)
	}
	body := raw(map[string]any{
		"tenant": "nord", "device": device, "code": code, "csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})), "lifetime_s": seconds,
	})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(r.ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Time: r.clock.now}}}
	defer client.CloseIdleConnections()
	addr, _ := r.s.Addrs()
	reply, err := client.Post("https://"+addr+"/v1/enroll", "application/json", bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	defer reply.Body.Close()
	var out struct {
		Certificate string `json:"certificate"`
	}
	if err := json.NewDecoder(reply.Body).Decode(&out); err != nil {
		r.t.Fatal(err)
	}
	if reply.StatusCode != http.StatusOK {
		return reply.StatusCode, nil
	}
	block, _ := pem.Decode([]byte(out.Certificate))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		r.t.Fatal(err)
	}
	return reply.StatusCode, cert
}
