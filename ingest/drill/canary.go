package drill

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// canary is a device of our own in a canary tenant.
type canary struct {
	tenant, device string
	certificate    tls.Certificate
	fingerprint    string
	kind, fleet    string        // empty: as the target says, and "canary"
	life           time.Duration // of its certificate; 0: as long as the ingest gives
	open           *connection   // one that was opened early, of the drill that uses it
	seq            int64         // last number used
	requested      bool
	revoked        bool
	err            error // why there is none
}

// canary gives the canary of the tenant with the role, and provisions it the
// first time: requested by one operator, approved by the other, enrolled on
// the device port, and heard once, so that an attack starts from a device in
// good standing.
func (r *run) canary(ctx context.Context, tenant, role string) (*canary, error) {
	return r.canaryWith(ctx, tenant, role, func(*canary) {})
}

// canaryWith is canary of one that is made in some other way.
func (r *run) canaryWith(ctx context.Context, tenant, role string, change func(*canary)) (*canary, error) {
	key := tenant + "/" + role
	c := r.canaries[key]
	if c == nil {
		c = &canary{tenant: tenant, device: r.id + "-" + role, kind: r.t.DeviceType, fleet: "canary"}
		change(c)
		c.err = r.provision(ctx, c)
		r.canaries[key] = c
	}
	if c.err != nil {
		return nil, fmt.Errorf("provisioning canary device %s of %s: %w", c.device, c.tenant, c.err)
	}
	return c, nil
}

func (r *run) provision(ctx context.Context, c *canary) error {
	if err := r.tenant(ctx, c.tenant); err != nil {
		return err
	}
	if err := r.request(ctx, r.t.Requester, c); err != nil {
		return err
	}
	var approved struct {
		Code string `json:"enrolment_code"`
	}
	if err := r.by(ctx, r.t.Approver, "POST", c.path("approve"), struct{}{}, &approved); err != nil {
		return err
	}
	if err := r.enrol(ctx, c, approved.Code); err != nil {
		return err
	}
	a := r.public.once(ctx, r.public.with(c.certificate), r.batch(c, 1))
	if receipt, err := a.receipt(); err != nil || receipt.Accepted != 1 {
		return fmt.Errorf("its first event was not accepted: %s", a.verbose())
	}
	return nil
}

// tenant makes sure that the canary tenant exists.
func (r *run) tenant(ctx context.Context, tenant string) error {
	if r.tenants[tenant] {
		return nil
	}
	var known struct {
		Tenants []evidence.Tenant `json:"tenants"`
	}
	if err := r.either(ctx, "GET", "/v1/admin/tenants", nil, &known); err != nil {
		return err
	}
	for _, t := range known.Tenants {
		r.tenants[t.ID] = true
	}
	if r.tenants[tenant] {
		return nil
	}
	if err := r.either(ctx, "POST", "/v1/admin/tenants", evidence.Tenant{ID: tenant, Name: "Canary devices of the drills"}, nil); err != nil {
		return err
	}
	r.tenants[tenant] = true
	return nil
}

// request asks for the device as an operator.
func (r *run) request(ctx context.Context, as tls.Certificate, c *canary) error {
	err := r.by(ctx, as, "POST", "/v1/admin/devices", map[string]string{
		"tenant": c.tenant, "device": c.device, "type": cmp.Or(c.kind, r.t.DeviceType), "site": "drill", "fleet": cmp.Or(c.fleet, "canary"),
		"reason": reasonOf(r.id),
	}, nil)
	c.requested = c.requested || err == nil
	return err
}

// enrol makes a key and has it certified.
func (r *run) enrol(ctx context.Context, c *canary, code string) error {
	key, csr, err := newKey(pkix.Name{CommonName: c.device, Organization: []string{c.tenant}})
	if err != nil {
		return err
	}
	var issued struct {
		Certificate string `json:"certificate"`
	}
	in := map[string]any{"tenant": c.tenant, "device": c.device, "code": code, "csr": csr}
	if c.life > 0 {
		in["lifetime_s"] = int(c.life.Seconds())
	}
	if err := call(ctx, r.public, r.public.with(), "POST", "/v1/enroll", in, &issued); err != nil {
		return err
	}
	if c.certificate, err = chainOf(issued.Certificate, key); err != nil {
		return fmt.Errorf("POST /v1/enroll: %w", err)
	}
	c.fingerprint = fingerprint(c.certificate)
	return nil
}

// path is that of an act on the device in the admin API.
func (c *canary) path(act string) string {
	return "/v1/admin/devices/" + c.tenant + "/" + c.device + "/" + act
}

// act does something to the canary as an operator.
func (r *run) act(ctx context.Context, c *canary, act, reason string) error {
	return r.either(ctx, "POST", c.path(act), map[string]string{"reason": reason, "ticket": "DRILL-" + r.id}, nil)
}

// end revokes the canaries, so that no credential of theirs lives on and their
// silence raises no alert, and resolves the alerts that they caused. It works
// also when ctx has ended.
func (r *run) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var failed []error
	made := false
	for _, c := range r.canaries {
		made = made || c.requested
		if c.revoked || !c.requested {
			continue
		}
		if err := r.act(ctx, c, "revoke", "drill finished"); err != nil {
			failed = append(failed, fmt.Errorf("revoking canary device %s of %s after the drills: %w", c.device, c.tenant, err))
		}
	}
	failed = append(failed, r.dismiss(ctx))
	if made {
		failed = append(failed, r.resolve(ctx))
	}
	return errors.Join(failed...)
}

// resolve closes the alerts about canaries of this run and nothing else.
func (r *run) resolve(ctx context.Context) error {
	foreign := func(device string) bool {
		return !strings.HasPrefix(device, TenantA+"/"+r.id+"-") && !strings.HasPrefix(device, TenantB+"/"+r.id+"-")
	}
	return r.resolveIf(ctx, func(a alert) bool {
		return r.own[a.ID] || len(a.Devices) > 0 && !slices.ContainsFunc(a.Devices, foreign)
	})
}

// reasonOf says in the registry what a canary is there for.
func reasonOf(run string) string { return canaryReason + run }

const canaryReason = "canary device of drill run "

func fingerprint(c tls.Certificate) string {
	return "sha256:" + evidence.SHA256Hex(c.Certificate[0])
}

// batch is an upload of n new events of the canary.
func (r *run) batch(c *canary, n int) request {
	var body []byte
	for range n {
		c.seq++
		body = append(body, r.line(c.seq, r.t.EventData)...)
	}
	return upload(body)
}

func upload(body []byte) request {
	return request{method: "POST", path: "/v1/telemetry", header: http.Header{"Content-Type": {"application/x-ndjson"}}, body: body}
}

// line is one event on a line of its own. Extra are more fields, ending in a
// comma.
func (r *run) line(seq int64, data []byte, extra ...string) []byte {
	line := fmt.Appendf(nil, `{"seq":%d,"time":"%s",`, seq, r.t.Now().UTC().Format(time.RFC3339))
	for _, field := range extra {
		line = append(line, field...)
	}
	return fmt.Appendf(line, `"type":%q,"data":%s}`+"\n", r.t.EventType, data)
}
