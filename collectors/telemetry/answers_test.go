package telemetry

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"trustpack/evidence"
)

// Whatever the ingest's answer fails, in whatever way: a kind that stands upon
// it says so in a gap, and none that calls itself complete is another for it.
func TestEveryCallInEveryWay(t *testing.T) {
	s := story(t)
	asked := map[string]bool{}
	s.broken["/"] = func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path] = true
		s.answer(w, r)
	}
	whole := collectFrom(t, s, Config{})
	if len(asked) < 12 {
		t.Fatalf("only %d addresses are asked: %v", len(asked), asked)
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"devices":[],"logs":[]}`, code) }
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(s.answer))
	defer elsewhere.Close()
	for way, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"401": {status(401), "401 Unauthorized"}, "403": {status(403), "403 Forbidden"}, "404": {status(404), "404 Not Found"},
		"429": {status(429), "429 Too Many Requests"}, "500": {status(500), "500 Internal Server Error"},
		"cut off": {func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			s.answer(rec, r)
			w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()+1))
			_, _ = w.Write(rec.Body.Bytes())
		}, "cut off after"},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.RequestURI(), http.StatusFound)
		}, "302 Found"},
		"object of nulls": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"devices":null,"deadletters":null,"operators":null,"exports":null,"tenants":null,"alerts":null,"logs":null,"versions":null,"grants":null,"runs":null,"entries":null}`)
		}, ""},
		"empty object": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }, ""},
	} {
		for path := range asked {
			if c.want == "" && strings.HasPrefix(path, "/status/") {
				continue // any text is a page; that it is none for people is what the item says
			}
			s.broken["/"] = func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == path {
					c.answer(w, r)
					return
				}
				s.answer(w, r)
			}
			var told []evidence.Kind
			for kind, e := range collectFrom(t, s, Config{}) {
				if strings.Contains(fmt.Sprint(e.Completeness.Gaps), c.want) && e.Completeness.State == evidence.Incomplete {
					told = append(told, kind)
				}
				if e.Completeness.State == evidence.Complete && !reflect.DeepEqual(e.Population, whole[kind].Population) {
					t.Errorf("%s of %s: %s is complete, and other than where all is answered", way, path, kind)
				}
			}
			if slices.Sort(told); len(told) == 0 {
				t.Errorf("%s of %s is told nowhere", way, path)
			}
		}
	}
}

func TestAnAddressThatCarriesACredential(t *testing.T) {
	for _, address := range []string{"https://erin:hunter2@127.0.0.1:8444", "https://127.0.0.1:8444?token=hunter2", "https://127.0.0.1:8444/%zzhunter2"} {
		if _, err := New(Config{URL: address}, Deps{Transport: http.DefaultTransport}); err == nil || !strings.Contains(err.Error(), "want an address") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}
