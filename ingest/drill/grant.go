package drill

import (
	"context"
	"fmt"
	"time"
)

// shortGrant is how long the support grant lasts that a drill sees expire.
const shortGrant = 5 * time.Second

// grant is a support grant of ours.
type grant struct {
	operator *canaryOperator
	id       string
	until    time.Time
	err      error // why there is none
}

// granted gives a canary operator of the role support a grant to read in
// tenant A, and makes it the first time. Seconds cut it short where they are
// above 0.
func (r *run) granted(ctx context.Context, name string, seconds int) (*grant, error) {
	g := r.grants[name]
	if g == nil {
		g = &grant{}
		r.grants[name] = g
		g.err = r.grantTo(ctx, g, name, seconds)
	}
	if g.err != nil {
		return nil, fmt.Errorf("giving canary operator %s a support grant: %w", name, g.err)
	}
	return g, nil
}

func (r *run) grantTo(ctx context.Context, g *grant, name string, seconds int) (err error) {
	if err := r.tenant(ctx, TenantA); err != nil {
		return err
	}
	if g.operator, err = r.operator(ctx, name, "support"); err != nil {
		return err
	}
	var asked struct {
		ID string `json:"id"`
	}
	if err := r.by(ctx, r.t.Requester, "POST", "/v1/admin/grants", map[string]any{
		"operator": g.operator.name, "tenant": TenantA, "actions": []string{"read"}, "minutes": 1, "reason": "drill run " + r.id, "ticket": "DRILL-" + r.id,
	}, &asked); err != nil {
		return err
	}
	in := map[string]any{"reason": "drill run " + r.id}
	if seconds > 0 {
		in["seconds"] = seconds
	}
	var approved struct {
		Until time.Time `json:"until"`
	}
	if err := r.by(ctx, r.t.Approver, "POST", "/v1/admin/grants/"+asked.ID+"/approve", in, &approved); err != nil {
		return err
	}
	g.id, g.until = asked.ID, approved.Until
	if a := r.look(ctx, g, TenantA); a.status != 200 {
		return fmt.Errorf("it opens nothing: %s", a)
	}
	return nil
}

// look reads a tenant's status as who holds the grant.
func (r *run) look(ctx context.Context, g *grant, tenant string) answer {
	return r.actAs(ctx, g.operator.certificate, "GET", "/v1/status/"+tenant, nil)
}

// expiredGrant goes on under a support grant whose time is over.
func expiredGrant() drill {
	const role = "supporting"
	seconds := int(shortGrant / time.Second)
	return drill{
		id: "AU-06.expired-support-grant", control: "AU-06",
		what:     "support goes on reading when the grant has expired",
		expected: "403 auth.forbidden",
		prepare: func(ctx context.Context, r *run) {
			_, _ = r.granted(ctx, role, seconds) // why there is none is told by the attack
		},
		attack: func(ctx context.Context, r *run) outcome {
			g, err := r.granted(ctx, role, seconds)
			if err != nil {
				return unable("", err)
			}
			sent := fmt.Sprintf("GET /v1/status/%s by canary operator %s after grant %s expired at %s", TenantA, g.operator.name, g.id, g.until.UTC().Format(time.RFC3339))
			if err := r.pass(ctx, g.until.Sub(r.t.Now())+500*time.Millisecond); err != nil {
				return unable(sent, err)
			}
			return r.refusedLook(ctx, g, TenantA, sent)
		},
	}
}

// foreignGrant reads another tenant's status under a grant that is in force.
func foreignGrant() drill {
	return drill{
		id: "AU-06.grant-of-another-tenant", control: "AU-06",
		what:     "support reads the status of another tenant than that of the grant",
		expected: "403 auth.forbidden",
		attack: func(ctx context.Context, r *run) outcome {
			if err := r.tenant(ctx, TenantB); err != nil {
				return unable("", err)
			}
			g, err := r.granted(ctx, "straying", 0)
			if err != nil {
				return unable("", err)
			}
			return r.refusedLook(ctx, g, TenantB, fmt.Sprintf("GET /v1/status/%s by canary operator %s under grant %s, which is for %s", TenantB, g.operator.name, g.id, TenantA))
		},
	}
}

func (r *run) refusedLook(ctx context.Context, g *grant, tenant, sent string) outcome {
	a := r.look(ctx, g, tenant)
	return outcome{
		sent: sent, got: a.String(), latency: a.latency, verdict: a.refusal(403, "auth.forbidden"), recorded: true, traces: []trace{refusedTo(g.operator)},
	}
}
