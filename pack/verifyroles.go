package pack

import (
	"fmt"
	"strings"
)

// checkRoles demands a signature of each required role, each by its own key
// and by somebody else. Keys and identities are held apart for every
// signature that is over this pack.json, whether a key was given for it or not.
func (v *verifier) checkRoles(haveRoot bool) {
	required := []string{roleVendor}
	if haveRoot && !v.unfinished {
		required = append(required, v.c.root.RequiredRoles...)
	}
	required = sortedSet(append(required, v.o.RequireRoles...))
	whole := true
	for _, role := range required {
		if len(v.signedBy[role]) > 0 {
			continue
		}
		whole = false
		v.res.skip(checkRoles, "", fmt.Sprintf("%s: no signature that a given key verifies", role))
	}
	byKey, byName := map[string]string{}, map[string]string{}
	for _, sig := range v.claims {
		key, name := sig.bundle.hint, foldCase(sig.said.identity)
		if other, ok := byKey[key]; ok {
			v.res.fail(checkRoles, sig.name, "a key of its own for each signature", fmt.Sprintf("%s signed %s too", key, other))
		}
		if other, ok := byName[name]; ok && name != "" {
			v.res.fail(checkRoles, sig.name, "somebody else for each signature", fmt.Sprintf("%q signed %s too", sig.said.identity, other))
		}
		byKey[key], byName[name] = sig.name, sig.name
	}
	if whole {
		v.res.pass(checkRoles, strings.Join(required, ", "))
	}
}

// foldCase makes texts equal that differ but in the case of A to Z, which any
// other verifier can do too; further alphabets are compared as they are.
func foldCase(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
