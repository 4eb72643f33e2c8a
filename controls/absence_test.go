package controls

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"cel.dev/cel-go/common/ast"

	"trustpack/evidence"
)

// idle are the fields that an attribute passes without, each for a reason.
// They stand as "CONTROL attribute kind.path", and are null, absent or either.
var idle = map[string]string{
	"ID-01 credential-one-place telemetry.devices.credentials.fingerprint": "it is the fingerprint of item.sources that is read",
	"ID-01 credential-one-place telemetry.devices.sources.fingerprint":     "null: a place where nothing was shown is no place of a credential",
	"ID-02 key-strong telemetry.devices.state":                             "null: the key is tested all the same",
	"ID-03 old-retired telemetry.rotations.replaces":                       "null: the rotation is tested all the same",
	"PR-05 ranges-set telemetry.config.schemas.type":                       "only where a field has no range",
	"PR-07 approved git.commits.class":                                     "it is the class of the code host's change that is read",
	"PR-09 success-recorded github.deployments.after.state":                "it is the state of item.statuses that is read",
	"PR-10 security-reviewed github.changes.approvers":                     "the label says it too",
	"PR-11 approved-by-another rollout.rollouts.stages.started_at":         "it is the start of the whole rollout that is read",
	"PR-11 change-known rollout.rollouts.stages.started_at":                "as above",
	"PR-11 staged rollout.rollouts.stages.started_at":                      "as above",
	"PR-11 threshold-defined rollout.rollouts.stages.started_at":           "as above",
	"PR-11 soaked rollout.rollouts.started_at":                             "it is the start of the stages that is read",
	"PR-11 threshold-kept rollout.rollouts.started_at":                     "as above",
	"PR-11 threshold-defined rollout.rollouts.stages.error_threshold":      "one threshold is enough",
	"PR-11 threshold-kept rollout.rollouts.stages.error_threshold":         "null: threshold-defined demands one",
	"PR-11 threshold-kept rollout.rollouts.stages.success_threshold":       "null: threshold-defined demands one",
	"ST-03 long-enough aws.log-groups.retention_days":                      "null: the group never expires, which expires judges",
	"ST-03 trail-kept aws.buckets.min_expire_days":                         "null: nothing in the bucket ever expires",
	"AU-01 in-force-is-logged telemetry.config.version":                    "it is the version of the logged changes that is read",
}

// No attribute passes without a field that it reads: with the field taken out
// of every item of the control's example, or null in it, the outcome is never met.
func TestNoAttributePassesWithoutAFieldThatItReads(t *testing.T) {
	c := mustBuiltin(t)
	envs, err := newEnvironments()
	if err != nil {
		t.Fatal(err)
	}
	tried, idled := 0, map[string]bool{}
	for _, ctl := range c.controls {
		items, err := ctl.caseItems(caseFile{})
		if err != nil {
			t.Fatal(err)
		}
		for i, af := range ctl.file.Attributes {
			read := fieldsRead(t, envs, af)
			for _, kind := range ctl.attrs[i].looksAt {
				for _, path := range pathsOf(items[string(kind)], read) {
					for _, how := range []string{"absent", "null"} {
						tried++
						name := ctl.ID + " " + af.ID + " " + string(kind) + "." + path
						if outcomeWithout(t, ctl, items, string(kind), path, how)[i] != evidence.OutcomeMet {
							continue
						}
						if idled[name] = true; idle[name] == "" {
							t.Errorf("%s: met although the field is %s", name, how)
						}
					}
				}
			}
		}
	}
	for name := range idle {
		if !idled[name] {
			t.Errorf("%s: excused without need", name)
		}
	}
	if tried < 10*len(c.controls) {
		t.Errorf("only %d fields were tried", tried)
	}
}

// No control is met while evidence of a kind that it names is missing, or was
// not read in full.
func TestNoControlIsMetWithoutAKindThatItNames(t *testing.T) {
	for _, ctl := range mustBuiltin(t).controls {
		for _, kind := range ctl.file.Kinds {
			for how, cf := range map[string]caseFile{
				"missing":    {Missing: []string{kind}},
				"incomplete": {Incomplete: map[string]string{kind: "a page"}},
			} {
				f, err := ctl.judgeCase(cf)
				if err != nil || f.Outcome == evidence.OutcomeMet || f.Outcome == evidence.OutcomeNotApplicable {
					t.Errorf("%s: %s is %s: %s (%v)", ctl.ID, kind, how, f.Outcome, err)
				}
			}
		}
	}
}

// fieldsRead gives the names of all fields that an attribute's expressions
// select, and the words that they look up by.
func fieldsRead(t *testing.T, envs environments, af attributeFile) map[string]bool {
	t.Helper()
	read := map[string]bool{}
	for _, source := range []string{af.When, af.Test} {
		if source == "" {
			continue
		}
		checked, iss := envs.item.Compile(source)
		if iss.Err() != nil {
			t.Fatal(iss.Err())
		}
		ast.PreOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
			switch e.Kind() {
			case ast.SelectKind:
				if op := e.AsSelect().Operand(); op.Kind() != ast.IdentKind || op.AsIdent() != "policy" && op.AsIdent() != "period" {
					read[e.AsSelect().FieldName()] = true
				}
			case ast.LiteralKind:
				if s, ok := e.AsLiteral().Value().(string); ok {
					read[s] = true
				}
			}
		}))
	}
	return read
}

// pathsOf lists the paths, through maps and lists, to fields of those names.
func pathsOf(items []evidence.Item, names map[string]bool) []string {
	found := map[string]bool{}
	var walk func(v any, prefix string)
	walk = func(v any, prefix string) {
		switch x := v.(type) {
		case map[string]any:
			for k, el := range x {
				if names[k] && prefix+k != "id" {
					found[prefix+k] = true
				}
				walk(el, prefix+k+".")
			}
		case []any:
			for _, el := range x {
				walk(el, prefix)
			}
		}
	}
	for _, it := range items {
		walk(it.Attributes, "")
	}
	return slices.Sorted(maps.Keys(found))
}

// outcomeWithout judges the example with one field gone and gives the outcome
// of each attribute.
func outcomeWithout(t *testing.T, ctl *control, items map[string][]evidence.Item, kind, path, how string) []evidence.Outcome {
	t.Helper()
	period, err := evidence.ParsePeriod(casePeriod)
	if err != nil {
		t.Fatal(err)
	}
	in := Input{Period: period}
	for _, k := range slices.Sorted(maps.Keys(items)) {
		list := slices.Clone(items[k])
		if k == kind {
			for i, it := range list {
				list[i].Attributes, _ = without(it.Attributes, strings.Split(path, "."), how).(map[string]any)
			}
		}
		in.Evidence = append(in.Evidence, caseEvidence(k, ctl.caseWindow(k, period), list, ""))
	}
	a, err := (&Catalog{controls: []*control{ctl}}).Assess(in)
	if err != nil {
		t.Fatal(err)
	}
	var out []evidence.Outcome
	for _, f := range a.Findings[0].Attributes {
		out = append(out, f.Outcome)
	}
	return out
}

func without(v any, path []string, how string) any {
	switch x := v.(type) {
	case map[string]any:
		el, has := x[path[0]]
		if !has {
			return x
		}
		x = maps.Clone(x)
		switch {
		case len(path) > 1:
			x[path[0]] = without(el, path[1:], how)
		case how == "null":
			x[path[0]] = nil
		default:
			delete(x, path[0])
		}
		return x
	case []any:
		out := make([]any, len(x))
		for i, el := range x {
			out[i] = without(el, path, how)
		}
		return out
	}
	return v
}
