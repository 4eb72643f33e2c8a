package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// This project's own repository has no code host: every commit is a direct
// push, and the pack says so of each.
func TestOwnRepositoryIsDirectPushes(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed, so the project's own history cannot be fetched")
	}
	source, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(source, ".git")); err != nil {
		t.Skip("this is the source without its history: ", err)
	}
	dir := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	clone := filepath.Join(dir, "clone")
	git("init", "-q", "-b", "main", clone)
	git("-C", clone, "fetch", "-q", "--no-tags", source, "HEAD")
	git("-C", clone, "reset", "-q", "--soft", "FETCH_HEAD")
	commits := strings.Fields(git("-C", clone, "rev-list", "HEAD"))

	trustpack := func(args ...string) string {
		t.Helper()
		var out, errOut bytes.Buffer
		if code := run(context.Background(), args, strings.NewReader(""), &out, &errOut); code != exitOK {
			t.Fatalf("trustpack %s: exit %d\n%s%s", strings.Join(args, " "), code, out.String(), errOut.String())
		}
		return out.String()
	}
	home := filepath.Join(dir, "home")
	trustpack("init", home, "--org", "trustpack", "--system", "trustpack")
	config := filepath.Join(home, "own.yaml")
	if err := os.WriteFile(config, []byte(`organisation: trustpack
system: trustpack
instance: trustpack/trustpack
pack: {key: vendor.key}
collectors: {git: {repositories: [{path: ../clone, name: trustpack}]}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	period := "2020-01-01/" + time.Now().UTC().AddDate(0, 0, 2).Format(time.DateOnly)
	trustpack("collect", "--config", config, "--period", period)
	out := filepath.Join(dir, "own.epack.zip")
	trustpack("pack", "build", "--config", config, "--period", period, "--out", out)

	var findings []evidence.Finding
	if err := json.Unmarshal(packed(t, out, "data/3-processing/PR-07/findings.json"), &findings); err != nil || len(findings) != 1 {
		t.Fatalf("%d findings: %v", len(findings), err)
	}
	finding := findings[0]
	said := map[string]string{}
	for _, x := range finding.Exceptions {
		if x.Attribute == "not-pushed-directly" {
			said[x.Item] = x.Detail
		}
	}
	for _, c := range commits {
		if !strings.Contains(said[c], " is direct-push: ") {
			t.Errorf("of commit %s the pack says %q, not that it is a direct push", c, said[c])
		}
	}
	if len(said) != len(commits) {
		t.Errorf("the pack tells of %d direct pushes; the repository has %d commits", len(said), len(commits))
	}
	for _, a := range finding.Attributes {
		if a.ID == "approved" && a.Outcome != evidence.OutcomeNotAvailable {
			t.Errorf("without a code host it is %s that the commits were approved", a.Outcome)
		}
	}
}

// packed gives one file of a pack; name may have the wildcards of path.Match.
func packed(t *testing.T, pack, name string) []byte {
	t.Helper()
	z, err := zip.OpenReader(pack)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		if ok, err := path.Match(name, f.Name); err != nil || !ok {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	t.Fatalf("the pack holds no %s", name)
	return nil
}
