package github

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"trustpack/evidence"
)

// KindAuditLog is collected where the section asks for it: only GitHub
// Enterprise lets its audit log be read.
const KindAuditLog evidence.Kind = "github.audit-log"

// auditDays is how far back GitHub keeps the audit log.
const auditDays = 180

// audited is one entry of an organisation's audit log.
// https://docs.github.com/enterprise-cloud@latest/rest/orgs/orgs#get-the-audit-log-for-an-organization
type audited struct {
	ID         string `json:"_document_id"`
	Action     string `json:"action"`
	Actor      string `json:"actor"`
	User       string `json:"user"`
	Team       string `json:"team"`
	Repo       string `json:"repo"`
	Created    int64  `json:"created_at"` // Unix milliseconds
	Permission string `json:"permission"`
}

// auditLog reads who changed what in the organisation, in the window.
func (r *run) auditLog(ctx context.Context, org string) {
	r.c.deps.Progress("github: reading the audit log of " + org)
	r.ask(func() {
		if since := r.c.deps.Now().AddDate(0, 0, -auditDays); r.window.From.Before(since) {
			r.gap(KindAuditLog, org+": audit log before "+since.Format(time.DateOnly), fmt.Sprintf("GitHub keeps %d days of it; collect each day", auditDays))
		}
		phrase := "created:" + r.window.From.Format(time.DateOnly) + ".." + r.window.To.Format(time.DateOnly)
		seen, after := map[string]bool{}, ""
		for page := 1; ; page++ {
			path := fmt.Sprintf("orgs/%s/audit-log?phrase=%s&include=web&order=asc&per_page=100", org, url.QueryEscape(phrase))
			if after != "" {
				path += "&after=" + url.QueryEscape(after)
			}
			got, resp, err := get[[]audited](ctx, r, path)
			where := fmt.Sprintf("%s: audit log, page %d", org, page)
			if r.fails(err, where, KindAuditLog) {
				return
			}
			for _, e := range got {
				at := time.UnixMilli(e.Created).UTC()
				switch {
				case e.ID == "" || e.Created == 0:
					r.gap(KindAuditLog, where, "an entry without an ID or time")
				case !seen[e.ID] && r.window.Contains(at):
					seen[e.ID] = true
					r.item(KindAuditLog, e.ID, map[string]any{"organization": org, "action": e.Action, "actor": e.Actor, "user": e.User, "team": e.Team,
						"repo": e.Repo, "permission": e.Permission, "created_at": at.Format(time.RFC3339)})
				}
			}
			if resp.After == "" || len(got) == 0 {
				return
			}
			if resp.After == after {
				r.gap(KindAuditLog, where, "the source gives the same page again")
				return
			}
			after = resp.After
		}
	}, KindAuditLog)
}
