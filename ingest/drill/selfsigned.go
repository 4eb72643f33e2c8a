package drill

import "context"

// selfSigned shows a certificate that the attacker issued to himself in the
// canary's name.
func selfSigned() drill {
	return drill{
		id: "ID-02.self-signed", control: "ID-02",
		what:     "a self-signed certificate with the subject and names of a known device",
		expected: "401 auth.unknown-credential or a TLS alert; nothing stored",
		attack: func(ctx context.Context, r *run) outcome {
			return r.forged(ctx, "self-signed", true)
		},
	}
}
