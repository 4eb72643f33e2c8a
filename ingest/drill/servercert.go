package drill

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// serverCertificate looks at what the device port shows in a real handshake.
func serverCertificate() drill {
	return drill{
		id: "TR-01.server-certificate", control: "TR-01",
		what:     "a proper handshake: the server's chain, its dates, and the protocol agreed on",
		expected: "the chain ends at the declared CA, is valid now and names the host; TLS 1.2 or newer",
		attack: func(ctx context.Context, r *run) outcome {
			o := outcome{sent: "ClientHello with TLS 1.2 and 1.3"}
			c, failed := r.public.dial(ctx, r.public.with())
			if failed != nil {
				var bad *tls.CertificateVerificationError
				o.got, o.latency, o.verdict = failed.String(), failed.latency, NotAvailable
				if errors.As(failed.err, &bad) {
					o.got, o.verdict = "certificate not to be trusted: "+bad.Error(), Failed
				}
				return o
			}
			defer c.close()
			state := c.conn.(*tls.Conn).ConnectionState()
			leaf := state.PeerCertificates[0]
			o.latency, o.verdict = c.greeted, Passed // verified in the handshake, or there would be no connection
			o.got = fmt.Sprintf("%s, %s; certificate of %s by %s, %s, valid %s to %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite),
				leaf.Subject.CommonName, leaf.Issuer.CommonName, keyOf(leaf), leaf.NotBefore.UTC().Format(time.DateOnly), leaf.NotAfter.UTC().Format(time.DateOnly))
			return o
		},
	}
}

func keyOf(c *x509.Certificate) string { return c.PublicKeyAlgorithm.String() }
