package github

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	gh "github.com/google/go-github/v60/github"

	"trustpack/evidence"
)

// CheckAccess asks, for each row of Permissions and each repository and the
// organisation, whether the credential may read what it stands for.
func (c *Collector) CheckAccess(ctx context.Context) ([]evidence.AccessCheck, error) {
	r := &run{c: c, principal: "unknown: it was not asked"}
	var out []evidence.AccessCheck
	rec, err := c.open(func(evidence.Request, []byte) error { return nil })
	if err == nil {
		rec.tries = 1 // who asks waits for the answer
		r.rec = rec
		r.client = gh.NewClient(&http.Client{Transport: rec})
		r.client.BaseURL = c.base
		r.whoAmI(ctx)
	}
	add := func(p Permission, target string, fill *strings.Replacer) {
		check := evidence.AccessCheck{Source: c.Name(), Principal: r.principal, Target: target, Permission: p.Name + ": " + p.Level, For: p.For, Kinds: p.Kinds}
		if err != nil {
			check.State, check.Said = evidence.AccessLacking, err.Error()
		} else {
			check.State, check.Said = r.may(ctx, p, fill.Replace(p.probe))
		}
		out = append(out, check)
	}
	for _, repo := range c.config.Repositories {
		fill := strings.NewReplacer("{repo}", repo.Name, "{branch}", url.PathEscape(repo.Branch))
		for _, p := range Permissions() {
			if p.Account == "repository" {
				add(p, repo.Name, fill)
			}
		}
	}
	if org := c.config.Organization; org != "" {
		for _, p := range Permissions() {
			if p.Account == "organisation" && (c.config.AuditLog || p.Kinds[0] != KindAuditLog) {
				add(p, org, strings.NewReplacer("{org}", org))
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("asking GitHub what may be read: %w", err)
	}
	return out, nil
}

// may asks for one thing.
func (r *run) may(ctx context.Context, p Permission, path string) (evidence.AccessState, string) {
	unknown := func(err error) (evidence.AccessState, string) {
		return evidence.AccessUnknown, r.rec.scrub(err.Error())
	}
	req, err := r.client.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return unknown(err)
	}
	resp, err := r.rec.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return unknown(err)
	}
	defer resp.Body.Close()
	var said struct {
		Message string `json:"message"`
	}
	if resp.StatusCode/100 != 2 && json.NewDecoder(resp.Body).Decode(&said) != nil {
		said.Message = "" // an error page; its status says enough
	}
	what := strings.TrimSpace(fmt.Sprintf("HTTP %d %s", resp.StatusCode, said.Message))
	if wants := resp.Header.Get("X-Accepted-GitHub-Permissions"); wants != "" {
		what += "; GitHub wants " + wants
	}
	switch resp.StatusCode {
	case http.StatusOK:
		if scopes := resp.Header.Get("X-OAuth-Scopes"); scopes != "" {
			return evidence.AccessGranted, "a classic token, which may do more than is needed: " + scopes
		}
		return evidence.AccessGranted, ""
	case http.StatusConflict: // an empty repository, seen
		return evidence.AccessGranted, ""
	case http.StatusNotFound:
		if p.absent != "" && said.Message == p.absent {
			return evidence.AccessGranted, ""
		}
		return evidence.AccessLacking, what
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity:
		return evidence.AccessLacking, what
	}
	return evidence.AccessUnknown, what
}
