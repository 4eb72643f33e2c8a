package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// TestReadme runs every command of README.md in one shell, from top to
// bottom, as somebody would who follows it; go test alone is left out, since
// it is what runs this.
func TestReadme(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the README's commands are for a POSIX shell")
	}
	for _, tool := range []string{"bash", "unzip", "sha256sum", "ssh-keygen"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s, which the README uses, is not installed", tool)
		}
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	top := strings.Join(strings.SplitN(string(readme), "\n", 21)[:20], "\n")
	for _, want := range []string{"go run ./cmd/trustpack demo\n", "go test ./...\n"} {
		if !strings.Contains(top, want) {
			t.Errorf("%q does not stand in the first 20 lines", want)
		}
	}
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin+string(filepath.Separator), ".").CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	dir := t.TempDir()
	script, commands := readmeScript(t, string(readme))
	if commands < 25 {
		t.Fatalf("%d commands were found in README.md; the pattern looks at the wrong thing", commands)
	}
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"), "TMPDIR="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"verify: OK", "0 accepted, 1 duplicate", "is now revoked", `Good "trustpack-pack" signature for vendor`,
	} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("the README's commands do not print %q:\n%s", want, out)
		}
	}
}

// readmeScript joins the README's commands to a script that stops at the
// first that fails. It changes only what a second machine would have
// otherwise: ports that are free, and waiting until the ingest is up.
func readmeScript(t *testing.T, readme string) (script string, commands int) {
	t.Helper()
	var b strings.Builder
	b.WriteString("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n")
	for _, block := range shellBlock.FindAllStringSubmatch(readme, -1) {
		for line := range strings.Lines(block[1]) {
			line = strings.TrimRight(line, "\n")
			commands++
			switch {
			case line == "go test ./...", line == "go install ./cmd/trustpack":
				continue
			case strings.HasPrefix(line, "go run ./cmd/trustpack "):
				line = strings.Replace(line, "go run ./cmd/trustpack", "trustpack", 1)
			}
			fmt.Fprintf(&b, "echo %s\n%s\n", strconv.Quote("$ "+strings.Map(plainQuote, line)), line)
			switch {
			case strings.HasPrefix(line, "trustpack init "):
				fmt.Fprintf(&b, "sed -i.bak 's/:8443/:%s/; s/:8444/:%s/' meters/trustpack.yaml\n", freePort(t), freePort(t))
				b.WriteString("sed -i.bak 's/8444$/'$(sed -n 's/.*admin_listen: 127.0.0.1:\\([0-9]*\\).*/\\1/p' meters/trustpack.yaml)'/' meters/trustpack.yaml\n")
			case strings.HasSuffix(line, "ingest serve &"):
				b.WriteString("for i in $(seq 1000); do if trustpack config show >/dev/null 2>&1; then break; fi; sleep 0.1; done\n")
			}
		}
	}
	return b.String(), commands
}

func plainQuote(r rune) rune {
	if strings.ContainsRune("\"$`\\", r) {
		return '_'
	}
	return r
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
