package ingest

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Events in the life of an alert that are told outside.
const (
	AlertEventRaised       = "raised"
	AlertEventEscalated    = "escalated"
	AlertEventAcknowledged = "acknowledged"
	AlertEventResolved     = "resolved"
)

// AlertEvents lists them in the order in which they can happen.
func AlertEvents() []string {
	return []string{AlertEventRaised, AlertEventEscalated, AlertEventAcknowledged, AlertEventResolved}
}

// Severities of alerts.
const (
	SeverityCritical = "critical"
	SeverityWarning  = "warning"
)

// AlertPolicy says where alerts go, besides the log and the admin API, and how
// often that is tried.
type AlertPolicy struct {
	Webhooks []WebhookPolicy   `yaml:"webhooks"`
	GitHub   AlertGitHubPolicy `yaml:"github"`
	Canaries bool              `yaml:"canaries"` // alerts of tenants that serve drills go out too

	Attempts int           `yaml:"attempts"` // of one event at one target, since the ingest started; then it is given up
	Backoff  time.Duration `yaml:"backoff"`  // before the second attempt; doubled with each
	MaxWait  time.Duration `yaml:"max_wait"` // between two attempts, where the target does not ask for more
	Timeout  time.Duration `yaml:"timeout"`  // of one request

	// AcknowledgeWithin is by severity, "critical" or "warning": an alert that
	// nobody has acknowledged for so long is escalated, once.
	AcknowledgeWithin map[string]time.Duration `yaml:"acknowledge_within"`
}

// WebhookPolicy is a receiver of alerts over HTTPS. Its URL stands in the log:
// what authenticates is the secret, not the URL.
type WebhookPolicy struct {
	Name       string   `yaml:"name"`
	URL        string   `yaml:"url"`         // https; http on loopback
	SecretFile string   `yaml:"secret_file"` // a line whsec_<base64> each; the first is the newest, and all of them sign
	Kinds      []string `yaml:"kinds"`       // of alerts; none: all
	Events     []string `yaml:"events"`      // see AlertEvents; none: all
}

// AlertGitHubPolicy makes an issue of each alert.
type AlertGitHubPolicy struct {
	Repository string   `yaml:"repository"` // "owner/name"; empty: no issues
	BaseURL    string   `yaml:"base_url"`   // default https://api.github.com; GitHub Enterprise: https://HOST/api/v3
	TokenFile  string   `yaml:"token_file"` // of a token that may write issues of the repository, and nothing else
	Labels     []string `yaml:"labels"`
	Kinds      []string `yaml:"kinds"` // of alerts; none: all
}

// Kinds of targets.
const (
	TargetWebhook     = "webhook"
	TargetGitHubIssue = "github-issue"
)

func defaultAlertPolicy() AlertPolicy {
	return AlertPolicy{Attempts: 12, Backoff: 10 * time.Second, MaxWait: time.Hour, Timeout: 15 * time.Second}
}

// maxWebhooks bounds the targets, each of which has a goroutine and a queue.
const maxWebhooks = 16

// maxRetryAfter bounds what a target can ask to wait.
const maxRetryAfter = 24 * time.Hour

var repositoryForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9._-]+$`)

// Resolve makes the paths in it seen from elsewhere.
func (p *AlertPolicy) Resolve(path func(string) string) {
	for i := range p.Webhooks {
		p.Webhooks[i].SecretFile = path(p.Webhooks[i].SecretFile)
	}
	p.GitHub.TokenFile = path(p.GitHub.TokenFile)
}

func (p AlertPolicy) validate() error {
	if p.Attempts < 1 || p.Attempts > 100 {
		return fmt.Errorf("attempts: %d is outside 1 to 100", p.Attempts)
	}
	spans := map[string]time.Duration{"backoff": p.Backoff, "max_wait": p.MaxWait, "timeout": p.Timeout}
	for severity, d := range p.AcknowledgeWithin {
		if severity != SeverityCritical && severity != SeverityWarning {
			return fmt.Errorf("acknowledge_within.%s: there is no such severity; want %s or %s", severity, SeverityCritical, SeverityWarning)
		}
		spans["acknowledge_within."+severity] = d
	}
	for key, d := range spans {
		if d < time.Millisecond || d > 365*day {
			return fmt.Errorf("%s: %v is outside 1ms to a year", key, d)
		}
	}
	if len(p.Webhooks) > maxWebhooks {
		return fmt.Errorf("webhooks: %d are more than %d", len(p.Webhooks), maxWebhooks)
	}
	seen := map[string]bool{}
	for i, w := range p.Webhooks {
		if err := w.validate(); err != nil {
			return fmt.Errorf("webhooks[%d].%w", i, err)
		}
		if seen[w.Name] {
			return fmt.Errorf("webhooks[%d].name: %s stands twice", i, w.Name)
		}
		seen[w.Name] = true
	}
	if err := p.GitHub.validate(); err != nil {
		return fmt.Errorf("github.%w", err)
	}
	return nil
}

func (w WebhookPolicy) validate() error {
	if !tenantForm.MatchString(w.Name) {
		return fmt.Errorf("name: %q; want 1 to 63 lower-case letters, digits or hyphens", w.Name)
	}
	if err := targetURL(w.URL); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if w.SecretFile == "" {
		return errors.New("secret_file: name the file that holds the secret")
	}
	for _, e := range w.Events {
		if !slices.Contains(AlertEvents(), e) {
			return fmt.Errorf("events: there is no event %q; want %s", e, strings.Join(AlertEvents(), ", "))
		}
	}
	return validKinds(w.Kinds)
}

func (g AlertGitHubPolicy) validate() error {
	if g.Repository == "" {
		if g.BaseURL != "" || g.TokenFile != "" || len(g.Labels) > 0 || len(g.Kinds) > 0 {
			return errors.New("repository: name it as owner/name")
		}
		return nil
	}
	if !repositoryForm.MatchString(g.Repository) {
		return fmt.Errorf("repository: %q; want owner/name", g.Repository)
	}
	if err := targetURL(g.api()); err != nil {
		return fmt.Errorf("base_url: %w", err)
	}
	if g.TokenFile == "" {
		return errors.New("token_file: name the file that holds the token")
	}
	return validKinds(g.Kinds)
}

// api is the base of the REST API, with its last slash.
func (g AlertGitHubPolicy) api() string {
	if g.BaseURL == "" {
		return "https://api.github.com/"
	}
	return strings.TrimRight(g.BaseURL, "/") + "/"
}

func validKinds(kinds []string) error {
	for _, k := range kinds {
		if !slices.Contains(AlertKinds(), k) {
			return fmt.Errorf("kinds: there is no kind of alert %q; want %s", k, strings.Join(AlertKinds(), ", "))
		}
	}
	return nil
}

// targetURL refuses what would go over the network in the clear, and secrets
// in a URL, since it stands in the log.
func targetURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return errors.New("want https://host/path")
	}
	switch {
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("no user, query or fragment may stand in it: it stands in the log, and what is secret belongs into a file")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return errors.New("want https; http is for loopback only")
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// effective is the policy as the log holds it: paths of secrets, never these.
func (p AlertPolicy) effective() map[string]any {
	within := map[string]durationText{}
	for severity, d := range p.AcknowledgeWithin {
		within[severity] = durationText(d)
	}
	out := map[string]any{
		"attempts": p.Attempts, "backoff": durationText(p.Backoff), "max_wait": durationText(p.MaxWait), "timeout": durationText(p.Timeout),
		"canaries": p.Canaries, "acknowledge_within": within,
	}
	webhooks := []map[string]any{}
	for _, w := range p.Webhooks {
		webhooks = append(webhooks, map[string]any{
			"name": w.Name, "url": w.URL, "secret_file": w.SecretFile, "kinds": append([]string{}, w.Kinds...), "events": append([]string{}, w.Events...),
		})
	}
	out["webhooks"] = webhooks
	if g := p.GitHub; g.Repository != "" {
		out["github"] = map[string]any{
			"repository": g.Repository, "base_url": g.api(), "token_file": g.TokenFile, "labels": append([]string{}, g.Labels...), "kinds": append([]string{}, g.Kinds...),
		}
	}
	return out
}

// alertSeverity is how much an alert of the kind hurries.
func alertSeverity(kind string) string {
	switch kind {
	case AlertReplayConflict, AlertExportSpike, AlertClockJump, AlertCredentialShared, AlertBreakGlass:
		return SeverityCritical
	}
	return SeverityWarning
}
