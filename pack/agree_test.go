package pack

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"trustpack/evidence"
)

// TestVerifiersAgree changes a pack at random, mostly in ways that keep the
// archive, the tree or the signatures right so that what lies deeper is asked,
// and demands that both verifiers give the same verdict for the same checks.
// TRUSTPACK_CHANGES sets how many, TRUSTPACK_CHANGES_SEED which.
func TestVerifiersAgree(t *testing.T) {
	rounds, seed := 400, uint64(1)
	if v := os.Getenv("TRUSTPACK_CHANGES"); v != "" {
		rounds = number(t, v)
	}
	if v := os.Getenv("TRUSTPACK_CHANGES_SEED"); v != "" {
		seed = uint64(number(t, v))
	}
	c := newChanger(t, rand.New(rand.NewPCG(seed, 4)))
	dir := t.TempDir()
	var made []vector
	for n := range rounds {
		how := changes()[n%len(changes())]
		pack, what := how(c)
		if pack == nil || bytes.Equal(pack, c.m.good) {
			continue
		}
		made = append(made, vector{Case: n, Name: "change", What: what, Anchors: c.m.anchors, pack: pack})
	}
	writeVectors(t, dir, made)
	reports := inNode(t, dir)
	for _, v := range made {
		o := v.options(t)
		o.Regenerate = nil // the JavaScript verifier makes nothing again
		ours, theirs := verifyBytes(v.pack, o), reports[v.file()]
		a, b := checksFailed(ours), checksFailed(theirs)
		if slices.Contains(a, checkFindings) { // what exceptions unreadable findings give is anybody's guess
			a, b = without(a, checkExceptions), without(b, checkExceptions)
		}
		if slices.Contains(a, checkCheckpoint) { // nor what wrong checkpoints prove
			a, b = without(without(a, checkConsistency), checkInclusion), without(without(b, checkConsistency), checkInclusion)
		}
		if ours.Exit == theirs.Exit && (slices.Equal(a, b) || slices.Contains(b, checkPackJSON) || slices.ContainsFunc(b, func(id string) bool { return unreadable(id) && slices.Contains(a, id) })) {
			continue
		}
		t.Errorf("round %d, %s: exit %d, %v; JavaScript: exit %d, %v\n%s%s", v.Case, v.What, ours.Exit, checksFailed(ours), theirs.Exit, checksFailed(theirs), failures(ours), failures(theirs))
	}
}

// unreadable tells the checks after which each verifier goes on as far as it
// can, and where the other need not.
func unreadable(id string) bool {
	return id == checkLayout || id == checkPackJSON || id == checkManifest
}

func without(list []string, id string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return s == id })
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// failures is what a report says failed, a line each.
func failures(r Report) string {
	var b strings.Builder
	for _, c := range r.Checks {
		if c.Status == Failed {
			fmt.Fprintf(&b, "\t%s %s: expected %s: %s\n", c.ID, c.Path, c.Expected, c.Actual)
		}
	}
	return b.String() + "\t--\n"
}

// changer changes a pack that a reviewer has signed too, or one of which files
// are withheld.
type changer struct {
	m    *vectorMaker
	rng  *rand.Rand
	from [][]byte
}

// base gives one of the packs that are changed.
func (c *changer) base() []byte { return c.from[c.rng.IntN(len(c.from))] }

func newChanger(t *testing.T, rng *rand.Rand) *changer {
	m := newVectorMaker(t)
	m.good = withSignatures(t, m.good, countersigned{role: roleReviewer, signer: m.reviewer}.as(t, "Anna Berg", packSum(t, m.good)))
	m.anchors.Keys = append(slices.Clone(m.anchors.Keys), m.key(roleReviewer, m.reviewer))
	var raw []string
	for _, e := range entriesOf(t, m.good) {
		if strings.Contains(e.name, "/raw/") || strings.HasSuffix(e.name, "/entries/3.entry") {
			raw = append(raw, e.name)
		}
	}
	return &changer{m, rng, [][]byte{m.good, m.good, takenOut(t, m.good, m.vendor, raw...)}}
}

func changes() []func(*changer) ([]byte, string) {
	return []func(*changer) ([]byte, string){
		(*changer).content, (*changer).signedContent, (*changer).signedContent, (*changer).signedContent, (*changer).signedFolder, (*changer).list,
		(*changer).root, (*changer).manifest, (*changer).statement, (*changer).bytes,
	}
}

// content changes what one entry holds, and nothing that follows from it.
func (c *changer) content() ([]byte, string) {
	e := entriesOf(c.m.t, c.base())
	i := c.rng.IntN(len(e))
	e[i].body = c.text(e[i].body)
	return zipOf(c.m.t, e), "content of " + e[i].name
}

