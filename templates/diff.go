package templates

import (
	"cmp"
	"maps"
	"reflect"
	"slices"

	"trustpack/evidence"
)

// Version is one of two packs that are compared.
type Version struct {
	View
	Name           string
	Sequence       int
	PackJSONSHA256 string         // hex
	Previous       string         // hex SHA-256 of the pack.json it says it follows
	Policy         map[string]any // parameters set over the catalog's
}

// Changes is what differs between two packs. Nothing of either has been
// verified by making it.
type Changes struct {
	From        Side               `json:"from"`
	To          Side               `json:"to"`
	Follows     bool               `json:"follows"`         // To names From as the pack before it
	Catalog     bool               `json:"catalog_changed"` // outcomes of other controls may not be comparable
	Policy      []SettingChange    `json:"policy"`
	Controls    []ControlChange    `json:"controls"`
	Exceptions  ExceptionChanges   `json:"exceptions"`
	Populations []PopulationChange `json:"populations"`
	Settings    []SettingChange    `json:"settings"`

	view View // whose banner the page bears
}

// Side names one of the packs.
type Side struct {
	Name           string          `json:"name"`
	Sequence       int             `json:"sequence"`
	Period         evidence.Period `json:"period"`
	PackJSONSHA256 string          `json:"pack_json_sha256"`
	CatalogSHA256  string          `json:"catalog_sha256"`
	Sample         bool            `json:"sample"`
	Clock          evidence.Clock  `json:"clock"`
}

// ControlChange is a control that is new, gone, or came out otherwise.
type ControlChange struct {
	ID     string           `json:"id"`
	Title  string           `json:"title"`
	Change string           `json:"change"`         // new, gone, outcome
	From   evidence.Outcome `json:"from,omitempty"` // empty where there is no finding
	To     evidence.Outcome `json:"to,omitempty"`
	Reason string           `json:"reason"` // of the later finding
}

// How an exception of the earlier pack is no more in the later one. Only
// fixed says that anything was tested.
const (
	closedFixed     = "fixed"      // its item is there and was tested without it
	closedGone      = "gone"       // its item is not in the later population
	closedNotTested = "not-tested" // the later pack did not test it
)

// ExceptionChanges sorts the exceptions of both packs.
type ExceptionChanges struct {
	New    []ExceptionChange `json:"new"`
	Closed []ExceptionChange `json:"closed"`
	Open   []ExceptionChange `json:"open"` // in both
}

// ExceptionChange is an exception and, where it is closed, how.
type ExceptionChange struct {
	Control string `json:"control"`
	How     string `json:"how,omitempty"`
	evidence.Exception
}

// PopulationChange counts and names the items of a kind that came and went.
type PopulationChange struct {
	Kind      evidence.Kind `json:"kind"`
	FromItems int           `json:"from_items"`
	ToItems   int           `json:"to_items"`
	New       []string      `json:"new"`
	Gone      []string      `json:"gone"`
	Note      string        `json:"note,omitempty"` // why the comparison says less than it seems to
}

// SettingChange is a field of something that both packs describe as it stood,
// or a parameter of the policy.
type SettingChange struct {
	Kind      evidence.Kind `json:"kind,omitempty"` // empty for the policy
	Item      string        `json:"item,omitempty"`
	Attribute string        `json:"attribute"`
	From      string        `json:"from"` // a value as text; absent where there was none
	To        string        `json:"to"`
}

const absent = "(absent)"

// Compare says what differs from a to b.
func Compare(a, b Version) Changes {
	c := Changes{
		From: a.side(), To: b.side(), Follows: b.Previous != "" && b.Previous == a.PackJSONSHA256, Catalog: a.CatalogSHA256 != b.CatalogSHA256,
		Policy: fieldChanges("", "", a.Policy, b.Policy), view: b.View,
		Controls: []ControlChange{}, Populations: []PopulationChange{}, Settings: []SettingChange{},
	}
	c.view.Sample = a.sampled() || b.sampled()
	if a.simulated() {
		c.view.Clock = evidence.ClockSimulated
	}
	c.controls(a, b)
	before, after := a.populations(), b.populations()
	c.exceptions(a, b, after)
	for _, kind := range slices.Sorted(maps.Keys(union(before, after))) {
		c.populate(kind, before[kind], after[kind])
	}
	return c
}

