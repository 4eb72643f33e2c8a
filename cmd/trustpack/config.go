package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"trustpack/collectors"
	"trustpack/evidence"
	"trustpack/ingest"
	"trustpack/internal/signers"
	"trustpack/internal/strictyaml"
	"trustpack/pack"
)

// Config is trustpack.yaml. Paths in it are relative to the file.
type Config struct {
	Organisation string            `yaml:"organisation"`
	System       string            `yaml:"system"`
	Instance     string            `yaml:"instance"` // begins the origin of every log: "<instance>/<log>"
	State        string            `yaml:"state"`    // folder of the ingest's state and the evidence locker
	Sample       bool              `yaml:"sample"`   // everything here is an example's: said in checkpoints, packs and reports
	Clock        evidence.Clock    `yaml:"clock"`    // "system", or "simulated" where the state was made on a simulated clock
	Ingest       ingest.Config     `yaml:"ingest"`
	Collectors   collectors.Config `yaml:"collectors"`
	Catalog      string            `yaml:"catalog"` // folder of controls of one's own, added to those built in
	Policy       map[string]any    `yaml:"policy"`  // parameters of controls, over their defaults
	Pack         PackConfig        `yaml:"pack"`

	dir string // where the file is
}

// PackConfig says how packs are signed.
type PackConfig struct {
	Key           string            `yaml:"key"`            // of the vendor: a private key file, ssh-agent:, awskms:KEY or exec:COMMAND (see package signers)
	Identity      string            `yaml:"identity"`       // who the vendor says he is where he signs; empty: nothing
	RequiredRoles []string          `yaml:"required_roles"` // whose signatures a pack needs besides the vendor's: reviewer, auditor
	KMS           signers.KMSConfig `yaml:"kms"`            // of keys that AWS KMS holds
	TSA           TSAConfig         `yaml:"tsa"`            // time stamp authority that is asked when a pack is signed
}

// TSAConfig names a time stamp authority (RFC 3161).
type TSAConfig struct {
	URL   string `yaml:"url"`   // empty: none is asked
	Roots string `yaml:"roots"` // PEM file of the certificates that its answers must lead to; empty: not checked
}

var instanceForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*(/[a-z0-9][a-z0-9.-]*)*$`)

// loadConfig reads and checks the configuration file.
func (a *app) loadConfig() (*Config, error) {
	data, err := os.ReadFile(a.config)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint(fmt.Errorf("there is no configuration at %s", a.config), "make one with 'trustpack init', or name it with --config FILE")
	}
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	return a.parseConfig(a.config, data)
}

// parseConfig checks a configuration as if it stood in the place of the
// configuration file.
func (a *app) parseConfig(name string, data []byte) (cfg *Config, err error) {
	cfg = &Config{State: "state", Clock: evidence.ClockSystem, Ingest: ingest.DefaultConfig()}
	if err := strictyaml.Decode(name, data, cfg); err != nil {
		return nil, err
	}
	if cfg.dir, err = filepath.Abs(filepath.Dir(a.config)); err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	cfg.Collectors.Resolve(cfg.path)
	cfg.Ingest.Schemas = cfg.path(cfg.Ingest.Schemas)
	cfg.Ingest.Alerts.Resolve(cfg.path)
	cfg.Ingest.Drills.Resolve(cfg.path)
	cfg.Ingest.OIDC.ClientSecretFile = cfg.path(cfg.Ingest.OIDC.ClientSecretFile)
	cfg.Ingest.Ledger.CheckpointCopy = cfg.path(cfg.Ingest.Ledger.CheckpointCopy)
	for i := range cfg.Ingest.ExternalCAs {
		x := &cfg.Ingest.ExternalCAs[i]
		x.File, x.CRL = cfg.path(x.File), cfg.path(x.CRL)
	}
	return cfg, nil
}

func (c *Config) check() error {
	switch {
	case c.Organisation == "":
		return errors.New("organisation is not set")
	case c.System == "":
		return errors.New("system is not set")
	case !instanceForm.MatchString(c.Instance):
		return fmt.Errorf("instance is %q; want a name such as example.com/telemetry (lower case letters, digits, dots, hyphens and slashes)", c.Instance)
	case c.Clock != evidence.ClockSystem && c.Clock != evidence.ClockSimulated:
		return fmt.Errorf("clock is %q; want system or simulated", c.Clock)
	case c.Clock == evidence.ClockSimulated && !c.Sample:
		return errors.New("clock is simulated and sample is not true: simulated times are only for samples")
	}
	for _, role := range c.Pack.RequiredRoles {
		if pack.PredicateType(role) == "" {
			return fmt.Errorf("pack.required_roles names %q; want reviewer or auditor", role)
		}
	}
	return nil
}

// path is p as seen from the configuration file.
func (c *Config) path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.dir, filepath.FromSlash(p))
}

func (c *Config) ingestDir() string { return filepath.Join(c.path(c.State), "ingest") }
func (c *Config) lockerDir() string { return filepath.Join(c.path(c.State), "evidence") }
func (c *Config) seedFile() string  { return filepath.Join(c.path(c.State), "evidence", "log.seed") }
func (c *Config) saltFile() string  { return filepath.Join(c.path(c.State), "evidence", "pack.secret") }

// labels are the signed words in every checkpoint of a sample.
func (c *Config) labels() []string {
	if !c.Sample {
		return nil
	}
	return []string{fmt.Sprintf("sample=true clock=%s", c.Clock)}
}
