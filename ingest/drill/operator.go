package drill

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"trustpack/evidence"
)

// canaryOperator is an operator of our own, for attacks that take other roles
// than those of the two that the drills are run with. It is removed again.
type canaryOperator struct {
	name        string
	certificate tls.Certificate
	err         error // why there is none
}

// operator gives the canary operator with the name, and makes it the first
// time, as one of the two operators who may.
func (r *run) operator(ctx context.Context, name string, roles ...string) (*canaryOperator, error) {
	o := r.operators[name]
	if o == nil {
		o = &canaryOperator{name: evidence.CanaryPrefix + r.id + "-" + name}
		r.operators[name] = o
		o.certificate, o.err = r.employ(ctx, o.name, roles)
	}
	if o.err != nil {
		return nil, fmt.Errorf("making canary operator %s with the roles %s: %w", o.name, strings.Join(roles, ", "), o.err)
	}
	return o, nil
}

func (r *run) employ(ctx context.Context, name string, roles []string) (tls.Certificate, error) {
	key, csr, err := newKey(pkix.Name{CommonName: name})
	if err != nil {
		return tls.Certificate{}, err
	}
	var issued struct {
		Certificate string `json:"certificate"`
		RoleChange  string `json:"role_change"` // which waits for the other of the two
	}
	if err := r.either(ctx, "POST", "/v1/admin/operators", map[string]any{
		"name": name, "roles": roles, "csr": csr, "reason": "canary operator of drill run " + r.id,
	}, &issued); err != nil {
		return tls.Certificate{}, err
	}
	if issued.RoleChange != "" {
		if err := r.consent(ctx, issued.RoleChange); err != nil {
			return tls.Certificate{}, err
		}
	}
	return chainOf(issued.Certificate, key)
}

// consent has the roles of a canary operator approved by the one of the two
// operators who did not ask for them.
func (r *run) consent(ctx context.Context, change string) error {
	path, in := "/v1/admin/role-changes/"+url.PathEscape(change)+"/approve", map[string]string{"reason": "canary operator of drill run " + r.id}
	first := r.by(ctx, r.t.Approver, "POST", path, in, nil)
	if first == nil {
		return nil
	}
	if second := r.by(ctx, r.t.Requester, "POST", path, in, nil); second != nil {
		return fmt.Errorf("having its roles approved: %w; and by the other operator: %w", first, second)
	}
	return nil
}

// dismiss removes the canary operators that may exist.
func (r *run) dismiss(ctx context.Context) error {
	var failed []error
	for _, o := range r.operators {
		if o.err == nil {
			failed = append(failed, r.remove(ctx, o.name))
		}
	}
	return errors.Join(failed...)
}

func (r *run) remove(ctx context.Context, name string) error {
	err := r.either(ctx, "POST", "/v1/admin/operators/"+url.PathEscape(name)+"/remove", map[string]string{"reason": "drill finished"}, nil)
	if err != nil {
		return fmt.Errorf("removing canary operator %s after the drills: %w", name, err)
	}
	return nil
}

// newKey makes a key and a certificate request for it, PEM.
func newKey(subject pkix.Name) (*ecdsa.PrivateKey, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		return nil, "", err
	}
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})), nil
}

// chainOf reads the certificates that were issued for the key.
func chainOf(text string, key *ecdsa.PrivateKey) (tls.Certificate, error) {
	chain := tls.Certificate{PrivateKey: key}
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			chain.Certificate = append(chain.Certificate, block.Bytes)
		}
	}
	if len(chain.Certificate) == 0 {
		return chain, errors.New("the answer holds no certificate")
	}
	var err error
	if chain.Leaf, err = x509.ParseCertificate(chain.Certificate[0]); err != nil {
		return chain, fmt.Errorf("reading the certificate: %w", err)
	}
	return chain, nil
}