func union[V any](a, b map[evidence.Kind]V) map[evidence.Kind]V {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

func (v Version) side() Side {
	return Side{v.Name, v.Sequence, v.Period, v.PackJSONSHA256, v.CatalogSHA256, v.sampled(), cmp.Or(v.Clock, evidence.ClockSystem)}
}

func (c *Changes) controls(a, b Version) {
	before, after := a.outcomes(), b.outcomes()
	for _, j := range b.judgedControls() {
		old, was := before[j.ID]
		change := ControlChange{ID: j.ID, Title: j.Title, From: old.Outcome, To: after[j.ID].Outcome, Reason: after[j.ID].Reason, Change: "outcome"}
		if !was {
			change.Change = "new"
		} else if change.From == change.To {
			continue
		}
		c.Controls = append(c.Controls, change)
	}
	for _, j := range a.judgedControls() {
		if _, still := after[j.ID]; !still {
			c.Controls = append(c.Controls, ControlChange{ID: j.ID, Title: j.Title, From: before[j.ID].Outcome, Change: "gone"})
		}
	}
}

// outcomes gives each control's finding, an empty one where there is none.
func (v Version) outcomes() map[string]evidence.Finding {
	out := map[string]evidence.Finding{}
	for _, control := range v.Controls {
		out[control.ID] = evidence.Finding{}
	}
	for _, f := range v.Findings {
		out[f.Control] = f
	}
	return out
}

// joinedPopulation is what a pack holds of a kind, as it was judged.
type joinedPopulation struct {
	items    map[string]evidence.Item
	snapshot bool
	whole    bool
}

func (v Version) populations() map[evidence.Kind]joinedPopulation {
	cited := map[string]bool{}
	for id := range citations(v.judgedControls()) {
		cited[id] = true
	}
	byKind := map[evidence.Kind][]evidence.Collected{}
	for _, e := range v.sortedEvidence() {
		byKind[e.Kind] = append(byKind[e.Kind], e)
	}
	out := map[evidence.Kind]joinedPopulation{}
	for kind, all := range byKind {
		members, from := population(all, cited)
		p := joinedPopulation{items: map[string]evidence.Item{}, snapshot: true, whole: true}
		for _, m := range members {
			p.items[m.ID] = m.Item
		}
		for _, e := range from {
			p.snapshot = p.snapshot && e.Snapshot
			p.whole = p.whole && wholeness(e.Completeness) == evidence.Complete
		}
		out[kind] = p
	}
	return out
}

// exceptionKey tells one exception from another.
type exceptionKey struct {
	control, attribute, item string
	kind                     evidence.Kind
}

func (v Version) exceptions() (keys []exceptionKey, byKey map[exceptionKey]evidence.Exception) {
	byKey = map[exceptionKey]evidence.Exception{}
	for _, j := range v.judgedControls() {
		for _, x := range j.Finding.Exceptions {
			key := exceptionKey{j.ID, x.Attribute, x.Item, x.Kind}
			if _, ok := byKey[key]; !ok {
				keys = append(keys, key)
			}
			byKey[key] = x
		}
	}
	return keys, byKey
}

func (c *Changes) exceptions(a, b Version, after map[evidence.Kind]joinedPopulation) {
	c.Exceptions = ExceptionChanges{[]ExceptionChange{}, []ExceptionChange{}, []ExceptionChange{}}
	oldKeys, old := a.exceptions()
	newKeys, now := b.exceptions()
	for _, key := range newKeys {
		x := ExceptionChange{Control: key.control, Exception: now[key]}
		if _, was := old[key]; was {
			c.Exceptions.Open = append(c.Exceptions.Open, x)
		} else {
			c.Exceptions.New = append(c.Exceptions.New, x)
		}
	}
	findings := b.outcomes()
	for _, key := range oldKeys {
		if _, still := now[key]; !still {
			c.Exceptions.Closed = append(c.Exceptions.Closed, ExceptionChange{key.control, howClosed(key, findings[key.control], after[key.kind]), old[key]})
		}
	}
}

// howClosed says what became of an exception that the later pack lacks. A test
// that was not made, or not over all items, closes nothing.
func howClosed(key exceptionKey, f evidence.Finding, later joinedPopulation) string {
	tested := false
	for _, at := range f.Attributes {
		tested = tested || at.ID == key.attribute && at.Kind == key.kind && (at.Outcome == evidence.OutcomeMet || at.Outcome == evidence.OutcomeException)
	}
	_, there := later.items[key.item]
	switch {
	case tested && (there || key.item == ""):
		return closedFixed
	case later.whole && later.items != nil && !there && key.item != "":
		return closedGone
	}
	return closedNotTested
}

func (c *Changes) populate(kind evidence.Kind, before, after joinedPopulation) {
	p := PopulationChange{Kind: kind, FromItems: len(before.items), ToItems: len(after.items), New: []string{}, Gone: []string{}}
	switch {
	case before.items == nil:
		p.Note = "the earlier pack has no evidence of this kind"
	case after.items == nil:
		p.Note = "the later pack has no evidence of this kind: nothing is known to be gone"
	case !before.whole:
		p.Note = "the earlier collection is incomplete: what is new may have been there"
	case !after.whole:
		p.Note = "the later collection is incomplete: what is gone may still be there"
	}
	for _, id := range slices.Sorted(maps.Keys(after.items)) {
		old, was := before.items[id]
		if !was {
			p.New = append(p.New, id)
		} else if before.snapshot && after.snapshot {
			c.Settings = append(c.Settings, fieldChanges(kind, id, old.Attributes, after.items[id].Attributes)...)
		}
	}
	if after.items != nil {
		for _, id := range slices.Sorted(maps.Keys(before.items)) {
			if _, still := after.items[id]; !still {
				p.Gone = append(p.Gone, id)
			}
		}
	}
	if len(p.New)+len(p.Gone) > 0 || p.Note != "" {
		c.Populations = append(c.Populations, p)
	}
}

func fieldChanges(kind evidence.Kind, item string, before, after map[string]any) []SettingChange {
	out := []SettingChange{}
	text := func(m map[string]any, k string) string {
		if v, ok := m[k]; ok {
			return valueText(v)
		}
		return absent
	}
	keys := map[string]bool{}
	for _, m := range []map[string]any{before, after} {
		for k := range m {
			keys[k] = true
		}
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		x, had := before[k]
		y, has := after[k]
		if had != has || !reflect.DeepEqual(x, y) {
			out = append(out, SettingChange{kind, item, k, text(before, k), text(after, k)})
		}
	}
	return out
}
