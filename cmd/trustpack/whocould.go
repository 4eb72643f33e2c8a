package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trustpack/ingest"
)

const listLong = `Lists the operators as they are now.

With --at it says who could do what at that time, or on that day (UTC), as the
control log tells: by which role, session, support grant or break-glass, with
which credential, and which entries of the log say so ("control/12" is entry
12). --action names an action of the table of roles (ingest/ROLES.md), such as
device.approve, and may be given again; "provision" is device.request and
device.approve. --ledger DIR reads the log in DIR, or in a copy of it, instead of
asking the ingest; 'ledger fsck' says whether that log is whole.`

// pastFlags ask about the past.
type pastFlags struct {
	at, ledger string
	actions    []string
}

func (p *pastFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.at, "at", "", "the `day` (2026-08-03) or time (2026-08-03T10:00:00Z) that is asked about")
	cmd.Flags().StringSliceVar(&p.actions, "action", nil, "what could be done; may be given again (with --at)")
	cmd.Flags().StringVar(&p.ledger, "ledger", "", "read the log in this `folder` instead of asking the ingest (with --at)")
}

func (p *pastFlags) asked() bool { return p.at != "" || p.ledger != "" || len(p.actions) > 0 }

// query is what is asked: a day is its 24 hours in UTC, a time that moment.
func (p *pastFlags) query() (q ingest.WhoQuery, err error) {
	if p.at == "" || len(p.actions) == 0 {
		return q, hint(errors.New("a question about the past takes a time and at least one action"), "such as --at 2026-08-03 --action provision")
	}
	if q.From, err = time.Parse(time.DateOnly, p.at); err == nil {
		q.To = q.From.AddDate(0, 0, 1)
	} else if q.From, err = time.Parse(time.RFC3339, p.at); err == nil {
		q.From = q.From.UTC()
		q.To = q.From.Add(1)
	} else {
		return q, fmt.Errorf("--at %q: want a day such as 2026-08-03, or a time such as 2026-08-03T10:00:00Z", p.at)
	}
	for _, action := range p.actions {
		if action == "provision" {
			q.Actions = append(q.Actions, ingest.Provisioning()...)
		} else {
			q.Actions = append(q.Actions, action)
		}
	}
	return q, nil
}

func (a *app) whoCould(ctx context.Context, f *adminFlags, p pastFlags, asJSON bool) error {
	q, err := p.query()
	if err != nil {
		return err
	}
	var w *ingest.WhoCould
	if p.ledger != "" {
		dirs, err := ledgerDirs(p.ledger)
		if err != nil {
			return err
		}
		if len(dirs) != 1 {
			return hint(fmt.Errorf("there are %d ledgers in %s", len(dirs), p.ledger), "name the ingest's, such as %s", dirs[0])
		}
		w, err = ingest.WhoCouldIn(dirs[0], q)
		if err != nil {
			return err
		}
	} else if err := a.withAdmin(f, func(c *ingest.AdminClient) error {
		var err error
		w, err = c.WhoCould(ctx, q)
		return err
	}); err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(w)
	}
	return a.tellWhoCould(w, p.at)
}

func (a *app) tellWhoCould(w *ingest.WhoCould, at string) error {
	rows := [][]string{{"OPERATOR", "COULD", "BY", "TENANT", "CREDENTIAL", "VALID UNTIL", "FROM", "UNTIL", "ENTRIES"}}
	for _, x := range w.Able {
		by := x.By + " " + x.Role
		if x.ID != "" {
			by += " " + x.ID
		}
		var entries []string
		for _, i := range x.Entries {
			entries = append(entries, "control/"+strconv.FormatInt(i, 10))
		}
		until := stamp(&x.Until)
		if x.EndedBy != nil {
			until += " by control/" + strconv.FormatInt(*x.EndedBy, 10)
		}
		rows = append(rows, []string{
			x.Operator, strings.Join(x.Actions, " "), by, x.Tenant, x.Credential.Method + " " + x.Credential.Fingerprint, stamp(&x.Credential.NotAfter), stamp(&x.From), until, strings.Join(entries, " "),
		})
	}
	if err := a.table(rows); err != nil {
		return err
	}
	said := fmt.Sprintf("%s: by %d entries of the control log", at, w.Entries)
	if w.Program != "" {
		said += "; " + w.Program + " ran then"
		if w.Program != tool() {
			said += ", whose table of roles may have been another than this one's"
		}
	}
	if len(w.Disorder) > 0 {
		said += fmt.Sprintf("; left out are %d entries that say an earlier time than one before them, the first of them control/%d", len(w.Disorder), w.Disorder[0])
	}
	_, err := fmt.Fprintln(a.out, said)
	return err
}
