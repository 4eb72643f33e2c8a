package drill

import "context"

// foreignCA shows a certificate that another CA issued in the canary's name.
func foreignCA() drill {
	return drill{
		id: "ID-02.foreign-ca", control: "ID-02",
		what:     "a certificate of another CA with the subject, names and issuer name of a known device",
		expected: "401 auth.unknown-credential or a TLS alert; nothing stored",
		attack: func(ctx context.Context, r *run) outcome {
			return r.forged(ctx, "foreign CA's", false)
		},
	}
}
