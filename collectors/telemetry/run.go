package telemetry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// run is one collection: what was read, and what could not be.
type run struct {
	*collector
	ctx    context.Context
	period evidence.Period
	at     time.Time

	configReply, devicesReply, operatorsReply, logsReply, tenantsReply, exportsReply reply
	deadLetterReplies, devicePages                                                   []reply

	setup     setup
	devs      []deviceRecord
	opers     []operatorRecord
	listed    []evidence.Tenant // tenants
	exported  []listedExport
	dead      []deadLetter
	logs      []*logView // control first, then the tenants by name
	keepers   []keeper
	control   []entry   // every entry of the control log
	versions  []inForce // of the configuration, from the control log
	principal string
	away      bool // no answer came, and none is waited for any longer
	sample    bool // the ingest or a checkpoint of its logs calls itself a sample
	simulated bool // or its clock simulated

	// counted from the tenants' logs, by "tenant/day" and by device
	counts   map[string]*counts
	activity map[string]*activity
	payloads map[string]*payloadDay // by "tenant/day"
	senders  map[string]bool        // device generations that the tenants' logs name
	replayed map[string]int64       // index of the event that a dead letter became, by the letter's item ID
}

// part is one kind before the common fields are filled in.
type part struct {
	kind     evidence.Kind
	snapshot bool
	items    []evidence.Item
	requests []evidence.Request
	raw      []evidence.RawReply
	gaps     []evidence.Gap
	basis    string
	note     string
}

func (p *part) add(id string, attributes map[string]any) {
	p.items = append(p.items, evidence.Item{ID: id, Attributes: attributes})
}

// from records a reply as the part's source under name, or the gap it leaves.
func (p *part) from(rep reply, name, what string) {
	p.requests = append(p.requests, rep.requests()...)
	if rep.err != nil {
		p.gaps = append(p.gaps, evidence.Gap{What: what, Reason: rep.err.Error()})
		return
	}
	p.raw = append(p.raw, evidence.RawReply{Name: name, Body: rep.body})
}

// needs records a reply that the part leans on and another kind keeps, or the
// gap that it leaves: what is judged by a setting that is not known is not
// judged.
func (p *part) needs(rep reply, what string) {
	p.requests = append(p.requests, rep.requests()...)
	if rep.err != nil {
		p.gap(what, rep.err)
	}
}

// gap records something that could not be read.
func (p *part) gap(what string, err error) {
	p.gaps = append(p.gaps, evidence.Gap{What: what, Reason: err.Error()})
}

// finish fills in what all kinds share.
func (r *run) finish(p part) evidence.Evidence {
	slices.SortStableFunc(p.items, func(a, b evidence.Item) int { return cmp.Compare(a.ID, b.ID) })
	p.items = slices.CompactFunc(p.items, func(first, again evidence.Item) bool {
		if first.ID == again.ID {
			p.gap(first.ID, errors.New("the ingest tells of it twice"))
		}
		return first.ID == again.ID
	})
	state := evidence.Complete
	if len(p.gaps) > 0 {
		state = evidence.Incomplete
	}
	// A label that the ingest or a log bears cannot be taken off by this
	// collector's configuration.
	origin, clock := evidence.OriginLive, r.deps.Clock
	if r.cfg.Sample || r.sample {
		origin = evidence.OriginSample
	}
	if r.simulated {
		clock = evidence.ClockSimulated
	}
	return evidence.Evidence{
		Kind: p.kind, Collector: Name, CollectedAt: r.at, Window: r.reach(p.kind), Snapshot: p.snapshot,
		Provenance: evidence.Provenance{
			System: "trustpack-ingest", Account: r.setup.Instance, Principal: r.principal,
			Tool: r.deps.Tool, Origin: origin, Clock: clock, Requests: p.requests,
		},
		Completeness: evidence.Completeness{State: state, Basis: p.basis, Got: len(p.items), Gaps: p.gaps, Note: p.note},
		Population:   evidence.Population{Items: p.items},
		Raw:          p.raw,
	}
}

// entry is one entry of the control log.
type entry struct {
	index int64
	evidence.AuditEntry
	raw []byte
}

func (e entry) id() string { return fmt.Sprintf("%08d", e.index) }

// data reads the entry's Data.
func (e entry) data(into any) error {
	if len(e.Data) == 0 {
		return nil
	}
	if err := json.Unmarshal(e.Data, into); err != nil {
		return fmt.Errorf("data of control entry %d (%s): %w", e.index, e.Type, err)
	}
	return nil
}

func (e entry) actorName() string {
	if e.Actor == nil {
		return ""
	}
	return e.Actor.Name
}

func (e entry) actorRole() string {
	if e.Actor == nil {
		return ""
	}
	return e.Actor.Role
}

// fromControl begins a part that is folded from the control log: it names how
// the log was read, the gap where it could not be, and keeps the entries that
// use accepts.
func (r *run) fromControl(kind evidence.Kind, use func(entry) bool) (part, []entry) {
	p := part{kind: kind, basis: "verified-log"}
	view := r.log(controlLog)
	if view == nil {
		p.from(r.logsReply, "logs.json", "list of logs") // it failed: missLogs stands in for a control log that is not listed
		return p, nil
	}
	p.requests = append(p.requests, view.requests...)
	if view.err != nil {
		p.gap("control log", view.err)
	} else {
		p.note = view.note()
	}
	var used []entry
	var raw bytes.Buffer
	for _, e := range r.control {
		if !use(e) {
			continue
		}
		used = append(used, e)
		fmt.Fprintf(&raw, "%d\t%s\n", e.index, e.raw)
	}
	if raw.Len() > 0 {
		p.raw = append(p.raw, evidence.RawReply{Name: "control-entries.tsv", Body: raw.Bytes()})
	}
	return p, used
}

// reach is the time of which events of the kind are brought: the period, and
// for kinds that are judged when they fall due so much before it as was asked.
func (r *run) reach(kind evidence.Kind) evidence.Period {
	p := r.period
	switch kind {
	case KindDrills, KindAlerts, KindRotations, KindBreakGlass:
		p.From = p.From.Add(-r.deps.LooksBack[kind])
	}
	return p
}

// inWindow accepts the types in the period.
func (r *run) inWindow(types ...string) func(entry) bool {
	return func(e entry) bool { return slices.Contains(types, e.Type) && r.period.Contains(e.Time) }
}

// upToEnd accepts the types before the period's end: what began earlier may
// still stand in it.
func (r *run) upToEnd(types ...string) func(entry) bool {
	return func(e entry) bool { return slices.Contains(types, e.Type) && e.Time.Before(r.period.To) }
}

func deviceKey(tenant, device string, generation int) string {
	return fmt.Sprintf("%s/%s/g%d", tenant, device, generation)
}

// canary tells whether the tenant serves drills.
func canary(tenant string) bool { return strings.HasPrefix(tenant, evidence.CanaryPrefix) }

// ts writes a time as the items carry it; empty for none.
func ts(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func list[T any](in []T) []any {
	out := make([]any, 0, len(in))
	for _, v := range in {
		out = append(out, v)
	}
	return out
}

// errNoRequest is the gap of an act on something that was never asked for.
func errNoRequest(id, typ string) error {
	return fmt.Errorf("the control log holds no %s of %s before it", typ, id)
}
