// Package telemetry collects evidence from a running trustpack ingest: its
// configuration and registry as they are, and every event of the period as
// its logs tell it.
//
// The ingest's word is not taken for what can be recomputed. The control log
// and each tenant's log are read entry by entry and hashed up to the root of
// the signed checkpoint; provisioning, revocations, refusals, alerts and the
// rest are folded from those entries; the books are counted again from the
// tenants' logs, and silences are found in them whether or not an alert says
// so.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// Name is the collector's.
const Name = "telemetry"

// Config says where the ingest is and how its logs are known.
type Config struct {
	URL     string   `yaml:"url"`      // admin address, https://host:port
	Cert    string   `yaml:"cert"`     // operator's certificate, PEM file; role auditor is enough
	Key     string   `yaml:"key"`      // its private key, PEM file
	CA      string   `yaml:"ca"`       // root certificate of the ingest, PEM file
	LogKeys []string `yaml:"log_keys"` // files (or patterns, *.vkey) with the logs' verifier keys; without them the ingest's own word is taken and that is said
	// WitnessKeys are verifier keys of witnesses, whose cosignatures count.
	// Without them those of the witnesses that the ingest names do.
	WitnessKeys []string `yaml:"witness_keys"`
	Sample      bool     `yaml:"sample"` // the devices behind the ingest are an example's
}

// Deps are what the collector needs of its surroundings.
type Deps struct {
	Tool      string            // "trustpack 0.1.0", for provenance
	Now       func() time.Time  //
	Clock     evidence.Clock    // whose time Now tells
	Transport http.RoundTripper // nil: mutual TLS from Config
	Progress  func(string)      // nil: none
	// Cited gives the size of a log at the checkpoint that the last pack cites,
	// 0 where it cites none: what is collected goes through it, so that the next
	// pack is proved to follow. nil: always 0.
	Cited func(origin string) int64
	// LooksBack is how long before the period the drills, alerts, rotations or
	// roles taken in an emergency begin that are read; none where it has no entry.
	// Of other kinds it says nothing.
	LooksBack map[evidence.Kind]time.Duration
	Backoff   func(attempt int) time.Duration // wait before attempt 2, 3, …; nil: doubles from half a second
}

// The kinds that this collector brings.
const (
	KindConfig        evidence.Kind = "telemetry.config"
	KindConfigChanges evidence.Kind = "telemetry.config-changes"
	KindDevices       evidence.Kind = "telemetry.devices"
	KindOperators     evidence.Kind = "telemetry.operators"
	KindProvisioning  evidence.Kind = "telemetry.provisioning"
	KindRevocations   evidence.Kind = "telemetry.revocations"
	KindRefusals      evidence.Kind = "telemetry.refusals"
	KindDeadLetters   evidence.Kind = "telemetry.deadletters"
	KindAlerts        evidence.Kind = "telemetry.alerts"
	KindSilences      evidence.Kind = "telemetry.silences"
	KindGaps          evidence.Kind = "telemetry.gaps"
	KindExports       evidence.Kind = "telemetry.exports"
	KindPurges        evidence.Kind = "telemetry.purges"
	KindPayloadDays   evidence.Kind = "telemetry.payload-days"
	KindDrills        evidence.Kind = "telemetry.drills"
	KindCheckpoints   evidence.Kind = "telemetry.checkpoints"
	KindBooks         evidence.Kind = "telemetry.books"
	KindAdminActions  evidence.Kind = "telemetry.admin-actions"
	KindClock         evidence.Kind = "telemetry.clock"

	KindBindings          evidence.Kind = "telemetry.bindings"
	KindTransfers         evidence.Kind = "telemetry.transfers"
	KindRotations         evidence.Kind = "telemetry.rotations"
	KindSupportGrants     evidence.Kind = "telemetry.support-grants"
	KindBreakGlass        evidence.Kind = "telemetry.break-glass"
	KindLogins            evidence.Kind = "telemetry.logins"
	KindRoleChanges       evidence.Kind = "telemetry.role-changes"
	KindLayout            evidence.Kind = "telemetry.layout"
	KindStatusPages       evidence.Kind = "telemetry.status-pages"
	KindExportPermissions evidence.Kind = "telemetry.export-permissions"
	KindExportFiles       evidence.Kind = "telemetry.export-files"
	KindExportSpikes      evidence.Kind = "telemetry.export-spikes"
)

