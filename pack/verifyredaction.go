package pack

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Withheld is what one redaction took out of a pack, of one class and for one
// reason.
type Withheld struct {
	Class  string `json:"class"`  // path with what names an item, a collection or a reply as "*"
	Reason string `json:"reason"` // as who redacted states it
	By     string `json:"by"`     // who he says to be
	Signed bool   `json:"signed"` // under a key that was given
	Files  int    `json:"files"`
}

// checkRedactions demands that each redacted line of the manifest is in just
// one list, and each list signed by somebody whose key was given for any role.
func (v *verifier) checkRedactions() {
	paths := v.c.Paths()
	lists, bundles := numbersOf(paths, redactionPath), numbersOf(paths, redactionBundle)
	if len(lists)+len(bundles)+len(v.c.redacted) == 0 {
		v.res.pass(checkRedaction, "nothing is withheld")
		return
	}
	v.redacts = true
	if gap := gapIn(lists); gap > 0 {
		v.res.fail(checkSet, redactionList(lists[gap-1]), "numbers from 1 without a gap", redactionList(gap)+" is missing")
	}
	for _, n := range bundles {
		if !slices.Contains(lists, n) {
			v.res.fail(checkRedaction, redactionSig(n), "the list that it signs", redactionList(n)+" is missing")
		}
	}
	for _, n := range lists {
		v.checkRedactionList(n)
	}
	for _, w := range v.c.redacted {
		if w.reason == "" {
			v.res.fail(checkRedaction, manifestName, fmt.Sprintf("a signed redaction that says why line %d is withheld", w.index+1), "none does")
		}
	}
	v.res.pass(checkRedaction, v.withheldText())
}

// checkRedactionList checks one redaction's list and signature.
func (v *verifier) checkRedactionList(n int) {
	name := redactionList(n)
	data, err := v.c.a.read(name, maxRedactionList)
	var lines []redactedLine
	if err == nil {
		lines, err = parseRedactionList(data)
	}
	if err != nil {
		v.res.fail(checkRedaction, name, "one strict JSON line for each line of the manifest that was taken out", err.Error())
		return
	}
	for _, l := range lines {
		at, ok := slices.BinarySearchFunc(v.c.redacted, l.Index, func(w withheldLine, index int64) int { return cmp.Compare(w.index, index) })
		switch {
		case !ok:
			v.res.fail(checkRedaction, name, fmt.Sprintf("line %d of the manifest taken out", l.Index+1), "it is not")
			continue
		case v.c.redacted[at].leaf != l.Leaf:
			v.res.fail(checkRedaction, name, fmt.Sprintf("the leaf of line %d of the manifest, %s", l.Index+1, v.c.redacted[at].leaf), l.Leaf)
			continue
		case v.c.redacted[at].reason != "":
			v.res.fail(checkRedaction, name, "each line in one redaction", fmt.Sprintf("line %d of the manifest is in another one too", l.Index+1))
			continue
		}
		v.c.redacted[at].class, v.c.redacted[at].reason = l.Class, l.Reason
	}
	by, signed := v.checkRedactionSignature(n, len(lines), data)
	for _, l := range lines {
		v.addWithheld(Withheld{Class: clean(l.Class), Reason: clean(l.Reason), By: clean(by), Signed: signed})
	}
}

// addWithheld counts a line among those of its kind.
func (v *verifier) addWithheld(w Withheld) {
	w.Files = 0
	at, ok := v.withheldAt[w]
	if !ok {
		at = len(v.report.Withheld)
		v.withheldAt[w] = at
		v.report.Withheld = append(v.report.Withheld, w)
	}
	v.report.Withheld[at].Files++
}

// checkRedactionSignature says who signed the list, and whether a given key
// says so.
func (v *verifier) checkRedactionSignature(n, count int, list []byte) (by string, signed bool) {
	name := redactionSig(n)
	fail := func(expected string, err error) (string, bool) {
		v.res.fail(checkRedaction, name, expected, err.Error())
		return by, false
	}
	data, err := v.c.a.read(name, maxSignatureBundle)
	if err != nil {
		return fail("the signature of "+redactionList(n), err)
	}
	b, err := parseBundle(data)
	if err != nil {
		return fail("a Sigstore bundle v0.3 in canonical form", err)
	}
	if by, err = checkRedactionStatement(b.payload, v.packSHA256, count, list); err != nil {
		return fail("a statement over this pack.json and the list beside it", err)
	}
	var pinned []Anchor
	for _, role := range roles() {
		pinned = append(pinned, v.o.anchors(role)...)
	}
	pinned = slices.DeleteFunc(pinned, func(a Anchor) bool { return a.Key.Fingerprint() != b.hint })
	if len(pinned) == 0 {
		v.res.skip(checkRedaction, name, fmt.Sprintf("no key was given that verifies it: who withholds cannot be told; its hint says %q", b.hint))
		return by, false
	}
	if _, err := b.verify(keysOf(pinned)); err != nil {
		return fail("a signature by "+fingerprints(keysOf(pinned)), err)
	}
	_, err = trust(pinned, by, time.Time{}, v.now)
	switch {
	case errors.Is(err, errUnproved):
		v.res.skip(checkRedaction, name, err.Error())
		return by, false
	case err != nil:
		return fail("a signature by a key that is given for who signed and when", err)
	}
	return by, true
}

// withheldText lists what is withheld.
func (v *verifier) withheldText() string {
	var out []string
	for _, w := range v.report.Withheld {
		out = append(out, w.String())
	}
	return strings.Join(out, "; ")
}

// String is one line: "2 files of data/…/raw/*, by Anna Berg: why".
func (w Withheld) String() string {
	unsigned := ""
	if !w.Signed {
		unsigned = " (not verified)"
	}
	return fmt.Sprintf("%s of %s, by %s%s: %s", countFiles(w.Files), w.Class, w.By, unsigned, w.Reason)
}