// signedContent changes a file under data/ as a vendor can who signs it.
func (c *changer) signedContent() ([]byte, string) {
	var what string
	pack := rebuild(c.m.t, content(c.m.t), c.m.vendor, func(b *builder) {
		var at []int
		for i, f := range b.files {
			if strings.HasPrefix(f.path, "data/") {
				at = append(at, i)
			}
		}
		f := &b.files[at[c.rng.IntN(len(at))]]
		what = "signed content of " + f.path
		f.set(c.text(f.body(c.m.t)))
	})
	return pack, what
}

// signedFolder gives a collection's folder another name, also where it is
// referred to.
func (c *changer) signedFolder() ([]byte, string) {
	var was, is string
	pack := rebuild(c.m.t, content(c.m.t), c.m.vendor, func(b *builder) {
		var records []string
		for _, f := range b.files {
			if dir, ok := strings.CutSuffix(f.path, "/evidence.json"); ok {
				records = append(records, dir)
			}
		}
		was = records[c.rng.IntN(len(records))]
		at := len(was) - 1 - c.rng.IntN(40)
		is = was[:at] + "x" + was[at+1:]
		for i := range b.files {
			f := &b.files[i]
			f.path = strings.Replace(f.path, was, is, 1)
			if strings.HasSuffix(f.path, referencesFile) {
				f.set(bytes.ReplaceAll(f.body(c.m.t), []byte(was), []byte(is)))
			}
		}
	})
	return pack, was + " is called " + is
}

// list changes which entries there are.
func (c *changer) list() ([]byte, string) {
	e := entriesOf(c.m.t, c.base())
	i, j := c.rng.IntN(len(e)), c.rng.IntN(len(e))
	name := e[i].name
	switch c.rng.IntN(5) {
	case 0:
		return zipOf(c.m.t, slices.Delete(e, i, i+1)), "without " + name
	case 1:
		return zipOf(c.m.t, slices.Insert(e, i, e[i])), name + " twice"
	case 2:
		e[i], e[j] = e[j], e[i]
		return zipOf(c.m.t, e), name + " changes places with " + e[i].name
	case 3:
		e[i].name = string(c.text([]byte(e[i].name)))
		return zipOf(c.m.t, e), fmt.Sprintf("%s is called %q", name, e[i].name)
	}
	e[i].body, e[j].body = e[j].body, e[i].body
	return zipOf(c.m.t, e), name + " holds what " + e[j].name + " held"
}

// root changes pack.json and signs it.
func (c *changer) root() ([]byte, string) {
	e := entriesOf(c.m.t, c.m.good)
	body := c.text(e[find(c.m.t, e, packJSONName)].body)
	return c.signRoot(e, body), "pack.json: " + string(body)
}

// signRoot puts another pack.json into entries, with the vendor's signatures
// over it and no others.
func (c *changer) signRoot(e []stored, packJSON []byte) []byte {
	e[find(c.m.t, e, packJSONName)].body = packJSON
	e = slices.DeleteFunc(e, func(s stored) bool { return strings.Contains(s.name, roleReviewer) })
	made, err := sign(packJSON, evidence.SHA256Hex(packJSON), "", c.m.vendor)
	if err != nil {
		c.m.t.Fatal(err)
	}
	for name, body := range made {
		e[find(c.m.t, e, name)].body = body
	}
	return zipOf(c.m.t, e)
}

// manifest changes a line of the manifest and signs the root that comes of it.
func (c *changer) manifest() ([]byte, string) {
	e := entriesOf(c.m.t, c.m.good)
	at := find(c.m.t, e, manifestName)
	lines := bytes.SplitAfter(bytes.TrimSuffix(e[at].body, []byte("\n")), []byte("\n"))
	i := c.rng.IntN(len(lines))
	lines[i] = c.text(lines[i])
	e[at].body = append(bytes.Join(lines, nil), '\n')
	var tree treeBuilder
	for line := range bytes.Lines(e[at].body) {
		tree.add(bytes.TrimSuffix(line, []byte("\n")))
	}
	h := tree.root()
	packJSON := e[find(c.m.t, e, packJSONName)].body
	packJSON = regexp.MustCompile(`"root":"[0-9a-f]{64}","size":[0-9]+`).ReplaceAll(packJSON, fmt.Appendf(nil, `"root":"%s","size":%d`, hex.EncodeToString(h[:]), tree.size))
	packJSON = regexp.MustCompile(`"files":[0-9]+`).ReplaceAll(packJSON, fmt.Appendf(nil, `"files":%d`, tree.size))
	return c.signRoot(e, packJSON), fmt.Sprintf("line %d of the manifest: %s", i+1, lines[i])
}

