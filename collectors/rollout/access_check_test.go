package rollout

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

func checkAccess(t *testing.T, c Config, env map[string]string) []evidence.AccessCheck {
	t.Helper()
	col, err := New(c, Deps{Getenv: func(k string) string { return env[k] }, Backoff: func(int) time.Duration { return time.Microsecond }})
	if err != nil {
		t.Fatal(err)
	}
	got, err := col.(evidence.AccessChecker).CheckAccess(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(fmt.Sprint(got), password) {
		t.Errorf("the password is told: %+v", got)
	}
	for _, g := range got {
		if g.Source != "rollout" || len(g.Kinds) != 1 {
			t.Errorf("%+v", g)
		}
	}
	return got
}

// Each permission is asked for once, and what is lacking is told from what is
// not known.
func TestCheckAccessOfHawkBit(t *testing.T) {
	asked, spoiled, status, body := 0, "", 200, ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch path := r.URL.Path; {
		case strings.HasPrefix(path, spoiled) && spoiled != "":
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		case strings.HasPrefix(path, "/rest/v1/targets"):
			t.Errorf("%s carries the devices' security tokens", path)
		case path == "/rest/v1/userinfo":
			fmt.Fprint(w, `{"tenant":"T","username":"reader"}`)
		default:
			if r.URL.Query().Get("limit") != "1" {
				t.Errorf("%s asks for more than is needed", r.URL)
			}
			fmt.Fprint(w, `{"content":[],"total":0}`)
		}
	}))
	defer srv.Close()
	well := map[string]string{"U": "reader", "P": password}
	config := Config{HawkBit: &HawkBit{URL: srv.URL, UserEnv: "U", PasswordEnv: "P"}}
	const all = 4
	for name, c := range map[string]struct {
		path     string
		status   int
		body     string
		env      map[string]string
		rows     int // that are not granted
		state    evidence.AccessState
		said     string
		requests int
	}{
		"well":       {"", 200, "", well, 0, "", "", all + 1},
		"no secret":  {"", 200, "", nil, all, evidence.AccessLacking, "P is empty", 0},
		"401":        {"/", 401, password, well, all, evidence.AccessLacking, "does not accept the credential", 1},
		"403":        {"/rest/v1/actions", 403, "", well, 1, evidence.AccessLacking, "READ_ROLLOUT, READ_TARGET and READ_REPOSITORY", all + 1},
		"busy":       {"/rest/v1/rollouts", 503, "", well, 1, evidence.AccessUnknown, "HTTP 503", all + 1},
		"no JSON":    {"/rest/v1/distributionsets", 200, "<html>", well, 1, evidence.AccessUnknown, "not the JSON", all + 1},
		"no total":   {"/rest/v1/softwaremodules", 200, "{}", well, 1, evidence.AccessUnknown, "no total", all + 1},
		"no page":    {"/rest/v1/softwaremodules", 404, "", well, 1, evidence.AccessUnknown, "HTTP 404", all + 1},
		"who am I":   {"/rest/v1/userinfo", 403, "", well, 0, "", "", all + 1},
		"everything": {"/rest/v1/", 403, "", well, all, evidence.AccessLacking, "HTTP 403", all + 1},
	} {
		asked, spoiled, status, body = 0, c.path, c.status, c.body
		got := checkAccess(t, config, c.env)
		rows := 0
		for _, g := range got {
			if g.State == evidence.AccessGranted && g.Said == "" {
				continue
			}
			if rows++; g.State != c.state || !strings.Contains(g.Said, c.said) {
				t.Errorf("%s: %+v, want %s, %q", name, g, c.state, c.said)
			}
		}
		if len(got) != all || rows != c.rows || asked != c.requests {
			t.Errorf("%s: %d of %d rows after %d requests, want %d of %d after %d", name, rows, len(got), asked, c.rows, all, c.requests)
		}
		if known := got[0].Principal == "hawkbit user reader of tenant T"; known != (c.requests == all+1 && name != "who am I" && name != "everything") {
			t.Errorf("%s: asked as %s", name, got[0].Principal)
		}
	}
	srv.Close()
	if got := checkAccess(t, config, well); got[0].State != evidence.AccessUnknown || got[3].State != evidence.AccessUnknown || !strings.Contains(got[3].Said, "no answer") {
		t.Errorf("away: %+v", got)
	}
}

func TestCheckAccessOfAFolder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, body string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("nine.yaml", good)
	if got := checkAccess(t, Config{Folder: dir}, nil); len(got) != 1 || got[0].State != evidence.AccessGranted || got[0].Said != "rollouts: 1" || got[0].Principal != "" {
		t.Errorf("%+v", got)
	}
	write("ten.yaml", strings.Replace(good, "fw-9", "fw-10", 1)+"surprise: 1\n")
	write("eleven.yaml", strings.Replace(good, "state: finished", "state: over", 1))
	got := checkAccess(t, Config{Folder: dir}, nil)
	if len(got) != 2 || got[0].State != evidence.AccessLacking || !strings.Contains(got[0].Said, `state "over" is not known`) || got[1].State != evidence.AccessLacking || !strings.Contains(got[1].Said, "surprise") {
		t.Errorf("%+v", got)
	}
	if got := checkAccess(t, Config{Folder: filepath.Join(dir, "no")}, nil); len(got) != 1 || got[0].State != evidence.AccessLacking || !strings.Contains(got[0].Said, "cannot be opened") {
		t.Errorf("%+v", got)
	}
}
