package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"trustpack/evidence"
	"trustpack/ledger"
)

// auditor is the role that suffices for all that is read.
const auditor = "auditor"

// The addresses whose replies are needed for more than their own row.
const (
	configPath     = "/v1/admin/config"
	operatorsPath  = "/v1/admin/operators"
	tenantsPath    = "/v1/admin/tenants"
	logsPath       = "/v1/admin/logs"
	checkpointPath = "/log/" + controlLog + "/checkpoint"
)

// family is one sort of address that a collection asks for.
type family struct {
	path   string                 // {tenant} and {size} are filled in from what came before
	member string                 // of the reply, where it lists something
	action string                 // in the ingest's table of who may do what
	reads  string                 // in words
	kinds  func() []evidence.Kind // incomplete without it
}

// families are in the order in which they are asked.
func families() []family {
	return []family{
		{configPath, "", "read", "configuration, and who may do what", kindsOf(KindConfig, KindSilences, KindProvisioning, KindExportPermissions, KindExportSpikes)},
		{"/v1/admin/devices?limit=1", "devices", "read", "device registry", kindsOf(KindDevices, KindBindings, KindSilences, KindTransfers, KindLayout, KindStatusPages)},
		{operatorsPath, "operators", "read", "operators and their roles", kindsOf(KindOperators, KindExportPermissions)},
		{tenantsPath, "tenants", "read", "tenants", kindsOf(KindLayout, KindStatusPages)},
		{"/v1/status/{tenant}", "", "read", "what a tenant is told", kindsOf(KindStatusPages)},
		{"/status/{tenant}", "", "read", "the page that a tenant is shown", kindsOf(KindStatusPages)},
		{"/v1/admin/exports", "exports", "export.list", "exports", kindsOf(KindExportFiles)},
		{"/v1/admin/deadletters?limit=1", "deadletters", "read", "dead letters", kindsOf(KindDeadLetters)},
		{logsPath, "logs", "read", "list of the logs", fromLogs},
		{checkpointPath, "", "read", "entries of the logs", fromLogs},
		{"/v1/admin/excerpt/control?since={size}", "", "read", "checkpoints of the logs, with proofs", fromLogs},
	}
}

func kindsOf(kinds ...evidence.Kind) func() []evidence.Kind {
	return func() []evidence.Kind { return kinds }
}

// fromLogs are all kinds but the one that is the ingest's word alone.
func fromLogs() []evidence.Kind {
	return slices.DeleteFunc((&collector{}).Kinds(), func(k evidence.Kind) bool { return k == KindConfig })
}

// CheckAccess asks once for one address of each family, with the operator's
// certificate, then holds the logs' keys and the clock against the replies.
// Where nobody answers, or nobody is known by the certificate, the other
// addresses are not asked.
func (c *collector) CheckAccess(ctx context.Context) ([]evidence.AccessCheck, error) {
	r := &run{collector: c, ctx: ctx, away: true, principal: "unknown: the ingest did not say"} // away: no second try
	var out []evidence.AccessCheck
	row := func(permission, reads string, kinds []evidence.Kind, state evidence.AccessState, said string) {
		out = append(out, evidence.AccessCheck{Source: Name, Target: c.cfg.URL, Permission: permission, For: reads, Kinds: kinds, State: state, Said: said})
	}
	if state, said := c.ownCertificate(); state != "" {
		row("cert: valid", "the credential", c.Kinds(), state, said)
	}
	a := asking{run: r, replies: map[string]reply{}}
	for _, f := range families() {
		if state, said := a.ask(f); state != "" {
			row(f.action+": "+auditor, f.reads, f.kinds(), state, said)
		}
	}
	kinds, state, said := a.logKeys()
	row("log_keys: one for each log", "logs under keys that are known beforehand", kinds, state, said)
	if state, said := a.clockBeside(a.replies[configPath]); state != "" {
		row("clock: the same time", "times", []evidence.Kind{}, state, said)
	}
	for i := range out {
		out[i].Principal = r.principal
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("asking the ingest what may be read: %w", err)
	}
	return out, nil
}

