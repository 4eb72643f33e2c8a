package drill

import (
	"context"
	"crypto/tls"
)

// oldTLS offers nothing newer than the version, "1.0" or "1.1".
func oldTLS(version string) drill {
	highest := uint16(tls.VersionTLS10)
	if version == "1.1" {
		highest = tls.VersionTLS11
	}
	return drill{
		id: "TR-01.tls-" + version, control: "TR-01",
		what:     "a client that speaks TLS " + version + " at most",
		expected: "the handshake is refused",
		attack: func(ctx context.Context, r *run) outcome {
			config := r.public.with()
			config.MinVersion, config.MaxVersion = tls.VersionTLS10, highest
			return r.handshake(ctx, config, "ClientHello with TLS "+version+" as its highest version", "tls.version")
		},
	}
}

// handshake is the outcome of a handshake that must be refused.
func (r *run) handshake(ctx context.Context, config *tls.Config, sent, code string) outcome {
	c, failed := r.public.dial(ctx, config)
	if failed == nil {
		state := c.conn.(*tls.Conn).ConnectionState()
		c.close()
		return outcome{
			sent: sent, latency: c.greeted, verdict: Failed,
			got: "handshake done with " + tls.VersionName(state.Version) + ", " + tls.CipherSuiteName(state.CipherSuite),
		}
	}
	o := outcome{sent: sent, got: failed.String(), latency: failed.latency, verdict: NotAvailable}
	o.traces = []trace{refusedFor(*failed, code, "")}
	if failed.alert != "" || failed.closed {
		o.verdict = r.alive(ctx, &o)
	}
	return o
}
