package controls

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"trustpack/evidence"
)

// Limits on what expressions may cost, in CEL's units (some 100 ns each).
const (
	itemCostLimit      = 200_000    // one test of one item
	attributeCostLimit = 50_000_000 // all tests of one attribute
)

// environments are the three views that expressions have of the evidence.
type environments struct {
	item       *cel.Env // item, policy, period and the look-ups
	population *cel.Env // the same without item
	applies    *cel.Env // policy and period alone
}

func newEnvironments() (environments, error) {
	var (
		itemType = cel.MapType(cel.StringType, cel.DynType)
		listType = cel.ListType(itemType)
		str, dyn = cel.StringType, cel.DynType
	)
	late := func(name string, result *cel.Type, args ...*cel.Type) cel.EnvOption {
		return cel.Function(name, cel.Overload(name, args, result, cel.LateFunctionBinding()))
	}
	base, err := cel.NewEnv(
		cel.OptionalTypes(), ext.Strings(), ext.Lists(), cel.CrossTypeNumericComparisons(true),
		cel.EnableErrorOnBadPresenceTest(true), cel.StrictTimestampParsing(true), cel.DefaultUTCTimeZone(true),
		cel.Variable("policy", itemType), cel.Variable("period", itemType),
		elapsed("seconds", time.Second), elapsed("days", 24*time.Hour),
	)
	if err != nil {
		return environments{}, fmt.Errorf("preparing expressions: %w", err)
	}
	population, err := base.Extend(
		late("items", listType, str), late("lookup", cel.OptionalType(itemType), str, str),
		late("where", listType, str, str, dyn), late("values", cel.ListType(dyn), str, str),
		late("pending", cel.BoolType, str),
	)
	if err != nil {
		return environments{}, fmt.Errorf("preparing expressions: %w", err)
	}
	item, err := population.Extend(cel.Variable("item", itemType))
	if err != nil {
		return environments{}, fmt.Errorf("preparing expressions: %w", err)
	}
	return environments{item, population, base}, nil
}

// elapsed declares name(from, to): the time between two moments in units, a
// double, negative where to comes first.
func elapsed(name string, unit time.Duration) cel.EnvOption {
	return cel.Function(name, cel.Overload(name, []*cel.Type{cel.DynType, cel.DynType}, cel.DoubleType,
		cel.BinaryBinding(func(from, to ref.Val) ref.Val {
			a, err := momentOf(from)
			if err != nil {
				return types.NewErr("%s: from: %v", name, err)
			}
			b, err := momentOf(to)
			if err != nil {
				return types.NewErr("%s: to: %v", name, err)
			}
			return types.Double(float64(b.Sub(a)) / float64(unit))
		})))
}

func momentOf(v ref.Val) (time.Time, error) {
	switch x := v.(type) {
	case types.Timestamp:
		return x.Time, nil
	case types.String:
		t, ok := timeOf(string(x))
		if !ok {
			return time.Time{}, fmt.Errorf("%q is neither an RFC 3339 time nor a day such as 2026-07-01", string(x))
		}
		return t, nil
	}
	return time.Time{}, fmt.Errorf("want a time, not %v", v.Type())
}

// program is a compiled expression with the kinds it looks at.
type program struct {
	source string
	run    cel.Program
	kinds  []evidence.Kind
	policy []string // parameters it reads
}

// compile checks an expression: its type, that each look-up names its kind
// literally and among the declared ones, and that each parameter is declared.
func compile(env *cel.Env, source string, want *cel.Type, kinds []string, policy map[string]parameter, limit uint64) (*program, error) {
	checked, iss := env.Compile(source)
	if iss.Err() != nil {
		return nil, errors.New(strings.TrimPrefix(iss.Err().Error(), "ERROR: "))
	}
	if want != nil && !checked.OutputType().IsExactType(want) && !checked.OutputType().IsExactType(cel.DynType) {
		return nil, fmt.Errorf("the expression gives %s, not %s", checked.OutputType(), want)
	}
	p := &program{source: source}
	if err := p.inspect(checked.NativeRep().Expr(), kinds, policy); err != nil {
		return nil, err
	}
	run, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(limit))
	if err != nil {
		return nil, fmt.Errorf("compiling: %w", err)
	}
	p.run = run
	return p, nil
}

func (p *program) inspect(root ast.Expr, kinds []string, policy map[string]parameter) error {
	var problem error
	ast.PreOrderVisit(root, ast.NewExprVisitor(func(e ast.Expr) {
		if problem != nil {
			return
		}
		switch e.Kind() {
		case ast.CallKind:
			problem = p.inspectCall(e.AsCall(), kinds)
		case ast.SelectKind:
			sel := e.AsSelect()
			if sel.Operand().Kind() != ast.IdentKind || sel.Operand().AsIdent() != "policy" {
				return
			}
			if _, ok := policy[sel.FieldName()]; !ok {
				problem = fmt.Errorf("policy.%s is not declared under policy", sel.FieldName())
			}
			p.policy = append(p.policy, sel.FieldName())
		}
	}))
	return problem
}

func (p *program) inspectCall(call ast.CallExpr, kinds []string) error {
	if !slices.Contains([]string{"items", "lookup", "where", "values", "pending"}, call.FunctionName()) || call.IsMemberFunction() {
		return nil
	}
	first := call.Args()[0]
	var kind string
	if first.Kind() == ast.LiteralKind {
		kind, _ = first.AsLiteral().Value().(string)
	}
	if kind == "" {
		return fmt.Errorf("%s: the kind must be written out as text", call.FunctionName())
	}
	if !slices.Contains(kinds, kind) {
		return fmt.Errorf("%s: kind %q is not among the control's kinds", call.FunctionName(), kind)
	}
	if !slices.Contains(p.kinds, evidence.Kind(kind)) {
		p.kinds = append(p.kinds, evidence.Kind(kind))
	}
	return nil
}
