package ingest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// alertKindsInCode are the values of the constants that name a kind of alert:
// all beginning with Alert and holding a dot.
func alertKindsInCode(t *testing.T) (kinds []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Names) != 1 || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Alert") {
				return true
			}
			value, ok := spec.Values[0].(*ast.BasicLit)
			if !ok {
				return true
			}
			if text, err := strconv.Unquote(value.Value); err == nil && strings.Contains(text, ".") {
				kinds = append(kinds, text)
			}
			return true
		})
	}
	slices.Sort(kinds)
	return kinds
}

// TestAlertsOfEveryKindGoOut: what the ingest raises by itself, for each kind
// that there is, reaches a webhook and becomes an issue, with its severity.
func TestAlertsOfEveryKindGoOut(t *testing.T) {
	beats := func(c *Config) { c.Heartbeat.DefaultInterval, c.Heartbeat.Missed = 10*time.Minute, 3 }
	table := map[string]struct {
		severity string
		config   func(*Config)
		cause    func(t *testing.T, r *rig)
	}{
		AlertDeviceSilent: {SeverityWarning, beats, func(_ *testing.T, r *rig) {
			r.send(r.deviceClient(r.enrol("nord", "m-1")), r.line(1, 1))
			r.clock.add(31 * time.Minute)
			r.tick()
		}},
		AlertFleetSilent: {SeverityWarning, beats, func(_ *testing.T, r *rig) {
			for _, d := range []string{"a", "b", "c", "d"} {
				r.send(r.deviceClient(r.enrol("nord", d, func(q *DeviceRequest) { q.Fleet = "roof" })), r.line(1, 1))
			}
			r.clock.add(31 * time.Minute)
			r.tick()
		}},
		AlertReplayConflict: {SeverityCritical, nil, func(_ *testing.T, r *rig) {
			c := r.deviceClient(r.enrol("nord", "m-1"))
			r.send(c, r.line(1, 1))
			r.send(c, r.line(1, 2))
		}},
		AlertLetterQuota: {SeverityWarning, func(c *Config) { c.DeadLetters.PerTenant = 1 }, func(_ *testing.T, r *rig) {
			r.send(r.deviceClient(r.enrol("nord", "m-1")), r.line(1, 9000), r.line(2, 9000))
		}},
		AlertCredentialShared: {SeverityCritical, quiet, func(_ *testing.T, r *rig) {
			pair := r.enrol("nord", "m-1")
			here, there := r.speaker(pair, "192.0.2.1"), r.speaker(pair, "198.51.100.7")
			for n := range 8 {
				p := here
				if n%2 == 1 {
					p = there
				}
				p.send(r.line(n+1, 1))
				r.clock.add(time.Minute)
			}
		}},
		AlertRotationDue: {SeverityWarning, func(c *Config) {
			c.Certificates.Device, c.Rotation.DueBefore = 60*day, 15*day
			c.Heartbeat.DefaultInterval = 1000 * day
		}, func(_ *testing.T, r *rig) {
			r.send(r.deviceClient(r.enrol("nord", "m-1")), r.line(1, 1))
			r.clock.add(46 * day)
			r.tick()
		}},
		AlertCRLExpired: {SeverityWarning, func(c *Config) {
			start := newClock().now()
			m := newMaker(t, newClock().now)
			file := filepath.Join(t.TempDir(), "pki.crl")
			if err := os.WriteFile(file, m.list(1, start, start.Add(day)), 0o600); err != nil {
				t.Fatal(err)
			}
			c.ExternalCAs = []ExternalCA{{Name: "pki", File: m.file, Tenants: []string{"nord"}, URI: "urn:pki:{device}", CRL: file}}
		}, func(_ *testing.T, r *rig) {
			r.clock.add(2 * day)
			r.tick()
		}},
		AlertExportSpike: {SeverityCritical, func(c *Config) { c.Exports.SpikeRows = 1 }, func(t *testing.T, r *rig) {
			r.send(r.deviceClient(r.enrol("nord", "m-1")), r.line(1, 1), r.line(2, 1))
			x, err := r.ask("nord")
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := r.fetch("emil", x.ID); err != nil {
				t.Fatal(err)
			}
		}},
		AlertClockJump: {SeverityCritical, nil, func(t *testing.T, r *rig) {
			mono := time.Duration(0)
			r.s.ownClock.mono = func() time.Duration { return mono }
			r.s.ownClock.ntp = func(*evidence.ClockCheck) {}
			for _, wall := range []time.Duration{0, time.Minute} {
				r.clock.add(wall)
				mono += time.Second
				if err := r.s.watchClock(); err != nil {
					t.Fatal(err)
				}
			}
		}},
		AlertConfigReverted: {SeverityWarning, nil, func(t *testing.T, r *rig) {
			own := r.config
			r.readable(&own)
			if _, err := r.admin("root.admin").ApplyConfig(t.Context(), []byte("limits: {body_bytes: 60}\n"), "smaller bodies", ""); err != nil {
				t.Fatal(err)
			}
			r.restart()
		}},
		AlertBreakGlass: {SeverityCritical, nil, func(t *testing.T, r *rig) {
			if _, err := r.admin("root.admin").OpenBreakGlass(t.Context(), BreakGlassRequest{Role: RoleApprover, Minutes: 30, Reason: "both approvers are away"}); err != nil {
				t.Fatal(err)
			}
		}},
	}
	listed := slices.Sorted(slices.Values(AlertKinds()))
	if in := alertKindsInCode(t); !slices.Equal(in, listed) || len(listed) != len(table) {
		t.Errorf("the code has the kinds\n%v\nAlertKinds lists\n%v\nand %d are tested here", in, listed, len(table))
	}
	readme, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for kind, c := range table {
		if !strings.Contains(string(readme), "`"+kind+"`") {
			t.Errorf("README.md does not name the kind %s", kind)
		}
		t.Run(kind, func(t *testing.T) {
			v, hub := newReceiver(t, 15), newFakeHub(t)
			r := newRig(t, toWebhooks(v.policy("pager")), func(cfg *Config) {
				cfg.Alerts.GitHub = hub.policy()
				if c.config != nil {
					c.config(cfg)
				}
			})
			r.tenant("nord")
			c.cause(t, r)
			found := r.alertsOf(kind)
			if len(found) != 1 {
				t.Fatalf("%d alerts of the kind; all are %+v", len(found), r.s.listAlerts())
			}
			if got := r.told(found[0].ID); !slices.Equal(got, []string{"raised>pager:delivered", "raised>acme/ops:delivered"}) {
				t.Errorf("%v", got)
			}
			var told []alertPayload
			for _, x := range v.requests() {
				if x.message.Data.Kind == kind {
					told = append(told, x.message.Data)
				}
			}
			if len(told) != 1 || told[0].ID != found[0].ID || told[0].Severity != c.severity || told[0].Detail == "" || told[0].Tenant != found[0].Tenant {
				t.Errorf("the webhook was told %+v", told)
			}
			if i := hub.all(); !slices.ContainsFunc(i, func(i hubIssue) bool { return strings.HasPrefix(i.Title, "["+c.severity+"] "+kind) }) {
				t.Errorf("issues are %+v", i)
			}
			r.sameAsFold()
		})
	}
}
