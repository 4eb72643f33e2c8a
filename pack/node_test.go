package pack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// inNode runs the JavaScript verifier over the packs of a folder, each with the
// anchors beside it, as writeVectors leaves them. It gives the reports by the
// packs' file names, and skips where there is no Node.
func inNode(t *testing.T, dir string) map[string]Report {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node: the JavaScript verifier is not held to the vectors")
	}
	var stderr bytes.Buffer
	cmd := exec.Command(node, filepath.Join("verifier", "cli.mjs"), dir)
	cmd.Env = append(os.Environ(), "NODE_NO_WARNINGS=1") // Node 18 calls WebCrypto's Ed25519 experimental
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) || stderr.Len() > 0 {
		t.Fatalf("node: %v\n%s", err, stderr.Bytes())
	}
	reports := map[string]Report{}
	for line := range bytes.Lines(out) {
		var r Report
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("a report of the JavaScript verifier: %v\n%s", err, line)
		}
		reports[r.Pack] = r
	}
	return reports
}

// notChecked says where a report claims to have made a check that only the Go
// verifier makes.
func notChecked(r Report, id string) error {
	for _, c := range r.Checks {
		if c.ID == id && c.Status != NotChecked {
			return fmt.Errorf("%s is %s; the JavaScript verifier does not make this check", id, c.Status)
		}
	}
	return nil
}

// statusesOf gives each line's check and status, in order, but for the checks that
// only the Go verifier makes.
func statusesOf(r Report) []string {
	var out []string
	for _, c := range r.Checks {
		if c.ID != checkReevaluated && c.ID != checkDerived {
			out = append(out, c.ID+" "+string(c.Status))
		}
	}
	return slices.Compact(out)
}

// checksFailed lists the checks that failed, each once.
func checksFailed(r Report) []string {
	var out []string
	for _, c := range r.Checks {
		if c.Status == Failed {
			out = append(out, c.ID)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestVectorsInNode holds the second verifier to every vector: the same exit
// code, verdict and check as ours, and the same checks failing beside it but
// where the archive is broken: how much of such a one can be read still, each
// says for itself.
func TestVectorsInNode(t *testing.T) {
	all := vectors(t)
	good := vector{Case: 99, Name: "whole", Anchors: newVectorMaker(t).anchors, Expect: expectation{Exit: 0, Verdict: VerdictOK}, pack: newVectorMaker(t).good}
	dir := t.TempDir()
	writeVectors(t, dir, append(slices.Clip(all), good))
	reports := inNode(t, dir)
	if r := reports[good.file()]; r.Exit != 0 || r.Verdict != VerdictOK {
		t.Fatalf("the pack that all are made from: exit %d\n%s", r.Exit, reportText(r))
	}
	if ours, theirs := statusesOf(verifyBytes(good.pack, good.options(t))), statusesOf(reports[good.file()]); !slices.Equal(ours, theirs) {
		t.Errorf("the whole pack, in Go:\n%s\nin JavaScript:\n%s", strings.Join(ours, "\n"), strings.Join(theirs, "\n"))
	}
	for _, v := range all {
		t.Run(v.file(), func(t *testing.T) {
			r, ok := reports[v.file()]
			if !ok {
				t.Fatal("no report")
			}
			if v.GoOnly != "" {
				if err := notChecked(r, v.Expect.Check); err != nil {
					t.Error(err)
				}
				return
			}
			if err := v.holds(r); err != nil {
				t.Errorf("%v\n%s", err, reportText(r))
			}
			ours, theirs := checksFailed(verifyBytes(v.pack, v.options(t))), checksFailed(r)
			if !slices.Contains(theirs, checkLayout) && !slices.Equal(ours, theirs) {
				t.Errorf("what failed: %v; the Go verifier says %v", theirs, ours)
			}
		})
	}
}
