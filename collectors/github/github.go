// Package github reads change evidence out of GitHub's REST API: pull requests
// with their reviews, timelines and checks, what every commit on the protected
// branch is, the branch's protection, rulesets and pushes, releases,
// deployments, environments, and who may write: people, teams and keys.
//
// It only ever sends GET, and as a GitHub App one POST an hour, by which it gets
// its token. The least that a token needs is Permissions, which CheckAccess
// asks for; the two-factor filter answers owners only.
package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	gh "github.com/google/go-github/v60/github"

	"trustpack/evidence"
)

// The kinds of evidence.
const (
	KindPullRequests evidence.Kind = "github.pull-requests"
	KindChanges      evidence.Kind = "github.changes"
	KindProtection   evidence.Kind = "github.branch-protection"
	KindRulesets     evidence.Kind = "github.rulesets"
	KindDeployments  evidence.Kind = "github.deployments"
	KindPushes       evidence.Kind = "github.pushes"
	KindReleases     evidence.Kind = "github.releases"
	KindEnvironments evidence.Kind = "github.environments"
	KindAccess       evidence.Kind = "github.access"
	KindRepository   evidence.Kind = "github.repository"
	KindRuleSuites   evidence.Kind = "github.rule-suites"
	KindMembers      evidence.Kind = "github.members"
	KindTeams        evidence.Kind = "github.teams"
	KindOrganization evidence.Kind = "github.organization"
)

// Config is the section "github" of trustpack.yaml.
type Config struct {
	Sample       bool              `yaml:"sample"`    // the API serves recorded sample data, and all that comes of it is labelled so
	BaseURL      string            `yaml:"base_url"`  // default https://api.github.com; GitHub Enterprise: https://HOST/api/v3
	TokenEnv     string            `yaml:"token_env"` // environment variable that holds the token; default GITHUB_TOKEN
	App          *App              `yaml:"app"`       // asks as a GitHub App, instead of with a token
	Organization string            `yaml:"organization"`
	AuditLog     bool              `yaml:"audit_log"` // reads the organization's audit log too, which GitHub Enterprise has
	Repositories []Repository      `yaml:"repositories"`
	Approvals    int               `yaml:"approvals"` // people who must approve a change; default 1
	Emergency    EmergencyPolicy   `yaml:"emergency"`
	Bots         []string          `yaml:"bots"`   // logins of accounts that are no person though GitHub calls them User
	Emails       map[string]string `yaml:"emails"` // address to login, for co-authors whom GitHub does not resolve
	MaxWait      time.Duration     `yaml:"max_wait"`
}

// Repository is one repository and its protected branch.
type Repository struct {
	Name           string   `yaml:"name"`            // "owner/name"
	Branch         string   `yaml:"branch"`          // default "main"
	RequiredChecks []string `yaml:"required_checks"` // default: those that protection and rulesets require
}

// EmergencyPolicy says how a change may go in first and be reviewed afterwards.
type EmergencyPolicy struct {
	Label      string `yaml:"label"`       // label of the pull request that waives the review; empty: never
	ReviewDays int    `yaml:"review_days"` // default 3
}

// Deps is what the collector needs from its caller.
type Deps struct {
	Tool      string // "trustpack 0.1.0"
	Now       func() time.Time
	Clock     evidence.Clock
	Store     evidence.Store                             // takes replies as they come; nil: they stay in memory until the end
	Transport http.RoundTripper                          // default http.DefaultTransport
	Getenv    func(string) string                        // gives the token
	Sleep     func(context.Context, time.Duration) error // waits before a retry; default on the real clock
	Progress  func(string)                               // may be nil
	// Index is the file that says which reply in Store answered what, so that an
	// unchanged reply is not sent again and a collection that was cut off goes
	// on; empty: everything is asked for in full.
	Index string
	// LooksBack is how long before the window the deployments begin that are read;
	// of other kinds it says nothing.
	LooksBack map[evidence.Kind]time.Duration
}

// Collector reads the configured repositories and organisation.
type Collector struct {
	config   Config
	base     *url.URL
	deps     Deps
	perSlice int // items of events in one Evidence, about
}

