package pack

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/evidence"
)

// Redaction is what is to be taken out of a finished pack.
type Redaction struct {
	Paths    []string // globs over the manifest's paths: "*" and "?" within a segment, "**" across
	Reason   string   // one line, 1 to 200 bytes
	Identity string   // who redacts: one line, 1 to 200 bytes
	Time     time.Time
}

// Redacted says what Redact has taken out.
type Redacted struct {
	Name    string         // of the signed list, signatures/redaction-<n>.jsonl
	Classes map[string]int // files by class
	MayHold map[string]int // files still there that may hold the same content, by class
}

// UnredactableError names files that a redaction would take out and cannot.
type UnredactableError struct {
	Files map[string]error // why, by path
}

func (e *UnredactableError) Error() string {
	const most = 10
	var out []string
	for i, path := range slices.Sorted(maps.Keys(e.Files)) {
		if i == most {
			out = append(out, fmt.Sprintf("and %d more", len(e.Files)-most))
			break
		}
		out = append(out, path+": "+e.Files[path].Error())
	}
	return "these files cannot be withheld: " + strings.Join(out, "; ")
}

// Redact writes to w the pack in r, of size bytes, without the files that c
// names: their lines become leaf hashes, so that the tree's root and every
// signature hold, and s signs what was taken out and why. It refuses a pack in
// which anything is wrong, with NotVerifiedError, and files that the pack
// cannot be verified without, with UnredactableError. What a failing w has
// taken is no pack.
func Redact(w io.Writer, r io.ReaderAt, size int64, limits Limits, c Redaction, s Signer) (Redacted, error) {
	done, err := redact(w, r, size, limits, c, s)
	if err != nil {
		return Redacted{}, fmt.Errorf("redacting: %w", err)
	}
	return done, nil
}

func redact(w io.Writer, r io.ReaderAt, size int64, limits Limits, c Redaction, s Signer) (Redacted, error) {
	if err := errors.Join(namedError("reason", checkText(c.Reason)), namedError("identity", checkText(c.Identity))); err != nil {
		return Redacted{}, err
	}
	v := newVerifier(r, size, VerifyOptions{Limits: limits})
	v.unfinished = true
	if report := v.run(); report.Exit == 1 || report.Exit == 2 {
		return Redacted{}, &NotVerifiedError{report}
	}
	chosen, err := v.c.choose(c.Paths)
	if err != nil {
		return Redacted{}, err
	}
	return v.takeOut(w, chosen, c, s)
}

// takeOut writes the pack without the chosen files.
func (v *verifier) takeOut(w io.Writer, chosen map[string]bool, c Redaction, s Signer) (Redacted, error) {
	n := len(numbersOf(v.c.Paths(), redactionPath)) + 1
	if n > maxNumber {
		return Redacted{}, errors.New("the pack has as many redactions as it can")
	}
	cut, err := v.c.cutManifest(chosen, c.Reason)
	if err != nil {
		return Redacted{}, err
	}
	payload, err := redactionStatement(v.packSHA256, c.Identity, c.Time, len(chosen), cut.list)
	if err != nil {
		return Redacted{}, err
	}
	put := map[string][]byte{redactionList(n): cut.list, manifestName: cut.manifest, payloadManifestName: cut.sums,
		bagInfoName: bagInfo(v.c.root, cut.files, cut.bytes)}
	if put[redactionSig(n)], err = signBundle(payload, s); err != nil {
		return Redacted{}, err
	}
	tags := map[string]string{}
	for name, sum := range v.tags {
		if inTagManifest(name) {
			tags[name] = hex32(sum)
		}
	}
	for name, body := range put {
		if inTagManifest(name) {
			tags[name] = evidence.SHA256Hex(body)
		}
	}
	put[tagManifestName] = tagManifest(tags)
	done := Redacted{Name: redactionList(n), Classes: map[string]int{}, MayHold: v.c.mayHold(chosen, cut)}
	for path := range chosen {
		done.Classes[classOf(path)]++
	}
	return done, v.c.a.copyWith(w, put, chosen)
}

