package github

import (
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// Deployments of before the window are read where they are asked for, and the
// evidence says from when on; nothing else begins earlier.
func TestDeploymentsOfBeforeTheWindow(t *testing.T) {
	b := newBench(t)
	if e := b.collect()[KindDeployments]; len(e.Population.Items) != 1 || e.Window != quarter || strings.Contains(e.Completeness.Note, "were read") {
		t.Errorf("not asked for: %d deployments of %s, %q", len(e.Population.Items), e.Window, e.Completeness.Note)
	}
	b.deps.LooksBack = map[evidence.Kind]time.Duration{KindDeployments: 28 * 24 * time.Hour, KindChanges: 28 * 24 * time.Hour}
	got := b.collect()
	e := got[KindDeployments]
	if e.Completeness.State != evidence.Complete || len(e.Population.Items) != 2 || e.Population.Items[0].ID != "70" || e.Window.To != quarter.To ||
		!e.Window.From.Equal(time.Date(2026, 6, 3, 0, 0, 0, 0, time.UTC)) || !strings.Contains(e.Completeness.Note, "from 2026-06-03 on") {
		t.Errorf("%d deployments of %s: %+v", len(e.Population.Items), e.Window, e.Completeness)
	}
	if w := got[KindChanges].Window; w != quarter {
		t.Errorf("changes of %s", w)
	}
	b.deps.LooksBack[KindDeployments] = 27 * 24 * time.Hour
	if e := b.collect()[KindDeployments]; len(e.Population.Items) != 1 {
		t.Errorf("%d deployments of %s", len(e.Population.Items), e.Window)
	}
}
