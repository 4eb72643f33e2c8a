package telemetry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"trustpack/evidence"
)

// accessOf reads out of a reply whether the ingest lets this be read, and what
// to do where it does not.
func accessOf(rep reply) (evidence.AccessState, string) {
	switch {
	case rep.err == nil:
		return evidence.AccessGranted, ""
	case rep.request.Status == 0:
		return unanswered(rep.err)
	case rep.request.Status == http.StatusUnauthorized:
		return evidence.AccessLacking, rep.err.Error() + ": name in cert and key what 'trustpack operator add NAME --role auditor' wrote"
	case rep.request.Status == http.StatusForbidden:
		return evidence.AccessLacking, rep.err.Error() + ": the role auditor is enough"
	case rep.request.Status == http.StatusNotFound:
		return evidence.AccessUnknown, rep.err.Error() + ": is url the ingest's admin address (admin_listen), not that of the devices?"
	}
	return evidence.AccessUnknown, rep.err.Error()
}

// unanswered tells a certificate that is not accepted, on either side, from an
// ingest that is away.
func unanswered(err error) (evidence.AccessState, string) {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		op        *net.OpError
	)
	why := err.Error()
	switch {
	case errors.As(err, &authority):
		return evidence.AccessLacking, why + ": ca must hold the root certificate of this ingest (state/ingest/ca/root.crt there)"
	case errors.As(err, &host):
		return evidence.AccessLacking, why + ": name in url a host that the ingest's certificate is for"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return evidence.AccessLacking, why + ": the ingest's certificate is out of its time, or the clock here is wrong"
	case errors.As(err, &op) && op.Op == "remote error":
		return evidence.AccessLacking, why + ": the ingest does not take the certificate in cert"
	}
	return evidence.AccessUnknown, why + ": is the ingest running, and is url its admin address?"
}

// ownCertificate looks at the dates of the operator's certificate; no state
// where the configuration names none.
func (c *collector) ownCertificate() (evidence.AccessState, string) {
	if c.cfg.Cert == "" {
		return "", ""
	}
	pair, err := tls.LoadX509KeyPair(c.cfg.Cert, c.cfg.Key)
	if err != nil {
		return evidence.AccessLacking, "reading operator certificate (cert, key): " + err.Error()
	}
	from, to, now := pair.Leaf.NotBefore, pair.Leaf.NotAfter, c.deps.Now()
	switch {
	case now.After(to):
		return evidence.AccessLacking, fmt.Sprintf("it ended on %s: have an admin make another with 'trustpack operator add'", to.UTC().Format(time.DateOnly))
	case now.Before(from):
		return evidence.AccessLacking, fmt.Sprintf("it begins on %s: is the clock here right?", from.UTC().Format(time.RFC3339))
	}
	return evidence.AccessGranted, "until " + to.UTC().Format(time.DateOnly)
}