func namedError(name string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// choose gives the paths of the manifest that the globs match, each of which
// must match one.
func (c *Contents) choose(globs []string) (map[string]bool, error) {
	if len(globs) == 0 {
		return nil, errors.New("no path is given")
	}
	chosen, refused := map[string]bool{}, map[string]error{}
	for _, glob := range globs {
		pattern := globPattern(glob)
		found := false
		for i := range c.a.files {
			f := &c.a.files[i]
			if !f.listed || !pattern.MatchString(f.name) {
				continue
			}
			found = true
			if err := mayRedact(f.name); err != nil {
				refused[f.name] = err
			}
			chosen[f.name] = true
		}
		if !found {
			return nil, fmt.Errorf("no file of the manifest matches %q", glob)
		}
	}
	if len(refused) > 0 {
		return nil, &UnredactableError{refused}
	}
	return chosen, nil
}

// globPattern reads a glob: "*" and "?" stand for what is within a segment,
// "**" for anything.
func globPattern(glob string) *regexp.Regexp {
	var b strings.Builder
	for rest := glob; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "**"):
			b.WriteString(".*")
			rest = rest[2:]
		case rest[0] == '*':
			b.WriteString("[^/]*")
			rest = rest[1:]
		case rest[0] == '?':
			b.WriteString("[^/]")
			rest = rest[1:]
		default:
			r, size := utf8.DecodeRuneInString(rest)
			b.WriteString(regexp.QuoteMeta(string(r)))
			rest = rest[size:]
		}
	}
	return regexp.MustCompile("^(?s:" + b.String() + ")$") // of quoted text and the three above
}

// cutOut is what follows from the manifest when lines are taken out.
type cutOut struct {
	manifest, list, sums []byte
	files, bytes         int64 // of data/ that are left
	left                 []Line
	taken                map[string]bool // digests of what was taken out
}

// cutManifest replaces the lines of the chosen files by their leaf hashes.
func (c *Contents) cutManifest(chosen map[string]bool, reason string) (cutOut, error) {
	i, _ := c.a.find(manifestName)
	in, err := c.a.body(&c.a.files[i])
	if err != nil {
		return cutOut{}, err
	}
	out := cutOut{taken: map[string]bool{}}
	var failed error
	err = readManifest(in, func(n int, raw []byte, l Line, err error) {
		failed = errors.Join(failed, err)
		switch {
		case l.leaf != "":
		case chosen[l.Path]:
			leaf := tlog.RecordHash(raw)
			line, err := evidence.CanonicalJSON(redactedLine{classOf(l.Path), int64(n - 1), hex.EncodeToString(leaf[:]), reason})
			failed = errors.Join(failed, err)
			out.list = append(append(out.list, line...), '\n')
			raw = fmt.Appendf(nil, `{"leaf":"%x"}`, leaf[:])
			out.taken[l.SHA256] = true
		default:
			if inPayload(l.Path) {
				out.sums = append(out.sums, checksumLine(l.SHA256, l.Path)...)
				out.files, out.bytes = out.files+1, out.bytes+l.Size
			}
			out.left = append(out.left, Line{Path: l.Path, SHA256: l.SHA256, Provenance: l.Provenance, Controls: l.Controls, DerivedFrom: l.DerivedFrom})
		}
		out.manifest = append(append(out.manifest, raw...), '\n')
	})
	return out, errors.Join(failed, err)
}

// mayHold counts, by class, the files left that may repeat what the chosen
// ones say: those of the very same bytes, those of the same collections, the
// findings of controls that cite them and the exceptions, everything derived,
// entries of logs, and samples.
func (c *Contents) mayHold(chosen map[string]bool, cut cutOut) map[string]int {
	dirs, controls := map[string]bool{}, map[string]bool{}
	for path := range chosen {
		if m := besideRecord.FindStringSubmatch(path); m != nil {
			dirs[strings.TrimSuffix(path, m[2])] = true
		}
	}
	for _, l := range c.collections {
		if dirs[l.dir] {
			for _, id := range l.line.Controls {
				controls[id] = true
			}
		}
	}
	out := map[string]int{}
	for _, l := range cut.left {
		segments := strings.Split(l.Path, "/")
		switch {
		case cut.taken[l.SHA256], len(l.DerivedFrom) > 0, strings.HasPrefix(l.Path, "data/statements/"):
		case strings.HasPrefix(l.Path, dataDir+"log/") && logEntries.MatchString(l.Path):
		case len(dirs) > 0 && l.Path == exceptionsName:
		case isJudged(l.Path) && strings.HasSuffix(l.Path, "/"+findingsFile) && controls[segments[2]]:
		case l.Provenance != "" && inOneOf(dirs, l.Path):
		default:
			continue
		}
		out[classOf(l.Path)]++
	}
	for _, name := range c.Paths() {
		if samplePath.MatchString(name) || worksheetPath.MatchString(name) {
			out[name]++
		}
	}
	return out
}

func inOneOf(dirs map[string]bool, path string) bool {
	for at := strings.LastIndexByte(path, '/'); at > 0; at = strings.LastIndexByte(path[:at], '/') {
		if dirs[path[:at+1]] {
			return true
		}
	}
	return false
}
