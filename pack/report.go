package pack

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"trustpack/evidence"
)

// Status is what became of a check.
type Status string

// The statuses.
const (
	Passed     Status = "passed"
	Failed     Status = "failed"
	NotChecked Status = "not-checked"
)

// The verdicts, with the exit codes that go with them.
const (
	VerdictOK           = "ok"           // 0: every required check passed
	VerdictFailed       = "failed"       // 1: tampered with, or wrong
	VerdictError        = "error"        // 2: the options or the medium are at fault
	VerdictInconclusive = "inconclusive" // 3: nothing is wrong, but not all could be checked
)

// IDs of checks. They are a promise: scripts and vectors name them.
const (
	checkOptions     = "options"
	checkKeys        = "anchor.keys"
	checkLayout      = "zip.layout"
	checkNames       = "zip.names"
	checkPackJSON    = "pack.json"
	checkSigPrefix   = "sig."
	checkSSHSig      = "sig.sshsig"
	checkTime        = "time.rfc3161"
	checkRoles       = "roles"
	checkManifest    = "manifest"
	checkRedaction   = "redaction"
	checkTreeRoot    = "tree.root"
	checkDigest      = "file.digest"
	checkSet         = "file.set"
	checkBagit       = "derived.bagit"
	checkExceptions  = "derived.exceptions"
	checkCheckpoint  = "log.checkpoint"
	checkConsistency = "log.consistency"
	checkInclusion   = "log.inclusion"
	checkWitness     = "log.witness"
	checkChain       = "chain"
	checkEvidenceID  = "evidence.id"
	checkWindow      = "evidence.window"
	checkLabels      = "sample.label"
	checkFindings    = "findings"
	checkSample      = "sample.drawn"
	checkReevaluated = "findings.reevaluated"
	checkDerived     = "derived.files"
)

// CheckIDs lists every check in the order of a report.
func CheckIDs() []string {
	ids := []string{checkOptions, checkKeys, checkLayout, checkNames, checkPackJSON}
	for _, role := range roles() {
		ids = append(ids, checkSigPrefix+role)
	}
	return append(ids, checkSSHSig, checkTime, checkRoles, checkManifest, checkRedaction, checkTreeRoot, checkDigest, checkSet, checkBagit, checkExceptions,
		checkCheckpoint, checkConsistency, checkInclusion, checkWitness, checkChain,
		checkEvidenceID, checkWindow, checkLabels, checkFindings, checkSample, checkReevaluated, checkDerived)
}

// requiredChecks are those without which a pack is never OK.
func requiredChecks() []string {
	return []string{checkKeys, checkLayout, checkNames, checkPackJSON, checkSigPrefix + roleVendor, checkSSHSig, checkRoles,
		checkManifest, checkTreeRoot, checkDigest, checkSet, checkBagit, checkExceptions, checkEvidenceID, checkWindow, checkLabels, checkFindings}
}

// Check is one line of a report. A check that failed in several places has a
// line for each.
type Check struct {
	ID       string `json:"id"`
	Status   Status `json:"status"`
	Expected string `json:"expected"`
	Actual   string `json:"actual"` // for a check that was not made, why
	Path     string `json:"path"`   // file of the pack; empty where it is the pack itself
}

// Report is what Verify found. All text in it is safe for a terminal.
type Report struct {
	Pack    string `json:"pack"`
	Verdict string `json:"verdict"`
	Exit    int    `json:"exit"`

	// What pack.json says; to be believed only with the verdict ok.
	Organisation   string         `json:"organisation,omitempty"`
	System         string         `json:"system,omitempty"`
	Period         string         `json:"period,omitempty"`
	Sequence       int            `json:"sequence,omitempty"`
	PackJSONSHA256 string         `json:"pack_json_sha256,omitempty"`
	Sample         bool           `json:"sample,omitempty"`
	Clock          evidence.Clock `json:"clock,omitempty"`

	Withheld   []Withheld        `json:"withheld,omitempty"` // by redactions
	Checks     []Check           `json:"checks"`
	Timestamps []TimestampReport `json:"timestamps,omitempty"` // that were verified, in the order of signatures

	Accepted *Accepted `json:"-"` // with the verdict ok: what the next pack is held to
}

// maxFailures bounds the failures that are kept for one check.
const maxFailures = 50

// results gathers what each check found until the report is made.
type results struct {
	failures map[string][]Check
	more     map[string]int
	passed   map[string]Check
	skipped  map[string][]Check
	withheld map[string][]Check // like skipped, for want of what a redaction took out
}

func newResults() *results {
	return &results{map[string][]Check{}, map[string]int{}, map[string]Check{}, map[string][]Check{}, map[string][]Check{}}
}

func (r *results) fail(id, path, expected, actual string) {
	if len(r.failures[id]) >= maxFailures {
		r.more[id]++
		return
	}
	r.failures[id] = append(r.failures[id], Check{id, Failed, clean(expected), clean(actual), clean(path)})
}

func (r *results) pass(id, actual string) {
	r.passed[id] = Check{ID: id, Status: Passed, Actual: clean(actual)}
}

