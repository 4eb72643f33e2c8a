package drill

import (
	"context"
	"crypto/tls"
)

// weakCipher offers only cipher suites that are broken or lack forward
// secrecy.
func weakCipher() drill {
	return drill{
		id: "TR-01.weak-cipher", control: "TR-01",
		what:     "a client that offers only RC4, 3DES and key exchange without forward secrecy",
		expected: "the handshake is refused",
		attack: func(ctx context.Context, r *run) outcome {
			config := r.public.with()
			config.MaxVersion = tls.VersionTLS12 // TLS 1.3 has no weak suites to offer
			for _, s := range tls.InsecureCipherSuites() {
				config.CipherSuites = append(config.CipherSuites, s.ID)
			}
			return r.handshake(ctx, config, "ClientHello with TLS 1.2 and weak cipher suites only", "tls.cipher")
		},
	}
}
