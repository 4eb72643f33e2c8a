package pack

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"trustpack/evidence"
)

//go:embed readme.txt
var readmeText string

// readme is README.txt: what the pack is and how to check it by hand. The
// commands differ by the key's type.
func readme(c Content, key PublicKey) []byte {
	// The bytes before the key in its SubjectPublicKeyInfo (RFC 8410; RFC 5480),
	// and how long the key is at the end of an OpenSSH line's blob.
	prefix, length := `\060\052\060\005\006\003\053\145\160\003\041\000`, 32
	opensslVerify := `openssl pkeyutl -verify -pubin -keyform DER -inkey "$T/vendor.der" -rawin -in "$T/signed" -sigfile "$T/signature"`
	if key.Type() == P256 {
		prefix, length = `\060\131\060\023\006\007\052\206\110\316\075\002\001\006\010\052\206\110\316\075\003\001\007\003\102\000`, 65
		opensslVerify = `openssl pkeyutl -verify -pubin -keyform DER -inkey "$T/vendor.der" -rawin -digest sha256 -in "$T/signed" -sigfile "$T/signature"`
	}
	banner := ""
	if c.Sample {
		banner = "\nSAMPLE DATA: this pack shows how the tool works. It is evidence of nothing.\n"
	}
	if c.Clock == evidence.ClockSimulated {
		banner += "SIMULATED CLOCK: the times in it were not taken from a real clock.\n"
	}
	return []byte(strings.NewReplacer(
		"{{banner}}", banner,
		"{{organisation}}", c.Organisation, "{{system}}", c.System, "{{period}}", c.Period.String(),
		"{{from}}", c.Period.From.UTC().Format(time.DateOnly), "{{to}}", c.Period.To.UTC().Format(time.DateOnly), "{{tool}}", c.Tool,
		"{{fingerprint}}", key.Fingerprint(), "{{namespace}}", SSHNamespace, "{{identity}}", SSHIdentity,
		"{{validfrom}}", sshTime(c.Period.From), "{{validto}}", sshTime(c.Period.To.AddDate(1, 0, 0)), "{{periodend}}", sshTime(c.Period.To),
		"{{predicate}}", vendorPredicate, "{{svr}}", verifierPredicate,
		"{{payloadtype}}", payloadType, "{{payloadtypelen}}", fmt.Sprint(len(payloadType)),
		"{{spkiprefix}}", prefix, "{{keylen}}", fmt.Sprint(length), "{{openssl}}", opensslVerify,
	).Replace(readmeText))
}
