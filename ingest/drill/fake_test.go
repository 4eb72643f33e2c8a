package drill

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trustpack/evidence"
)

// fake is an ingest in memory with every defence that the drills test, and a
// switch to take one of them away.
type fake struct {
	t       *testing.T
	weak    string // the drill whose defence is missing, or another weakness by name
	now     time.Time
	ca      *x509.Certificate
	caKey   *ecdsa.PrivateKey
	public  string
	admin   string
	people  map[string]string // fingerprint to operator
	mu      sync.Mutex
	tenants map[string]bool
	devices map[string]*fakeDevice
	logs    map[string][][]byte
	late    []evidence.AuditEntry
	tokens  map[string]int // events used, by device and tenant
	conns   map[net.Conn]string
}

type fakeDevice struct {
	tenant, id, requester, state, code, fp string
	seen                                   map[int64]string
}

// fakeLimits are the limits of the fake.
const (
	fakeBody   = 64 << 10
	fakeLines  = 1000
	fakeDepth  = 16
	fakeUnpack = 256 << 10
	fakeBurst  = 2000
)

func newFake(t *testing.T, weak string) *fake {
	f := &fake{
		t: t, weak: weak, now: time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC), people: map[string]string{},
		tenants: map[string]bool{}, devices: map[string]*fakeDevice{}, logs: map[string][][]byte{controlLog: {[]byte(`{"type":"ingest.started"}`)}}, tokens: map[string]int{}, conns: map[net.Conn]string{},
	}
	f.devices[TenantA+"/anybody"] = &fakeDevice{tenant: TenantA, id: "anybody", seen: map[int64]string{}}
	f.caKey = key(t)
	der, err := x509.CreateCertificate(rand.Reader, f.caTemplate(), f.caTemplate(), f.caKey.Public(), f.caKey)
	if err != nil {
		t.Fatal(err)
	}
	if f.ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	server := f.issue("localhost", "", func(c *x509.Certificate) {
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if weak == "TR-01.server-certificate" {
			c.NotAfter = f.now.Add(-time.Hour)
		}
	})
	f.public = f.serve(server, http.HandlerFunc(f.devicePort), true)
	f.admin = f.serve(server, http.HandlerFunc(f.adminPort), false)
	return f
}

func key(t *testing.T) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (f *fake) caTemplate() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fake root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: f.now.Add(-24 * time.Hour), NotAfter: f.now.Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
}

// issue makes a certificate and its key.
func (f *fake) issue(name, org string, change func(*x509.Certificate)) tls.Certificate {
	k := key(f.t)
	return tls.Certificate{Certificate: [][]byte{f.certify(name, org, k.Public(), change)}, PrivateKey: k}
}

func (f *fake) certify(name, org string, public any, change func(*x509.Certificate)) []byte {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		f.t.Error(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: f.now.Add(-2 * time.Hour), NotAfter: f.now.Add(2 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if org != "" {
		c.Subject.Organization = []string{org}
		c.URIs = []*url.URL{{Scheme: "urn", Opaque: "trustpack:device:" + org + ":" + name + ":1"}}
	}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, f.ca, public, f.caKey)
	if err != nil {
		f.t.Error(err)
	}
	return der
}

// target is what a drill run needs to attack the fake.
func (f *fake) target() Target {
	operator := func(name string) tls.Certificate {
		c := f.issue(name, "", nil)
		f.people[fingerprint(c)] = name
		return c
	}
	pool := x509.NewCertPool()
	pool.AddCert(f.ca)
	return Target{
		PublicURL: "https://" + f.public, AdminURL: "https://" + f.admin, CA: pool, Requester: operator("ben"), Approver: operator("carla"),
		EventType: "meter.v1", EventData: json.RawMessage(`{"power_kw":1.5}`), Settle: time.Millisecond, Now: func() time.Time { return f.now },
	}
}

type usesKey struct{}

// serve starts a port. The device port applies the TLS rules that drills test.
func (f *fake) serve(server tls.Certificate, h http.Handler, device bool) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12, Time: func() time.Time { return f.now }}
	if device && f.weak == "refuses in the handshake" { // which is no weakness
		config.ClientAuth, config.ClientCAs = tls.VerifyClientCertIfGiven, x509.NewCertPool()
		config.ClientCAs.AddCert(f.ca)
	}
	if device {
		config.GetConfigForClient = f.versions(config)
	}
	srv := &http.Server{
		Handler: h, ErrorLog: log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, usesKey{}, new(int))
		},
	}
	if device {
		srv.ConnState = f.track
	}
	var listener net.Listener = tls.NewListener(l, config)
	if device && f.weak == "TR-01.plain-http" {
		listener = &bothListener{l, config}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			f.t.Error(err)
		}
	}()
	f.t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			f.t.Log(err)
		}
		<-done
	})
	return l.Addr().String()
}

