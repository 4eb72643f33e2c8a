package telemetry

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// checkAccess asks s; deps may be changed before.
func checkAccess(t *testing.T, s http.Handler, cfg Config, change func(*Deps)) []evidence.AccessCheck {
	t.Helper()
	srv := httptest.NewServer(s)
	defer srv.Close()
	cfg.URL = srv.URL
	deps := Deps{Tool: "test", Now: time.Now, Clock: evidence.ClockSystem, Transport: http.DefaultTransport, Backoff: atOnce}
	if change != nil {
		change(&deps)
	}
	return checkAt(t, cfg, deps)
}

func checkAt(t *testing.T, cfg Config, deps Deps) []evidence.AccessCheck {
	t.Helper()
	c, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.(evidence.AccessChecker).CheckAccess(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func rowFor(t *testing.T, got []evidence.AccessCheck, begins string) evidence.AccessCheck {
	t.Helper()
	for _, c := range got {
		if strings.HasPrefix(c.Permission+" "+c.For, begins) || c.For == begins {
			return c
		}
	}
	t.Fatalf("no row for %q: %+v", begins, got)
	return evidence.AccessCheck{}
}

// The kinds of each family are those that Collect leaves incomplete without it.
func TestFamiliesNameTheKindsThatNeedThem(t *testing.T) {
	s := story(t)
	for _, f := range families() {
		path, _, _ := strings.Cut(f.path, "?")
		path = strings.NewReplacer("{tenant}", "", "/control", "", "/checkpoint", "/").Replace(path)
		s.broken = map[string]http.HandlerFunc{path: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }}
		var want []evidence.Kind
		for kind, e := range collectFrom(t, s, Config{}) {
			if e.Completeness.State == evidence.Incomplete {
				want = append(want, kind)
			}
		}
		got := f.kinds()
		slices.Sort(got)
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Errorf("%s:\n  is said to be for %v\nthese need it: %v", path, got, want)
		}
	}
}

// keysOf writes the logs' verifier keys into a file.
func keysOf(t *testing.T, s *served, logs ...string) string {
	t.Helper()
	var lines strings.Builder
	for _, log := range logs {
		key, err := s.led.VerifierKey(log)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&lines, key)
	}
	file := filepath.Join(t.TempDir(), "logs.vkey")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCheckAccess(t *testing.T) {
	s := story(t)
	keys := Config{LogKeys: []string{keysOf(t, s, s.led.Logs()...)}}
	got := checkAccess(t, s, keys, nil)
	if len(got) != len(families())+2 {
		t.Errorf("%d rows: %+v", len(got), got)
	}
	for _, c := range got {
		if c.State != evidence.AccessGranted || c.Principal != "operator erin" || c.Said != "" || c.Kinds == nil {
			t.Errorf("%+v", c)
		}
	}

	asked := 0
	answer := func(path string, code int, body string) {
		asked, s.broken = 0, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
			if asked++; strings.HasPrefix(r.URL.Path, path) {
				w.WriteHeader(code)
				fmt.Fprint(w, body)
				return
			}
			s.answer(w, r)
		}}
	}
	role := `{"code":"auth.forbidden","title":"no role.","detail":"read needs another role: auditor or admin"}`
	for name, c := range map[string]struct {
		path  string
		code  int
		body  string
		reads string
		state evidence.AccessState
		said  string
		asked int // 0: all
	}{
		"role":      {"/v1/admin/devices", 403, role, "device registry", evidence.AccessLacking, "read needs another role: auditor or admin", 0},
		"nobody":    {"/", 401, `{"code":"auth.no-certificate","title":"none"}`, "entries of the logs", evidence.AccessLacking, "operator add NAME --role auditor", 1},
		"devices'":  {"/v1/admin/config", 404, "", "configuration, and who may do what", evidence.AccessUnknown, "admin address", 0},
		"busy":      {"/v1/admin/operators", 503, "", "operators and their roles", evidence.AccessUnknown, "503", 0},
		"no list":   {"/v1/admin/exports", 200, "{}", "exports", evidence.AccessUnknown, `no member "exports"`, 0},
		"tenants":   {"/v1/admin/tenants", 403, role, "what a tenant is told", evidence.AccessUnknown, "could not be read", -2},
		"logs":      {"/v1/admin/logs", 403, role, "logs under keys that are known beforehand", evidence.AccessUnknown, "could not be read", -1},
		"no words":  {"/log/control", 200, "x", "entries of the logs", evidence.AccessUnknown, "checkpoint", -1},
		"moved":     {"/v1/admin/config", 302, "", "configuration, and who may do what", evidence.AccessUnknown, "302", 0},
		"the page":  {"/status/", 403, role, "the page that a tenant is shown", evidence.AccessLacking, "403", 0},
		"excerpt":   {"/v1/admin/excerpt", 403, role, "checkpoints of the logs, with proofs", evidence.AccessLacking, "403", 0},
		"configure": {"/v1/admin/config", 403, role, "configuration, and who may do what", evidence.AccessLacking, "the role auditor is enough", 0},
	} {
		answer(c.path, c.code, c.body)
		got := checkAccess(t, s, keys, nil)
		if row := rowFor(t, got, c.reads); row.State != c.state || !strings.Contains(row.Said, c.said) {
			t.Errorf("%s: %+v, want %s, %q", name, row, c.state, c.said)
		}
		want := c.asked
		if want <= 0 {
			want += len(families())
		}
		if asked != want || len(got) != len(families())+2 {
			t.Errorf("%s: %d requests, want %d; %d rows", name, asked, want, len(got))
		}
	}
}

