package telemetry

import (
	"errors"
	"slices"
	"strings"

	"trustpack/evidence"
)

// permission is a row of the table of who may do what, as the configuration
// tells it.
type permission struct {
	Action string   `json:"action"`
	Roles  []string `json:"roles"`
}

// exportPermissions are who may take data out: each operator, and each role
// whether or not anybody holds it, with what the ingest's own table lets them
// do about exports.
func (r *run) exportPermissions() part {
	p, _ := r.fromControl(KindExportPermissions, r.upToEnd(evidence.EntryOperatorAdded, evidence.EntryOperatorRemoved))
	p.snapshot, p.basis = true, "reconciled"
	p.from(r.configReply, "config.json", "configuration (the table of who may do what)")
	p.from(r.operatorsReply, "operators.json", "operators")
	if r.configReply.err != nil || r.operatorsReply.err != nil {
		return p
	}
	if len(r.setup.Permissions) == 0 {
		p.gap("permissions", errors.New("the ingest does not tell who may do what"))
		return p
	}
	r.reconcileOperators(&p)
	for _, role := range r.roles() {
		p.add("role/"+role, r.mayExport("role", role, []string{role}))
	}
	for _, o := range r.opers {
		p.add("operator/"+o.Name, r.mayExport("operator", o.Name, o.Roles))
	}
	return p
}

// roles are all that the table names.
func (r *run) roles() []string {
	var out []string
	for _, row := range r.setup.Permissions {
		out = append(out, row.Roles...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (r *run) mayExport(subject, name string, roles []string) map[string]any {
	may := map[string]bool{}
	var exports []string
	everything := true
	for _, row := range r.setup.Permissions {
		if !slices.ContainsFunc(row.Roles, func(role string) bool { return slices.Contains(roles, role) }) {
			everything = false
			continue
		}
		may[row.Action] = true
		if strings.HasPrefix(row.Action, "export.") {
			exports = append(exports, row.Action)
		}
	}
	all := true
	for _, role := range r.roles() {
		all = all && slices.Contains(roles, role)
	}
	slices.Sort(exports)
	return map[string]any{
		"subject": subject, "name": name, "roles": list(roles), "may": list(exports), "requests": may["export.request"],
		"approves": may["export.approve"], "takes": may["export.get"], "every_action": everything, "every_role": all,
	}
}