func (f *fake) versions(base *tls.Config) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c := base.Clone()
		c.GetConfigForClient = nil
		highest := uint16(0)
		for _, v := range hello.SupportedVersions {
			highest = max(highest, v)
		}
		switch {
		case f.weak == "TR-01.tls-1.0" && highest == tls.VersionTLS10, f.weak == "TR-01.tls-1.1" && highest == tls.VersionTLS11:
			c.MinVersion = tls.VersionTLS10
		case f.weak == "TR-01.weak-cipher":
			for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
				c.CipherSuites = append(c.CipherSuites, s.ID)
			}
		}
		return c, nil
	}
}

// track remembers the open connections, to cut them.
func (f *fake) track(c net.Conn, s http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch s {
	case http.StateActive:
		if t, ok := c.(*tls.Conn); ok && len(t.ConnectionState().PeerCertificates) > 0 {
			f.conns[c] = "sha256:" + evidence.SHA256Hex(t.ConnectionState().PeerCertificates[0].Raw)
		}
	case http.StateClosed:
		delete(f.conns, c)
	}
}

// bothListener takes TLS and plain text on one port.
type bothListener struct {
	net.Listener
	config *tls.Config
}

func (l *bothListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(c, first); err != nil {
		return c, nil
	}
	peeked := &peekedConn{c, io.MultiReader(bytes.NewReader(first), c)}
	if first[0] == 0x16 {
		return tls.Server(peeked, l.config), nil
	}
	return peeked, nil
}

type peekedConn struct {
	net.Conn
	r io.Reader
}

func (c *peekedConn) Read(b []byte) (int, error) { return c.r.Read(b) }

// off reports whether the weakness is the fake's.
func (f *fake) off(name string) bool { return f.weak == name }

func (f *fake) append(log string, v any) int {
	b, err := evidence.CanonicalJSON(v)
	if err != nil {
		f.t.Error(err)
	}
	f.logs[log] = append(f.logs[log], b)
	return len(f.logs[log]) - 1
}

