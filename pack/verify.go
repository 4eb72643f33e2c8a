package pack

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"trustpack/evidence"
	"trustpack/ledger"
)

// VerifyOptions are the anchors of a verification, all from outside the pack,
// and what it may cost.
type VerifyOptions struct {
	Name         string              // of the pack, for the report
	Keys         []PublicKey         // the vendor's, whatever he calls himself and for all time; without a key of the vendor the verdict is inconclusive at best
	Anchors      []Anchor            // further keys, of any role
	RequireRoles []string            // beyond those that pack.json requires
	LogKeys      []string            // verifier keys of logs, "<origin>+<hash>+<base64>"
	Witnesses    []string            // verifier keys of witnesses of logs, "<name>+<hash>+<base64>" of algorithm 4
	TSARoots     []*x509.Certificate // of time stamp authorities; none: timestamps are said to be unchecked
	Now          time.Time           // when keys must be valid whose signature has no verified timestamp; zero: time.Now()
	Limits       Limits

	// State gives the last pack that was accepted of an organisation's system,
	// nil where none was. nil: said to be unchecked.
	State func(organisation, system string) (*Accepted, error)
	// Reevaluate judges the pack's evidence again by the pack's own catalog;
	// the outcomes must be those of the pack. nil: said to be unchecked.
	Reevaluate func(*Contents) ([]evidence.Finding, error)
	// Regenerate makes derived files (reports, workbook) again, by path; each
	// must be the pack's byte for byte. nil, or a path left out: said to be
	// unchecked.
	Regenerate func(*Contents) (map[string][]byte, error)
}

// verifier carries one verification.
type verifier struct {
	o      VerifyOptions
	r      io.ReaderAt
	size   int64
	ioErr  *ioWatch
	res    *results
	c      Contents
	report Report

	packSHA256    string
	payload       payloadSums
	manifest      *sums               // of manifest.jsonl, where it was read
	tags          map[string][32]byte // SHA-256 of what is not payload
	next          int                 // of the archive's files, the one that the manifest's next line should be of
	collections   map[[32]byte]int    // by ID
	logs          logBook
	tiles         *openLog               // whose tiles were read last
	sshNamed      PublicKey              // that the SSH signature names, whether it holds or not
	sshKey        PublicKey              // under which the SSH signature holds; zero where it does not
	claims        []heldSignature        // of right form, by role and number, whether they hold or not
	signatures    []heldSignature        // those of them that hold, or for whose role no key was given
	genTimes      map[string]time.Time   // of verified timestamps, by the name of the bundle beside
	signedBy      map[string][]PublicKey // by role, keys whose signature held when it counts
	now           time.Time
	lastCollected time.Time         // the latest collected_at of the manifest
	unfinished    bool              // the roles that pack.json requires need not have signed yet
	redacts       bool              // something is withheld, or is said to be
	withheldAt    map[Withheld]int  // where the report has what is withheld alike; without its count
	cosigned      bool              // a witness given has cosigned a checkpoint of a log
	carriesSample bool              // samples are in the pack, so that their check is required
	logKeys       map[string]string // by origin
	accepted      *Accepted         // what is kept of the pack if all is well
}

// ioWatch remembers the first error of the medium, which is no fault of the
// pack's.
type ioWatch struct {
	r   io.ReaderAt
	err error
}

func (w *ioWatch) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.r.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) && w.err == nil {
		w.err = err
	}
	return n, err
}

func newVerifier(r io.ReaderAt, size int64, o VerifyOptions) *verifier {
	watch := &ioWatch{r: r}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	return &verifier{
		tags: map[string][32]byte{}, collections: map[[32]byte]int{},
		now: o.Now, genTimes: map[string]time.Time{}, withheldAt: map[Withheld]int{},
		o: o, r: watch, size: size, ioErr: watch, res: newResults(), report: Report{Pack: clean(o.Name)},
		signedBy: map[string][]PublicKey{}, logKeys: map[string]string{}, c: Contents{stages: map[evidence.Stage]Totals{}},
	}
}

// Verify checks the pack in r, of size bytes, against the anchors in o. It
// reports every failure that it can reach, and believes nothing that the pack
// says of itself.
//
// It reads the archive once from its beginning to its end, in a stream, after
// the directory and manifest.jsonl. Read once more are only pack.json, the
// signatures, controls, findings and references, the list of exceptions, a
// log's checkpoints, histories, tiles of hashes and single entries, and whatever
// the hooks of o ask for: populations and records, where controls are applied
// again. Memory grows with the number of files (about 100 bytes each, and their
// names), not with their sizes; a file that must be parsed whole is in memory
// while it is.
func Verify(r io.ReaderAt, size int64, o VerifyOptions) Report {
	return newVerifier(r, size, o).run()
}

