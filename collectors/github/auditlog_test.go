package github

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

func TestAuditLog(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/orgs/acme/audit-log" {
			fmt.Fprint(w, "{}")
			return
		}
		if got := r.URL.Query().Get("phrase"); got != "created:2026-07-01..2026-10-01" {
			t.Errorf("phrase %q", got)
		}
		entry := func(id string, at time.Time) string {
			return fmt.Sprintf(`{"_document_id":%q,"action":"team.add_member","actor":"anna","user":"ben","created_at":%d}`, id, at.UnixMilli())
		}
		if r.URL.Query().Get("after") == "" {
			w.Header().Set("Link", `<http://`+r.Host+`/orgs/acme/audit-log?after=c1>; rel="next"`)
			fmt.Fprintf(w, "[%s,%s]", entry("a", quarter.From), entry("x", quarter.To))
			return
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, "[%s,%s]", entry("a", quarter.From), entry("b", quarter.To.Add(-time.Second)))
	}))
	defer server.Close()
	b := newBench(t)
	b.config.BaseURL, b.config.AuditLog, b.config.Repositories = server.URL, true, nil
	e := b.collect()[KindAuditLog]
	if e.Completeness.State != evidence.Complete || len(e.Population.Items) != 2 || e.Snapshot || e.Provenance.Account != "acme" {
		t.Errorf("%+v %+v", e.Completeness, e.Population)
	}
	if got := item(t, e, "b"); got["action"] != "team.add_member" || got["user"] != "ben" || got["created_at"] != "2026-09-30T23:59:59Z" {
		t.Errorf("%v", got)
	}
	status = http.StatusForbidden
	if e := b.collect()[KindAuditLog]; e.Completeness.State != evidence.Incomplete || !strings.Contains(fmt.Sprint(e.Completeness.Gaps), "page 2 HTTP 403") {
		t.Errorf("%+v", e.Completeness)
	}
	status = http.StatusOK
	b.now = b.now.AddDate(0, 6, 0)
	if e := b.collect()[KindAuditLog]; e.Completeness.State != evidence.Incomplete || !strings.Contains(fmt.Sprint(e.Completeness.Gaps), "GitHub keeps 180 days of it") {
		t.Errorf("%+v", e.Completeness)
	}
	b.config.Organization, b.config.Repositories = "", []Repository{{Name: "acme/meter"}}
	if _, err := New(b.config, b.deps); err == nil || !strings.Contains(err.Error(), "audit_log") {
		t.Errorf("without an organization: %v", err)
	}
}
