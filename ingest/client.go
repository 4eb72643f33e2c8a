package ingest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// ClientOptions say how a client reaches an ingest.
type ClientOptions struct {
	URL         string           // https://host:port of the port that is meant
	CA          []byte           // PEM of the ingest's root
	Certificate *tls.Certificate // nil to show none
	Now         func() time.Time // judges the server's certificate; nil is time.Now
	HTTP1       bool             // do not offer HTTP/2
	Timeout     time.Duration    // of one request; 0 is 30 s
	Dial        func(ctx context.Context, network, addr string) (net.Conn, error)
}

// client is what both clients share.
type client struct {
	url  string
	http *http.Client
}

func newClient(o ClientOptions) (client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return client{}, fmt.Errorf("address of the ingest %q: want https://host:port", o.URL)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(o.CA) {
		return client{}, errors.New("the ingest's root certificate: no PEM certificate was given")
	}
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, Time: o.Now}
	if o.Certificate != nil {
		config.Certificates = []tls.Certificate{*o.Certificate}
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	t := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: !o.HTTP1, DialContext: o.Dial, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}
	return client{strings.TrimSuffix(o.URL, "/"), &http.Client{Transport: t, Timeout: o.Timeout}}, nil
}

// Close lets go of idle connections.
func (c client) Close() { c.http.CloseIdleConnections() }

// do makes one request and reads the whole answer. An answer that is no 2xx is
// a *Problem.
func (c client) do(ctx context.Context, method, path, contentType string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		p := &Problem{}
		if json.Unmarshal(reply, p) != nil || p.Code == "" {
			return nil, fmt.Errorf("%s %s: answered %s", method, path, res.Status)
		}
		if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil {
			p.retryAfter = n
		}
		return nil, p
	}
	return reply, nil
}

// RetryAfter is how long the ingest asked to wait; 0 where it did not.
func (p *Problem) RetryAfter() time.Duration { return time.Duration(p.retryAfter) * time.Second }

func (c client) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	contentType := ""
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
		contentType = "application/json"
	}
	reply, err := c.do(ctx, method, path, contentType, body)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(reply, out); err != nil {
		return fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
	}
	return nil
}

// DeviceClient speaks to the device port.
type DeviceClient struct{ client }

// NewDeviceClient makes a client; without Certificate it can only enrol.
func NewDeviceClient(o ClientOptions) (*DeviceClient, error) {
	c, err := newClient(o)
	return &DeviceClient{c}, err
}

// Send sends events as NDJSON and gives the receipt. A *Problem says why the
// batch was refused as a whole; any other error leaves open whether it was
// taken, and the same batch can be sent again.
func (c *DeviceClient) Send(ctx context.Context, ndjson []byte) (Receipt, error) {
	var r Receipt
	reply, err := c.do(ctx, http.MethodPost, "/v1/telemetry", "application/x-ndjson", ndjson)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(reply, &r); err != nil {
		return r, fmt.Errorf("reading the receipt: %w", err)
	}
	return r, nil
}

// Enrol makes a P-256 key and exchanges the one-time code for a certificate.
func (c *DeviceClient) Enrol(ctx context.Context, tenant, device, code string) (*tls.Certificate, error) {
	key, csr, err := NewCSR(device)
	if err != nil {
		return nil, err
	}
	var out struct {
		Certificate string `json:"certificate"`
	}
	if err := c.call(ctx, http.MethodPost, "/v1/enroll", map[string]string{
		"tenant": tenant, "device": device, "code": code, "csr": string(csr),
	}, &out); err != nil {
		return nil, err
	}
	return pairOf(out.Certificate, key)
}

// NewCSR makes a P-256 key and a PEM certificate request with it.
func NewCSR(name string) (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: clipName(name)}}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("making a certificate request: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// KeyPEM encodes a private key as PKCS #8 PEM, to be kept private.
func KeyPEM(key crypto.Signer) ([]byte, error) { return keyPEM(key) }

func pairOf(certificate string, key crypto.Signer) (*tls.Certificate, error) {
	pair := &tls.Certificate{PrivateKey: key}
	for rest := []byte(certificate); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		pair.Certificate = append(pair.Certificate, block.Bytes)
	}
	if len(pair.Certificate) == 0 {
		return nil, errors.New("the answer holds no certificate")
	}
	var err error
	pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	return pair, err
}

// CertificatePEM encodes the certificates of a pair.
func CertificatePEM(pair *tls.Certificate) []byte {
	var out []byte
	for _, der := range pair.Certificate {
		out = append(out, certPEM(der)...)
	}
	return out
}

// AdminClient speaks to the admin port as an operator. What an answer says no
// comes as a *Problem.
type AdminClient struct{ client }

// NewAdminClient makes a client; Certificate is the operator's.
func NewAdminClient(o ClientOptions) (*AdminClient, error) {
	c, err := newClient(o)
	return &AdminClient{c}, err
}

const adminPath = "/v1/admin/"

// Get reads any path of the admin port.
func (c *AdminClient) Get(ctx context.Context, path string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, path, "", nil)
}

