// Package collectors is the list of the sources that evidence is collected
// from. A new one gets a package below this, a field in Config, and a line in
// All.
package collectors

import (
	"net/http"
	"time"

	"trustpack/collectors/aws"
	"trustpack/collectors/derived"
	"trustpack/collectors/documents"
	"trustpack/collectors/git"
	"trustpack/collectors/github"
	"trustpack/collectors/rollout"
	"trustpack/collectors/telemetry"
	"trustpack/evidence"
)

// Config has a section for each source; one that is left out is not
// collected, and controls that need it are not available.
type Config struct {
	Telemetry *telemetry.Config `yaml:"telemetry"`
	Git       *git.Config       `yaml:"git"`
	GitHub    *github.Config    `yaml:"github"`
	AWS       *aws.Config       `yaml:"aws"`
	Rollout   *rollout.Config   `yaml:"rollout"`
	Documents *documents.Config `yaml:"documents"`
}

// Deps are what collectors need of their surroundings.
type Deps struct {
	Tool      string
	Now       func() time.Time
	Clock     evidence.Clock
	Store     evidence.Store    // takes replies as they come; nil: they stay in memory until the end
	Transport http.RoundTripper // for sources other than the ingest; nil: the default
	Getenv    func(string) string
	Progress  func(string)
	Cited     func(origin string) int64 // size of a log at the checkpoint that the last pack cites; nil: 0
	// Heads gives what a repository's branch pointed to in earlier collections;
	// nil: not known.
	Heads func(repository, branch string) []string
	// Kept lists the evidence that was collected for a period or in it, and Get
	// reads one of it by its ID; without them nothing is drawn from it.
	Kept func(evidence.Period) ([]evidence.Citation, error)
	Get  func(id string) (evidence.Collected, error)
	// LooksBack is how long before the period the evidence of a kind is to begin,
	// for what falls due in it; a kind that is not in it begins with the period.
	LooksBack map[evidence.Kind]time.Duration
	// Index names the file in which a collector notes which reply in Store
	// answered what; nil or "": it asks for everything in full each time.
	Index func(collector string) string
}

// All makes the collectors that cfg has a section for, in the order of the
// trust stages that they mostly serve.
func All(cfg Config, d Deps) ([]evidence.Collector, error) {
	var out []evidence.Collector
	if d.Index == nil {
		d.Index = func(string) string { return "" }
	}
	add := func(c evidence.Collector, err error) error {
		if err == nil {
			out = append(out, c)
		}
		return err
	}
	if c := cfg.Telemetry; c != nil {
		if err := add(telemetry.New(*c, telemetry.Deps{Tool: d.Tool, Now: d.Now, Clock: d.Clock, Progress: d.Progress, Cited: d.Cited, LooksBack: d.LooksBack})); err != nil {
			return nil, err
		}
	}
	if c := cfg.Git; c != nil {
		if err := add(git.New(*c, git.Deps{Tool: d.Tool, Now: d.Now, Clock: d.Clock, Progress: d.Progress, Heads: d.Heads})); err != nil {
			return nil, err
		}
	}
	if c := cfg.GitHub; c != nil {
		if err := add(github.New(*c, github.Deps{Tool: d.Tool, Now: d.Now, Clock: d.Clock, Store: d.Store, Index: d.Index("github"), Transport: d.Transport, Getenv: d.Getenv, Progress: d.Progress, LooksBack: d.LooksBack})); err != nil {
			return nil, err
		}
	}
	if c := cfg.AWS; c != nil {
		if err := add(aws.New(*c, aws.Deps{Tool: d.Tool, Now: d.Now, Clock: d.Clock, Transport: d.Transport, Getenv: d.Getenv, Progress: d.Progress})); err != nil {
			return nil, err
		}
	}
	if c := cfg.Rollout; c != nil {
		if err := add(rollout.New(*c, rollout.Deps{Tool: d.Tool, Now: d.Now, Clock: d.Clock, Transport: d.Transport, Getenv: d.Getenv, Progress: d.Progress})); err != nil {
			return nil, err
		}
	}
	if c := cfg.Documents; c != nil {
		if err := add(documents.New(*c, documents.Deps{Tool: d.Tool, Now: d.Now, Clock: d.Clock, Progress: d.Progress})); err != nil {
			return nil, err
		}
	}
	// Last, since it draws on what the others bring.
	if cfg.GitHub != nil && len(cfg.GitHub.Repositories) > 0 && d.Kept != nil {
		if err := add(derived.New(derived.Deps{Tool: d.Tool, Now: d.Now, Clock: d.Clock, Progress: d.Progress, Kept: d.Kept, Get: d.Get})); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Resolve replaces the paths in c, which are relative to the configuration
// file, by what path makes of them.
func (c *Config) Resolve(path func(string) string) {
	all := func(list []string) {
		for i := range list {
			list[i] = path(list[i])
		}
	}
	if t := c.Telemetry; t != nil {
		t.Cert, t.Key, t.CA = path(t.Cert), path(t.Key), path(t.CA)
		all(t.LogKeys)
	}
	if g := c.Git; g != nil {
		for i := range g.Repositories {
			g.Repositories[i].Path = path(g.Repositories[i].Path)
		}
		g.Signers.AllowedSigners = path(g.Signers.AllowedSigners)
		all(g.Signers.OpenPGP)
	}
	if g := c.GitHub; g != nil && g.App != nil {
		g.App.KeyFile = path(g.App.KeyFile)
	}
	if r := c.Rollout; r != nil {
		r.Folder = path(r.Folder)
	}
	if d := c.Documents; d != nil {
		d.Folder = path(d.Folder)
	}
}
