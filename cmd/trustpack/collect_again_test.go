package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCollectAgain: what GitHub says has not changed is not sent again, and
// the second collection is as whole as the first.
func TestCollectAgain(t *testing.T) {
	full, unchanged, others := 0, 0, 0 // others: unchanged, and of other kinds than the one that is wanted
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := `[]`
		switch {
		case r.URL.Path == "/user":
			body = `{"login":"auditor"}`
		case r.URL.Path == "/orgs/acme/installations":
			body = `{"total_count":0,"installations":[]}`
		case r.URL.Query().Get("role") == "admin":
			body = `[{"login":"anna","type":"User"}]`
		case !strings.HasPrefix(r.URL.Path, "/orgs/acme/"):
			body = `{}`
		}
		w.Header().Set("ETag", fmt.Sprintf("%q", body))
		if r.Header.Get("If-None-Match") == w.Header().Get("ETag") {
			unchanged++
			if r.URL.Path == "/orgs/acme" || r.URL.Path == "/orgs/acme/teams" {
				others++
			}
			w.WriteHeader(http.StatusNotModified)
			return
		}
		full++
		fmt.Fprint(w, body)
	}))
	defer server.Close()
	t.Setenv("GITHUB_TOKEN", "secret-of-the-test")
	dir := t.TempDir()
	config := filepath.Join(dir, "trustpack.yaml")
	yaml := "organisation: Acme\nsystem: meters\ninstance: acme.example/meters\ncollectors:\n  github: {base_url: " + server.URL + ", organization: acme}\n"
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	collect := func() string {
		var out, errOut bytes.Buffer
		if code := run(t.Context(), []string{"collect", "github.members", "--period", "2026-Q3", "--json", "--fail-on", "incomplete", "--config", config}, nil, &out, &errOut); code != exitOK {
			t.Fatalf("exit %d: %s%s", code, out.String(), errOut.String())
		}
		var got []struct {
			ID    string `json:"id"`
			Items int    `json:"items"`
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got) != 1 || got[0].Items != 1 {
			t.Fatalf("%v: %s", err, out.String())
		}
		return got[0].ID
	}
	collect()
	first := full
	if unchanged > 0 || first < 5 {
		t.Fatalf("first: %d in full, %d unchanged", full, unchanged)
	}
	id := collect()
	if full != first+1 || unchanged != first-1 { // GET /user says whose token it is, each time
		t.Errorf("second: %d in full, %d unchanged, of %d", full-first, unchanged, first)
	}
	var out, errOut bytes.Buffer
	if code := run(t.Context(), []string{"evidence", "show", id, "--json", "--config", config}, nil, &out, &errOut); code != exitOK {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	if n := strings.Count(out.String(), `"status": 304`); others != 2 || n != unchanged-others {
		t.Errorf("the record tells of %d replies that were not modified, want %d", n, unchanged-others)
	}
}