func (r *results) skip(id, path, why string) {
	if len(r.skipped[id]) < maxFailures {
		r.skipped[id] = append(r.skipped[id], Check{id, NotChecked, "", clean(why), clean(path)})
	}
}

// withhold is skip where a redaction took out what was needed, which does not
// change the verdict.
func (r *results) withhold(id, path, why string) {
	if len(r.withheld[id]) < maxFailures {
		r.withheld[id] = append(r.withheld[id], Check{id, NotChecked, "", clean(why), clean(path)})
	}
}

func (r *results) failed() bool { return len(r.failures) > 0 }

// ok reports whether a check passed, with nothing of it failed or left out but
// for want of what is withheld.
func (r *results) ok(id string) bool {
	_, passed := r.passed[id]
	return (passed || len(r.withheld[id]) > 0) && len(r.failures[id]) == 0 && len(r.skipped[id]) == 0
}

// list gives the lines in order. A check that nothing was said of was not
// reached.
func (r *results) list() []Check {
	var out []Check
	for _, id := range CheckIDs() {
		open := append(slices.Clone(r.skipped[id]), r.withheld[id]...)
		if n := len(r.failures[id]); n > 0 {
			out = append(out, r.failures[id]...)
			if more := r.more[id]; more > 0 {
				out = append(out, Check{ID: id, Status: Failed, Actual: fmt.Sprintf("and %d more like these", more)})
			}
			out = append(out, open...)
			continue
		}
		if c, ok := r.passed[id]; ok {
			out = append(out, c)
		}
		out = append(out, open...)
		if _, ok := r.passed[id]; !ok && len(open) == 0 && id != checkOptions {
			out = append(out, Check{ID: id, Status: NotChecked, Actual: "not reached: an earlier check failed"})
		}
	}
	return out
}

// clean makes text of unknown origin safe to show: one line, nothing that a
// terminal acts on or that reorders what is read, and not endless.
func clean(s string) string {
	const limit = 600
	var b strings.Builder
	for i, r := range s {
		if b.Len() > limit {
			b.WriteString("…")
			break
		}
		if r == utf8.RuneError && strings.HasPrefix(s[i:], "\xef\xbf\xbd") || r != utf8.RuneError && (unicode.IsPrint(r) || r == ' ') {
			b.WriteRune(r)
			continue
		}
		if r == utf8.RuneError {
			fmt.Fprintf(&b, "\\x%02x", s[i])
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	return b.String()
}

// Failures counts the checks that failed.
func (r Report) Failures() int {
	n := 0
	for _, c := range r.Checks {
		if c.Status == Failed {
			n++
		}
	}
	return n
}

// Labels says in capitals what keeps the pack from being the real thing, or
// the whole; empty for a real and whole one.
func (r Report) Labels() string {
	label := labelText(r.Sample, r.Clock)
	n := 0
	for _, w := range r.Withheld {
		n += w.Files
	}
	if n == 0 {
		return label
	}
	return joinNonEmpty(", ", label, "WITHHELD: "+countFiles(n))
}

func countFiles(n int) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}

func labelText(sample bool, clock evidence.Clock) string {
	var words []string
	if sample {
		words = append(words, "SAMPLE DATA")
	}
	if clock == evidence.ClockSimulated {
		words = append(words, "SIMULATED CLOCK")
	}
	return strings.Join(words, ", ")
}

// WriteText writes the report for people: what failed first, then a line for
// each check that passed, then what was not checked, then the verdict.
func (r Report) WriteText(w io.Writer) error {
	var b, passed strings.Builder
	if r.Organisation != "" {
		fmt.Fprintf(&b, "%s, %s, %s, pack %d\n", r.Organisation, r.System, r.Period, r.Sequence)
	}
	var left []Check
	for _, c := range r.Checks {
		switch c.Status {
		case Failed:
			fmt.Fprintf(&b, "FAILED %-20s %s\n", c.ID, joinNonEmpty(": ", c.Path, c.Actual))
			if c.Expected != "" {
				fmt.Fprintf(&b, "       %-20s expected: %s\n", "", c.Expected)
			}
		case Passed:
			fmt.Fprintf(&passed, "passed %-20s %s\n", c.ID, c.Actual)
		default:
			left = append(left, c)
		}
	}
	b.WriteString(passed.String())
	if len(left) > 0 {
		b.WriteString("not checked:\n")
		for _, c := range left {
			fmt.Fprintf(&b, "  %-20s %s\n", c.ID, joinNonEmpty(": ", c.Path, c.Actual))
		}
	}
	for _, w := range r.Withheld {
		fmt.Fprintf(&b, "withheld: %s\n", w)
	}
	for _, t := range r.Timestamps {
		fmt.Fprintf(&b, "by OpenSSL, in the unpacked pack: %s\n", t.OpenSSL)
	}
	verdict := strings.ToUpper(r.Verdict)
	if l := r.Labels(); l != "" {
		verdict += "  (" + l + ")"
	}
	fmt.Fprintf(&b, "verify: %s\n", verdict)
	_, err := io.WriteString(w, b.String())
	return err
}

func joinNonEmpty(sep string, parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, sep)
}
