package telemetry

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// citedExcerpt collects the checkpoints and gives the control log's excerpt, and
// the items.
func citedExcerpt(t *testing.T, s *served, cited int64) (ledger.Excerpt, []string) {
	t.Helper()
	srv := httptest.NewServer(s)
	defer srv.Close()
	c, err := New(Config{URL: srv.URL}, Deps{
		Tool: "test", Now: func() time.Time { return quarter.To }, Clock: evidence.ClockSimulated, Transport: http.DefaultTransport, Backoff: atOnce,
		Cited: func(origin string) int64 {
			if origin != s.led.Origin("control") {
				return 0
			}
			return cited
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Collect(t.Context(), quarter)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range got {
		if e.Kind == KindCheckpoints {
			var items []string
			for _, it := range e.Population.Items {
				items = append(items, it.ID)
			}
			return excerptOf(t, e, "control"), items
		}
	}
	t.Fatal("no checkpoints were collected")
	return ledger.Excerpt{}, nil
}

// TestExcerptsGoThroughWhatTheLastPackCites: the next pack must prove the logs
// to have grown from there, wherever its period begins; the population stays
// that of the period.
func TestExcerptsGoThroughWhatTheLastPackCites(t *testing.T) {
	s := newServed(t)
	for _, n := range []int{-20, -10, -1, 30} { // checkpoints of 2, 4, 6 and 8 entries
		for range 2 {
			s.control(day(n), evidence.AuditEntry{Type: evidence.EntryOperatorAdded, Target: "carla"}, evidence.Operator{Name: "carla"})
		}
		s.checkpoint()
	}
	_, want := citedExcerpt(t, s, 0)
	if len(want) != 1 {
		t.Fatalf("the period has the checkpoints %q, want one", want)
	}
	for cited, begins := range map[int64]int64{0: 6, 2: 2, 4: 4, 5: 4, 6: 6, 8: 6} {
		e, items := citedExcerpt(t, s, cited)
		previous, err := ledger.OpenCheckpoint([]byte(e.Previous), e.VerifierKey)
		if err != nil {
			t.Fatal(err)
		}
		if previous.Size != begins || e.History[len(e.History)-1].Size != 8 || !slices.Equal(items, want) {
			t.Errorf("cited %d: it begins at %d, want %d; items %q, want %q", cited, previous.Size, begins, items, want)
		}
	}
}