func (v *verifier) run() Report {
	if v.checkOptions() && v.scan() {
		haveRoot := v.readRoot()
		v.readSignatures()
		v.checkTimestamps()
		v.judgeSignatures()
		v.checkRoles(haveRoot)
		haveManifest := haveRoot && v.readManifest()
		if haveManifest {
			v.checkRedactions()
			v.concludeTimestamps()
			v.openLogs()
		}
		v.readFiles(haveManifest)
		if haveManifest {
			v.checkBagit()
			v.concludeLogs()
			v.checkWitnesses()
			v.checkChain()
			v.concludeEvidence()
			v.checkFindings()
			v.checkSamples()
			v.checkAgain()
		}
	}
	return v.conclude()
}

// checkOptions refuses anchors that make no sense.
func (v *verifier) checkOptions() bool {
	bad := func(format string, args ...any) { v.res.fail(checkOptions, "", "", fmt.Sprintf(format, args...)) }
	for _, role := range v.o.RequireRoles {
		if PredicateType(role) == "" {
			bad("role %q: want one of %s", role, strings.Join(roles(), ", "))
		}
	}
	if slices.ContainsFunc(v.o.Keys, PublicKey.IsZero) {
		bad("an empty key for role %s", roleVendor)
	}
	for _, a := range v.o.Anchors {
		if err := a.check(); err != nil {
			bad("%v", err)
		}
	}
	for _, vkey := range v.o.LogKeys {
		verifier, err := note.NewVerifier(strings.TrimSpace(vkey))
		if err != nil {
			bad("log key %q: %v: want <origin>+<hash>+<base64>", vkey, err)
			continue
		}
		v.logKeys[verifier.Name()] = strings.TrimSpace(vkey)
	}
	for _, vkey := range v.o.Witnesses {
		if _, err := ledger.WitnessName(vkey); err != nil {
			bad("%v", err)
		}
	}
	if v.res.failed() {
		return false
	}
	if keys := keysOf(v.o.anchors(roleVendor)); len(keys) > 0 {
		v.res.pass(checkKeys, fmt.Sprintf("%d pinned for the vendor, %s", len(keys), keys[0].Fingerprint()))
	} else {
		v.res.skip(checkKeys, "", "no key of the vendor was given (--key): who made this pack cannot be told")
	}
	return true
}

// scan reads the archive's structure.
func (v *verifier) scan() bool {
	a, err := scan(v.r, v.size, v.o.Limits, func(p scanProblem) {
		v.res.fail(p.check, p.path, p.expected, p.actual)
	})
	if err != nil {
		v.res.fail(checkLayout, "", "one contiguous archive of stored files", err.Error())
		return false
	}
	v.c.a = a
	v.res.pass(checkNames, "plain, distinct, in order")
	return true
}

// readRoot reads pack.json.
func (v *verifier) readRoot() bool {
	data, err := v.c.a.read(packJSONName, 1<<20)
	if err != nil {
		v.res.fail(checkPackJSON, packJSONName, "the signed root", err.Error())
		return false
	}
	v.c.packJSON, v.packSHA256 = data, evidence.SHA256Hex(data)
	v.report.PackJSONSHA256 = v.packSHA256
	root, err := parseRoot(data)
	v.c.root = root
	if root.Format == packFormat {
		r := &v.report
		r.Organisation, r.System, r.Period = clean(root.Organisation), clean(root.System), clean(root.Period.String())
		r.Sequence, r.Sample, r.Clock = root.Sequence, root.Sample, evidence.Clock(clean(string(root.Clock)))
	}
	if err != nil {
		v.res.fail(checkPackJSON, packJSONName, "strict canonical JSON of "+packFormat, err.Error())
		return false
	}
	v.res.pass(checkPackJSON, "SHA-256 "+v.packSHA256)
	return true
}

// conclude makes the report.
func (v *verifier) conclude() Report {
	r := v.report
	r.Checks = v.res.list()
	switch {
	case v.ioErr.err != nil:
		r.Verdict, r.Exit = VerdictError, 2
		r.Checks = append(r.Checks, Check{ID: checkOptions, Status: Failed, Actual: clean("reading the pack: " + v.ioErr.err.Error())})
	case len(v.res.failures[checkOptions]) > 0:
		r.Verdict, r.Exit = VerdictError, 2
	case v.res.failed():
		r.Verdict, r.Exit = VerdictFailed, 1
	case slices.ContainsFunc(v.required(), func(id string) bool { return !v.res.ok(id) }):
		r.Verdict, r.Exit = VerdictInconclusive, 3
	default:
		r.Verdict, r.Exit = VerdictOK, 0
		r.Accepted = v.accepted
	}
	return r
}

// required lists the checks without which this pack is not OK.
func (v *verifier) required() []string {
	ids := requiredChecks()
	if len(v.o.TSARoots) > 0 {
		ids = append(ids, checkTime)
	}
	if len(v.o.Witnesses) > 0 && !v.cosigned {
		ids = append(ids, checkWitness)
	}
	if v.carriesSample {
		ids = append(ids, checkSample)
	}
	if v.redacts {
		ids = append(ids, checkRedaction)
	}
	return ids
}

func hex32(sum [32]byte) string { return hex.EncodeToString(sum[:]) }
