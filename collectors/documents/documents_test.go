package documents

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

const runbook = `---
title: Ingestion outage
type: runbook
owner: ben.okafor
reviewer: anna.berg
reviewed: 2025-09-30
next_review: 2026-09-30
controls: [AU-11]
---
Restart it.
`

const accessReview = `---
title: Access review
type: access-review
owner: anna.berg
reviewer: erin.sato
reviewed: 2026-09-24
controls: [AU-05]
review:
  period: 2026-Q3
  decisions:
    - {system: aws, principal: ben.okafor, decision: keep, decided_at: 2026-09-24, reason: on call}
    - {system: github, principal: erin-sato, decision: change, reviewer: anna.berg, decided_at: "2026-09-24T10:00:00Z", reason: read only}
---
`

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, body := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func collect(t *testing.T, dir string) (docs, reviews evidence.Evidence) {
	t.Helper()
	return collectAt(t, dir, "2026-Q3", time.Date(2026, 10, 2, 8, 0, 0, 0, time.UTC))
}

func collectAt(t *testing.T, dir, period string, now time.Time) (docs, reviews evidence.Evidence) {
	t.Helper()
	c, err := New(Config{Folder: dir, Sample: true}, Deps{Tool: "trustpack test", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	p, err := evidence.ParsePeriod(period)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Collect(context.Background(), p)
	if err != nil || len(got) != 2 {
		t.Fatalf("Collect = %d kinds, %v", len(got), err)
	}
	for _, e := range got {
		if _, _, _, err := evidence.RecordOf(e); err != nil {
			t.Errorf("%s cannot be recorded: %v", e.Kind, err)
		}
		if strings.Contains(e.Provenance.Account, "/") {
			t.Errorf("%s names a place on this machine: %s", e.Kind, e.Provenance.Account)
		}
	}
	return got[0], got[1]
}

func TestDocumentsAndDecisions(t *testing.T) {
	dir := write(t, map[string]string{
		"runbooks/outage.md": runbook, "reviews/q3.md": accessReview,
		"reviews/notes.txt": "not a document", ".git/x.md": "not ours",
	})
	docs, reviews := collect(t, dir)
	if docs.Completeness.State != evidence.Complete || !docs.Snapshot || docs.Provenance.Origin != evidence.OriginSample {
		t.Errorf("documents: %+v, snapshot %v, %s", docs.Completeness, docs.Snapshot, docs.Provenance.Origin)
	}
	if len(docs.Population.Items) != 2 || len(docs.Raw) != 2 {
		t.Fatalf("documents: %d items, %d raw files, want 2 and 2", len(docs.Population.Items), len(docs.Raw))
	}
	a := docs.Population.Items[1].Attributes
	if a["sha256"] != evidence.SHA256Hex([]byte(runbook)) || a["type"] != "runbook" || a["effective"] != "2025-09-30T00:00:00Z" || a["expired"] != true {
		t.Errorf("runbook: %v", a)
	}
	if reviews.Completeness.State != evidence.Complete || reviews.Snapshot || len(reviews.Population.Items) != 2 {
		t.Fatalf("access reviews: %+v, %v", reviews.Completeness, reviews.Population.Items)
	}
	it := reviews.Population.Items[0]
	if it.ID != "reviews/q3.md#aws/ben.okafor" || it.Attributes["reviewer"] != "erin.sato" || it.Attributes["decided_at"] != "2026-09-24T00:00:00Z" {
		t.Errorf("decision: %v", it)
	}
}

func TestExpiryIsJudgedAtTheEndOfThePeriodOrTheCollection(t *testing.T) {
	dir := write(t, map[string]string{"a.md": runbook}) // due until 30 September
	for _, c := range []struct {
		name, period string
		now          time.Time
		want         bool
	}{
		{"collected after the quarter", "2026-Q3", time.Date(2026, 10, 5, 0, 0, 0, 0, time.UTC), true},
		{"collected while it still holds", "2026-Q3", time.Date(2026, 9, 30, 12, 0, 0, 0, time.UTC), false},
		{"judged for August afterwards", "2026-08", time.Date(2026, 10, 5, 0, 0, 0, 0, time.UTC), false},
	} {
		docs, _ := collectAt(t, dir, c.period, c.now)
		if got := docs.Population.Items[0].Attributes["expired"]; got != c.want {
			t.Errorf("%s: expired is %v", c.name, got)
		}
	}
}

func TestReviewOfAnotherQuarterIsLeftOut(t *testing.T) {
	dir := write(t, map[string]string{"q3.md": accessReview})
	_, reviews := collectAt(t, dir, "2026-Q2", time.Date(2026, 10, 2, 0, 0, 0, 0, time.UTC))
	if n := len(reviews.Population.Items); n != 0 || reviews.Completeness.State != evidence.Complete {
		t.Errorf("the Q3 review gives %d decisions for Q2, %s", n, reviews.Completeness.State)
	}
}

func TestBrokenFileIsANamedGap(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"unknown key":    {strings.Replace(runbook, "owner:", "ownr:", 1), `a.md:4:1: unknown key "ownr" (did you mean "owner"?)`},
		"bad day":        {strings.Replace(runbook, "2026-09-30", "30.9.2026", 1), "a.md:7:14: next_review: want a day"},
		"no owner":       {strings.Replace(runbook, "owner: ben.okafor\n", "", 1), "a.md:1: the front matter has no owner"},
		"unknown type":   {strings.Replace(runbook, "type: runbook", "type: runbok", 1), `a.md:1: type "runbok" is not known`},
		"no next review": {strings.Replace(runbook, "next_review: 2026-09-30\n", "", 1), "no next_review"},
		"no end":         {strings.TrimSuffix(runbook, "---\nRestart it.\n"), "has no end"},
		"none at all":    {"# Hello\n", "a.md:1: no front matter"},
		"empty file":     {"", "a.md:1: no front matter"},
		"too large":      {runbook + strings.Repeat("x", maxFile), "larger than 4 MiB"},
		"review in none": {strings.Replace(runbook, "controls:", "review: {period: 2026-Q3}\ncontrols:", 1), "section review"},
	} {
		t.Run(name, func(t *testing.T) {
			docs, reviews := collect(t, write(t, map[string]string{"a.md": c.body, "b.md": accessReview}))
			for _, e := range []evidence.Evidence{docs, reviews} {
				if e.Completeness.State != evidence.Incomplete || len(e.Completeness.Gaps) != 1 {
					t.Fatalf("%s: %+v, want one gap", e.Kind, e.Completeness)
				}
				if g := e.Completeness.Gaps[0]; g.What != "a.md" || !strings.Contains(g.Reason, c.want) {
					t.Errorf("%s: gap %+v, want %q", e.Kind, g, c.want)
				}
			}
			if len(docs.Population.Items) != 1 || len(reviews.Population.Items) != 2 {
				t.Error("the other document was lost with the broken one")
			}
		})
	}
}

func TestBrokenDecisionIsANamedGap(t *testing.T) {
	first := "    - {system: aws, principal: ben.okafor, decision: keep, decided_at: 2026-09-24, reason: on call}\n"
	for name, c := range map[string]struct{ line, want string }{
		"undecided":      {"    - {system: aws, principal: x, decision: , decided_at: 2026-09-24}\n", "q3.md:11: aws/x has no decision"},
		"unknown":        {"    - {system: aws, principal: x, decision: maybe, decided_at: 2026-09-24}\n", `q3.md:11: decision "maybe" is not known`},
		"unknown system": {"    - {system: azure, principal: x, decision: keep, decided_at: 2026-09-24}\n", `system "azure"`},
		"no time":        {"    - {system: aws, principal: x, decision: keep}\n", "no decided_at"},
		"twice":          {first, "q3.md:12: aws/ben.okafor was decided before, at q3.md:11"},
	} {
		t.Run(name, func(t *testing.T) {
			_, reviews := collect(t, write(t, map[string]string{"q3.md": strings.Replace(accessReview, first, c.line+first, 1)}))
			if len(reviews.Completeness.Gaps) != 1 || !strings.Contains(reviews.Completeness.Gaps[0].Reason, c.want) {
				t.Errorf("gaps %+v, want one with %q", reviews.Completeness.Gaps, c.want)
			}
			if reviews.Completeness.State != evidence.Incomplete || len(reviews.Population.Items) != 2 {
				t.Errorf("%s with %d decisions", reviews.Completeness.State, len(reviews.Population.Items))
			}
		})
	}
}

func TestDecisionsFromATable(t *testing.T) {
	doc := accessReview[:strings.Index(accessReview, "  decisions:")] + "  file: q3.csv\n---\n"
	header := "system,principal,decision,reviewer,decided_at,reason\n"
	for name, c := range map[string]struct {
		csv   string
		items int
		gap   string
	}{
		"good":       {header + "aws,ben.okafor,keep,,2026-09-24,\"on call, and lead\"\ngithub,erin-sato,remove,anna.berg,2026-09-24,left\n", 2, ""},
		"bad time":   {header + "aws,a,keep,,soon,x\naws,b,keep,,2026-09-24,x\n", 1, "reviews/q3.csv:2: decided_at"},
		"few fields": {header + "aws,a,keep\naws,b,keep,,2026-09-24,x\n", 1, "reviews/q3.csv:2: want 6 fields, got 3"},
		"bad quote":  {header + "aws,b,keep,,2026-09-24,x\naws,\"a,keep,,2026-09-24,x\n", 1, "the rows from here on were not read"},
		"header":     {"who,what\n", 0, "the first line must be"},
	} {
		t.Run(name, func(t *testing.T) {
			_, reviews := collect(t, write(t, map[string]string{"reviews/q3.md": doc, "reviews/q3.csv": c.csv}))
			if len(reviews.Population.Items) != c.items || len(reviews.Raw) != 2 {
				t.Errorf("%d decisions, %d raw files", len(reviews.Population.Items), len(reviews.Raw))
			}
			gaps := reviews.Completeness.Gaps
			if (c.gap == "") != (len(gaps) == 0) || c.gap != "" && !strings.Contains(gaps[0].Reason, c.gap) {
				t.Errorf("gaps %+v, want %q", gaps, c.gap)
			}
		})
	}
}

func TestNothingOutsideOfTheFolderIsRead(t *testing.T) {
	outside := write(t, map[string]string{"secret.md": runbook, "secret.csv": "system,principal,decision,reviewer,decided_at,reason\naws,x,keep,,2026-09-24,x\n"})
	for name, c := range map[string]struct{ file, want string }{
		"dots": {"../secret.csv", "leads out of"}, "absolute": {filepath.Join(outside, "secret.csv"), "leads out of"},
		"backslash": {`..\secret.csv`, "leads out of"}, "missing": {"none.csv", "cannot be read"},
		"link": {"link.csv", "link.csv: it is a symbolic link"}, "link within": {"within.csv", "within.csv: it is a symbolic link"}, "folder": {"sub", "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			doc := accessReview[:strings.Index(accessReview, "  decisions:")] + "  file: '" + c.file + "'\n---\n"
			table, err := os.ReadFile(filepath.Join(outside, "secret.csv"))
			if err != nil {
				t.Fatal(err)
			}
			dir := write(t, map[string]string{"q3.md": doc, "other.txt": string(table), "sub/x.txt": ""})
			for link, target := range map[string]string{"link.csv": filepath.Join(outside, "secret.csv"), "within.csv": "other.txt"} {
				if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
					t.Skip("no symbolic links here:", err)
				}
			}
			_, reviews := collect(t, dir)
			if len(reviews.Population.Items) != 0 || reviews.Completeness.State != evidence.Incomplete {
				t.Errorf("%d decisions, %+v", len(reviews.Population.Items), reviews.Completeness)
			} else if !strings.Contains(fmt.Sprint(reviews.Completeness.Gaps), c.want) {
				t.Errorf("gaps %+v, want %q", reviews.Completeness.Gaps, c.want)
			}
		})
	}
	t.Run("linked document", func(t *testing.T) {
		dir := write(t, map[string]string{"a.md": runbook})
		if err := os.Symlink(filepath.Join(outside, "secret.md"), filepath.Join(dir, "b.md")); err != nil {
			t.Skip("no symbolic links here:", err)
		}
		docs, _ := collect(t, dir)
		if len(docs.Population.Items) != 1 || len(docs.Completeness.Gaps) != 1 || !strings.Contains(docs.Completeness.Gaps[0].Reason, "symbolic link") {
			t.Errorf("%d documents, %+v", len(docs.Population.Items), docs.Completeness)
		}
	})
}

func TestMissingFolder(t *testing.T) {
	if _, err := New(Config{}, Deps{}); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Errorf("no folder: %v", err)
	}
	docs, reviews := collect(t, filepath.Join(t.TempDir(), "none"))
	for _, e := range []evidence.Evidence{docs, reviews} {
		if e.Completeness.State != evidence.Incomplete || len(e.Completeness.Gaps) != 1 || !strings.Contains(e.Completeness.Gaps[0].What, "none") {
			t.Errorf("%s: %+v", e.Kind, e.Completeness)
		}
	}
}
