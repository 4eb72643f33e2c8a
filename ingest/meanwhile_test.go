package ingest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"trustpack/evidence"
)

// afterwards is a body that lets something happen when it is read, which is
// after it was found who calls and whether that may be.
type afterwards struct {
	io.Reader
	happens func()
}

func (b *afterwards) Read(p []byte) (int, error) {
	if b.happens != nil {
		b.happens()
		b.happens = nil
	}
	return b.Reader.Read(p)
}

// TestWhoGoesMeanwhileDecidesNothing: an operator who is removed, loses the
// role or has the token ended while the call goes on leaves no decision behind.
func TestWhoGoesMeanwhileDecidesNothing(t *testing.T) {
	calls := map[string]struct{ path, body, entry string }{
		"results of drills":  {"drills", `[{"id":"PR-01.x","control":"PR-01","verdict":"passed"}]`, evidence.EntryDrill},
		"a requested device": {"devices", `{"tenant":"nord","device":"m-1","type":"meter","reason":"wanted"}`, evidence.EntryDeviceRequested},
		"a tenant":           {"tenants", `{"id":"sued"}`, evidence.EntryTenantAdded},
		"a run of drills":    {"drills/runs", `{"state":"started","run":{"due":"2026-01-01T00:00:00Z"}}`, evidence.EntryDrillsStarted},
		"an emergency":       {"break-glass", `{"role":"approver","minutes":5,"reason":"x"}`, evidence.EntryBreakGlassOpened},
	}
	ways := map[string]func(r *rig) error{
		"nothing": func(*rig) error { return nil },
		"removed": func(r *rig) error { return r.admin("root.admin").RemoveOperator(t.Context(), "tora", "left") },
		"without role": func(r *rig) error {
			return failed(r.admin("root.admin").ChangeRoles(t.Context(), "tora", []string{RoleExporter}, "moved"))
		},
		"without a token": func(r *rig) error {
			return failed(r.admin("root.admin").IssueToken(t.Context(), "tora", TokenRequest{}))
		},
	}
	for what, c := range calls {
		for way, happens := range ways {
			t.Run(what+" "+way, func(t *testing.T) {
				r := newRig(t)
				r.tenant("nord")
				given, err := r.admin("root.admin").AddOperatorWithToken(t.Context(), "tora", []string{RoleAdmin}, 60, "deputy")
				if err != nil {
					t.Fatal(err)
				}
				before := len(r.control(c.entry))
				req := httptest.NewRequest(http.MethodPost, adminPath+c.path, &afterwards{strings.NewReader(c.body), func() {
					if err := happens(r); err != nil {
						t.Error(err)
					}
				}})
				req.Header.Set("Authorization", "Bearer "+given.Token)
				req.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				r.s.adminHandler().ServeHTTP(w, req)
				decided := len(r.control(c.entry)) - before
				if way == "nothing" {
					if w.Code >= 300 {
						t.Fatalf("%d %s", w.Code, w.Body)
					}
					return
				}
				if w.Code != http.StatusUnauthorized && w.Code != http.StatusForbidden || decided != 0 {
					t.Errorf("answered %d, and %d entries: %s", w.Code, decided, w.Body)
				}
			})
		}
	}
}
