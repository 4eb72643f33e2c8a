// Package derived makes evidence out of evidence: what only shows when what
// several sources said, or one source on several days, is laid side by side.
// It asks no source, and reads what was collected before.
//
// Each conclusion names the collections that it was drawn from by their IDs, so
// that anybody who has them can draw it again. Where one of them is not whole,
// the conclusion is not either.
package derived

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// The kinds of evidence.
const (
	KindReconciliation evidence.Kind = "derived.reconciliation"
	KindProtectionDays evidence.Kind = "derived.protection-days"
)

// The kinds that it is drawn from.
const (
	kindCommits    evidence.Kind = "git.commits"
	kindClones     evidence.Kind = "git.repository"
	kindChanges    evidence.Kind = "github.changes"
	kindPulls      evidence.Kind = "github.pull-requests"
	kindProtection evidence.Kind = "github.branch-protection"
	kindRulesets   evidence.Kind = "github.rulesets"
)

// Deps is what the collector needs from its caller.
type Deps struct {
	Tool     string // "trustpack 0.1.0"
	Now      func() time.Time
	Clock    evidence.Clock
	Progress func(string) // may be nil
	// Kept lists what was collected for a period or in it, and Get reads one of
	// those by its ID.
	Kept func(evidence.Period) ([]evidence.Citation, error)
	Get  func(id string) (evidence.Collected, error)
}

// Collector lays side by side what was collected.
type Collector struct{ deps Deps }

// New is an error where there is no way to what was collected.
func New(d Deps) (*Collector, error) {
	if d.Kept == nil || d.Get == nil {
		return nil, errors.New("configuring derived: no way to what was collected was given")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Clock == "" {
		d.Clock = evidence.ClockSystem
	}
	if d.Progress == nil {
		d.Progress = func(string) {}
	}
	return &Collector{d}, nil
}

// Name is "derived".
func (c *Collector) Name() string { return "derived" }

// Kinds lists what Collect brings back.
func (c *Collector) Kinds() []evidence.Kind {
	return []evidence.Kind{KindReconciliation, KindProtectionDays}
}

// Collect draws the conclusions of the period from what is kept. The error is
// the context's, or that of reading what is kept.
func (c *Collector) Collect(ctx context.Context, p evidence.Period) ([]evidence.Evidence, error) {
	index, err := c.deps.Kept(p)
	if err != nil {
		return nil, fmt.Errorf("listing what was collected: %w", err)
	}
	slices.SortStableFunc(index, func(a, b evidence.Citation) int { return a.CollectedAt.Compare(b.CollectedAt) })
	var out []evidence.Evidence
	for _, step := range []struct {
		kind evidence.Kind
		draw func(*drawing) error
	}{
		{KindReconciliation, (*drawing).reconcile},
		{KindProtectionDays, (*drawing).protectionDays},
	} {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("drawing %s: %w", step.kind, err)
		}
		c.deps.Progress("derived: drawing " + string(step.kind))
		d := &drawing{period: p, now: c.deps.Now().UTC(), index: index, get: c.deps.Get}
		if err := step.draw(d); err != nil {
			return nil, fmt.Errorf("drawing %s: %w", step.kind, err)
		}
		out = append(out, c.evidence(step.kind, d))
	}
	return out, nil
}

func (c *Collector) evidence(k evidence.Kind, d *drawing) evidence.Evidence {
	slices.SortFunc(d.items, func(a, b evidence.Item) int { return strings.Compare(a.ID, b.ID) })
	e := evidence.Evidence{
		Kind: k, Collector: c.Name(), CollectedAt: d.now, Window: d.period,
		Provenance: evidence.Provenance{
			System: "trustpack", Account: "evidence collected before", Principal: "none: reads what was collected, no credential is used",
			Tool: c.deps.Tool, Origin: evidence.OriginLive, Clock: c.deps.Clock, Requests: slices.Concat([]evidence.Request{}, d.requests),
		},
		Completeness: evidence.Completeness{State: evidence.Complete, Basis: "reconciled", Got: len(d.items), Gaps: d.gaps, Note: d.note},
		Population:   evidence.Population{Items: d.items},
	}
	if d.sample {
		e.Provenance.Origin = evidence.OriginSample
	}
	if len(d.gaps) > 0 {
		e.Completeness.State = evidence.Incomplete
	}
	return e
}
