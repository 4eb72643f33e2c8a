package pack

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var bundlePath = regexp.MustCompile(`^signatures/(vendor|reviewer|auditor)-([1-9][0-9]{0,2})\.sigstore\.json$`)

// isSignature reports whether a name in signatures/ is one that may be there.
func isSignature(name string) bool { return name == sshsigName || bundlePath.MatchString(name) }

// checkSignatures checks every signature of the pack over pack.json.
func (v *verifier) checkSignatures() {
	if v.c.packJSON == nil {
		return
	}
	numbers := map[string][]int{}
	for _, name := range v.c.Paths() {
		if m := bundlePath.FindStringSubmatch(name); m != nil {
			n, _ := strconv.Atoi(m[2]) // the pattern lets only numbers through
			numbers[m[1]] = append(numbers[m[1]], n)
		}
	}
	named, namedOK := v.checkSSH()
	for _, role := range roles() {
		id := checkSigPrefix + role
		slices.Sort(numbers[role])
		for i, n := range numbers[role] {
			if n != i+1 {
				v.res.fail(id, bundleName(role, n), "numbers from 1 without a gap", fmt.Sprintf("%s is missing", bundleName(role, i+1)))
				break
			}
		}
		switch {
		case len(numbers[role]) > 0:
			for _, n := range numbers[role] {
				v.checkBundle(role, bundleName(role, n), named, namedOK)
			}
		case role == roleVendor:
			v.res.fail(id, bundleName(role, 1), "the vendor's signature", "it is missing")
		default:
			v.res.skip(id, "", "no such signature in the pack")
		}
	}
	v.matchSSH(named, namedOK)
}

// checkBundle checks one signature of a role. named is the key that the SSH
// signature names and holds under: with no pinned key it still tells a changed
// pack from a whole one, though not who made it.
func (v *verifier) checkBundle(role, name string, named PublicKey, namedOK bool) {
	id := checkSigPrefix + role
	data, err := v.c.a.read(name, maxSignatureBundle)
	if err != nil {
		v.res.fail(id, name, "a signature bundle", err.Error())
		return
	}
	b, err := parseBundle(data)
	if err != nil {
		v.res.fail(id, name, "a Sigstore bundle v0.3 in canonical form", err.Error())
		return
	}
	if err := checkStatement(b.payload, role, v.packSHA256); err != nil {
		if errors.Is(err, errOtherPack) {
			name = packJSONName
		}
		v.res.fail(id, name, "an in-toto statement over this pack.json", err.Error())
		return
	}
	pinned := v.pinned(role)
	if len(pinned) == 0 {
		if role == roleVendor && namedOK {
			if _, err := b.verify([]PublicKey{named}); err != nil {
				v.res.fail(id, name, "a signature by the key that made the SSH signature, "+named.Fingerprint(), err.Error())
				return
			}
		}
		v.res.skip(id, name, fmt.Sprintf("no key of the %s was given; its hint says %q", role, b.hint))
		return
	}
	key, err := b.verify(pinned)
	if err != nil {
		v.res.fail(id, name, "a signature by "+fingerprints(pinned), err.Error())
		return
	}
	v.signedBy[role] = append(v.signedBy[role], key)
	v.res.pass(id, fmt.Sprintf("%s by %s", key.Type(), key.Fingerprint()))
}

// checkSSH checks the SSH signature under the key that it names, which says
// only whether pack.json is what that key signed.
func (v *verifier) checkSSH() (PublicKey, bool) {
	armored, err := v.c.a.read(sshsigName, maxSignatureBundle)
	if err != nil {
		v.res.fail(checkSSHSig, sshsigName, "the vendor's SSH signature", err.Error())
		return PublicKey{}, false
	}
	_, named, err := parseSSH(armored)
	if err == nil {
		err = verifySSH(v.c.packJSON, armored, named)
	}
	if err != nil {
		v.res.fail(checkSSHSig, sshsigName, "an SSH signature over this pack.json", err.Error())
		return PublicKey{}, false
	}
	return named, true
}

// matchSSH demands that the SSH signature is by a pinned key of the vendor.
func (v *verifier) matchSSH(named PublicKey, ok bool) {
	pinned := v.pinned(roleVendor)
	switch {
	case !ok:
	case len(pinned) == 0:
		v.res.skip(checkSSHSig, sshsigName, "no key of the vendor was given; it names "+named.Fingerprint())
	case !slices.ContainsFunc(pinned, named.Equal):
		v.res.fail(checkSSHSig, sshsigName, "a signature by "+fingerprints(pinned), "it is by "+named.Fingerprint())
	default:
		v.res.pass(checkSSHSig, fmt.Sprintf("%s, namespace %s", named.Fingerprint(), SSHNamespace))
	}
}

func fingerprints(keys []PublicKey) string {
	var out []string
	for _, k := range keys {
		out = append(out, k.Fingerprint())
	}
	return strings.Join(out, " or ")
}

// checkRoles demands a signature of each required role, each by its own key.
func (v *verifier) checkRoles(haveRoot bool) {
	required := []string{roleVendor}
	if haveRoot {
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
	holder := map[string]string{}
	for _, role := range roles() {
		for _, key := range v.signedBy[role] {
			if other, ok := holder[key.Fingerprint()]; ok {
				v.res.fail(checkRoles, "", "a key of its own for each signature", fmt.Sprintf("%s signed as %s and as %s", key.Fingerprint(), other, role))
			}
			holder[key.Fingerprint()] = role
		}
	}
	if whole {
		v.res.pass(checkRoles, strings.Join(required, ", "))
	}
}
