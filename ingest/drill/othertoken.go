package drill

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
)

// otherToken shows, beside a device's own certificate, a token that is not its
// own: that of a device of the other tenant, or one that nobody has, where the
// policy lets devices have none.
func otherToken() drill {
	return drill{
		id: "ID-02.another-devices-token", control: "ID-02",
		what:     "a device shows another device's token beside its own certificate",
		expected: "403 auth.credential-mismatch, or 401 auth.unknown-credential for one that nobody has; nothing stored",
		attack: func(ctx context.Context, r *run) outcome {
			c, err := r.besideNeighbour(ctx, "borrowing")
			if err != nil {
				return unable("", err)
			}
			token, kind, err := r.borrowed(ctx)
			if err != nil {
				return unable("", err)
			}
			q := r.batch(c, 1)
			q.header.Set("Authorization", "Bearer "+token)
			a := r.show(ctx, q, c.certificate)
			status, code := 403, "auth.credential-mismatch"
			if kind == "nobody" {
				status, code = 401, "auth.unknown-credential"
			}
			o := turnedAway(a, fmt.Sprintf("POST /v1/telemetry, 1 event, with the certificate of canary device %s and a token of %s", c.device, kind), status, code, "")
			o.traces = append(o.traces, refusedFor(a, code, c.fingerprint)) // which of the two it names is the ingest's choice
			o.stored = []stored{{TenantA, c.device, c.seq, 0}, {TenantB, r.canaries[TenantB+"/holder"].device, c.seq, 0}}
			return o
		},
	}
}

// borrowed is the token with which a canary of tenant B enrols, or one of the
// same form.
func (r *run) borrowed(ctx context.Context) (token, kind string, err error) {
	b := &canary{tenant: TenantB, device: r.id + "-holder", kind: r.t.DeviceType, fleet: "canary"}
	r.canaries[TenantB+"/holder"] = b // so that it is revoked in the end
	if err := r.request(ctx, r.t.Requester, b); err != nil {
		return "", "", err
	}
	var approved struct {
		Code string `json:"enrolment_code"`
	}
	if err := r.by(ctx, r.t.Approver, "POST", b.path("approve"), struct{}{}, &approved); err != nil {
		return "", "", err
	}
	var issued struct {
		Token string `json:"token"`
	}
	err = call(ctx, r.public, r.public.with(), "POST", "/v1/enroll", map[string]string{"tenant": TenantB, "device": b.device, "code": approved.Code, "method": "token"}, &issued)
	var refused *apiError
	switch {
	case err == nil:
		return issued.Token, "canary device " + b.device + " of " + TenantB, nil
	case !errors.As(err, &refused) || refused.answer.code != "enrol.token-not-allowed":
		return "", "", fmt.Errorf("asking for a token: %w", err)
	}
	var text [32]byte
	if _, err := rand.Read(text[:]); err != nil {
		return "", "", err
	}
	return "tpd_" + base64.RawURLEncoding.EncodeToString(text[:]), "nobody", nil
}
