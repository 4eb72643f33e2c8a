package telemetry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// atOnce is a Backoff that waits for nothing.
func atOnce(int) time.Duration { return 0 }

// A fault that passes leaves no gap, and every try on record.
func TestWhatPassesIsAskedAgain(t *testing.T) {
	s := story(t)
	whole := collectFrom(t, s, Config{})
	short := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "9")
		_, _ = io.WriteString(w, "short")
	}
	const asked, cut = "/v1/admin/operators", "/log/control/tile/entries/000"
	for way, c := range map[string]struct {
		path  string
		times int
		how   http.HandlerFunc
	}{
		"busy three times": {asked, 3, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", http.StatusServiceUnavailable) }},
		"told to wait": {asked, 1, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "", http.StatusTooManyRequests)
		}},
		"cut off":           {asked, 1, short},
		"entries cut off":   {cut, 1, short},
		"entries busy once": {cut, 1, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", http.StatusBadGateway) }},
	} {
		failed := 0
		s.broken["/"] = func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, c.path) && failed < c.times {
				failed++
				c.how(w, r)
				return
			}
			s.answer(w, r)
		}
		recorded := 0
		for kind, e := range collectFrom(t, s, Config{}) {
			if !reflect.DeepEqual(e.Completeness, whole[kind].Completeness) || !reflect.DeepEqual(e.Population, whole[kind].Population) {
				t.Errorf("%s: %s is another than where all is answered at once: %+v", way, kind, e.Completeness)
			}
			tries := 0
			for _, req := range e.Provenance.Requests {
				if strings.Contains(req.Target, c.path) && req.Error != "" {
					tries++
				}
			}
			recorded = max(recorded, tries)
		}
		if failed != c.times || recorded != c.times {
			t.Errorf("%s: failed %d times, and %d are on record; want %d", way, failed, recorded, c.times)
		}
	}
}

// A refusal is final; and where nobody answers, that is found out once.
func TestWhatDoesNotPassIsAskedOnce(t *testing.T) {
	s := story(t)
	counted := map[string]int{}
	s.broken["/"] = func(w http.ResponseWriter, r *http.Request) {
		counted[r.URL.Path]++
		if r.URL.Path == "/v1/admin/operators" {
			http.Error(w, "", http.StatusForbidden)
			return
		}
		s.answer(w, r)
	}
	collectFrom(t, s, Config{})
	if n := counted["/v1/admin/operators"]; n != 1 {
		t.Errorf("what is forbidden was asked for %d times", n)
	}

	asked := map[string]int{}
	c, err := New(Config{URL: "https://127.0.0.1:8444"}, Deps{Now: time.Now, Clock: evidence.ClockSystem, Backoff: atOnce,
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			asked[r.URL.Path]++
			return nil, errors.New("connection refused")
		})})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Collect(context.Background(), quarter); err != nil {
		t.Fatal(err)
	}
	tries := []int{}
	for _, n := range asked {
		tries = append(tries, n)
	}
	if slices.Sort(tries); len(tries) < 5 || tries[len(tries)-1] != attempts || slices.Max(tries[:len(tries)-1]) != 1 {
		t.Errorf("where nobody answers, it was asked %v", asked)
	}
}

// A collection that is ended waits for nothing more.
func TestAnEndedCollectionWaitsForNothing(t *testing.T) {
	ctx, end := context.WithCancel(context.Background())
	c, err := New(Config{URL: "https://127.0.0.1:8444"}, Deps{Now: time.Now, Clock: evidence.ClockSystem,
		Backoff:   func(int) time.Duration { return time.Hour },
		Progress:  func(string) { end() },
		Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Collect(ctx, quarter); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
