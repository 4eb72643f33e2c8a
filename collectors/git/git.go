// Package git reads change evidence out of a clone, with no code host behind it:
// every commit that the protected branch reaches, how it got there, whose
// signature it bears, and which sensitive paths it touches. It reads files
// only and runs no git program.
//
// What a clone cannot tell is who approved a change: that is for a code host's
// collector. It tells direct pushes by topology and says unknown of the rest. A clone knows no time of push either, so commits are taken into
// the window by committer time, which the committer sets.
package git

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// The kinds of evidence.
const (
	KindCommits    evidence.Kind = "git.commits"
	KindRepository evidence.Kind = "git.repository"
	KindTags       evidence.Kind = "git.tags"
)

// Config is the section "git" of trustpack.yaml.
type Config struct {
	Sample       bool         `yaml:"sample"` // what is read is sample data, and all that comes of it is labelled so
	Repositories []Repository `yaml:"repositories"`
	Signers      Signers      `yaml:"signers"`
}

// Repository is one clone: a work tree, a bare repository or a mirror; or a
// file that git bundle made.
type Repository struct {
	Path           string   `yaml:"path"`
	Name           string   `yaml:"name"`            // how evidence calls it; default the last part of Path
	Branch         string   `yaml:"branch"`          // protected branch; default "main"
	SensitivePaths []string `yaml:"sensitive_paths"` // globs: "firmware/signing/**", "*.pem"
	// CodeHost is "none" where nothing merges but git itself, so that all there is
	// was pushed; "fast-forward" where a code host merges by fast-forward, which
	// leaves the same trace as a push. Empty: found out, as far as a clone tells.
	CodeHost          string   `yaml:"code_host"`
	CodeHostAddresses []string `yaml:"code_host_addresses"` // that a code host commits under; default noreply@github.com
}

// Deps is what the collector needs from its caller.
type Deps struct {
	Tool     string // "trustpack 0.1.0"
	Now      func() time.Time
	Clock    evidence.Clock
	Progress func(string) // may be nil
	// Heads gives what the branch of a repository pointed to in earlier
	// collections, which a branch that only grows holds for ever; nil: not known.
	Heads func(repository, branch string) []string
}

// Collector reads the configured clones.
type Collector struct {
	config    Config
	deps      Deps
	keys      keyring
	sensitive [][]glob // by repository
	slice     int      // about how many commits one evidence holds
}

// New checks the configuration and reads the declared keys.
func New(c Config, d Deps) (*Collector, error) {
	if len(c.Repositories) == 0 {
		return nil, errors.New("configuring git: no repository is named; add one under git.repositories")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Clock == "" {
		d.Clock = evidence.ClockSystem
	}
	if d.Progress == nil {
		d.Progress = func(string) {}
	}
	col := &Collector{config: c, deps: d, slice: sliceItems}
	col.config.Repositories = append([]Repository(nil), c.Repositories...)
	names := map[string]bool{}
	for i := range col.config.Repositories {
		r := &col.config.Repositories[i]
		if r.Path == "" {
			return nil, fmt.Errorf("configuring git: repository %d has no path", i+1)
		}
		if r.Name == "" {
			r.Name = path.Base(slashed(r.Path))
		}
		if r.Branch == "" {
			r.Branch = "main"
		}
		if names[r.Name] {
			return nil, fmt.Errorf("configuring git: two repositories are called %q; give each a name of its own", r.Name)
		}
		names[r.Name] = true
		if r.CodeHostAddresses == nil {
			r.CodeHostAddresses = []string{"noreply@github.com"}
		}
		if err := r.checkCodeHost(); err != nil {
			return nil, fmt.Errorf("configuring git: repository %s: %w", r.Name, err)
		}
		globs, err := compileGlobs(r.SensitivePaths)
		if err != nil {
			return nil, fmt.Errorf("configuring git: repository %s: sensitive_paths: %w", r.Name, err)
		}
		col.sensitive = append(col.sensitive, globs)
	}
	var err error
	if col.keys, err = c.Signers.load(); err != nil {
		return nil, fmt.Errorf("configuring git: signers: %w", err)
	}
	return col, nil
}

// Name is "git".
func (c *Collector) Name() string { return "git" }

// Kinds lists what Collect brings back.
func (c *Collector) Kinds() []evidence.Kind {
	return []evidence.Kind{KindCommits, KindRepository, KindTags}
}

func (c *Collector) blank(k evidence.Kind, p evidence.Period) evidence.Evidence {
	e := evidence.Evidence{
		Kind: k, Collector: c.Name(), CollectedAt: c.deps.Now().UTC(), Window: p,
		Provenance: evidence.Provenance{
			System: "git", Principal: "none: reads files, no credential is used", Tool: c.deps.Tool,
			Origin: evidence.OriginLive, Clock: c.deps.Clock, Requests: []evidence.Request{},
		},
	}
	if c.config.Sample {
		e.Provenance.Origin = evidence.OriginSample
	}
	for i, r := range c.config.Repositories {
		if i > 0 {
			e.Provenance.Account += ", "
		}
		e.Provenance.Account += r.Name
	}
	return e
}

func add(e *evidence.Evidence, req evidence.Request, raw string, body []byte, gaps []evidence.Gap) {
	if req.Error == "" {
		e.Raw = append(e.Raw, evidence.RawReply{Name: raw, Body: body})
		req.ReplySHA256 = evidence.SHA256Hex(body)
	}
	e.Provenance.Requests = append(e.Provenance.Requests, req)
	e.Completeness.Gaps = append(e.Completeness.Gaps, gaps...)
}

func finish(e *evidence.Evidence) {
	slices.SortFunc(e.Population.Items, func(a, b evidence.Item) int { return strings.Compare(a.ID, b.ID) })
	e.Completeness.State = evidence.Complete
	if len(e.Completeness.Gaps) > 0 {
		e.Completeness.State = evidence.Incomplete
	}
	e.Completeness.Basis = "read-to-end"
	e.Completeness.Got = len(e.Population.Items)
	if e.Kind == KindCommits {
		e.Completeness.Note = "every commit that the branch reaches was read; those of the window are taken by committer time, " +
			"and those dated before the window that stand upon commits of the window are taken too"
	}
}