// AddTenant adds a tenant.
func (c *AdminClient) AddTenant(ctx context.Context, t evidence.Tenant, reason string) error {
	return c.call(ctx, http.MethodPost, adminPath+"tenants", struct {
		evidence.Tenant
		Reason string `json:"reason,omitempty"`
	}{t, reason}, nil)
}

// Tenants lists the tenants.
func (c *AdminClient) Tenants(ctx context.Context) ([]evidence.Tenant, error) {
	var out struct{ Tenants []evidence.Tenant }
	err := c.list(ctx, "tenants", &out)
	return out.Tenants, err
}

func (c *AdminClient) list(ctx context.Context, path string, out any) error {
	return c.call(ctx, http.MethodGet, adminPath+path, nil, out)
}

// AddOperator makes an operator with a new P-256 key and gives the pair.
func (c *AdminClient) AddOperator(ctx context.Context, name string, roles []string, reason string) (*tls.Certificate, error) {
	key, csr, err := NewCSR(name)
	if err != nil {
		return nil, err
	}
	cert, err := c.CertifyOperator(ctx, name, roles, csr, reason)
	if err != nil {
		return nil, err
	}
	return pairOf(cert, key)
}

// CertifyOperator makes an operator for a certificate request of his own.
func (c *AdminClient) CertifyOperator(ctx context.Context, name string, roles []string, csr []byte, reason string) (certificate string, err error) {
	var out struct {
		Certificate string `json:"certificate"`
	}
	err = c.call(ctx, http.MethodPost, adminPath+"operators", map[string]any{"name": name, "roles": roles, "csr": string(csr), "reason": reason}, &out)
	return out.Certificate, err
}

// RemoveOperator takes an operator's rights.
func (c *AdminClient) RemoveOperator(ctx context.Context, name, reason string) error {
	return c.call(ctx, http.MethodPost, adminPath+"operators/"+url.PathEscape(name)+"/remove", map[string]string{"reason": reason}, nil)
}

// Operators lists the operators.
func (c *AdminClient) Operators(ctx context.Context) ([]evidence.Operator, error) {
	var out struct{ Operators []evidence.Operator }
	err := c.list(ctx, "operators", &out)
	return out.Operators, err
}

// DeviceRequest asks for a device.
type DeviceRequest struct {
	Tenant string `json:"tenant"`
	Device string `json:"device"`
	Type   string `json:"type"`
	Site   string `json:"site,omitempty"`
	Fleet  string `json:"fleet,omitempty"`
	Reason string `json:"reason"`
}

// RequestDevice asks for a device, or a new generation of a revoked one.
func (c *AdminClient) RequestDevice(ctx context.Context, r DeviceRequest) (DeviceRecord, error) {
	var out DeviceRecord
	err := c.call(ctx, http.MethodPost, adminPath+"devices", r, &out)
	return out, err
}

// ApproveDevice consents to a device. code is empty while further approvals
// are needed.
func (c *AdminClient) ApproveDevice(ctx context.Context, tenant, device, reason string) (code string, expires time.Time, err error) {
	var out struct {
		Code    string    `json:"enrolment_code"`
		Expires time.Time `json:"expires"`
	}
	err = c.call(ctx, http.MethodPost, devicePath(tenant, device, "approve"), map[string]string{"reason": reason}, &out)
	return out.Code, out.Expires, err
}

func devicePath(tenant, device, act string) string {
	return adminPath + "devices/" + url.PathEscape(tenant) + "/" + url.PathEscape(device) + "/" + act
}

func (c *AdminClient) decide(ctx context.Context, tenant, device, act, reason, ticket string) (DeviceRecord, error) {
	var out DeviceRecord
	err := c.call(ctx, http.MethodPost, devicePath(tenant, device, act), map[string]string{"reason": reason, "ticket": ticket}, &out)
	return out, err
}

// QuarantineDevice shuts a device out until it is released.
func (c *AdminClient) QuarantineDevice(ctx context.Context, tenant, device, reason, ticket string) (DeviceRecord, error) {
	return c.decide(ctx, tenant, device, "quarantine", reason, ticket)
}

// ReleaseDevice ends a quarantine.
func (c *AdminClient) ReleaseDevice(ctx context.Context, tenant, device, reason, ticket string) (DeviceRecord, error) {
	return c.decide(ctx, tenant, device, "release", reason, ticket)
}

// RevokeDevice shuts this generation of a device out for good.
func (c *AdminClient) RevokeDevice(ctx context.Context, tenant, device, reason, ticket string) (DeviceRecord, error) {
	return c.decide(ctx, tenant, device, "revoke", reason, ticket)
}

// Devices lists the devices of a tenant, or of all where it is empty.
func (c *AdminClient) Devices(ctx context.Context, tenant string) ([]DeviceRecord, error) {
	var out struct{ Devices []DeviceRecord }
	err := c.list(ctx, "devices?tenant="+url.QueryEscape(tenant), &out)
	return out.Devices, err
}

