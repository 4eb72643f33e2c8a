package pack

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

const (
	redactionPredicate = "urn:trustpack:pack:redaction:v1"
	maxRedactionList   = 256 << 20
)

func redactionList(n int) string { return fmt.Sprintf("%sredaction-%d.jsonl", signaturesDir, n) }
func redactionSig(n int) string {
	return fmt.Sprintf("%sredaction-%d.sigstore.json", signaturesDir, n)
}

// redactedLine is a line of signatures/redaction-<n>.jsonl (FORMAT.md section
// 6): a line of the manifest that was taken out.
type redactedLine struct {
	Class  string `json:"class"`
	Index  int64  `json:"index"` // of the manifest's line, from 0
	Leaf   string `json:"leaf"`  // hex
	Reason string `json:"reason"`
}

// redactionSays is the predicate of a redaction's statement.
type redactionSays struct {
	Count    int64  `json:"count"`
	Identity string `json:"identity"`
	SHA256   string `json:"sha256"` // of the .jsonl
	Time     string `json:"time"`
}

// redactionStatement is the payload that whoever redacts signs.
func redactionStatement(packSHA256, identity string, at time.Time, count int, list []byte) ([]byte, error) {
	if err := checkText(identity); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return statementOf(redactionPredicate, packSHA256, redactionSays{
		Count: int64(count), Identity: identity, SHA256: evidence.SHA256Hex(list), Time: at.UTC().Format(time.RFC3339Nano),
	})
}

// checkRedactionStatement says what in payload does not fit the list beside
// it, and who its signer says to be.
func checkRedactionStatement(payload []byte, packSHA256 string, count int, list []byte) (identity string, err error) {
	s, err := openStatement(payload, redactionPredicate, packSHA256)
	if err != nil {
		return "", err
	}
	var says redactionSays
	if err := decodeStrict(s.Predicate, &says); err != nil {
		return "", fmt.Errorf("reading predicate: %w", err)
	}
	if err := checkText(says.Identity); err != nil {
		return "", fmt.Errorf("identity: %w", err)
	}
	if at, err := time.Parse(time.RFC3339Nano, says.Time); err != nil || at.UTC().Format(time.RFC3339Nano) != says.Time {
		return "", fmt.Errorf("time %q: want RFC 3339 in UTC", says.Time)
	}
	if says.Count != int64(count) {
		return says.Identity, fmt.Errorf("it is over %d lines, the list has %d", says.Count, count)
	}
	if got := evidence.SHA256Hex(list); says.SHA256 != got {
		return says.Identity, fmt.Errorf("it is over a list with SHA-256 %s, the one beside it has %s", says.SHA256, got)
	}
	return says.Identity, nil
}

// parseRedactionList reads signatures/redaction-<n>.jsonl strictly.
func parseRedactionList(data []byte) ([]redactedLine, error) {
	var out []redactedLine
	if len(data) == 0 {
		return nil, errors.New("it is empty")
	}
	for line := range bytes.Lines(data) {
		var l redactedLine
		err := decodeLineStrict(line, &l)
		switch {
		case err != nil:
		case l.Class == "" || l.Reason == "":
			err = errors.New("its class or its reason is empty")
		case !isHex(l.Leaf, 32):
			err = errors.New("leaf is not 64 lower-case hex digits")
		case l.Index < 0 || len(out) > 0 && out[len(out)-1].Index >= l.Index:
			err = errors.New("lines are not sorted by index, each once")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", len(out)+1, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// leafOf gives the leaf hash, in hex, that a redacted line of the manifest
// holds.
func leafOf(line []byte) (string, bool) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"leaf":"`))
	leaf, ended := bytes.CutSuffix(rest, []byte(`"}`))
	return string(leaf), ok && ended && isHex(string(leaf), 32)
}

var (
	besideRecord = regexp.MustCompile(`^(data/(?:[1-5]-[a-z-]+/[^/]+/)?evidence/[^/]+)/[^/]+/(evidence\.json|population\.jsonl|raw/.+)$`)
	logEntries   = regexp.MustCompile(`^(data/log/.+/(?:tile/)?entries)/(.+)$`)
)

// classOf is a path with each segment that names an item, a collection or a
// reply written as "*", so that saying what is withheld does not say it.
func classOf(path string) string {
	stars := func(rest string) string { return strings.Repeat("/*", strings.Count(rest, "/")+1) }
	if m := besideRecord.FindStringSubmatch(path); m != nil {
		if replies, ok := strings.CutPrefix(m[2], rawDir); ok {
			return m[1] + "/*/raw" + stars(replies)
		}
		return m[1] + "/*/" + m[2]
	}
	if m := logEntries.FindStringSubmatch(path); m != nil {
		return m[1] + stars(m[2])
	}
	return path
}

// mayRedact says why a file of the manifest cannot be withheld.
func mayRedact(path string) error {
	switch {
	case path == readmeName:
		return errors.New("it says how the pack is checked")
	case !inPayload(path):
		return errors.New("keys and certificates are public")
	case isRecord(path):
		return errors.New("its digest is the evidence's ID: withhold population.jsonl or raw/ beside it")
	case isJudged(path):
		return errors.New("what was judged, and how, is what the pack is for")
	case path == exceptionsName:
		return errors.New("it repeats the findings, which stay")
	case strings.HasPrefix(path, logDir) && !logEntries.MatchString(path):
		return errors.New("the log could not be verified without it: withhold entries")
	}
	return nil
}

// withheldLine is a redacted line of the manifest: where it stands, and what
// is said of it.
type withheldLine struct {
	index         int64
	leaf          string // hex
	after, before string // paths of the lines around it that are there; empty at an end
	class, reason string // as its maker states; empty where nobody does
}

// WithheldError is of a file that a redaction took out of the pack.
type WithheldError struct {
	Path  string
	Class string // as whoever redacted states it; empty where nobody does
}

func (e *WithheldError) Error() string {
	if e.Class == "" {
		return "it is withheld"
	}
	return "it is withheld, as one of " + e.Class
}

// withheld gives the error of reading a file that is not there, where a
// redacted line of the manifest may be that file's: one that stands where the
// file's line would, in the order of paths.
func (c *Contents) withheld(path string) *WithheldError {
	i, _ := slices.BinarySearchFunc(c.redacted, path, func(w withheldLine, path string) int {
		if w.before != "" && w.before <= path {
			return -1
		}
		return 1
	})
	var found *WithheldError
	for ; i < len(c.redacted) && c.redacted[i].after < path; i++ {
		switch class := c.redacted[i].class; {
		case class == classOf(path):
			return &WithheldError{path, class}
		case found == nil:
			found = &WithheldError{path, class}
		}
	}
	return found
}

// withholds reports whether a file below the folder may be among those that
// were taken out.
func (c *Contents) withholds(folder string) bool {
	return slices.ContainsFunc(c.redacted, func(w withheldLine) bool {
		if w.class != "" {
			return strings.HasPrefix(w.class, folder)
		}
		return w.after < folder+"\xff" && (w.before == "" || folder < w.before)
	})
}
