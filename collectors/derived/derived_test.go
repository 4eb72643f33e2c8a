package derived

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

func quarter() evidence.Period {
	return evidence.Period{From: at("2026-07-01T00:00:00Z"), To: at("2026-10-01T00:00:00Z")}
}

// shelf is what was collected, oldest first.
type shelf []evidence.Collected

type attrs = map[string]any

// put keeps a whole collection of a kind.
func (s *shelf) put(kind string, when string, items ...attrs) *evidence.Evidence {
	e := evidence.Evidence{Kind: evidence.Kind(kind), Collector: "test", CollectedAt: at(when), Window: quarter(),
		Provenance: evidence.Provenance{Origin: evidence.OriginLive}, Completeness: evidence.Completeness{State: evidence.Complete, Got: len(items)}}
	for _, it := range items {
		e.Population.Items = append(e.Population.Items, evidence.Item{ID: it["id"].(string), Attributes: it})
	}
	*s = append(*s, evidence.Collected{ID: fmt.Sprintf("%s of %s", kind, when), Evidence: e})
	return &(*s)[len(*s)-1].Evidence
}

func (s shelf) get(id string) (evidence.Collected, error) {
	for _, e := range s {
		if e.ID == id {
			return e, nil
		}
	}
	return evidence.Collected{}, fmt.Errorf("nothing has the ID %s", id)
}

func (s shelf) kept(evidence.Period) ([]evidence.Citation, error) {
	var out []evidence.Citation
	for _, e := range s {
		out = append(out, evidence.Citation{ID: e.ID, Kind: e.Kind, CollectedAt: e.CollectedAt, Window: e.Window})
	}
	return out, nil
}

// draw gives what is drawn of a kind at a time.
func (s shelf) draw(t *testing.T, kind evidence.Kind, now string) evidence.Evidence {
	t.Helper()
	c, err := New(Deps{Tool: "test", Now: func() time.Time { return at(now) }, Kept: s.kept, Get: s.get})
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.Collect(t.Context(), quarter())
	if err != nil {
		t.Fatal(err)
	}
	var kinds []evidence.Kind
	for _, e := range all {
		kinds = append(kinds, e.Kind)
	}
	if !slices.Equal(kinds, c.Kinds()) {
		t.Errorf("it brings %v and says %v", kinds, c.Kinds())
	}
	for _, e := range all {
		if _, err := e.Population.Lines(); err != nil {
			t.Error(err)
		}
		if e.Kind == kind {
			return e
		}
	}
	t.Fatalf("nothing of %s", kind)
	return evidence.Evidence{}
}

func gapsOf(e evidence.Evidence) string {
	var out []string
	for _, g := range e.Completeness.Gaps {
		out = append(out, g.What+": "+g.Reason)
	}
	return strings.Join(out, "\n")
}

func TestWithoutAWayToTheEvidence(t *testing.T) {
	if _, err := New(Deps{}); err == nil {
		t.Error("there is nothing to draw from, and it says nothing")
	}
	var s shelf
	c, err := New(Deps{Get: s.get, Kept: func(evidence.Period) ([]evidence.Citation, error) { return nil, fmt.Errorf("the disk is gone") }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Collect(t.Context(), quarter()); err == nil || !strings.Contains(err.Error(), "the disk is gone") {
		t.Error(err)
	}
	s.put("git.commits", "2026-10-01T01:00:00Z")
	c, err = New(Deps{Get: shelf{}.get, Kept: s.kept})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Collect(t.Context(), quarter()); err == nil || !strings.Contains(err.Error(), "reading git.commits of 2026-10-01") {
		t.Error(err)
	}
}
