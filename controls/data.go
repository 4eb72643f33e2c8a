package controls

import (
	"cmp"
	"slices"
	"sort"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"trustpack/evidence"
)

// data is the evidence of one assessment as expressions see it.
type data struct {
	period      ref.Val
	populations map[evidence.Kind]*view
	functions   map[string]functions.LateBoundOp
}

// view is a population with its values and indexes, made when first asked for.
type view struct {
	*population
	vals   []ref.Val
	list   ref.Val
	fields map[string]index
}

// index is where each value of a field is found. Where an item lacks the
// field, nobody can say whether it belongs among those that are looked for.
type index struct {
	at     map[any][]int // value -> items
	lacked string        // ID of the first item without the field; "" where there is none
}

func newData(period evidence.Period) *data {
	days := []ref.Val{}
	for d := period.From.UTC(); d.Before(period.To); d = d.AddDate(0, 0, 1) {
		days = append(days, types.String(d.Format("2006-01-02")))
	}
	d := &data{populations: map[evidence.Kind]*view{}}
	d.period = types.NewRefValMap(types.DefaultTypeAdapter, map[ref.Val]ref.Val{
		types.String("from"): types.Timestamp{Time: period.From.UTC()},
		types.String("to"):   types.Timestamp{Time: period.To.UTC()},
		types.String("days"): types.NewRefValList(types.DefaultTypeAdapter, days),
	})
	d.functions = map[string]functions.LateBoundOp{
		"items": d.items, "lookup": d.lookup, "where": d.where, "values": d.each, "pending": d.pending,
	}
	return d
}

func (v *view) values() []ref.Val {
	if v.vals == nil {
		v.vals = make([]ref.Val, len(v.population.items))
		for i, it := range v.population.items {
			v.vals[i] = types.NewStringInterfaceMap(types.DefaultTypeAdapter, it.Attributes)
		}
	}
	return v.vals
}

// unknown is the answer to a question that the evidence is too thin for.
func unknown() ref.Val { return types.NewUnknown(-1, nil) }

// of gives the population that a look-up names. Its kind is declared, which
// compile has checked.
func (d *data) of(kind ref.Val) *view {
	s, ok := kind.(types.String)
	if !ok {
		return nil
	}
	return d.populations[evidence.Kind(s)]
}

func (d *data) items(_ string, args ...ref.Val) ref.Val {
	v := d.of(args[0])
	if v == nil || !v.whole {
		return unknown()
	}
	if v.list == nil {
		v.list = types.NewRefValList(types.DefaultTypeAdapter, v.values())
	}
	return v.list
}

func (d *data) lookup(_ string, args ...ref.Val) ref.Val {
	v := d.of(args[0])
	id, ok := args[1].(types.String)
	if v == nil || !ok {
		return unknown()
	}
	items := v.population.items
	at := sort.Search(len(items), func(i int) bool { return items[i].ID >= string(id) })
	switch {
	case at < len(items) && items[at].ID == string(id):
		return types.OptionalOf(v.values()[at])
	case !v.whole:
		return unknown()
	}
	return types.OptionalNone
}

func (d *data) where(_ string, args ...ref.Val) ref.Val {
	v := d.of(args[0])
	if v == nil || !v.whole {
		return unknown()
	}
	field, ok := args[1].(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[1])
	}
	ix := v.index(string(field))
	if ix.lacked != "" {
		return ix.lacks(string(field))
	}
	at := ix.at[indexKey(args[2].Value())]
	found := make([]ref.Val, len(at))
	for i, n := range at {
		found[i] = v.values()[n]
	}
	return types.NewRefValList(types.DefaultTypeAdapter, found)
}

func (d *data) each(_ string, args ...ref.Val) ref.Val {
	v := d.of(args[0])
	if v == nil || !v.whole {
		return unknown()
	}
	field, ok := args[1].(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[1])
	}
	ix := v.index(string(field))
	if ix.lacked != "" {
		return ix.lacks(string(field))
	}
	var texts []string
	var rest []float64
	for value := range ix.at {
		switch x := value.(type) {
		case string:
			texts = append(texts, x)
		case float64:
			rest = append(rest, x)
		}
	}
	slices.Sort(texts)
	slices.SortFunc(rest, cmp.Compare)
	out := make([]ref.Val, 0, len(texts)+len(rest))
	for _, n := range rest {
		out = append(out, types.Double(n))
	}
	for _, s := range texts {
		out = append(out, types.String(s))
	}
	return types.NewRefValList(types.DefaultTypeAdapter, out)
}

// pending is unknown while the evidence of a kind does not reach to the period's
// end, and false from then on.
func (d *data) pending(_ string, args ...ref.Val) ref.Val {
	if v := d.of(args[0]); v == nil || !v.whole || v.early {
		return unknown()
	}
	return types.False
}

// index maps each value of a field, and each element of one that is a list, to
// the items that have it.
func (v *view) index(field string) index {
	if ix, ok := v.fields[field]; ok {
		return ix
	}
	ix := index{at: map[any][]int{}}
	add := func(value any, i int) {
		key := indexKey(value)
		if at := ix.at[key]; key != nil && (len(at) == 0 || at[len(at)-1] != i) {
			ix.at[key] = append(at, i)
		}
	}
	for i, it := range v.population.items {
		value, has := it.Attributes[field]
		if !has && ix.lacked == "" {
			ix.lacked = it.ID
		}
		if list, ok := value.([]any); ok {
			for _, el := range list {
				add(el, i)
			}
			continue
		}
		add(value, i)
	}
	if v.fields == nil {
		v.fields = map[string]index{}
	}
	v.fields[field] = ix
	return ix
}

func (ix index) lacks(field string) ref.Val {
	return types.NewErr("item %s has no field %s", ix.lacked, field)
}

// indexKey is the value as a key; nil for what cannot be looked for.
func indexKey(v any) any {
	switch x := v.(type) {
	case string, bool, float64:
		return x
	case int64:
		return float64(x)
	}
	return nil
}

// activation is what one evaluation sees.
type activation struct {
	*data
	item, policy ref.Val
}

func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case "item":
		return a.item, a.item != nil
	case "policy":
		return a.policy, true
	case "period":
		return a.period, true
	}
	return nil, false
}

// Parent says that nothing lies behind this activation.
func (a *activation) Parent() cel.Activation { return nil }

func (a *activation) ResolveFunction(name string) (functions.LateBoundOp, bool) {
	f, ok := a.functions[name]
	return f, ok
}
