package ingest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// settings are a configuration with the rules that were compiled for it. They
// are never changed: another configuration is another settings.
type settings struct {
	Config
	rules     *rules
	externals *externals
}

// cfg is the configuration in force. What looks at more than one value of it
// for one request keeps the settings that were in force when that came.
func (s *Server) cfg() *Config { return &s.set.Load().Config }

func (s *Server) rules() *rules { return s.set.Load().rules }

// ConfigVersion is a version of the configuration as `config history` lists it.
type ConfigVersion struct {
	Version int       `json:"version"`
	SHA256  string    `json:"sha256"`
	Time    time.Time `json:"time"`
	Actor   string    `json:"actor"`
	Role    string    `json:"role"`
	Reason  string    `json:"reason"`
	Ticket  string    `json:"ticket,omitempty"`
	Diff    []string  `json:"diff"`  // against the version before
	Index   int64     `json:"index"` // of its entry in the control log
}

// AppliedConfig answers a configuration that was applied.
type AppliedConfig struct {
	Version int      `json:"version"` // in force now
	SHA256  string   `json:"sha256"`
	Changed bool     `json:"changed"` // false where it is what was in force before
	Diff    []string `json:"diff"`
	// Kept says that the file which the ingest starts from says the same.
	// Where it does not, a restart goes back to that file.
	Kept bool `json:"kept"`
}

// fixed names the settings that next changes and that a running ingest cannot
// change: what its ports were opened with, the size of the replay windows,
// which are folded from the logs with one size, and what its ledger was held to
// at the start.
func (c *Config) fixed(next *Config) []string {
	var out []string
	for _, f := range []struct {
		key  string
		same bool
	}{
		{"listen", c.Listen == next.Listen}, {"admin_listen", c.AdminListen == next.AdminListen},
		{"timeouts", c.Timeouts == next.Timeouts}, {"limits.header_bytes", c.Limits.HeaderBytes == next.Limits.HeaderBytes},
		{"replay.window", c.Replay.Window == next.Replay.Window}, {"ledger", reflect.DeepEqual(c.Ledger, next.Ledger)},
	} {
		if !f.same {
			out = append(out, "ingest."+f.key)
		}
	}
	return out
}

// prepare compiles cfg, or says why it cannot take effect. Nothing is changed.
func (s *Server) prepare(cfg Config) (*settings, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if fixed := s.cfg().fixed(&cfg); len(fixed) > 0 {
		return nil, fmt.Errorf("%s: cannot change while the ingest runs; restart it with the new configuration", strings.Join(fixed, ", "))
	}
	rules, err := loadRules(cfg)
	if err != nil {
		return nil, err
	}
	if err := checkAlertTargets(cfg.Alerts); err != nil {
		return nil, err
	}
	outside, err := loadExternals(cfg.ExternalCAs, s.now())
	if err != nil {
		return nil, err
	}
	return &settings{cfg, rules, outside}, nil
}

// enforce makes next the settings in force, as a version in the log where they
// differ. e says who applies them and why. Requests under way end under the
// settings with which they began; no connection is touched.
func (s *Server) enforce(next *settings, e evidence.AuditEntry) (AppliedConfig, error) {
	s.decide.Lock()
	defer s.decide.Unlock()
	return s.enforceNow(next, e)
}

// enforceNow is enforce by who holds s.decide.
func (s *Server) enforceNow(next *settings, e evidence.AuditEntry) (AppliedConfig, error) {
	version, err := s.configVersion(next)
	if err != nil {
		return AppliedConfig{}, err
	}
	out := AppliedConfig{Version: s.st.config.Version, SHA256: version.SHA256, Diff: []string{}}
	if version.SHA256 != s.st.config.SHA256 {
		out = AppliedConfig{Version: version.Version, SHA256: version.SHA256, Changed: true, Diff: version.Diff}
		e.Target, e.Result = "config", "done"
		e.Before, e.After = raw(map[string]string{"sha256": s.st.config.SHA256}), raw(map[string]string{"sha256": version.SHA256})
		e.Data = raw(version)
		if _, err := s.record(s.entry(evidence.EntryConfigApplied, e)); err != nil {
			return out, err
		}
	}
	before := s.set.Swap(next)
	s.outbox.configure()
	if !s.certificated.Load() || !slices.Equal(before.Hostnames, next.Hostnames) || before.Certificates.Server != next.Certificates.Server || before.Certificates.CRLURL != next.Certificates.CRLURL {
		if err := s.makeCertificate(s.now()); err != nil {
			return out, fmt.Errorf("the configuration is in force, and the server's certificate is still that of the one before: %w", err)
		}
	}
	return out, nil
}