// DeadLetters lists all dead letters of a tenant, or of all where it is empty.
func (c *AdminClient) DeadLetters(ctx context.Context, tenant string) ([]DeadLetter, error) {
	var all []DeadLetter
	for from := ""; ; {
		var out struct {
			DeadLetters []DeadLetter `json:"deadletters"`
			Next        string       `json:"next"`
		}
		if err := c.list(ctx, "deadletters?tenant="+url.QueryEscape(tenant)+"&from="+url.QueryEscape(from), &out); err != nil {
			return all, err
		}
		all = append(all, out.DeadLetters...)
		if from = out.Next; from == "" {
			return all, nil
		}
	}
}

// ReplayDeadLetter has a dead letter judged again and, where the rules take it
// now, entered as an event.
func (c *AdminClient) ReplayDeadLetter(ctx context.Context, tenant string, index int64, reason, ticket string) (DeadLetter, error) {
	return c.decideLetter(ctx, tenant, index, "replay", reason, ticket)
}

// DiscardDeadLetter says that a dead letter will not be replayed.
func (c *AdminClient) DiscardDeadLetter(ctx context.Context, tenant string, index int64, reason, ticket string) (DeadLetter, error) {
	return c.decideLetter(ctx, tenant, index, "discard", reason, ticket)
}

func (c *AdminClient) decideLetter(ctx context.Context, tenant string, index int64, act, reason, ticket string) (DeadLetter, error) {
	var out DeadLetter
	err := c.call(ctx, http.MethodPost, adminPath+"deadletters/"+url.PathEscape(tenant)+"/"+itoa(index)+"/"+act, map[string]string{"reason": reason, "ticket": ticket}, &out)
	return out, err
}

// ApplyConfig makes a configuration file take effect, or, where file is empty,
// the one that the ingest starts from.
func (c *AdminClient) ApplyConfig(ctx context.Context, file []byte, reason, ticket string) (AppliedConfig, error) {
	var out AppliedConfig
	err := c.call(ctx, http.MethodPost, adminPath+"config", map[string]string{"file": string(file), "reason": reason, "ticket": ticket}, &out)
	return out, err
}

// ConfigHistory lists the versions of the configuration, oldest first.
func (c *AdminClient) ConfigHistory(ctx context.Context) ([]ConfigVersion, error) {
	var out struct{ Versions []ConfigVersion }
	err := c.list(ctx, "config/history", &out)
	return out.Versions, err
}

// Alerts lists all alerts, newest first.
func (c *AdminClient) Alerts(ctx context.Context) ([]AlertRecord, error) {
	var out struct{ Alerts []AlertRecord }
	err := c.list(ctx, "alerts", &out)
	return out.Alerts, err
}

// AcknowledgeAlert says that somebody looks into it.
func (c *AdminClient) AcknowledgeAlert(ctx context.Context, id, ticket string) error {
	return c.call(ctx, http.MethodPost, adminPath+"alerts/"+url.PathEscape(id)+"/ack", map[string]string{"ticket": ticket}, nil)
}

// ResolveAlert closes an alert.
func (c *AdminClient) ResolveAlert(ctx context.Context, id, resolution, ticket string) error {
	return c.call(ctx, http.MethodPost, adminPath+"alerts/"+url.PathEscape(id)+"/resolve", map[string]string{"resolution": resolution, "ticket": ticket}, nil)
}

// Books lists the books of a tenant (all where empty) from day to day.
func (c *AdminClient) Books(ctx context.Context, tenant, from, to string) ([]evidence.Books, error) {
	var out struct{ Books []evidence.Books }
	err := c.list(ctx, "books?tenant="+url.QueryEscape(tenant)+"&from="+from+"&to="+to, &out)
	return out.Books, err
}

// PostDrills enters drill results and gives their positions, "control/123".
func (c *AdminClient) PostDrills(ctx context.Context, results []evidence.DrillResult) ([]string, error) {
	var out struct{ Positions []string }
	err := c.call(ctx, http.MethodPost, adminPath+"drills", results, &out)
	return out.Positions, err
}

// Logs lists the logs.
func (c *AdminClient) Logs(ctx context.Context) ([]LogInfo, error) {
	var out struct{ Logs []LogInfo }
	err := c.list(ctx, "logs", &out)
	return out.Logs, err
}

// Checkpoint makes a checkpoint of everything durable now.
func (c *AdminClient) Checkpoint(ctx context.Context, log string) ([]byte, error) {
	return c.Get(ctx, adminPath+"checkpoint/"+url.PathEscape(log))
}

// Excerpt cuts an excerpt out of a log up to a checkpoint of now.
func (c *AdminClient) Excerpt(ctx context.Context, log string, since int64, records ...int64) (ledger.Excerpt, error) {
	path := "excerpt/" + url.PathEscape(log) + "?since=" + itoa(since)
	for _, r := range records {
		path += "&record=" + itoa(r)
	}
	var out ledger.Excerpt
	err := c.list(ctx, path, &out)
	return out, err
}