type collector struct {
	cfg  Config
	deps Deps
	keys map[string]string // pinned verifier keys by origin
	http *http.Client
}

// New makes the collector. It reads the key files; the ingest is first asked
// by Collect.
func New(cfg Config, deps Deps) (evidence.Collector, error) {
	if cfg.URL == "" {
		return nil, errors.New("collector telemetry: url is not set; give the ingest's admin address, such as https://127.0.0.1:8444")
	}
	if u, err := url.Parse(cfg.URL); err != nil || u.User != nil || u.RawQuery != "" {
		return nil, errors.New("collector telemetry: url: want an address without a user or a query, such as https://127.0.0.1:8444; the credential is the operator's certificate")
	}
	if deps.Progress == nil {
		deps.Progress = func(string) {}
	}
	if deps.Backoff == nil {
		deps.Backoff = func(attempt int) time.Duration { return 500 * time.Millisecond << min(attempt-2, 5) }
	}
	if deps.Cited == nil {
		deps.Cited = func(string) int64 { return 0 }
	}
	keys, err := readVerifierKeys(cfg.LogKeys)
	if err != nil {
		return nil, fmt.Errorf("collector telemetry: %w", err)
	}
	for _, key := range cfg.WitnessKeys {
		if _, err := ledger.WitnessName(key); err != nil {
			return nil, fmt.Errorf("collector telemetry: witness_keys: %w", err)
		}
	}
	transport := deps.Transport
	if transport == nil {
		if transport, err = mutualTLS(cfg, deps.Now); err != nil {
			return nil, fmt.Errorf("collector telemetry: %w", err)
		}
	}
	return &collector{cfg: cfg, deps: deps, keys: keys, http: &http.Client{
		Transport: transport, Timeout: time.Minute,
		// What another place answers is not the word of the ingest that was named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (c *collector) Name() string { return Name }

func (c *collector) Kinds() []evidence.Kind {
	return []evidence.Kind{
		KindConfig, KindConfigChanges, KindDevices, KindOperators, KindProvisioning, KindRevocations,
		KindRefusals, KindDeadLetters, KindAlerts, KindSilences, KindGaps, KindExports, KindPurges, KindPayloadDays, KindDrills,
		KindCheckpoints, KindBooks, KindAdminActions, KindClock,
		KindBindings, KindTransfers, KindRotations, KindSupportGrants, KindBreakGlass, KindLogins, KindRoleChanges, KindLayout, KindStatusPages, KindExportPermissions, KindExportFiles, KindExportSpikes,
	}
}

// Collect asks the ingest once and makes all kinds from the same view of it.
func (c *collector) Collect(ctx context.Context, p evidence.Period) ([]evidence.Evidence, error) {
	r := &run{collector: c, ctx: ctx, period: p, at: c.deps.Now().UTC()}
	r.readAdmin()
	r.readLogs()
	parts := []part{
		r.config(), r.configChanges(), r.devices(), r.operators(), r.provisioning(), r.revocations(),
		r.refusals(), r.deadLetters(), r.alerts(), r.silences(), r.gaps(), r.exports(), r.purges(), r.payloadDays(), r.drills(),
		r.checkpoints(), r.books(), r.adminActions(), r.clock(),
		r.bindings(), r.transfers(), r.rotations(), r.supportGrants(), r.breakGlass(), r.logins(), r.roleChanges(), r.layout(), r.statusPages(), r.exportPermissions(), r.exportFiles(), r.exportSpikes(),
	}
	out := make([]evidence.Evidence, 0, len(parts))
	for _, part := range parts {
		out = append(out, r.finish(part))
	}
	return out, ctx.Err()
}
