// Package aws collects how AWS accounts keep their logs and who may enter them:
// CloudWatch log groups, CloudTrail trails, S3 buckets and IAM users. It only
// reads. Permissions lists what it needs in each account, and CheckAccess asks
// whether it is there. All of it but account:ListRegions is in AWS's managed
// policy SecurityAudit (version 55); sts:AssumeRole, on the role of each further
// account, is for the credential alone.
package aws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"trustpack/evidence"
)

// The kinds of evidence that this collector brings back.
const (
	KindLogGroups evidence.Kind = "aws.log-groups"
	KindTrails    evidence.Kind = "aws.trails"
	KindBuckets   evidence.Kind = "aws.buckets"
	KindUsers     evidence.Kind = "aws.users"
)

// Config is the section `aws` of the configuration.
type Config struct {
	// Account is that of the credential itself, twelve digits; the credential must
	// belong to it. Empty: only Accounts are read.
	Account string `yaml:"account"`
	// Accounts are further ones, each read as a role.
	Accounts []Account `yaml:"accounts"`
	// Regions are those that log groups and trails are read in; each other region
	// that the account has enabled is then a gap. Empty: all that it has enabled.
	Regions []string `yaml:"regions"`
	// Partition is where the accounts are, such as aws-us-gov; default that of the
	// regions or roles that are named, else aws.
	Partition string `yaml:"partition"`
	// Endpoint takes the place of AWS's own addresses for every service, for
	// recorded replies and for private gateways.
	Endpoint    string      `yaml:"endpoint"`
	Credentials Credentials `yaml:"credentials"`
	Attempts    int         `yaml:"attempts"` // tries of one request; default 4
	// Sample says that the replies are recorded sample data.
	Sample bool `yaml:"sample"`
}

// Credentials names the environment variables that hold an access key. Where
// none is named, the SDK's default chain is used: environment, shared files,
// container and instance roles.
type Credentials struct {
	AccessKeyIDEnv     string `yaml:"access_key_id_env"`
	SecretAccessKeyEnv string `yaml:"secret_access_key_env"`
	SessionTokenEnv    string `yaml:"session_token_env"` // of temporary credentials
}

// Deps is what the collector needs from its caller.
type Deps struct {
	Tool      string                          // "trustpack 0.1.0"
	Now       func() time.Time                // default time.Now
	Clock     evidence.Clock                  // whose time Now gives; default the system's
	Transport http.RoundTripper               // default http.DefaultTransport
	Getenv    func(string) string             // looks up what Credentials names
	Progress  func(string)                    // told what is being read; may be nil
	Backoff   func(attempt int) time.Duration // wait before attempt 2, 3, …; default doubles from half a second
}

type collector struct {
	config   Config
	deps     Deps
	patience *patience // where somebody waits for each answer; nil in collecting
}

var (
	accountForm = regexp.MustCompile(`^\d{12}$`)
	regionForm  = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-\d{1,2}$`)
)

// New makes the collector. It refuses a configuration that could not be used
// for any account.
func New(c Config, d Deps) (evidence.Collector, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("aws: %w", err)
	}
	if c.Attempts == 0 {
		c.Attempts = 4
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
	return &collector{config: c, deps: d}, nil
}

func (c Config) check() error {
	if err := c.checkPartition(); err != nil {
		return err
	}
	if err := c.checkAccounts(); err != nil {
		return err
	}
	if c.Attempts < 0 || c.Attempts > 10 {
		return fmt.Errorf("attempts: want 1 to 10, got %d", c.Attempts)
	}
	if (c.Credentials.AccessKeyIDEnv == "") != (c.Credentials.SecretAccessKeyEnv == "") {
		return errors.New("credentials: access_key_id_env and secret_access_key_env go together")
	}
	if c.Credentials.AccessKeyIDEnv == "" && c.Credentials.SessionTokenEnv != "" {
		return errors.New("credentials: session_token_env needs access_key_id_env and secret_access_key_env")
	}
	return c.checkEndpoint()
}

func (c Config) checkEndpoint() error {
	if c.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("endpoint: want an address such as https://gateway.example.com")
	case u.User != nil || u.RawQuery != "":
		return errors.New("endpoint: it carries a user or a query; credentials come from the environment")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return errors.New("endpoint: over http a session token would cross the network in the clear; use https")
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

func (c *collector) Name() string { return "aws" }

func (c *collector) Kinds() []evidence.Kind {
	return []evidence.Kind{KindLogGroups, KindTrails, KindBuckets, KindUsers}
}

// Collect reads each account as it is now; p is only noted. Each account brings
// evidence of its own of every kind, so that a later snapshot of one never
// stands for another, and one that could not be read is a gap of each kind.
// Every region, bucket, user or call that could not be read is a gap in its
// kind. An item of which a part could not be read stands without those
// attributes, so that a control cannot take what is unknown for a value; null
// is a value, "none".
func (c *collector) Collect(ctx context.Context, p evidence.Period) ([]evidence.Evidence, error) {
	var all []evidence.Evidence
	b := c.base(ctx)
	for _, a := range c.config.all() {
		all = append(all, c.account(ctx, c.identify(ctx, b, a), p)...)
	}
	return all, nil
}

// account reads one account.
func (c *collector) account(ctx context.Context, id *identity, p evidence.Period) []evidence.Evidence {
	readers := map[evidence.Kind]func(context.Context, *session){
		KindLogGroups: readLogGroups, KindTrails: readTrails, KindBuckets: readBuckets, KindUsers: readUsers,
	}
	where := &regions{rec: c.recorder(id.secrets, "")}
	if id.refused == "" {
		where = c.regionsOf(ctx, id)
	}
	var all []evidence.Evidence
	for _, kind := range c.Kinds() {
		s := &session{c: c, id: id, at: c.deps.Now().UTC(), rec: c.recorder(id.secrets, ""), basis: "read-to-end"}
		if kind == KindLogGroups || kind == KindTrails {
			s.where, s.note = where, where.note
		}
		if id.refused == "" {
			c.deps.Progress("reading " + string(kind) + " of account " + id.account.Account)
			readers[kind](ctx, s)
		}
		all = append(all, s.evidence(kind, p))
	}
	return all
}
