package ingest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// RoleTable is Permissions as Markdown: ROLES.md.
func RoleTable() []byte {
	var b bytes.Buffer
	b.WriteString(`# Who may do what

The admin API of the ingest is governed by this table, which is made from
Permissions in operators.go. Each role has what its work needs and no more; an
action that is not in the table is nobody's. openapi.yaml names the action of
each call as x-action.

Nobody approves what they asked for or what is for themselves: devices, exports,
purges, support grants, roles. Who is the same is told by the operator's name,
whichever of his credentials he comes with. Nobody changes their own roles, and
the last admin who can prove himself neither leaves nor loses the role.

The role support has nothing by itself but to ask. A support grant, which an
approver approves who neither asked for it nor is served by it, opens what it
names of the column "grantable", in one tenant, until its end. An admin may take
another role in an emergency (break-glass): it raises an alert, ends by itself,
and everything done under it carries its ID.

Roles other than auditor and support are privileged: once there is an admin or
approver besides who asks and who gets them, one of those must approve
(approvals.roles: 2, the default). The same holds where an operator who is to
hold such a role gets a new credential from somebody else.

`)
	fmt.Fprintf(&b, "| action | %s | grantable |\n|---|%s---|\n", strings.Join(Roles(), " | "), strings.Repeat("---|", len(Roles())))
	mark := func(yes bool) string {
		if yes {
			return "yes"
		}
		return ""
	}
	for _, p := range Permissions() {
		fmt.Fprintf(&b, "| `%s` |", p.Action)
		for _, role := range Roles() {
			fmt.Fprintf(&b, " %s |", mark(slices.Contains(p.Roles, role)))
		}
		fmt.Fprintf(&b, " %s |\n", mark(slices.Contains(Grantable(), p.Action)))
	}
	return b.Bytes()
}
