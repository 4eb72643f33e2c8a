package drill

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"trustpack/evidence"
)

// noticed is which drills fail where the ingest has one guard less. All others
// must pass.
var noticed = map[string][]string{
	"server-certificate": {"TR-01.server-certificate"},
	"plaintext":          {"TR-01.plain-http"},
	"tls-version":        {"TR-01.tls-1.0", "TR-01.tls-1.1"},
	"tls-cipher":         {"TR-01.weak-cipher"},
	"no-certificate":     {"ID-02.no-certificate"},
	"chain":              {"ID-02.foreign-ca", "ID-02.self-signed"},
	"token":              {"ID-02.another-devices-token"},
	"expiry":             {"ID-02.expired-certificate"},
	"revocation":         {"ID-05.revoked-device"},
	"quarantine":         {"ID-05.quarantined-device"},
	"tenant-in-path":     {"PR-01.tenant-in-path"},
	"tenant-in-header":   {"PR-01.tenant-in-header"},
	"tenant-in-payload":  {"PR-01.tenant-in-payload", "PR-01.tenant-behind-content-type", "PR-01.tenant-in-stream"},
	"device-in-payload":  {"PR-01.tenant-through-gateway"},
	"status-of-tenant":   {"ST-02.status-of-another-tenant"},
	"device-as-operator": {"ST-02.export-by-device", "ST-02.dead-letters-by-device", "ST-02.log-by-device"},
	"grant-expiry":       {"AU-06.expired-support-grant"},
	"grant-tenant":       {"AU-06.grant-of-another-tenant"},
	"roles":              {"AU-03.role-escalation", "AU-06.expired-support-grant"},
	"self-approval":      {"ID-04.self-approval", "ST-06.export-over-limit"},
	"media":              {"TR-05.wrong-content-type"},
	"body-size":          {"TR-03.oversized-body"},
	"unpacked-size":      {"TR-03.decompression-bomb", "TR-03.zstd-bomb"},
	"lines":              {"TR-03.too-many-lines"},
	"depth":              {"TR-03.too-deep"},
	"unfinished-json":    {"TR-05.truncated-json"},
	"utf-8":              {"TR-05.bad-utf8"},
	"duplicate-keys":     {"TR-05.duplicate-keys"},
	"numbers":            {"TR-05.not-a-number", "TR-05.huge-number"},
	"dead-letters": {
		"TR-05.truncated-json", "TR-05.bad-utf8", "TR-05.duplicate-keys", "TR-05.not-a-number", "TR-05.huge-number",
		"PR-14.future-time", "PR-14.ancient-time", "PR-01.tenant-through-gateway",
	},
	"duplicates":      {"TR-02.replayed-batch"},
	"conflicts":       {"TR-02.replay-with-other-content"},
	"stale-numbers":   {"TR-02.number-before-the-window"},
	"time-ahead":      {"PR-14.future-time"},
	"time-behind":     {"PR-14.ancient-time"},
	"silence":         {"AU-08.silent-device"},
	"export-approval": {"ST-06.export-over-limit"},
	"export-spike":    {"ST-07.export-spike"},
	"rates":           {"TR-04.flood"},
	"rates-apart":     {"TR-04.flood"},
	"refusals-are-recorded": {
		"PR-01.tenant-in-path", "PR-01.tenant-in-header", "PR-01.tenant-in-payload", "PR-01.tenant-behind-content-type", "PR-01.tenant-in-stream",
		"ST-02.status-of-another-tenant", "TR-02.number-before-the-window",
	},
}

// guards are those of the ingest, read from its source.
func guards(t *testing.T) []string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("..", "guards.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^\tguard\w+ +guard = "([a-z0-9-]+)"`).FindAllSubmatch(source, -1) {
		names = append(names, string(m[1]))
	}
	return names
}

// TestEachGuardLeftOut builds the ingest so that a guard can be left out, leaves out one
// after the other, and attacks it.
func TestEachGuardLeftOut(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds and runs an ingest for each guard")
	}
	all := guards(t)
	for name := range noticed {
		if !slices.Contains(all, name) {
			t.Errorf("there is no guard %s", name)
		}
	}
	program := filepath.Join(t.TempDir(), "weakened.test")
	if out, err := exec.Command("go", "test", "-c", "-tags", "weakened", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("building a weakened ingest: %v\n%s", err, out)
	}
	var ever [][]string
	for _, want := range noticed {
		ever = append(ever, want)
	}
	for _, d := range slices.DeleteFunc(drillIDs(), func(id string) bool {
		return slices.ContainsFunc(ever, func(l []string) bool { return slices.Contains(l, id) })
	}) {
		t.Errorf("no guard makes drill %s fail", d)
	}
	all = append(all, "")
	runs := make([]weakenedRun, len(all))
	var group errgroup.Group
	group.SetLimit(4) // they wait for their disk and their connections, and hardly else
	for i, guard := range all {
		group.Go(func() error {
			runs[i] = weakened(program, guard, filepath.Join(t.TempDir(), "results.json"))
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, guard := range all {
		t.Run("without "+guard, func(t *testing.T) {
			if _, ok := noticed[guard]; !ok && guard != "" {
				t.Fatalf("no drill notices that guard %s is left out", guard)
			}
			if runs[i].err != nil {
				t.Fatalf("%v\n%s", runs[i].err, runs[i].said)
			}
			for _, r := range runs[i].results {
				want := Passed
				if slices.Contains(noticed[guard], r.ID) {
					want = Failed
				} else if guard == "server-certificate" {
					want = NotAvailable // nothing else can be looked at then
				}
				if r.Verdict != want && !(guard == "server-certificate" && r.Verdict == Passed) {
					t.Errorf("%s: %s, want %s: %s", r.ID, r.Verdict, want, r.Got)
				}
			}
			if len(runs[i].results) != len(drillIDs()) {
				t.Errorf("%d results of %d drills", len(runs[i].results), len(drillIDs()))
			}
		})
	}
}

func drillIDs() []string {
	var ids []string
	for _, d := range all() {
		ids = append(ids, d.id)
	}
	return ids
}

// weakenedRun is what became of the drills against an ingest without a guard.
type weakenedRun struct {
	results []evidence.DrillResult
	said    string
	err     error
}

func weakened(program, guard, results string) weakenedRun {
	cmd := exec.Command(program, "-test.run", "^TestDrillsOfAWeakenedIngest$", "-test.v", "-test.timeout", "120s")
	cmd.Env = append(os.Environ(), "TRUSTPACK_WITHOUT_GUARD="+guard, "TRUSTPACK_DRILL_RESULTS="+results)
	said, err := cmd.CombinedOutput()
	if err != nil {
		return weakenedRun{said: string(said), err: fmt.Errorf("attacking it: %w", err)}
	}
	b, err := os.ReadFile(results)
	if err != nil {
		return weakenedRun{said: string(said), err: err}
	}
	var out []evidence.DrillResult
	err = json.Unmarshal(b, &out)
	return weakenedRun{out, string(said), err}
}