// asking is what the replies so far told.
type asking struct {
	*run
	replies  map[string]reply // by the path of their family
	tenants  []evidence.Tenant
	listed   []listedLog
	head     ledger.Checkpoint // of the control log
	unsigned bool              // it has no checkpoint yet
	ended    evidence.AccessState
	why      string // nothing more is asked
}

// ask asks for one family; no state where there is nothing to be asked for.
func (a *asking) ask(f family) (evidence.AccessState, string) {
	if a.ended != "" {
		return a.ended, a.why
	}
	path := f.path
	if strings.Contains(path, "{tenant}") {
		if a.replies[tenantsPath].err != nil {
			return evidence.AccessUnknown, "the tenants could not be read, so none can be asked about"
		}
		if len(a.tenants) == 0 {
			return "", "" // there is no such address
		}
		path = strings.ReplaceAll(path, "{tenant}", url.PathEscape(a.tenants[0].ID))
	}
	if strings.Contains(path, "{size}") {
		if a.head.Size == 0 && !a.unsigned {
			return evidence.AccessUnknown, "the checkpoint could not be read, so there is none to ask from"
		}
		path = strings.ReplaceAll(path, "{size}", fmt.Sprint(a.head.Size))
	}
	rep := a.get(path)
	state, said := accessOf(rep)
	if f.path == checkpointPath && rep.request.Status == http.StatusNotFound && strings.Contains(said, "(request.not-found:") {
		// The ingest's own word, which it has for those who may ask: a new log.
		a.unsigned, state, said = true, evidence.AccessGranted, "the control log has no checkpoint yet"
	}
	if rep.request.Status == 0 || rep.request.Status == http.StatusUnauthorized {
		a.ended, a.why = state, said
	}
	if rep.err == nil {
		if said, rep.err = a.read(f, rep); rep.err != nil {
			state, said = evidence.AccessUnknown, rep.err.Error()
		}
	}
	a.replies[f.path] = rep
	return state, said
}

// read takes from a reply what later questions need. It gives a note on
// what is granted.
func (a *asking) read(f family, rep reply) (note string, err error) {
	switch f.path {
	case configPath:
		if err = rep.decode(&a.setup); err == nil && a.setup.Operator != "" {
			a.principal = "operator " + a.setup.Operator
		}
		if a.simulatedTime() {
			note = "its clock is simulated and not held against any other"
		}
	case operatorsPath:
		got := struct{ Operators []operatorRecord }{}
		err = rep.decodeList(f.member, &got)
		note = a.beyond(got.Operators)
	case tenantsPath:
		got := struct{ Tenants []evidence.Tenant }{}
		err = rep.decodeList(f.member, &got)
		a.tenants = got.Tenants
	case logsPath:
		got := struct{ Logs []listedLog }{}
		err = rep.decodeList(f.member, &got)
		a.listed = got.Logs
	case checkpointPath:
		for _, l := range a.listed {
			if l.Name == controlLog {
				a.head, err = ledger.OpenCheckpoint(rep.body, l.VerifierKey)
			}
		}
	default:
		if got := (map[string]json.RawMessage{}); f.member != "" {
			err = rep.decodeList(f.member, &got)
		}
	}
	return note, err
}

// beyond says which roles whoever asks holds without need.
func (a *asking) beyond(all []operatorRecord) string {
	for _, o := range all {
		more := slices.DeleteFunc(slices.Clone(o.Roles), func(role string) bool { return role == auditor })
		if o.Name == a.setup.Operator && len(more) > 0 {
			return fmt.Sprintf("%s may do more than is needed, as %s: %s is enough", o.Name, strings.Join(more, " and "), auditor)
		}
	}
	return ""
}
