package pack

import (
	"fmt"
	"io"
	"strings"

	"trustpack/evidence"
)

// Summary is what a pack says of itself. Nothing in it has been verified.
type Summary struct {
	Root           Root             `json:"pack"`
	PackJSONSHA256 string           `json:"pack_json_sha256"`
	Stages         []StageSummary   `json:"stages"`
	Controls       []ControlSummary `json:"controls"`
	Evidence       []Held           `json:"evidence"`
	Logs           []LogHead        `json:"logs"`
	Signatures     []Signed         `json:"signatures"`
	Entries        int              `json:"entries"`
	Bytes          int64            `json:"bytes"` // of the archive
}

// StageSummary counts a stage's files.
type StageSummary struct {
	Stage evidence.Stage `json:"stage"`
	Totals
}

// ControlSummary is what came out of a control.
type ControlSummary struct {
	ID         string           `json:"id"`
	Title      string           `json:"title"`
	Stage      evidence.Stage   `json:"stage"`
	Outcome    evidence.Outcome `json:"outcome"` // empty where the pack has no finding
	Population int              `json:"population"`
	Exceptions int              `json:"exceptions"`
}

// Held is a collection and where it stands.
type Held struct {
	ID       string   `json:"id"`
	Kind     string   `json:"kind"`
	Path     string   `json:"path"`
	Controls []string `json:"controls,omitempty"`
}

// Signed is a signature of the pack with the key and the person that it
// claims.
type Signed struct {
	Path     string `json:"path"`
	Role     string `json:"role"`               // or "redaction"
	Key      string `json:"key"`                // OpenSSH fingerprint
	Identity string `json:"identity,omitempty"` // of a role's signature
}

// Show summarises the pack in r. It verifies nothing: that is Verify's work.
func Show(r io.ReaderAt, size int64, limits Limits) (Summary, error) {
	c, err := Open(r, size, limits)
	if err != nil {
		return Summary{}, err
	}
	s := Summary{Root: c.root, PackJSONSHA256: evidence.SHA256Hex(c.packJSON), Entries: len(c.a.files), Bytes: size}
	for _, stage := range evidence.Stages() {
		s.Stages = append(s.Stages, StageSummary{stage, c.stages[stage]})
	}
	if s.Logs, err = c.Logs(); err != nil {
		return Summary{}, err
	}
	controls, err := c.Controls()
	if err != nil {
		return Summary{}, err
	}
	findings, err := c.Findings()
	if err != nil {
		return Summary{}, err
	}
	for _, control := range controls {
		line := ControlSummary{ID: control.ID, Title: control.Title, Stage: control.Stage}
		for _, f := range ofControl(findings, control.ID) {
			line.Outcome, line.Population, line.Exceptions = f.Outcome, f.Population, len(f.Exceptions)
		}
		s.Controls = append(s.Controls, line)
	}
	for _, col := range c.collections {
		s.Evidence = append(s.Evidence, Held{col.line.SHA256, col.line.Kind, col.line.Path, col.line.Controls})
	}
	s.Signatures, err = c.signatures()
	return s, err
}

// signatures lists who claims to have signed: the bundles and the SSH
// signature. Timestamps and samples are none.
func (c *Contents) signatures() ([]Signed, error) {
	var out []Signed
	for _, path := range c.Paths() {
		m := bundlePath.FindStringSubmatch(path)
		redaction := redactionBundle.MatchString(path)
		if m == nil && !redaction && path != sshsigName {
			continue
		}
		data, err := c.a.read(path, maxSignatureBundle)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		if path == sshsigName {
			_, key, err := parseSSH(data)
			if err != nil {
				return nil, fmt.Errorf("reading %s: %w", path, err)
			}
			out = append(out, Signed{Path: path, Role: roleVendor, Key: key.Fingerprint()})
			continue
		}
		b, err := parseBundle(data)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		s := Signed{Path: path, Role: "redaction", Key: b.hint}
		if m != nil {
			says, err := checkStatement(b.payload, m[1], evidence.SHA256Hex(c.packJSON))
			if err != nil {
				return nil, fmt.Errorf("reading %s: %w", path, err)
			}
			s.Role, s.Identity = m[1], says.identity
		}
		out = append(out, s)
	}
	return out, nil
}

// WriteText writes the summary for people.
func (s Summary) WriteText(w io.Writer) error {
	var b strings.Builder
	r := s.Root
	fmt.Fprintf(&b, "%s, %s, %s, pack %d\n", clean(r.Organisation), clean(r.System), r.Period, r.Sequence)
	if l := labelText(r.Sample, r.Clock); l != "" {
		fmt.Fprintf(&b, "%s\n", l)
	}
	fmt.Fprintf(&b, "made by %s; %d files, %d collections, %d bytes\n", clean(r.Tool), r.Totals.Files, r.Totals.Evidence, s.Bytes)
	fmt.Fprintf(&b, "pack.json SHA-256 %s\n", s.PackJSONSHA256)
	for _, sig := range s.Signatures {
		fmt.Fprintf(&b, "signature  %-36s claims %s\n", sig.Path, clean(joinNonEmpty(", ", sig.Key, sig.Identity)))
	}
	for _, l := range s.Logs {
		fmt.Fprintf(&b, "log        %-36s %d entries\n", clean(l.Origin), l.Size)
	}
	for _, stage := range s.Stages {
		fmt.Fprintf(&b, "\n%s: %d files, %d collections\n", stage.Stage.Title(), stage.Files, stage.Evidence)
		for _, c := range s.Controls {
			if c.Stage != stage.Stage {
				continue
			}
			outcome := string(c.Outcome)
			if outcome == "" {
				outcome = "no finding"
			}
			fmt.Fprintf(&b, "  %-8s %-15s %4d items %4d exceptions  %s\n", clean(c.ID), clean(outcome), c.Population, c.Exceptions, clean(c.Title))
		}
	}
	b.WriteString("\nNothing of this has been verified: use trustpack verify.\n")
	_, err := io.WriteString(w, b.String())
	return err
}
