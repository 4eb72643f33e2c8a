package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"trustpack/ingest"
	"trustpack/internal/oidclogin/oidctest"
)

// at runs a command on the folder and gives its exit code and all that it
// printed; open is called with each line of its output while it runs.
func (s *served) at(open func(line string), args ...string) (code int, printed string) {
	s.t.Helper()
	cmd := exec.Command("trustpack", append(args, "--config", s.config)...)
	cmd.Env = append(os.Environ(), "TRUSTPACK_OPERATOR_TOKEN=")
	var errOut strings.Builder
	cmd.Stderr = &errOut
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	var all strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		all.WriteString(lines.Text() + "\n")
		if open != nil {
			open(lines.Text())
		}
	}
	err = cmd.Wait()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), all.String() + errOut.String()
}

// says runs a command, which must end with the code and print what matches.
func (s *served) says(code int, want string, args ...string) string {
	s.t.Helper()
	return s.saysTo(nil, code, want, args...)
}

func (s *served) saysTo(open func(line string), code int, want string, args ...string) string {
	s.t.Helper()
	got, printed := s.at(open, args...)
	if got != code || !regexp.MustCompile("(?m)"+want).MatchString(printed) {
		s.t.Fatalf("trustpack %s: exit %d, want %d and %s\n%s", strings.Join(args, " "), got, code, want, printed)
	}
	return printed
}

// browser opens the address that 'operator login' prints.
func browser(t *testing.T) func(string) {
	return func(line string) {
		address, ok := strings.CutPrefix(line, "open in a browser on this machine: ")
		if !ok {
			return
		}
		res, err := http.Get(address)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			err = errors.Join(err, res.Body.Close())
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// TestOperatorLogin runs the commands of a session against an ingest and a
// provider.
func TestOperatorLogin(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be interrupted here")
	}
	p := oidctest.Start(t, "trustpack")
	p.Secret, p.Interval = "between the two", 1
	s := initServed(t, "  oidc:", "    issuer: "+p.Issuer, "    client_id: trustpack", "    client_secret_file: idp.secret", "    device_grant: false",
		"    scopes: [groups]", "    name_claim: login", "    roles: {fitters: [provisioner], owners: [admin]}", "")
	if err := os.WriteFile(filepath.Join(s.dir, "idp.secret"), []byte(p.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	session := filepath.Join(s.ingestDir(), "operators", "session")
	person := func(login string, groups ...string) {
		p.Lock()
		defer p.Unlock()
		p.Claims = map[string]any{"sub": "id of " + login, "login": login, "groups": groups}
	}
	running := s.ready(s.start())
	s.says(0, "", "tenant", "add", "north", "--as", "admin")
	s.says(2, "nobody has logged in here", "operator", "logout")

	person("ada@example", "fitters", "guests")
	s.saysTo(browser(t), 1, `the ingest refused: .*login\.unlinked`, "operator", "login")
	s.says(2, "none of the others can be", "operator", "add", "ada", "--oidc", "ada@example", "--role", "admin", "--as", "admin")
	s.says(0, "^added operator ada, who logs in at the provider as ada@example$", "operator", "add", "ada", "--oidc", "ada@example", "--reason", "joins", "--as", "admin")
	if _, err := os.Stat(session); err == nil {
		t.Error("a session without a login")
	}
	printed := s.saysTo(browser(t), 0, `^logged in as ada \(provisioner\) until \d{4}-`, "operator", "login")
	info, err := os.Stat(session)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	first, err := os.ReadFile(session)
	if err != nil || !regexp.MustCompile(`^tpo_[A-Za-z0-9_-]{43}\n$`).Match(first) {
		t.Errorf("%d bytes, %v", len(first), err)
	}
	if strings.Contains(printed, strings.TrimSpace(string(first))) || strings.Contains(printed, p.Secret) || strings.Contains(printed, "eyJ") {
		t.Error("a secret was printed")
	}

	// Without further words the session acts, and it may what the groups say.
	s.says(0, "requested", "device", "request", "north", "m-1", "--type", "meter", "--reason", "r")
	s.says(1, `auth\.forbidden`, "tenant", "add", "south")
	s.says(0, "", "tenant", "add", "south", "--as", "admin")
	// A login that fails leaves the session as it was.
	p.Lock()
	p.Back = func(q url.Values) { q.Set("error", "access_denied") }
	p.Unlock()
	s.saysTo(browser(t), 2, `^trustpack: error: the provider refused the login: access_denied $`, "operator", "login")
	p.Lock()
	p.Back = nil
	p.Unlock()
	person("ada@example", "guests")
	s.saysTo(browser(t), 1, `the ingest refused: .*login\.no-role`, "operator", "login")
	if now, err := os.ReadFile(session); err != nil || string(now) != string(first) {
		t.Errorf("the session was changed: %v", err)
	}

	// An admin ends it at once.
	var open []ingest.SessionInfo
	if err := json.Unmarshal([]byte(s.says(0, "", "operator", "sessions", "--json", "--as", "admin")), &open); err != nil || len(open) != 1 || open[0].Operator != "ada" {
		t.Fatalf("%+v %v", open, err)
	}
	s.says(0, "^"+open[0].ID+` +ada +provisioner +127\.0\.0\.1 `, "operator", "sessions", "--as", "admin")
	s.says(0, "^ended "+open[0].ID+"$", "operator", "sessions", "--end", open[0].ID, "--reason", "left the desk", "--as", "admin")
	s.says(1, "log in again with 'trustpack operator login'", "device", "list")
	s.says(0, "^logged out$", "operator", "logout")
	if _, err := os.Stat(session); err == nil {
		t.Error("the session's file stays")
	}

	// Who has a certificate shows it at his first login.
	person("root@example", "owners")
	s.saysTo(browser(t), 0, `^logged in as admin \(admin\) until`, "operator", "login", "--as", "admin")
	s.says(0, "", "tenant", "add", "west")
	s.says(0, "^logged out$", "operator", "logout")
	s.saysTo(browser(t), 0, `^logged in as admin \(admin\) until`, "operator", "login")

	// The device grant, once the ingest takes it.
	s.says(2, "does not take logins by the device grant", "operator", "login", "--device")
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.config, []byte(strings.Replace(string(text), "device_grant: false", "device_grant: true", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.says(0, "", "config", "apply", s.config, "--reason", "no browsers there")
	person("ada@example", "fitters")
	printed = s.says(0, `^logged in as ada \(provisioner\) until`, "operator", "login", "--device")
	for _, want := range []string{"open " + p.Issuer + "/enter on any device and enter the code WDJB-MJHT\n", "or open " + p.Issuer + "/enter?user_code=WDJB-MJHT\n"} {
		if !strings.Contains(printed, want) {
			t.Errorf("%q lacks %q", printed, want)
		}
	}
	s.says(1, `auth\.forbidden`, "tenant", "add", "east")
	s.says(0, "^logged out$", "operator", "logout")
	s.stop(running)
}