// New checks the configuration. The token is looked up when collecting.
func New(c Config, d Deps) (*Collector, error) {
	bad := func(format string, args ...any) (*Collector, error) {
		return nil, fmt.Errorf("configuring github: "+format, args...)
	}
	if c.BaseURL == "" {
		c.BaseURL = "https://api.github.com"
	}
	base, err := url.Parse(strings.TrimRight(c.BaseURL, "/") + "/")
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return bad("base_url %q is no http or https URL", c.BaseURL)
	}
	if base.User != nil {
		return bad("base_url carries a user name; give the token by environment variable only")
	}
	if base.Scheme == "http" && !loopback(base.Hostname()) {
		return bad("base_url %q would send the token without TLS; http is for loopback only", c.BaseURL)
	}
	if len(c.Repositories) == 0 && c.Organization == "" {
		return bad("neither a repository nor an organization is named")
	}
	c.Repositories = slices.Clone(c.Repositories)
	seen := map[string]bool{}
	for i := range c.Repositories {
		r := &c.Repositories[i]
		if owner, name, ok := strings.Cut(r.Name, "/"); !ok || owner == "" || name == "" || strings.Contains(name, "/") {
			return bad("repository %q: want owner/name", r.Name)
		}
		if r.Branch == "" {
			r.Branch = "main"
		}
		if seen[strings.ToLower(r.Name+"@"+r.Branch)] {
			return bad("repository %s stands twice", r.Name)
		}
		seen[strings.ToLower(r.Name+"@"+r.Branch)] = true
	}
	if c.AuditLog && c.Organization == "" {
		return bad("audit_log is set and no organization is named")
	}
	if c.App != nil {
		if err := c.App.check(c); err != nil {
			return bad("%w", err)
		}
	}
	if c.TokenEnv == "" {
		c.TokenEnv = "GITHUB_TOKEN"
	}
	if c.Approvals == 0 {
		c.Approvals = 1
	}
	if c.Emergency.ReviewDays == 0 {
		c.Emergency.ReviewDays = 3
	}
	if c.MaxWait == 0 {
		c.MaxWait = 15 * time.Minute
	}
	if c.Approvals < 0 || c.Emergency.ReviewDays < 0 || c.MaxWait < 0 {
		return bad("approvals, emergency.review_days and max_wait must not be negative")
	}
	if d.Getenv == nil {
		return nil, errors.New("configuring github: no way to look up the token was given")
	}
	if d.Transport == nil {
		d.Transport = http.DefaultTransport
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Clock == "" {
		d.Clock = evidence.ClockSystem
	}
	if d.Sleep == nil {
		d.Sleep = sleep
	}
	if d.Progress == nil {
		d.Progress = func(string) {}
	}
	return &Collector{c, base, d, perSlice}, nil
}

func loopback(host string) bool {
	return host == "localhost" || host == "::1" || strings.HasPrefix(host, "127.")
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Name is "github".
func (c *Collector) Name() string { return "github" }

// Kinds lists what Collect brings back: the kinds of repositories where there
// are any, members where there is an organisation.
func (c *Collector) Kinds() []evidence.Kind {
	var kinds []evidence.Kind
	if len(c.config.Repositories) > 0 {
		kinds = append(kinds, KindPullRequests, KindChanges, KindProtection, KindRulesets, KindDeployments, KindPushes,
			KindReleases, KindEnvironments, KindAccess, KindRepository, KindRuleSuites)
	}
	if c.config.Organization != "" {
		kinds = append(kinds, KindMembers, KindTeams, KindOrganization)
		if c.config.AuditLog {
			kinds = append(kinds, KindAuditLog)
		}
	}
	return kinds
}

// Collect asks for everything, one request after another. Whatever fails is a
// gap. The error is the context's, or says that what came could not be kept.
func (c *Collector) Collect(ctx context.Context, p evidence.Period) ([]evidence.Evidence, error) {
	var out []evidence.Evidence
	err := c.Stream(ctx, p, func(e evidence.Evidence) error {
		out = append(out, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Stream is Collect, for windows of any size: nothing is handed over before
// everything was asked, and then about a thousand items at a time.
func (c *Collector) Stream(ctx context.Context, p evidence.Period, keep func(evidence.Evidence) error) (err error) {
	r := &run{c: c, window: p, started: c.deps.Now().UTC(), out: map[evidence.Kind]*gathered{}, principal: "unknown: it was not asked"}
	if c.deps.Store == nil {
		r.bodies = map[string]ref{}
	}
	for _, k := range c.Kinds() {
		r.out[k] = &gathered{named: map[evidence.Gap]bool{}}
	}
	if r.spool, err = newSpool(); err != nil {
		return fmt.Errorf("collecting from GitHub: %w", err)
	}
	defer func() { err = errors.Join(err, r.spool.close()) }()
	defer func() { r.end(err == nil) }()
	if err := r.everything(ctx); err != nil {
		return fmt.Errorf("collecting from GitHub: %w", err)
	}
	return r.emit(keep)
}

// open makes the transport with the token, or with the App's key.
func (c *Collector) open(note func(evidence.Request, []byte) error) (*recorder, error) {
	if a := c.config.App; a != nil {
		key, err := readAppKey(a.KeyFile)
		if err != nil {
			return nil, err
		}
		rec := newRecorder(c, "", note)
		rec.login = &appLogin{app: *a, key: key}
		return rec, nil
	}
	token := c.deps.Getenv(c.config.TokenEnv)
	if token == "" {
		return nil, fmt.Errorf("the environment variable %s holds no token", c.config.TokenEnv)
	}
	return newRecorder(c, token, note), nil
}

// everything asks for it.
func (r *run) everything(ctx context.Context) error {
	c := r.c
	rec, err := c.open(r.note)
	if err != nil {
		r.principal = "unknown: there is no token"
		for _, k := range c.Kinds() {
			r.gap(k, "everything", err.Error())
		}
		return nil
	}
	r.rec = rec
	r.client = gh.NewClient(&http.Client{Transport: r.rec})
	r.client.BaseURL = c.base
	r.whoAmI(ctx)
	r.begin()
	for _, branches := range byRepository(c.config.Repositories) {
		r.repository(ctx, branches)
	}
	if c.config.Organization != "" {
		r.members(ctx, c.config.Organization)
		r.teams(ctx, c.config.Organization)
		r.organization(ctx, c.config.Organization)
		if c.config.AuditLog {
			r.auditLog(ctx, c.config.Organization)
		}
	}
	return cmp.Or(ctx.Err(), r.rec.broken, r.spool.err)
}
