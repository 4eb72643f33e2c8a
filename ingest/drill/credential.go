package drill

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"time"
)

// show sends a request with the certificate, or without one. A server that
// refuses a certificate under TLS 1.3 does so after the client believes the
// handshake to be done, and its alert can be lost when the client is still
// writing; then the connection is made again and listened to first.
func (r *run) show(ctx context.Context, q request, certs ...tls.Certificate) answer {
	a := r.public.once(ctx, r.public.with(certs...), q)
	if !a.closed {
		return a
	}
	c, failed := r.public.dial(ctx, r.public.with(certs...))
	if failed != nil {
		return *failed
	}
	defer c.close()
	began := time.Now()
	if err := c.conn.SetReadDeadline(began.Add(2 * time.Second)); err != nil {
		return a
	}
	if _, err := c.reader.Peek(1); err != nil {
		if heard := c.broken(err); heard.alert != "" {
			heard.latency = c.greeted + time.Since(began)
			return heard
		}
	}
	return a
}

// turnedAway is the outcome of showing a credential that must not be taken:
// the code's answer, or an alert in the handshake.
func turnedAway(a answer, sent string, status int, code, fingerprint string) outcome {
	o := outcome{sent: sent, got: a.verbose(), latency: a.latency, verdict: a.refusal(status, code)}
	if a.alert != "" {
		o.verdict = Passed
	}
	o.traces = []trace{refusedFor(a, code, fingerprint)}
	return o
}

// forge makes a client certificate that says the same as the canary's but is
// issued by a CA of our own, or by itself.
func forge(c *canary, now time.Time, selfSigned bool) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf := c.certificate.Leaf
	template := &x509.Certificate{
		SerialNumber: leaf.SerialNumber, Subject: leaf.Subject, URIs: []*url.URL{}, DNSNames: leaf.DNSNames,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	template.URIs = append(template.URIs, leaf.URIs...)
	issuer, issuerKey := template, key
	if !selfSigned {
		if issuerKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return tls.Certificate{}, err
		}
		// The name of the real issuer, so that only the signature tells.
		issuer = &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: issuerName(leaf), IsCA: true, BasicConstraintsValid: true,
			NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: parsed}, nil
}

func issuerName(leaf *x509.Certificate) pkix.Name {
	name := leaf.Issuer
	name.ExtraNames = nil
	return name
}

// forged runs an attack with a certificate of our own making.
func (r *run) forged(ctx context.Context, kind string, selfSigned bool) outcome {
	c, err := r.canary(ctx, TenantA, "main")
	if err != nil {
		return unable("", err)
	}
	certificate, err := forge(c, r.t.Now(), selfSigned)
	if err != nil {
		return unable("", fmt.Errorf("making a %s certificate: %w", kind, err))
	}
	q := r.batch(c, 1)
	a := r.show(ctx, q, certificate)
	o := turnedAway(a, fmt.Sprintf("POST /v1/telemetry, 1 event, with a %s certificate that names canary device %s", kind, c.device),
		401, "auth.unknown-credential", fingerprint(certificate))
	o.stored = []stored{{TenantA, c.device, c.seq, 0}}
	return o
}