func TestCheckAccessSaysWhatIsBeyondNeed(t *testing.T) {
	s := story(t)
	s.broken["/v1/admin/operators"] = func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"operators":[{"name":"carla","roles":["approver"]},{"name":"erin","roles":["auditor","admin"]}]}`)
	}
	s.broken[checkpointPath] = func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"code":"request.not-found","title":"There is no such thing."}`)
	}
	var excerpt string
	s.broken["/v1/admin/excerpt/"] = func(w http.ResponseWriter, r *http.Request) {
		excerpt = r.URL.String()
		s.answer(w, r)
	}
	if row := rowFor(t, checkAccess(t, s, Config{}, nil), "entries of the logs"); row.State != evidence.AccessGranted || row.Said != "the control log has no checkpoint yet" || excerpt != "/v1/admin/excerpt/control?since=0" {
		t.Errorf("%+v, %s", row, excerpt)
	}
	delete(s.broken, checkpointPath)
	if row := rowFor(t, checkAccess(t, s, Config{}, nil), "entries of the logs"); row.Said != "" || strings.HasSuffix(excerpt, "=0") {
		t.Errorf("%+v, %s", row, excerpt)
	}
	if row := rowFor(t, checkAccess(t, s, Config{}, nil), "operators and their roles"); row.State != evidence.AccessGranted || row.Said != "erin may do more than is needed, as admin: auditor is enough" {
		t.Errorf("%+v", row)
	}
	s.broken["/v1/admin/tenants"] = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"tenants":[]}`) }
	if got := checkAccess(t, s, Config{}, nil); len(got) != len(families()) {
		t.Errorf("without a tenant: %d rows", len(got))
	}
}

func TestCheckAccessHoldsTheLogsKeys(t *testing.T) {
	s := story(t)
	row := func(file ...string) evidence.AccessCheck {
		return rowFor(t, checkAccess(t, s, Config{LogKeys: file}, nil), "log_keys")
	}
	if c := row(); c.State != evidence.AccessLacking || !strings.Contains(c.Said, "of 2 logs 2 have none") || len(c.Kinds) != 0 {
		t.Errorf("none is pinned: %+v", c)
	}
	if c := row(keysOf(t, s, "control")); c.State != evidence.AccessLacking || !strings.Contains(c.Said, "of 2 logs 1 have none, and the ingest's own word is taken: example.com/test/nord;") {
		t.Errorf("one is pinned: %+v", c)
	}
	wrong := filepath.Join(t.TempDir(), "wrong.vkey")
	if err := os.WriteFile(wrong, []byte("example.com/test/nord+00000000+AAAA\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := row(keysOf(t, s, "control"), wrong); c.State != evidence.AccessLacking || !strings.Contains(c.Said, "another key than log_keys of example.com/test/nord") || len(c.Kinds) != 30 {
		t.Errorf("another is pinned: %+v", c)
	}
}

func TestCheckAccessHoldsTheClock(t *testing.T) {
	s := story(t)
	row := func(off time.Duration, date func(http.Header)) evidence.AccessCheck {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if date != nil {
				date(w.Header())
			}
			s.ServeHTTP(w, r)
		})
		return rowFor(t, checkAccess(t, h, Config{}, func(d *Deps) { d.Now = func() time.Time { return time.Now().Add(off) } }), "clock: the same time")
	}
	if c := row(0, nil); c.State != evidence.AccessGranted || c.Said != "" {
		t.Errorf("the same time: %+v", c)
	}
	if c := row(-time.Hour, nil); c.State != evidence.AccessLacking || !strings.Contains(c.Said, "ahead of the one here") {
		t.Errorf("ahead: %+v", c)
	}
	if c := row(time.Hour, nil); c.State != evidence.AccessLacking || !strings.Contains(c.Said, "behind the one here") || len(c.Kinds) != 0 {
		t.Errorf("behind: %+v", c)
	}
	if c := row(0, func(h http.Header) { h["Date"] = nil }); c.State != evidence.AccessUnknown {
		t.Errorf("no time: %+v", c)
	}
	got := checkAccess(t, s, Config{}, func(d *Deps) { d.Clock = evidence.ClockSimulated })
	if c := rowFor(t, got, "read: auditor configuration"); !strings.Contains(c.Said, "its clock is simulated") || strings.Contains(fmt.Sprint(got), "the same time") {
		t.Errorf("simulated: %+v", got)
	}
}