// Reload reads the file that the ingest starts from and makes it take effect.
// A file that cannot leaves the configuration in force, and that is an entry.
func (s *Server) Reload(reason string) (AppliedConfig, error) {
	actor := &evidence.Actor{Name: "host", Role: "host"}
	next, err := s.reread()
	if err == nil {
		return s.enforce(next, evidence.AuditEntry{Actor: actor, Reason: reason})
	}
	_, rerr := s.record(s.entry(evidence.EntryConfigRefused, evidence.AuditEntry{
		Actor: actor, Target: "config", Result: "refused", Reason: reason, Data: raw(map[string]string{"error": clipReason(err)}),
	}))
	return AppliedConfig{}, errors.Join(fmt.Errorf("the configuration before it stays in force: %w", err), rerr)
}

func (s *Server) reread() (*settings, error) {
	if s.o.ReadConfig == nil {
		return nil, errors.New("this ingest was not started from a file")
	}
	cfg, err := s.o.ReadConfig(nil)
	if err != nil {
		return nil, err
	}
	return s.prepare(cfg)
}

// applyConfig takes a configuration file from an admin, or, where none is
// given, reads the one that the ingest starts from.
func (s *Server) applyConfig(a *adminCall) (any, *Problem) {
	var in struct {
		File   string `json:"file"`
		Reason string `json:"reason"`
		Ticket string `json:"ticket"`
	}
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	a.target = "config"
	switch {
	case strings.TrimSpace(in.Reason) == "" || len(in.Reason) > 2000 || len(in.Ticket) > 500:
		return nil, problem(CodeInvalid, "reason: say why in 1 to 2000 bytes; ticket takes at most 500")
	case s.o.ReadConfig == nil:
		return nil, problem(CodeConflict, "this ingest was not started from a file, and takes none")
	}
	var file []byte
	if in.File != "" {
		file = []byte(in.File)
	}
	cfg, err := s.o.ReadConfig(file)
	if err != nil {
		return nil, problem(CodeInvalid, clipReason(err))
	}
	next, err := s.prepare(cfg)
	if err != nil {
		return nil, problem(CodeInvalid, clipReason(err))
	}
	out, p := s.enforceFor(a, next, evidence.AuditEntry{Actor: a.actor(), RequestID: a.id, Grant: a.grant, Reason: in.Reason, Ticket: in.Ticket})
	if p != nil {
		return nil, p
	}
	var why string
	if out.Kept, why = s.kept(); !out.Kept {
		s.log.Warn("the configuration in force is not in the file that the ingest starts from: a restart goes back to the file", "version", out.Version, "unread", why)
	}
	return out, nil
}

// enforceFor is enforce for an operator, who must still be one that may.
func (s *Server) enforceFor(a *adminCall, next *settings, e evidence.AuditEntry) (AppliedConfig, *Problem) {
	s.decide.Lock()
	defer s.decide.Unlock()
	if p := a.still(""); p != nil {
		return AppliedConfig{}, p
	}
	out, err := s.enforceNow(next, e)
	if err != nil {
		return out, s.failure(err)
	}
	return out, nil
}

// reverted is the version in force before the start, where an operator applied
// it over the API. The file that the ingest starts from is the host's: the
// ingest never writes it, so what is to outlast a restart has to be put there.
func (s *Server) reverted() *ConfigVersion {
	if len(s.st.versions) == 0 {
		return nil
	}
	last := s.st.versions[len(s.st.versions)-1]
	if last.Role == "host" || last.Version != s.st.config.Version {
		return nil
	}
	return &last
}

// configReverted is the alert that a restart has taken back what an operator
// applied.
func (s *Server) configReverted(last *ConfigVersion, diff []string) evidence.AuditEntry {
	changed := strings.Join(diff, "; ")
	s.log.Warn("the file differs from the configuration that was applied last, and takes its place", "version", last.Version, "applied_by", last.Actor, "diff", diff)
	at := s.now()
	alert := evidence.Alert{
		ID: alertID(AlertConfigReverted, at), Kind: AlertConfigReverted, Since: at,
		Detail: clipReason(fmt.Errorf("the ingest started with its file, in which version %d that %s applied on %s is not: %s", last.Version, last.Actor, last.Time.UTC().Format(time.RFC3339), changed)),
	}
	return evidence.AuditEntry{Type: evidence.EntryAlertRaised, Target: alert.ID, Data: raw(alert)}
}

// kept reports whether the file that the ingest starts from says what is in
// force; why says so where that cannot be known.
func (s *Server) kept() (same bool, why string) {
	own, err := s.reread()
	if err != nil {
		return false, clipReason(err)
	}
	return reflect.DeepEqual(own.effective(), s.set.Load().effective()), ""
}

// clipReason is an error as an answer and an entry can hold it.
func clipReason(err error) string {
	text := err.Error()
	if len(text) > 1000 {
		text = strings.ToValidUTF8(text[:1000], "") + "…"
	}
	return text
}

func (s *Server) showHistory(*adminCall) (any, *Problem) {
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	out := []ConfigVersion{}
	for _, v := range s.st.versions {
		v.Diff = append([]string{}, v.Diff...)
		out = append(out, v)
	}
	return map[string]any{"versions": out}, nil
}
