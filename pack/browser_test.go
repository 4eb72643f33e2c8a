package pack

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"trustpack/evidence"
	jspage "trustpack/pack/verifier"
)

// browserPlan is what pack/verifier/testdata/browser.mjs does.
type browserPlan struct {
	Page        string        `json:"page"`
	Browser     string        `json:"browser"`
	Modules     string        `json:"modules"`
	Screenshots string        `json:"screenshots,omitempty"`
	Cases       []browserCase `json:"cases"`
}

// browserCase is one pack given to the page.
type browserCase struct {
	Name    string   `json:"name"`
	Pack    string   `json:"pack"`
	Anchors string   `json:"anchors"`
	Verdict string   `json:"verdict"`
	Check   string   `json:"check,omitempty"`
	Status  Status   `json:"status,omitempty"`
	Labels  []string `json:"labels,omitempty"` // that stand beside the verdict
	By      string   `json:"by,omitempty"`     // "keyboard" or "drop"; the file dialog where empty
	Audit   bool     `json:"audit,omitempty"`  // axe-core over the result, light and dark
	Watch   bool     `json:"watch,omitempty"`  // measure the browser's memory
}

// browserResult is what it found.
type browserResult struct {
	Errors []string `json:"errors"`
	Memory []struct {
		Name         string `json:"name"`
		Milliseconds int64  `json:"milliseconds"`
		Before       int64  `json:"before"` // resident bytes of browser and page
		Early        int64  `json:"early"`  // the most in the first half of the time
		Late         int64  `json:"late"`   // the most in the second
		Samples      int    `json:"samples"`
	} `json:"memory"`
}

// inBrowser runs a plan; it skips where Chromium or the modules to drive it
// with are not there.
func inBrowser(t *testing.T, p browserPlan) browserResult {
	t.Helper()
	node, err := exec.LookPath("node")
	p.Browser, p.Modules, p.Screenshots = os.Getenv("TRUSTPACK_CHROMIUM"), os.Getenv("TRUSTPACK_NODE_MODULES"), os.Getenv("TRUSTPACK_SCREENSHOTS")
	if err != nil || p.Browser == "" || p.Modules == "" {
		t.Skip("without node, TRUSTPACK_CHROMIUM (the browser) and TRUSTPACK_NODE_MODULES (a folder with playwright-core and axe-core) the page is not tried in a browser")
	}
	page, err := jspage.Page()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p.Page = filepath.Join(dir, "verify.html")
	plan, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for path, body := range map[string][]byte{p.Page: page, filepath.Join(dir, "plan.json"): plan} {
		if err := os.WriteFile(path, body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var stderr bytes.Buffer
	driver := filepath.Join("verifier", "testdata", "browser.mjs")
	if _, err := os.Stat(driver); err != nil { // and so that a change of it is not taken from the cache
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, driver, filepath.Join(dir, "plan.json"))
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("driving the browser: %v\n%s", err, stderr.Bytes())
	}
	var r browserResult
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("driving the browser: %v\n%s", err, out)
	}
	for _, e := range r.Errors {
		t.Error(e)
	}
	return r
}

