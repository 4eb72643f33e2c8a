package ingest

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// AdminClient speaks to the admin port as an operator. What an answer says no
// comes as a *Problem.
type AdminClient struct{ client }

// NewAdminClient makes a client; Certificate or Token is the operator's.
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

// Books lists the books of a tenant (all where empty) from day to day.
func (c *AdminClient) Books(ctx context.Context, tenant, from, to string) ([]evidence.Books, error) {
	var out struct{ Books []evidence.Books }
	err := c.list(ctx, "books?tenant="+url.QueryEscape(tenant)+"&from="+from+"&to="+to, &out)
	return out.Books, err
}

// State gives what the ingest knows at this moment, in numbers.
func (c *AdminClient) State(ctx context.Context) (StateSum, error) {
	var out StateSum
	err := c.list(ctx, "state", &out)
	return out, err
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