// problem answers with a problem document and, for the device port, records it.
func (f *fake) problem(w http.ResponseWriter, r *http.Request, status int, code string, d *fakeDevice, claimed string) {
	entry := evidence.AuditEntry{Type: evidence.EntryRefusal, Time: f.now, Result: "refused"}
	refusal := evidence.Refusal{Code: code, Status: status, Count: 1, First: f.now, Last: f.now, Path: r.URL.Path, ClaimedTenant: claimed}
	refusal.Source, _, _ = net.SplitHostPort(r.RemoteAddr)
	if len(r.TLS.PeerCertificates) > 0 {
		refusal.Fingerprint = "sha256:" + evidence.SHA256Hex(r.TLS.PeerCertificates[0].Raw)
	}
	if d != nil {
		entry.Tenant, entry.Device = d.tenant, d.id
	}
	entry.Data, _ = json.Marshal(refusal)
	switch {
	case f.off("records-late"):
		f.late = append(f.late, entry)
	case !f.off("records-nothing"):
		f.append(controlLog, entry)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	if status == 429 {
		w.Header().Set("Retry-After", "3")
	}
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"status":%d,"code":%q}`, status, code)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the drill notices a reply cut short
}

// adminPort is the admin API.
func (f *fake) adminPort(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	who := ""
	if len(r.TLS.PeerCertificates) > 0 {
		who = f.people["sha256:"+evidence.SHA256Hex(r.TLS.PeerCertificates[0].Raw)]
	}
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case who == "":
		reply(w, 401, map[string]string{"code": "auth.no-certificate"})
	case path[0] == "log":
		f.tile(w, path)
	case path[2] == "config":
		reply(w, 200, map[string]any{"config": map[string]any{
			"limits": map[string]int{"body_bytes": fakeBody, "lines": fakeLines, "depth": fakeDepth, "decompressed_bytes": fakeUnpack},
			"rates":  map[string]any{"device": map[string]int{"per_second": 1, "burst": fakeBurst}, "tenant": map[string]int{"per_second": 10, "burst": 10 * fakeBurst}},
		}})
	case path[2] == "logs":
		if f.off("hides-logs") {
			reply(w, 403, map[string]string{"code": "auth.forbidden"})
			return
		}
		logs := []map[string]any{}
		for name, entries := range f.logs {
			logs = append(logs, map[string]any{"name": name, "size": len(entries)})
		}
		reply(w, 200, map[string]any{"logs": logs})
	case path[2] == "checkpoint":
		fmt.Fprintf(w, "fake/%s\n%d\nroot\n", path[3], len(f.logs[path[3]]))
		if path[3] == controlLog { // what was counted is written after it was first asked for
			for _, entry := range f.late {
				f.append(controlLog, entry)
			}
			f.late = nil
		}
	case path[2] == "alerts":
		reply(w, 200, map[string]any{"alerts": []any{}})
	case r.Method == "GET" && (path[2] == "operators" || path[2] == "devices"):
		reply(w, 200, map[string]any{path[2]: []any{}})
	case path[2] == "operators" && len(path) == 3:
		f.employ(w, r)
	case path[2] == "operators":
		for fp, name := range f.people {
			if name == path[3] {
				delete(f.people, fp)
			}
		}
		reply(w, 200, map[string]string{"removed": path[3]})
	case path[2] == "drills":
		reply(w, 200, map[string]any{"positions": []string{"control/7"}})
	case path[2] == "tenants" && r.Method == "GET":
		list := []evidence.Tenant{}
		for id := range f.tenants {
			list = append(list, evidence.Tenant{ID: id})
		}
		reply(w, 200, map[string]any{"tenants": list})
	case path[2] == "tenants":
		var t evidence.Tenant
		_ = json.NewDecoder(r.Body).Decode(&t)
		f.tenants[t.ID] = true
		reply(w, 201, t)
	default:
		f.devicesAPI(w, r, who, path)
	}
}

// tile serves /log/{name}/tile/entries/….
func (f *fake) tile(w http.ResponseWriter, path []string) {
	first, err := strconv.Atoi(strings.TrimSuffix(path[4], ".p"))
	width := 256
	if err == nil && len(path) > 5 {
		width, err = strconv.Atoi(path[5])
	}
	entries := f.logs[path[1]]
	if err != nil || first*256+width > len(entries) {
		reply(w, 404, nil)
		return
	}
	for _, e := range entries[first*256 : first*256+width] {
		var n [2]byte
		binary.BigEndian.PutUint16(n[:], uint16(len(e)))
		_, _ = w.Write(append(n[:], e...))
	}
}

func (f *fake) devicesAPI(w http.ResponseWriter, r *http.Request, who string, path []string) {
	if len(path) == 3 {
		var in struct{ Tenant, Device string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		d := &fakeDevice{tenant: in.Tenant, id: in.Device, requester: who, state: "requested", seen: map[int64]string{}}
		f.devices[in.Tenant+"/"+in.Device] = d
		reply(w, 201, nil)
		return
	}
	d := f.devices[path[3]+"/"+path[4]]
	switch act := path[5]; act {
	case "approve":
		if who == d.requester && !f.off("ID-04.self-approval") {
			data, _ := json.Marshal(map[string]any{"method": "POST", "path": r.URL.Path, "status": 403, "code": "approval.self"})
			f.append(controlLog, evidence.AuditEntry{Type: evidence.EntryAdminRefused, Time: f.now, Tenant: d.tenant, Device: d.id, Data: data})
			reply(w, 403, map[string]string{"code": "approval.self"})
			return
		}
		d.code, d.state = "code-"+d.id, "approved"
		reply(w, 200, map[string]string{"enrolment_code": d.code})
	case "revoke", "quarantine":
		d.state = map[string]string{"revoke": "revoked", "quarantine": "quarantined"}[act]
		if f.off("ID-05."+d.state+"-device") || f.off("ID-05."+d.state+"-device, open connections") {
			reply(w, 200, nil)
			return
		}
		for c, fp := range f.conns {
			if fp == d.fp && act == "revoke" {
				_ = c.Close()
			}
		}
		reply(w, 200, nil)
	}
}

// employ adds an operator.
func (f *fake) employ(w http.ResponseWriter, r *http.Request) {
	var in struct{ Name, CSR string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	block, _ := pem.Decode([]byte(in.CSR))
	if block == nil {
		reply(w, 422, map[string]string{"code": "enrol.bad-csr"})
		return
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		reply(w, 422, map[string]string{"code": "enrol.bad-csr"})
		return
	}
	der := f.certify(in.Name, "", csr.PublicKey, nil)
	f.people["sha256:"+evidence.SHA256Hex(der)] = in.Name
	reply(w, 201, map[string]string{"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))})
}