// anchorsFile writes anchors as the page takes them.
func anchorsFile(t *testing.T, dir, name string, a vectorAnchors) string {
	t.Helper()
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name+".json")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPageInBrowser gives packs to the page, opened from a file, in Chromium:
// by the file dialog, by dropping them, and by the keyboard alone. axe-core
// looks at the page and at what it says, light and dark.
func TestPageInBrowser(t *testing.T) {
	dir := t.TempDir()
	m := newVectorMaker(t)
	wrong, role := m.anchors, m.anchors
	wrong.Keys = []vectorKey{m.key(roleVendor, m.attacker)}
	role.RequireRoles = []string{roleAuditor}
	good, bad := filepath.Join(dir, "good.epack.zip"), filepath.Join(dir, "bad.epack.zip")
	changed := m.replace(vectorFinding, "ID-01", "ID-02")
	c := content(t)
	c.Sample, c.Clock = true, evidence.ClockSimulated
	labelled := filepath.Join(dir, "labelled.epack.zip")
	for path, body := range map[string][]byte{good: m.good, bad: changed, labelled: takenOut(t, buildPack(t, c, m.vendor), m.vendor, vectorLog+"entries/3.entry")} {
		if err := os.WriteFile(path, body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	usual := anchorsFile(t, dir, "usual", m.anchors)
	inBrowser(t, browserPlan{Cases: []browserCase{
		{Name: "good pack", Pack: good, Anchors: usual, Verdict: VerdictOK, Check: "log.inclusion", Status: Passed, Audit: true},
		{Name: "by keyboard", Pack: good, Anchors: usual, Verdict: VerdictOK, Check: "sig.vendor", Status: Passed, By: "keyboard"},
		{Name: "labelled pack", Pack: labelled, Anchors: usual, Verdict: VerdictOK, Check: checkRedaction, Status: Passed, Labels: []string{"SAMPLE DATA", "SIMULATED CLOCK", "WITHHELD"}, Audit: true},
		{Name: "tampered pack", Pack: bad, Anchors: usual, Verdict: VerdictFailed, Check: checkDigest, Status: Failed, By: "drop", Audit: true},
		{Name: "wrong key", Pack: good, Anchors: anchorsFile(t, dir, "wrong", wrong), Verdict: VerdictFailed, Check: "sig.vendor", Status: Failed},
		{Name: "missing role", Pack: good, Anchors: anchorsFile(t, dir, "role", role), Verdict: VerdictInconclusive, Check: checkRoles, Status: NotChecked},
	}})
}

// TestBigPackInBrowser verifies a pack of over 2 GB in the page, which does not
// hold it: its memory stays far below the pack's size, and does not go on
// growing.
func TestBigPackInBrowser(t *testing.T) {
	if os.Getenv("TRUSTPACK_BIG_PACK") == "" {
		t.Skip("TRUSTPACK_BIG_PACK is not set: no pack of 2 GB is made for the page")
	}
	dir := t.TempDir()
	m := newVectorMaker(t)
	path := filepath.Join(dir, "big.epack.zip")
	bigPack(t, path, m.vendor, 1120<<20)
	r := inBrowser(t, browserPlan{Cases: []browserCase{{Name: "big pack", Pack: path, Anchors: anchorsFile(t, dir, "usual", m.anchors), Verdict: VerdictOK, Check: checkDigest, Status: Passed, Watch: true}}})
	if len(r.Memory) != 1 || r.Memory[0].Samples < 20 {
		t.Fatalf("memory was hardly measured: %+v", r.Memory)
	}
	got := r.Memory[0]
	t.Logf("%d MB before, at most %d MB in the first half and %d MB in the second, %.1f s", got.Before>>20, got.Early>>20, got.Late>>20, float64(got.Milliseconds)/1000)
	if most := max(got.Early, got.Late) - got.Before; most > 512<<20 {
		t.Errorf("memory grew by %d MB", most>>20)
	}
	if got.Late > got.Early+256<<20 {
		t.Errorf("memory went on growing, from %d MB to %d MB", got.Early>>20, got.Late>>20)
	}
}

// bigPack writes a pack with two files of the size beside its usual content.
func bigPack(t *testing.T, path string, s Signer, size int64) {
	t.Helper()
	c := content(t)
	for _, name := range []string{"one", "two"} {
		c.Extra = append(c.Extra, File{Path: "data/report/" + name + ".bin", MediaType: "application/octet-stream", Open: func() (io.ReadCloser, error) {
			return io.NopCloser(io.LimitReader(&noise{}, size)), nil
		}})
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	_, err = Build(w, c, s)
	if err = errors.Join(err, w.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// noise gives bytes that do not repeat within a pack's blocks.
type noise struct{ x uint64 }

func (n *noise) Read(p []byte) (int, error) {
	for i := range p {
		if n.x++; i%8 == 0 {
			n.x = n.x*6364136223846793005 + 1442695040888963407
		}
		p[i] = byte(n.x >> 56)
	}
	return len(p), nil
}
