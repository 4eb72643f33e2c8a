package pack

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"trustpack/evidence"
	"trustpack/ledger"
)

const (
	maxPackJSON = 4096
	maxInteger  = 1<<53 - 1 // that every reader of JSON has exactly
	maxText     = 200       // bytes of organisation, system and tool
	framework   = "SOC 2, AICPA TSC 2017, points of focus 2022"
)

// Root is pack.json, which every signature of the pack signs: it commits to
// each file through the tree.
type Root struct {
	Format        string          `json:"format"` // "trustpack-pack/1"
	Organisation  string          `json:"organisation"`
	System        string          `json:"system"`
	Tool          string          `json:"tool"`
	Period        evidence.Period `json:"period"`
	Sequence      int             `json:"sequence"`           // from 1, one more each pack
	Previous      string          `json:"previous,omitempty"` // hex SHA-256 of the previous pack.json; empty for the first
	Sample        bool            `json:"sample,omitempty"`
	Clock         evidence.Clock  `json:"clock,omitempty"` // "simulated"; absent where times are the system's
	Tree          Tree            `json:"tree"`
	Totals        Totals          `json:"totals"`
	Logs          []LogHead       `json:"logs,omitempty"`         // the lines of data/log/logs.jsonl, where they fit
	LogsOmitted   int             `json:"logs_omitted,omitempty"` // how many there are, where they do not
	Catalog       CatalogRef      `json:"catalog"`
	RequiredRoles []string        `json:"required_roles"`
}

// Tree is the Merkle tree over the lines of manifest.jsonl.
type Tree struct {
	Algorithm string `json:"algorithm"` // "rfc6962-sha256"
	Size      int64  `json:"size"`      // lines
	Root      string `json:"root"`      // hex
}

// Totals count what the manifest lists.
type Totals struct {
	Files    int64 `json:"files"`
	Bytes    int64 `json:"bytes"`
	Evidence int64 `json:"evidence"` // collections, one evidence.json each
	Controls int64 `json:"controls"` // one control.json each
}

// CatalogRef says by which controls was judged.
type CatalogRef struct {
	Framework string `json:"framework"`
	SHA256    string `json:"sha256"`
}

// LogHead is the state of a log at the pack's two ends.
type LogHead struct {
	Origin       string `json:"origin"`
	Size         int64  `json:"size"`
	Root         string `json:"root"` // base64, as in the checkpoint
	PreviousSize int64  `json:"previous_size,omitempty"`
	PreviousRoot string `json:"previous_root,omitempty"`
}

// encode gives pack.json. Where the logs do not fit they stay in
// data/log/logs.jsonl alone and pack.json keeps their number.
func (r Root) encode() ([]byte, error) {
	b, err := evidence.CanonicalJSON(r)
	if err == nil && len(b) > maxPackJSON && len(r.Logs) > 0 {
		r.LogsOmitted, r.Logs = len(r.Logs), nil
		b, err = evidence.CanonicalJSON(r)
	}
	if err != nil {
		return nil, fmt.Errorf("encoding pack.json: %w", err)
	}
	if len(b) > maxPackJSON {
		return nil, fmt.Errorf("encoding pack.json: %d bytes, more than %d", len(b), maxPackJSON)
	}
	return b, r.check()
}

// parseRoot reads pack.json strictly.
func parseRoot(data []byte) (Root, error) {
	if len(data) > maxPackJSON {
		return Root{}, fmt.Errorf("%d bytes, more than %d", len(data), maxPackJSON)
	}
	var r Root
	if err := decodeStrict(data, &r); err != nil {
		return Root{}, err
	}
	return r, r.check()
}

// check says what in pack.json has no meaning.
func (r Root) check() error {
	if r.Format != packFormat {
		return fmt.Errorf("format %q, want %q", r.Format, packFormat)
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, t := range [][2]string{{"organisation", r.Organisation}, {"system", r.System}, {"tool", r.Tool}} {
		if err := checkText(t[1]); err != nil {
			bad("%s: %w", t[0], err)
		}
	}
	if r.Period.From.IsZero() || !r.Period.From.Before(r.Period.To) {
		bad("period: it must begin before it ends")
	}
	if r.Sequence < 1 || int64(r.Sequence) > maxInteger {
		bad("sequence %d: the first pack is 1", r.Sequence)
	}
	if (r.Sequence == 1) != (r.Previous == "") || r.Previous != "" && !isHex(r.Previous, sha256.Size) {
		bad("previous %q with sequence %d: the first pack has none, every later one the hex SHA-256 of the pack.json before it", r.Previous, r.Sequence)
	}
	if r.Clock != "" && r.Clock != evidence.ClockSimulated {
		bad("clock %q: want %q, or nothing for the system's", r.Clock, evidence.ClockSimulated)
	}
	if r.Tree.Algorithm != treeAlgorithm {
		bad("tree algorithm %q, want %q", r.Tree.Algorithm, treeAlgorithm)
	}
	if !isHex(r.Tree.Root, sha256.Size) || r.Tree.Size < 1 || r.Tree.Size != r.Totals.Files {
		bad("tree: want a root of 64 lower-case hex digits and as many leaves as files")
	}
	for _, n := range []int64{r.Totals.Files, r.Totals.Bytes, r.Totals.Evidence, r.Totals.Controls, int64(r.LogsOmitted)} {
		if n < 0 || n > maxInteger {
			bad("totals and logs_omitted: %d is below 0, or 2^53 or more", n)
		}
	}
	for _, h := range r.Logs {
		if err := h.check(); err != nil {
			bad("log %q: %w", h.Origin, err)
		}
	}
	if r.Catalog.SHA256 != "" && !isHex(r.Catalog.SHA256, sha256.Size) {
		bad("catalog sha256: want 64 lower-case hex digits")
	}
	if !slices.Contains(r.RequiredRoles, roleVendor) {
		bad("required_roles: the vendor must be among them")
	}
	for i, role := range r.RequiredRoles {
		if PredicateType(role) == "" || slices.Contains(r.RequiredRoles[:i], role) {
			bad("required_roles: %q is no role or stands twice", role)
		}
	}
	if len(r.Logs) > 0 && r.LogsOmitted != 0 {
		bad("logs and logs_omitted: want one of them")
	}
	return errors.Join(errs...)
}

// checkText holds a name to one line that a terminal shows as it is.
func checkText(s string) error {
	if s == "" || len(s) > maxText {
		return fmt.Errorf("%d bytes, want 1 to %d", len(s), maxText)
	}
	if strings.TrimSpace(s) != s || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return fmt.Errorf("%q: want printable text without space around it", s)
	}
	return nil
}

// check says what in a log's line no log can have.
func (h LogHead) check() error {
	for _, n := range []int64{h.Size, h.PreviousSize} {
		if n < 0 || n > maxInteger {
			return fmt.Errorf("size %d: want 0 to 2^53-1", n)
		}
	}
	return nil
}

// headOf gives a log's line from its checkpoints; previous may be nil.
func headOf(head ledger.Checkpoint, previous *ledger.Checkpoint) LogHead {
	h := LogHead{Origin: head.Origin, Size: head.Size, Root: hashText(head.Root)}
	if previous != nil {
		h.PreviousSize, h.PreviousRoot = previous.Size, hashText(previous.Root)
	}
	return h
}
