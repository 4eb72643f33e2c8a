package rollout

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

const good = `
id: fw-9
name: Nine
firmware: 9.0.0
artifact_sha256: 0e7d3b6f94f1c2a85d6b0f2e1c9a47835be6d1f0a2c4987e3d5f6b1a0c8e7d92
device_type: meter
fleet_size: 20
requester: dmitri.volk
approver: anna.berg
approved_at: 2026-08-01T08:00:00Z
change: o/r#7
started_at: 2026-08-02T00:00:00Z
finished_at: 2026-08-09T00:00:00Z
state: finished
stages:
  - name: canary
    started_at: 2026-08-02T00:00:00Z
    finished_at: 2026-08-02T06:00:00Z
    success_threshold: 0.9
    error_threshold: 0.1
    devices:
      - {device: a, status: succeeded, at: 2026-08-02T05:00:00Z}
      - {device: b, status: failed, at: 2026-08-02T06:00:00Z}
      - {device: c, status: pending}
  - name: rest
    started_at: 2026-08-04T06:00:00Z
    counts: {succeeded: 12, failed: 1, pending: 4}
`

func collect(t *testing.T, c Config, d Deps, period string) evidence.Evidence {
	t.Helper()
	d.Tool, d.Now = "trustpack test", func() time.Time { return time.Date(2026, 10, 2, 8, 0, 0, 0, time.UTC) }
	col, err := New(c, d)
	if err != nil {
		t.Fatal(err)
	}
	p, err := evidence.ParsePeriod(period)
	if err != nil {
		t.Fatal(err)
	}
	got, err := col.Collect(context.Background(), p)
	if err != nil || len(got) != 1 {
		t.Fatalf("Collect = %d kinds, %v", len(got), err)
	}
	if _, _, _, err := evidence.RecordOf(got[0]); err != nil {
		t.Errorf("the evidence cannot be recorded: %v", err)
	}
	return got[0]
}

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func stageOf(t *testing.T, e evidence.Evidence, item, stage int) map[string]any {
	t.Helper()
	return e.Population.Items[item].Attributes["stages"].([]any)[stage].(map[string]any)
}

func TestFileIsCountedByDeviceOutcomes(t *testing.T) {
	e := collect(t, Config{Folder: folder(t, map[string]string{"nine.yaml": good, "README.txt": "not one"})}, Deps{}, "2026-Q3")
	if e.Completeness.State != evidence.Complete || len(e.Population.Items) != 1 || len(e.Raw) != 1 {
		t.Fatalf("%+v, %d items", e.Completeness, len(e.Population.Items))
	}
	for k, want := range map[string]any{
		"devices": 3, "succeeded": 1, "failed": 1, "pending": 1, "percent_of_fleet": 15.0, "success_ratio": 0.3333,
		"error_ratio": 0.3333, "success_threshold": 0.9, "soak_hours": 48.0, "order": 1,
	} {
		if got := stageOf(t, e, 0, 0)[k]; got != want {
			t.Errorf("canary: %s = %v, want %v", k, got, want)
		}
	}
	rest := stageOf(t, e, 0, 1)
	if rest["soak_hours"] != nil || rest["success_threshold"] != nil || rest["finished_at"] != "" {
		t.Errorf("rest: %v", rest)
	}
	a := e.Population.Items[0].Attributes
	if a["source"] != "file" || a["change"] != "o/r#7" || a["approved_at"] != "2026-08-01T08:00:00Z" || a["rolled_back"] != false {
		t.Errorf("rollout: %v", a)
	}
}

func TestOnlyRolloutsUnderWayInThePeriod(t *testing.T) {
	dir := folder(t, map[string]string{"nine.yaml": good})
	for period, want := range map[string]int{"2026-07": 0, "2026-08": 1, "2026-Q3": 1, "2026-08-08/2026-08-20": 1, "2026-08-10/2026-08-20": 0} {
		if e := collect(t, Config{Folder: dir}, Deps{}, period); len(e.Population.Items) != want || e.Completeness.State != evidence.Complete {
			t.Errorf("%s: %d rollouts, want %d", period, len(e.Population.Items), want)
		}
	}
}

