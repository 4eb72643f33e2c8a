package pack

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// heldSignature is a role's signature over this pack.json whose form is
// right.
type heldSignature struct {
	role, name string
	bundle     openedBundle
	said       said
	anchors    []Anchor // those given for the role under whose key it holds
}

// readSignatures reads every signature of the pack and checks its
// mathematics. Whether a key was good when it signed is asked later, by
// judgeSignatures, when the times of signing are known.
func (v *verifier) readSignatures() {
	if v.c.packJSON == nil {
		return
	}
	v.checkSSH()
	for _, role := range roles() {
		id := checkSigPrefix + role
		numbers := v.c.bundleNumbers(role)
		if gap := gapIn(numbers); gap > 0 {
			v.res.fail(id, bundleName(role, numbers[gap-1]), "numbers from 1 without a gap", bundleName(role, gap)+" is missing")
		}
		switch {
		case len(numbers) > 0:
			for _, n := range numbers {
				v.readBundle(role, bundleName(role, n))
			}
		case role == roleVendor:
			v.res.fail(id, bundleName(role, 1), "the vendor's signature", "it is missing")
		default:
			v.res.skip(id, "", "no such signature in the pack")
		}
	}
}

// readBundle checks the form of one signature of a role, and its mathematics
// under the keys given for the role.
func (v *verifier) readBundle(role, name string) {
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
	says, err := checkStatement(b.payload, role, v.packSHA256)
	if err != nil {
		if errors.Is(err, errOtherPack) {
			name = packJSONName
		}
		v.res.fail(id, name, "an in-toto statement over this pack.json for role "+role, err.Error())
		return
	}
	sig := heldSignature{role: role, name: name, bundle: b, said: says}
	v.claims = append(v.claims, sig)
	pinned := v.o.anchors(role)
	if len(pinned) > 0 {
		key, err := b.verify(keysOf(pinned))
		if err != nil {
			v.res.fail(id, name, "a signature by "+fingerprints(keysOf(pinned)), err.Error())
			return
		}
		sig.anchors = slices.DeleteFunc(pinned, func(a Anchor) bool { return !a.Key.Equal(key) })
	}
	v.signatures = append(v.signatures, sig)
}

// signedAt gives the time at which the signature in a bundle is proved to
// have existed, by a timestamp that was verified under the given roots.
func (v *verifier) signedAt(bundle string) (time.Time, bool) {
	t, ok := v.genTimes[bundle]
	return t, ok
}

// judgeSignatures asks of each signature whether an anchor covers who signed
// and when.
func (v *verifier) judgeSignatures() {
	passed := map[string][]string{}
	for _, sig := range v.signatures {
		id := checkSigPrefix + sig.role
		if len(sig.anchors) == 0 {
			v.judgeWithoutKey(id, sig)
			continue
		}
		at, _ := v.signedAt(sig.name)
		anchor, err := trust(sig.anchors, sig.said.identity, at, v.now)
		switch {
		case errors.Is(err, errUnproved):
			v.res.skip(id, sig.name, err.Error())
		case err != nil:
			v.res.fail(id, sig.name, "a signature by a key that is given for who signed and when", err.Error())
		default:
			v.signedBy[sig.role] = append(v.signedBy[sig.role], anchor.Key)
			passed[id] = append(passed[id], fmt.Sprintf("%s by %s%s", anchor.Key.Type(), anchor.Key.Fingerprint(), sig.said.asWhom()))
			v.res.pass(id, strings.Join(passed[id], "; "))
		}
	}
	v.judgeSSH()
}

func (s said) asWhom() string {
	if s.identity == "" {
		return ""
	}
	return ", who says to be " + s.identity
}

// judgeWithoutKey is for a role that no key was given for. The key that the
// SSH signature names still tells a changed pack from a whole one, though not
// who made it.
func (v *verifier) judgeWithoutKey(id string, sig heldSignature) {
	if sig.role == roleVendor {
		if _, err := sig.bundle.verify([]PublicKey{v.sshNamed}); err != nil {
			v.res.fail(id, sig.name, strings.TrimSpace("a signature by the key that the SSH signature names "+v.sshNamed.Fingerprint()), err.Error())
			return
		}
	}
	v.res.skip(id, sig.name, fmt.Sprintf("no key of the %s was given; its hint says %q", sig.role, sig.bundle.hint))
}

// checkSSH checks the SSH signature under the key that it names, which says
// only whether pack.json is what that key signed.
func (v *verifier) checkSSH() {
	armored, err := v.c.a.read(sshsigName, maxSignatureBundle)
	if err != nil {
		v.res.fail(checkSSHSig, sshsigName, "the vendor's SSH signature", err.Error())
		return
	}
	_, named, err := parseSSH(armored)
	if err == nil {
		v.sshNamed = named
		err = verifySSH(v.c.packJSON, armored, named)
	}
	if err != nil {
		v.res.fail(checkSSHSig, sshsigName, "an SSH signature over this pack.json", err.Error())
		return
	}
	v.sshKey = named
}

// judgeSSH demands that the SSH signature is by a given key of the vendor,
// good at the time at which the same key made the vendor's bundle: it says
// nothing that the bundle does not say, and has no time of its own.
func (v *verifier) judgeSSH() {
	if v.sshKey.IsZero() {
		return
	}
	pinned := v.o.anchors(roleVendor)
	mine := slices.DeleteFunc(slices.Clone(pinned), func(a Anchor) bool { return !a.Key.Equal(v.sshKey) })
	var at time.Time
	var says said
	for _, sig := range v.signatures {
		if sig.role == roleVendor && sig.bundle.hint == v.sshKey.Fingerprint() && len(sig.anchors) > 0 {
			at, _ = v.signedAt(sig.name)
			says = sig.said
		}
	}
	switch {
	case len(pinned) == 0:
		v.res.skip(checkSSHSig, sshsigName, "no key of the vendor was given; it names "+v.sshKey.Fingerprint())
		return
	case len(mine) == 0:
		v.res.fail(checkSSHSig, sshsigName, "a signature by "+fingerprints(keysOf(pinned)), "it is by "+v.sshKey.Fingerprint())
		return
	}
	_, err := trust(mine, says.identity, at, v.now)
	switch {
	case errors.Is(err, errUnproved):
		v.res.skip(checkSSHSig, sshsigName, err.Error())
	case err != nil:
		v.res.fail(checkSSHSig, sshsigName, "a signature by a key that is given for who signed and when", err.Error())
	default:
		v.res.pass(checkSSHSig, fmt.Sprintf("%s, namespace %s", v.sshKey.Fingerprint(), SSHNamespace))
	}
}

func fingerprints(keys []PublicKey) string {
	var out []string
	for _, k := range keys {
		out = append(out, k.Fingerprint())
	}
	return strings.Join(out, " or ")
}
