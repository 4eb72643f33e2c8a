// Package rollout collects how firmware was brought to the devices: in which
// stages, how large, with which thresholds and outcomes, and who approved it.
// Rollouts come from files in the schema of this package (see File) and from
// the management API of Eclipse hawkBit.
//
// Success and error ratios are recomputed from the devices' outcomes. What a
// server says of its own ratios and of a stage being finished is not relied on.
package rollout

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"trustpack/evidence"
)

// KindRollouts is the kind of evidence that this collector brings back.
const KindRollouts evidence.Kind = "rollout.rollouts"

// Config is the section `rollout` of the configuration. At least one of Folder
// and HawkBit is set.
type Config struct {
	// Folder holds rollout files, *.yaml, *.yml and *.json, one rollout each.
	Folder  string   `yaml:"folder"`
	HawkBit *HawkBit `yaml:"hawkbit"`
	// Sample says that the rollouts are an example's, or recorded.
	Sample bool `yaml:"sample"`
}

// HawkBit says where a hawkBit server is and which environment variables hold
// the credential: a user and a password, or a bearer token. The user needs the
// permissions READ_ROLLOUT, READ_TARGET and READ_REPOSITORY and no other.
type HawkBit struct {
	URL         string `yaml:"url"` // "https://hawkbit.example.com", without /rest/v1
	UserEnv     string `yaml:"user_env"`
	PasswordEnv string `yaml:"password_env"`
	TokenEnv    string `yaml:"token_env"`
}

// Deps is what the collector needs from its caller.
type Deps struct {
	Tool      string                          // "trustpack 0.1.0"
	Now       func() time.Time                // default time.Now
	Clock     evidence.Clock                  // whose time Now gives; default the system's
	Transport http.RoundTripper               // default http.DefaultTransport
	Getenv    func(string) string             // looks the credential up; needed for HawkBit
	Progress  func(string)                    // told what is being read; may be nil
	Backoff   func(attempt int) time.Duration // wait before attempt 2, 3, …; default doubles from half a second
}

type collector struct {
	config Config
	deps   Deps
}

// New makes the collector. It refuses a configuration that names no source, a
// URL that carries a credential, and one over which a credential would travel
// unencrypted to another machine.
func New(c Config, d Deps) (evidence.Collector, error) {
	if c.Folder == "" && c.HawkBit == nil {
		return nil, errors.New("rollout: name a folder of rollout files or a hawkbit server")
	}
	if c.HawkBit != nil {
		if err := c.HawkBit.check(); err != nil {
			return nil, fmt.Errorf("rollout: hawkbit: %w", err)
		}
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Clock == "" {
		d.Clock = evidence.ClockSystem
	}
	if d.Transport == nil {
		d.Transport = http.DefaultTransport
	}
	if d.Getenv == nil {
		d.Getenv = func(string) string { return "" }
	}
	if d.Progress == nil {
		d.Progress = func(string) {}
	}
	if d.Backoff == nil {
		d.Backoff = func(attempt int) time.Duration { return 500 * time.Millisecond << min(attempt-2, 5) }
	}
	return &collector{c, d}, nil
}

func (h HawkBit) check() error {
	u, err := url.Parse(h.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("url: want the server's address, such as https://hawkbit.example.com")
	case u.User != nil || u.RawQuery != "":
		return errors.New("url: it carries a user or a query; name environment variables in user_env and password_env, or in token_env")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return errors.New("url: over http the credential would cross the network in the clear; use https")
	case (h.UserEnv == "") != (h.PasswordEnv == ""):
		return errors.New("user_env and password_env go together")
	case (h.UserEnv == "") == (h.TokenEnv == ""):
		return errors.New("name either user_env and password_env, or token_env")
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (c *collector) Name() string { return "rollout" }

func (c *collector) Kinds() []evidence.Kind { return []evidence.Kind{KindRollouts} }

// trace is what is kept of the reading, whatever the source.
type trace struct {
	requests []evidence.Request
	raw      []evidence.RawReply
	gaps     []evidence.Gap
}

func (t *trace) gap(what, reason string) {
	t.gaps = append(t.gaps, evidence.Gap{What: what, Reason: reason})
}

// Collect brings back the rollouts that were under way in the period.
func (c *collector) Collect(ctx context.Context, p evidence.Period) ([]evidence.Evidence, error) {
	at := c.deps.Now().UTC()
	var t trace
	var all []rollout
	var accounts, principals []string
	if c.config.Folder != "" {
		c.deps.Progress("reading rollouts in " + c.config.Folder)
		all = append(all, c.files(ctx, &t)...)
		accounts = append(accounts, filepath.Base(filepath.Clean(c.config.Folder)))
		principals = append(principals, "unknown: a folder asks for no credential")
	}
	if c.config.HawkBit != nil {
		c.deps.Progress("reading rollouts of " + c.config.HawkBit.URL)
		s := c.server(&t)
		principals = append(principals, s.principal(ctx))
		all = append(all, s.rollouts(ctx, p)...)
		accounts = append(accounts, c.config.HawkBit.URL)
	}
	e := evidence.Evidence{
		Kind: KindRollouts, Collector: c.Name(), CollectedAt: at, Window: p,
		Provenance: evidence.Provenance{
			System: "rollout", Account: strings.Join(accounts, " and "),
			Principal: strings.Join(principals, "; "),
			Tool:      c.deps.Tool, Origin: evidence.OriginLive, Clock: c.deps.Clock,
			Requests: t.requests,
		},
		Completeness: evidence.Completeness{State: evidence.Complete, Basis: "read-to-end", Gaps: t.gaps},
		Raw:          t.raw,
	}
	if c.config.Sample {
		e.Provenance.Origin = evidence.OriginSample
	}
	for _, r := range all {
		if r.underWay(p) {
			e.Population.Items = append(e.Population.Items, r.item())
		}
	}
	e.Completeness.Got = len(e.Population.Items)
	if len(t.gaps) > 0 {
		e.Completeness.State = evidence.Incomplete
	}
	return []evidence.Evidence{e}, nil
}
