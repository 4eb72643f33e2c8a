package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/internal/locker"
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
		e := evidence.Evidence{
			Kind: "test.things", Collector: "test", CollectedAt: at, Window: p,
			Provenance:   evidence.Provenance{System: "test", Principal: "ben", Tool: "test", Origin: evidence.OriginLive, Clock: evidence.ClockSystem},
			Completeness: evidence.Completeness{State: evidence.Complete},
		}
		if _, err := lock.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	collected, entries, err := evidenceOf(lock, p)
	if err != nil || len(collected) != 2 || len(entries) != 2 || !collected[0].CollectedAt.Equal(p.From) || !collected[1].CollectedAt.Equal(p.To) {
		t.Errorf("%d collections, %d entries, %v", len(collected), len(entries), err)
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
