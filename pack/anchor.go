package pack

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Anchor is a public key from outside the pack, and what it is trusted for.
type Anchor struct {
	Role        string // "vendor", "reviewer", "auditor"
	Key         PublicKey
	Identity    string    // that the signature's statement must give; empty: any
	From, Until time.Time // the key is valid from From to Until, both included; zero: without that bound
}

// check says what in a makes no sense.
func (a Anchor) check() error {
	switch {
	case PredicateType(a.Role) == "":
		return fmt.Errorf("role %q: want one of %s", a.Role, strings.Join(roles(), ", "))
	case a.Key.IsZero():
		return fmt.Errorf("an empty key for role %s", a.Role)
	case !a.From.IsZero() && !a.Until.IsZero() && a.Until.Before(a.From):
		return fmt.Errorf("a key of the %s is valid from %s until %s, which is before", a.Role, stamp(a.From), stamp(a.Until))
	}
	if a.Identity == "" {
		return nil
	}
	if err := checkText(a.Identity); err != nil {
		return fmt.Errorf("identity of a key of the %s: %w", a.Role, err)
	}
	return nil
}

func (a Anchor) validAt(t time.Time) bool {
	return (a.From.IsZero() || !t.Before(a.From)) && (a.Until.IsZero() || !t.After(a.Until))
}

// validity is the time in which a's key is valid, for a report.
func (a Anchor) validity() string {
	var parts []string
	if !a.From.IsZero() {
		parts = append(parts, "from "+stamp(a.From))
	}
	if !a.Until.IsZero() {
		parts = append(parts, "until "+stamp(a.Until))
	}
	return cmp.Or(strings.Join(parts, " "), "always")
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// anchors gives what was given for a role.
func (o VerifyOptions) anchors(role string) []Anchor {
	var out []Anchor
	if role == roleVendor {
		for _, key := range o.Keys {
			out = append(out, Anchor{Role: roleVendor, Key: key})
		}
	}
	for _, a := range o.Anchors {
		if a.Role == role {
			out = append(out, a)
		}
	}
	return out
}

func keysOf(anchors []Anchor) []PublicKey {
	var out []PublicKey
	for _, a := range anchors {
		if !slices.ContainsFunc(out, a.Key.Equal) {
			out = append(out, a.Key)
		}
	}
	return out
}

// errUnproved is of a signature under a key that is not valid now, where
// nothing proves that it was made when the key was.
var errUnproved = errors.New("and no verified timestamp says that it was made while it was")

// trust finds the anchor, of those under whose key a signature holds, that
// covers who signed and when. signed is when the signature is proved to have
// existed, zero where that is not known: then now counts. An error that is
// errUnproved says that no more than the proof of the time is lacking.
func trust(anchors []Anchor, identity string, signed, now time.Time) (Anchor, error) {
	refused, unproved := error(errBadSignature), error(nil)
	for _, a := range anchors {
		at, when := signed, "when it signed, "+stamp(signed)
		if at.IsZero() {
			at, when = now, "now, "+stamp(now)
		}
		switch {
		case a.Identity != "" && a.Identity != identity:
			refused = fmt.Errorf("key %s is trusted as %q, the statement says %q", a.Key.Fingerprint(), a.Identity, identity)
		case a.validAt(at):
			return a, nil
		case signed.IsZero():
			unproved = fmt.Errorf("key %s, valid %s, is not valid %s, %w", a.Key.Fingerprint(), a.validity(), when, errUnproved)
		default:
			refused = fmt.Errorf("key %s, valid %s, was not valid %s", a.Key.Fingerprint(), a.validity(), when)
		}
	}
	if unproved != nil {
		return Anchor{}, unproved
	}
	return Anchor{}, refused
}