func TestBrokenFileIsANamedGap(t *testing.T) {
	swap := func(from, to string) string {
		if !strings.Contains(good, from) {
			t.Fatalf("the good file does not hold %q", from)
		}
		return strings.Replace(good, from, to, 1)
	}
	for name, c := range map[string]struct{ body, want string }{
		"unknown key":   {swap("approver:", "aprover:"), `bad.yaml:9:1: unknown key "aprover" (did you mean "approver"?)`},
		"bad time":      {swap("started_at: 2026-08-02T00:00:00Z", "started_at: yesterday"), "bad.yaml:12:13: started_at: want a time"},
		"status":        {swap("status: failed", "status: broken"), `stages[0]: devices: b: status "broken" is not known`},
		"twice":         {swap("device: b", "device: a"), `"a" is empty or stands in the rollout twice`},
		"both":          {swap("    counts:", "    devices: [{device: z, status: pending}]\n    counts:"), "give either devices or counts"},
		"too many":      {swap("fleet_size: 20", "fleet_size: 19"), "the stages hold 20 devices, fleet_size is 19"},
		"percentage":    {swap("success_threshold: 0.9", "success_threshold: 90"), "want a share from 0 to 1, got 90"},
		"no rollback":   {swap("state: finished", "state: rolled-back"), "rollback go together"},
		"digest":        {swap("artifact_sha256: 0e", "artifact_sha256: xx"), "64 hex digits"},
		"negative":      {swap("failed: 1, pending: 4", "failed: -1, pending: 4"), "below zero"},
		"backwards":     {swap("finished_at: 2026-08-09", "finished_at: 2026-08-01"), "finished_at is before started_at"},
		"no stage":      {good[:strings.Index(good, "stages:")], "stages is empty"},
		"second":        {good + "---\nid: x\n", "a second document"},
		"same id":       {good, `bad.yaml: id "fw-9"`},
		"server's name": {swap("id: fw-9", "id: hawkbit/9"), "is kept for"},
	} {
		t.Run(name, func(t *testing.T) {
			other := good
			if name != "same id" {
				other = strings.Replace(good, "id: fw-9", "id: fw-8", 1)
			}
			e := collect(t, Config{Folder: folder(t, map[string]string{"bad.yaml": c.body, "aaa.yaml": other})}, Deps{}, "2026-Q3")
			if e.Completeness.State != evidence.Incomplete || len(e.Completeness.Gaps) != 1 || len(e.Population.Items) != 1 {
				t.Fatalf("%+v with %d items", e.Completeness, len(e.Population.Items))
			}
			if g := e.Completeness.Gaps[0]; g.What != "bad.yaml" || !strings.Contains(g.Reason, c.want) {
				t.Errorf("gap %+v, want %q", g, c.want)
			}
		})
	}
}

func TestLinksAreRefused(t *testing.T) {
	outside := folder(t, map[string]string{"x.yaml": good})
	for name, target := range map[string]string{"out of the folder": filepath.Join(outside, "x.yaml"), "within it": "other.txt"} {
		dir := folder(t, map[string]string{"other.txt": good})
		if err := os.Symlink(target, filepath.Join(dir, "x.yaml")); err != nil {
			t.Skip("no symbolic links here:", err)
		}
		e := collect(t, Config{Folder: dir}, Deps{}, "2026-Q3")
		if len(e.Population.Items) != 0 || e.Completeness.State != evidence.Incomplete {
			t.Errorf("%s: %d items, %+v", name, len(e.Population.Items), e.Completeness)
		}
	}
}

func TestMissingFolderIsAGap(t *testing.T) {
	e := collect(t, Config{Folder: filepath.Join(t.TempDir(), "none")}, Deps{}, "2026-Q3")
	if e.Completeness.State != evidence.Incomplete || strings.Contains(e.Completeness.Gaps[0].Reason, os.TempDir()) {
		t.Errorf("%+v", e.Completeness)
	}
}
