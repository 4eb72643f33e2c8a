package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"trustpack/controls"
	"trustpack/evidence"
	"trustpack/pack"
)

// TestFindingsAreJudgedAgain: a finding that the vendor changed by hand before
// he signed is found, whatever of it he changed, by applying the pack's own
// catalog to the pack's own evidence.
func TestFindingsAreJudgedAgain(t *testing.T) {
	p, err := evidence.ParsePeriod("2026-Q3")
	if err != nil {
		t.Fatal(err)
	}
	users := evidence.Evidence{
		Kind: "aws.users", Collector: "aws", CollectedAt: time.Date(2026, 9, 30, 0, 0, 0, 0, time.UTC), Window: p, Snapshot: true,
		Provenance:   evidence.Provenance{System: "aws", Principal: "ben", Tool: "test", Origin: evidence.OriginLive, Clock: evidence.ClockSystem},
		Completeness: evidence.Completeness{State: evidence.Complete, Got: 2},
		Population: evidence.Population{Items: []evidence.Item{
			{ID: "anna", Attributes: map[string]any{"console": true, "mfa": true}}, {ID: "ben", Attributes: map[string]any{"console": true, "mfa": false}},
		}},
	}
	_, _, id, err := evidence.RecordOf(users)
	if err != nil {
		t.Fatal(err)
	}
	collected := []evidence.Collected{{ID: id, Evidence: users}}
	catalog, err := controls.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	private, public, err := pack.GenerateKey(pack.Ed25519, "test", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := pack.LoadSigner(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := pack.ParsePublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	verified := func(change func([]evidence.Finding)) pack.Report {
		t.Helper()
		judged, err := catalog.Assess(controls.Input{Period: p, Evidence: collected})
		if err != nil {
			t.Fatal(err)
		}
		change(judged.Findings)
		var out bytes.Buffer
		_, err = pack.Build(&out, pack.Content{
			Organisation: "Test", System: "Test", Tool: "another tool", Period: p, Sequence: 1, Clock: evidence.ClockSystem,
			Evidence: collected, Controls: catalog.Controls(), Findings: judged.Findings, CatalogSHA256: catalog.SHA256(), CatalogFiles: catalog.Files(),
			Secret: bytes.Repeat([]byte{2}, 32), Extra: []pack.File{{Path: policyFile, MediaType: "application/json", Body: []byte("{}\n")}},
		}, signer)
		if err != nil {
			t.Fatal(err)
		}
		return pack.Verify(bytes.NewReader(out.Bytes()), int64(out.Len()), verifyOptions("x", []pack.PublicKey{key}, nil))
	}
	if r := verified(func([]evidence.Finding) {}); r.Exit != 0 {
		t.Fatalf("unchanged: %+v", r)
	}
	tested := func(all []evidence.Finding) *evidence.Finding {
		i := slices.IndexFunc(all, func(f evidence.Finding) bool { return len(f.Exceptions) > 0 })
		if i < 0 {
			text, _ := json.Marshal(all)
			t.Fatalf("no finding has an exception: %s", text)
		}
		return &all[i]
	}
	for name, change := range map[string]func(*evidence.Finding){
		"outcome":              func(f *evidence.Finding) { f.Outcome = evidence.OutcomeMet },
		"exception taken out":  func(f *evidence.Finding) { f.Exceptions = f.Exceptions[1:] },
		"exception reworded":   func(f *evidence.Finding) { f.Exceptions[0].Detail = "nothing to see" },
		"exception of another": func(f *evidence.Finding) { f.Exceptions[0].Item += "x" },
		"population":           func(f *evidence.Finding) { f.Population++ },
		"reason":               func(f *evidence.Finding) { f.Reason = "all is well" },
		"attribute":            func(f *evidence.Finding) { f.Attributes[0].Tested += 7 },
		"waiver made up":       func(f *evidence.Finding) { f.Exceptions[0].Waiver = "W-1" },
	} {
		r := verified(func(all []evidence.Finding) { change(tested(all)) })
		found := slices.ContainsFunc(r.Checks, func(c pack.Check) bool { return c.ID == "findings.reevaluated" && c.Status == pack.Failed })
		if r.Exit != 1 || !found {
			t.Errorf("%s: exit %d, and findings.reevaluated has not failed", name, r.Exit)
		}
	}
}
