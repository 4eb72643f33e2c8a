package rollout

import (
	"math"
	"slices"
	"time"

	"trustpack/evidence"
)

// rollout is one rollout, whatever it was read from. Times are UTC and zero
// where the source does not know them.
type rollout struct {
	id, source, name, firmware, artifact, deviceType string

	fleet               int // devices that the rollout is meant for
	requester, approver string
	approvedAt, created time.Time
	change              string // the reviewed change it came from, "" where unknown
	started, finished   time.Time
	state               string
	stages              []stage
	paused, rolledBack  bool
	trigger             string
}

// stage is one cohort of a rollout, with its devices counted by outcome.
type stage struct {
	name                       string
	order                      int // from 1
	started, finished          time.Time
	succeeded, failed, pending int
	success, failure           *float64 // thresholds, 0 to 1; nil where none is set
}

func (s stage) devices() int { return s.succeeded + s.failed + s.pending }

// underWay says whether some of the rollout lies in p. One without a start
// counts by its approval or creation.
func (r rollout) underWay(p evidence.Period) bool {
	if p.IsZero() {
		return true
	}
	begin := r.started
	for _, t := range []time.Time{r.approvedAt, r.created} {
		if begin.IsZero() {
			begin = t
		}
	}
	if begin.IsZero() { // nothing dates it: better shown than lost
		return true
	}
	return begin.Before(p.To) && (r.finished.IsZero() || !r.finished.Before(p.From))
}

func (r rollout) item() evidence.Item {
	slices.SortStableFunc(r.stages, func(a, b stage) int { return a.order - b.order })
	stages := make([]any, 0, len(r.stages))
	for i, s := range r.stages {
		stages = append(stages, s.attributes(r.fleet, r.stages[i+1:]))
	}
	return evidence.Item{ID: r.id, Attributes: map[string]any{
		"source": r.source, "name": r.name, "firmware": r.firmware,
		"artifact_sha256": r.artifact, "device_type": r.deviceType, "fleet_size": r.fleet,
		"requester": r.requester, "approver": r.approver, "approved_at": stamp(r.approvedAt),
		"change": orNull(r.change), "started_at": stamp(r.started), "finished_at": stamp(r.finished),
		"state": r.state, "stages": stages,
		"paused": r.paused, "rolled_back": r.rolledBack, "rollback_trigger": r.trigger,
	}}
}

// attributes of a stage: ratios are shares of the stage's devices, from 0 to
// 1; the soak is the time between its end and the start of the stage after it,
// in hours. What is not known, or not yet, is null.
func (s stage) attributes(fleet int, later []stage) map[string]any {
	a := map[string]any{
		"name": s.name, "order": s.order, "devices": s.devices(),
		"started_at": stamp(s.started), "finished_at": stamp(s.finished),
		"succeeded": s.succeeded, "failed": s.failed, "pending": s.pending,
		"percent_of_fleet": nil, "success_ratio": nil, "error_ratio": nil,
		"success_threshold": pointed(s.success), "error_threshold": pointed(s.failure),
		"soak_hours": nil,
	}
	if fleet > 0 {
		a["percent_of_fleet"] = round(100 * float64(s.devices()) / float64(fleet))
	}
	if n := s.devices(); n > 0 {
		a["success_ratio"] = round(float64(s.succeeded) / float64(n))
		a["error_ratio"] = round(float64(s.failed) / float64(n))
	}
	if len(later) > 0 && !s.finished.IsZero() && !later[0].started.IsZero() {
		a["soak_hours"] = round(later[0].started.Sub(s.finished).Hours())
	}
	return a
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func pointed(f *float64) any {
	if f == nil {
		return nil
	}
	return *f
}

// round keeps four decimals, so that equal counts give equal text.
func round(f float64) float64 { return math.Round(f*1e4) / 1e4 }
