package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/internal/locker"
	"trustpack/pack"
)

// TestEvidenceOf: what was collected before its window began stands in the
// log, and is evidence of nothing: it must not keep the period's pack from
// being built.
func TestEvidenceOf(t *testing.T) {
	p := evidence.Period{From: time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)}
	lock, err := locker.Open(t.TempDir(), locker.Options{Instance: "store.example", Seed: make([]byte, 32), Now: func() time.Time { return p.To }})
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for _, at := range []time.Time{p.From.Add(-time.Second), p.From, p.To} {
		if _, err := lock.Put(t.Context(), things(p, at)); err != nil {
			t.Fatal(err)
		}
	}
	var told bytes.Buffer
	of, err := (&app{err: &told}).evidenceOf(lock, p)
	collected := of.evidence
	if err != nil || len(collected) != 2 || len(of.entries) != 3 || !collected[0].CollectedAt.Equal(p.From) || !collected[1].CollectedAt.Equal(p.To) {
		t.Errorf("%d collections, %d entries, %v", len(collected), len(of.entries), err)
	}
	if len(of.leftOut) != 1 || of.leftOut[0].LogEntry != 0 || of.leftOut[0].ID != of.entries[0].ID {
		t.Errorf("left out: %+v", of.leftOut)
	}
	want := "warning: test.things is left out: it was collected at 2026-06-30T23:59:59Z, before its window 2026-Q3 began (" + of.entries[0].ID[:12] + ", entry 0 of the evidence log)\n"
	if told.String() != want {
		t.Errorf("told %q, want %q", told.String(), want)
	}
}