// statement changes what vendor or reviewer say, and signs it.
func (c *changer) statement() ([]byte, string) {
	e := entriesOf(c.m.t, c.m.good)
	role, signer := roleVendor, c.m.vendor
	if c.rng.IntN(2) == 0 {
		role, signer = roleReviewer, c.m.reviewer
	}
	at := find(c.m.t, e, bundleName(role, 1))
	var bundle struct {
		DSSEEnvelope struct {
			Payload []byte `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(e[at].body, &bundle); err != nil {
		c.m.t.Fatal(err)
	}
	payload := c.text(bundle.DSSEEnvelope.Payload)
	body, err := signBundle(payload, signer)
	if err != nil {
		return nil, ""
	}
	e[at].body = body
	return zipOf(c.m.t, e), "statement: " + string(payload)
}

// bytes changes the archive anywhere.
func (c *changer) bytes() ([]byte, string) {
	d := bytes.Clone(c.base())
	at := c.rng.IntN(len(d))
	d[at] ^= 1 << c.rng.IntN(8)
	return d, fmt.Sprintf("bit at %d", at)
}

var (
	jsonNumber = regexp.MustCompile(`[:\[,][0-9]+`)
	jsonString = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	jsonMember = regexp.MustCompile(`"[a-z_A-Z]+":(?:"(?:[^"\\]|\\.)*"|[0-9]+|true|\{[^{}]*\}|\[[^][]*\])`)
)

// text changes a text in one of many ways, JSON and lines among them.
func (c *changer) text(body []byte) []byte {
	s := string(body)
	pick := func(re *regexp.Regexp) []int {
		all := re.FindAllStringIndex(s, -1)
		if len(all) == 0 {
			return nil
		}
		return all[c.rng.IntN(len(all))]
	}
	any := func(list ...string) string { return list[c.rng.IntN(len(list))] }
	at := c.rng.IntN(len(s) + 1)
	switch c.rng.IntN(14) {
	case 0:
		if m := pick(jsonNumber); m != nil {
			return []byte(s[:m[0]+1] + any("0", "1", "-1", "1.0", "1e3", "01", "9007199254740991", "9007199254740993", "9223372036854775808", "18446744073709551616", `"1"`, "null", "true") + s[m[1]:])
		}
	case 1, 2:
		if m := pick(jsonString); m != nil {
			return []byte(s[:m[0]] + any(`""`, `" "`, `"x"`, `"\u001b"`, `"A"`, `"\ud800"`, `"\/"`, `"é"`, `"e\u0301"`, `"\u202e"`, `"\u00a0"`, `"../x"`, "null", "1", "{}", "[]", `"`+strings.Repeat("x", 300)+`"`) + s[m[1]:])
		}
	case 3, 4:
		m, n := pick(jsonString), pick(jsonString)
		if m != nil {
			return []byte(s[:m[0]] + s[n[0]:n[1]] + s[m[1]:])
		}
	case 5:
		if m := pick(jsonMember); m != nil {
			return []byte(strings.NewReplacer(",,", ",", "{,", "{", ",}", "}").Replace(s[:m[0]] + s[m[1]:]))
		}
	case 6:
		if m := pick(jsonMember); m != nil {
			return []byte(s[:m[0]] + any(`"a":1,`, `"zz":"",`, s[m[0]:m[1]]+",") + s[m[0]:])
		}
	case 7:
		if m := pick(jsonMember); m != nil {
			i := m[0] + strings.Index(s[m[0]:], ":") + 1
			return []byte(s[:i] + any("null", "0", `""`, "[]", "{}", "true", "false", "[null]", `["x"]`, `"2026-07-01T00:00:00Z"`, `"2026-07-01T00:00:00.10Z"`, `"2026-07-01T02:00:00+02:00"`) + s[m[1]:])
		}
	case 8, 9:
		lines := strings.SplitAfter(s, "\n")
		i, j := c.rng.IntN(len(lines)), c.rng.IntN(len(lines))
		switch c.rng.IntN(3) {
		case 0:
			lines = slices.Delete(lines, i, i+1)
		case 1:
			lines = slices.Insert(lines, i, lines[j])
		default:
			lines[i], lines[j] = lines[j], lines[i]
		}
		return []byte(strings.Join(lines, ""))
	case 10:
		return []byte(s[:at])
	case 11:
		return []byte(s + any("\n", " ", "x", "{}", "\x00", "\ufeff"))
	case 12:
		return []byte(s[:at] + any(" ", "\n", "\x00", "0", "a", "Z", "=", "\xff", ",", "\r") + s[at:])
	}
	if at < len(s) {
		b := []byte(s)
		b[at] ^= 1 << c.rng.IntN(8)
		return b
	}
	return []byte(s + "\n")
}

// TestChangesAreMany: the rounds of TestVerifiersAgree reach most checks.
func TestChangesAreMany(t *testing.T) {
	c := newChanger(t, rand.New(rand.NewPCG(1, 4)))
	seen := map[string]bool{}
	for n := range 400 {
		if pack, _ := changes()[n%len(changes())](c); pack != nil {
			for _, id := range checksFailed(verifyBytes(pack, vector{Anchors: c.m.anchors}.options(t))) {
				seen[id] = true
			}
		}
	}
	if len(seen) < 18 {
		t.Errorf("only %d checks fail in all of them: %v", len(seen), seen)
	}
}