// TestWhatAPackLeavesOut: whoever assesses, builds or reads a pack is told what
// was left out of it and why, and nothing that needed it is called met. A
// verifier comes to the same.
func TestWhatAPackLeavesOut(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "trustpack.yaml")
	trustpack := func(want int, args ...string) string {
		t.Helper()
		var out, errOut bytes.Buffer
		if code := run(t.Context(), append(args, "--config", config), nil, &out, &errOut); code != want {
			t.Fatalf("%v: exit %d: %s%s", args, code, out.String(), errOut.String())
		}
		return out.String() + errOut.String()
	}
	period := time.Now().UTC().Format("2006-01")
	trustpack(exitOK, "init", dir, "--org", "Acme", "--system", "Meters")
	p, err := evidence.ParsePeriod(period)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{err: io.Discard, now: time.Now, config: config}
	cfg, err := a.loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	lock, err := a.openLocker(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for account, at := range map[string]time.Time{"1": p.From, "2": p.From.Add(-time.Second)} {
		_, err := lock.Put(t.Context(), evidence.Evidence{
			Kind: "aws.trails", Collector: "aws", CollectedAt: at, Window: p, Snapshot: true,
			Provenance:   evidence.Provenance{System: "aws", Account: account, Principal: "ben", Tool: "test", Origin: evidence.OriginLive, Clock: evidence.ClockSystem},
			Completeness: evidence.Completeness{State: evidence.Complete},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	trustpack(exitOK, "collect", "documents", "--period", period)
	const why = "aws.trails of 2 is left out: it was collected at "
	if said := trustpack(exitOK, "assess", "--period", period); !strings.Contains(said, "warning: aws.trails is left out: ") {
		t.Errorf("assess said %s", said)
	}
	out := filepath.Join(dir, "it.epack.zip")
	if said := trustpack(exitOK, "pack", "build", "--period", period, "--out", out); !strings.Contains(said, "warning: aws.trails is left out: ") {
		t.Errorf("pack build said %s", said)
	}
	trustpack(exitOK, "verify", out, "--key", filepath.Join(dir, "vendor.pub"))
	f, size, err := openSized(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := pack.Open(f, size, pack.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	report, err := c.Read("data/report/index.html")
	if err != nil || !strings.Contains(string(report), "Collections that this pack leaves out") || !strings.Contains(string(report), why) {
		t.Errorf("%v: the report does not say what is left out", err)
	}
	left, err := leftOutIn(c)
	if err != nil || len(left) != 1 || left[0].Account != "2" {
		t.Fatalf("%+v, %v", left, err)
	}
	if entry := fmt.Sprintf("data/log/%s/evidence/entries/%d.entry", cfg.Instance, left[0].LogEntry); !c.Has(entry) {
		t.Errorf("the pack has no %s, which shows that it was collected", entry)
	}
}

// TestEvidenceOfALaterPeriod: the next quarter's collection looks back into this
// one. Its pack holds it only where its own collections leave the end open, so
// that it stays the same pack whenever it is built.
func TestEvidenceOfALaterPeriod(t *testing.T) {
	q3 := evidence.Period{From: time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)}
	q4 := evidence.Period{From: q3.To.AddDate(0, 0, -7), To: q3.To.AddDate(0, 3, 0)}
	for at, want := range map[time.Time]int{q3.To: 1, q3.To.Add(-time.Hour): 2} {
		lock, err := locker.Open(t.TempDir(), locker.Options{Instance: "store.example", Seed: make([]byte, 32), Now: func() time.Time { return q4.To }})
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		for window, when := range map[evidence.Period]time.Time{q3: at, q4: q3.To.AddDate(0, 1, 0)} {
			if _, err := lock.Put(t.Context(), things(window, when)); err != nil {
				t.Fatal(err)
			}
		}
		var told bytes.Buffer
		of, err := (&app{err: &told}).evidenceOf(lock, q3)
		if err != nil || len(of.evidence) != want || len(of.entries) != want || len(of.leftOut) != 0 {
			t.Errorf("collected at %s: %d collections, %d entries, want %d (%v)", at, len(of.evidence), len(of.entries), want, err)
		}
		if left := strings.Contains(told.String(), "1 collection of a later period that looks back into 2026-Q3: left to the later pack"); left != (want == 1) {
			t.Errorf("collected at %s: told %q", at, told.String())
		}
		if of, err = (&app{err: io.Discard}).evidenceOf(lock, evidence.Period{From: q3.To, To: q4.To}); err != nil || len(of.evidence) != 1 || of.evidence[0].Window != q4 {
			t.Errorf("of the next quarter: %d collections (%v)", len(of.evidence), err)
		}
	}
}

// TestBuildOfANewFile: a pack that stands is not overwritten, since it may be
// countersigned; what cannot be written is named as it was given; and a pack
// whose building is interrupted leaves nothing behind, also where its entry in
// the chain stands already.
func TestBuildOfANewFile(t *testing.T) {
	dir := t.TempDir()
	ctx, interrupt := context.WithCancel(t.Context())
	trustpack := func(args ...string) (int, string) {
		var out, errOut bytes.Buffer
		code := run(ctx, append(args, "--config", filepath.Join(dir, "trustpack.yaml")), nil, &out, &errOut)
		return code, out.String() + errOut.String()
	}
	period := time.Now().UTC().Format("2006-01")
	for _, args := range [][]string{
		{"init", dir, "--org", "Acme", "--system", "Meters"},
		{"collect", "documents", "--period", period},
		{"pack", "build", "--period", period, "--out", filepath.Join(dir, "first.zip")},
	} {
		if code, said := trustpack(args...); code != exitOK {
			t.Fatalf("%v: exit %d: %s", args, code, said)
		}
	}
	code, said := trustpack("pack", "build", "--period", period, "--out", filepath.Join(dir, "first.zip"))
	if code != exitUsage || !strings.Contains(said, "first.zip exists and is not overwritten") {
		t.Errorf("over another: exit %d: %s", code, said)
	}
	nowhere := filepath.Join(dir, "nowhere", "x.zip")
	code, said = trustpack("pack", "build", "--period", period, "--out", nowhere)
	if code != exitUsage || !strings.Contains(said, "writing "+nowhere+": ") || !strings.Contains(said, "hint: name a file in a folder that exists") {
		t.Errorf("in no folder: exit %d: %s", code, said)
	}
	interrupt()
	code, said = trustpack("pack", "build", "--period", period, "--out", filepath.Join(dir, "second.zip"))
	if code != exitUsage || !strings.Contains(said, "context canceled") {
		t.Errorf("exit %d: %s", code, said)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.Contains(f.Name(), "second") {
			t.Errorf("%s is left behind", f.Name())
		}
	}
}

// things is evidence of a window without an item.
func things(window evidence.Period, at time.Time) evidence.Evidence {
	return evidence.Evidence{
		Kind: "test.things", Collector: "test", CollectedAt: at, Window: window,
		Provenance:   evidence.Provenance{System: "test", Principal: "ben", Tool: "test", Origin: evidence.OriginLive, Clock: evidence.ClockSystem},
		Completeness: evidence.Completeness{State: evidence.Complete},
	}
}
