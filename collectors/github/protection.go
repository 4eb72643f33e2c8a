package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	gh "github.com/google/go-github/v60/github"
)

// rule is one rule of a ruleset, with its parameters as they came.
type rule struct {
	Type       string         `json:"type"`
	Parameters map[string]any `json:"parameters"`
	RulesetID  int64          `json:"ruleset_id"`
}

type bypassActor struct {
	ID   *int64 `json:"actor_id"`
	Type string `json:"actor_type"`
	Mode string `json:"bypass_mode"`
}

type ruleset struct {
	ID          int64         `json:"id"`
	Name        string        `json:"name"`
	Target      string        `json:"target"`
	Source      string        `json:"source"`
	Enforcement string        `json:"enforcement"`
	Bypass      []bypassActor `json:"bypass_actors"`
	Conditions  any           `json:"conditions"`
	Rules       []rule        `json:"rules"`
}

// protected is what holds on a branch, of classic protection and rulesets
// together: a rule holds where either asks for it.
type protected struct {
	reviews                                     int
	dismissStale, codeOwners, lastPush, admins  bool
	forcePushes, deletions, strict, classic, rs bool
	checks, bypass                              []string
}

// protection reads the rules that hold on the branch now.
func (r *reading) protection(ctx context.Context) {
	r.rules = Rules{Approvals: r.c.config.Approvals, RequiredChecks: r.RequiredChecks,
		EmergencyLabel: r.c.config.Emergency.Label, EmergencyDays: r.c.config.Emergency.ReviewDays}
	p := protected{forcePushes: true, deletions: true}
	whole := true
	r.ask(func() {
		classic, _, err := r.client.Repositories.GetBranchProtection(ctx, r.owner, r.repo, r.Branch)
		if err == nil {
			p.fromClassic(classic)
		} else if !notProtected(err) {
			whole = !r.fails(err, r.where("protection of %s", r.Branch), KindProtection, KindChanges)
		}
		rules, err := all(func(o gh.ListOptions) ([]rule, *gh.Response, error) {
			return get[[]rule](ctx, r.run, fmt.Sprintf("repos/%s/%s/rules/branches/%s?per_page=%d&page=%d",
				r.owner, r.repo, url.PathEscape(r.Branch), o.PerPage, o.Page))
		})
		if r.fails(err, r.where("rules of %s", r.Branch), KindProtection, KindChanges) {
			whole = false
		}
		p.fromRules(rules)
		if !r.bypassers(ctx, &p, rules) {
			whole = false
		}
	}, KindProtection, KindChanges)
	r.rules.DismissesStale, r.rules.RequiresReview = p.dismissStale, p.reviews > 0
	if len(r.rules.RequiredChecks) == 0 {
		r.rules.RequiredChecks = p.checks
	}
	if !whole {
		return // what is known of half the rules says nothing of the branch
	}
	source := map[[2]bool]string{{true, false}: "protection", {false, true}: "rulesets", {true, true}: "both", {false, false}: "none"}[[2]bool{p.classic, p.rs}]
	r.item(KindProtection, r.Name+"@"+r.Branch, map[string]any{
		"repo": r.Name, "branch": r.Branch, "required_reviews": p.reviews, "dismiss_stale": p.dismissStale,
		"code_owner_reviews": p.codeOwners, "last_push_approval": p.lastPush, "enforce_admins": p.admins,
		"allow_force_pushes": p.forcePushes, "allow_deletions": p.deletions,
		"required_checks": list(p.checks), "strict": p.strict, "bypass": list(p.bypass), "source": source,
	})
}

// notProtected tells GitHub's answer that a branch has no protection, which is
// a fact, from its answer to a token that may not see it, which is none.
func notProtected(err error) bool {
	var api *gh.ErrorResponse
	if errors.Is(err, gh.ErrBranchNotProtected) {
		return true
	}
	return errors.As(err, &api) && api.Response != nil && api.Response.StatusCode == http.StatusNotFound && api.Message == "Branch not protected"
}

func (p *protected) fromClassic(c *gh.Protection) {
	p.classic = true
	if rev := c.RequiredPullRequestReviews; rev != nil {
		p.reviews, p.dismissStale = rev.RequiredApprovingReviewCount, rev.DismissStaleReviews
		p.codeOwners, p.lastPush = rev.RequireCodeOwnerReviews, rev.RequireLastPushApproval
		if b := rev.BypassPullRequestAllowances; b != nil {
			for _, u := range b.Users {
				p.bypass = append(p.bypass, "user:"+u.GetLogin())
			}
			for _, t := range b.Teams {
				p.bypass = append(p.bypass, "team:"+t.GetSlug())
			}
			for _, a := range b.Apps {
				p.bypass = append(p.bypass, "app:"+a.GetSlug())
			}
		}
	}
	p.admins = c.EnforceAdmins != nil && c.EnforceAdmins.Enabled
	p.forcePushes = c.AllowForcePushes != nil && c.AllowForcePushes.Enabled
	p.deletions = c.AllowDeletions != nil && c.AllowDeletions.Enabled
	if s := c.RequiredStatusChecks; s != nil {
		p.strict = s.Strict
		if s.Checks != nil {
			for _, c := range *s.Checks {
				p.addCheck(c.Context)
			}
		}
		if s.Contexts != nil {
			for _, c := range *s.Contexts {
				p.addCheck(c)
			}
		}
	}
}

func (p *protected) addCheck(name string) {
	if !slices.Contains(p.checks, name) {
		p.checks = append(p.checks, name)
		slices.Sort(p.checks)
	}
}

func (p *protected) fromRules(rules []rule) {
	for _, rl := range rules {
		p.rs = true
		flag := func(name string) bool { b, _ := rl.Parameters[name].(bool); return b }
		switch rl.Type {
		case "pull_request":
			n, _ := rl.Parameters["required_approving_review_count"].(float64)
			p.reviews = max(p.reviews, int(n))
			p.dismissStale = p.dismissStale || flag("dismiss_stale_reviews_on_push")
			p.codeOwners = p.codeOwners || flag("require_code_owner_review")
			p.lastPush = p.lastPush || flag("require_last_push_approval")
		case "non_fast_forward":
			p.forcePushes = false
		case "deletion":
			p.deletions = false
		case "required_status_checks":
			p.strict = p.strict || flag("strict_required_status_checks_policy")
			checks, _ := rl.Parameters["required_status_checks"].([]any)
			for _, c := range checks {
				m, _ := c.(map[string]any)
				if name, _ := m["context"].(string); name != "" {
					p.addCheck(name)
				}
			}
		}
	}
}

// bypassers adds who may pass over the rulesets that hold on the branch. A
// branch kept by rulesets alone binds administrators where nobody may.
func (r *reading) bypassers(ctx context.Context, p *protected, rules []rule) bool {
	whole, open := true, false
	asked := map[int64]bool{}
	for _, rl := range rules {
		if asked[rl.RulesetID] {
			continue
		}
		asked[rl.RulesetID] = true
		rs, err := r.ruleset(ctx, rl.RulesetID)
		if r.fails(err, r.where("ruleset %d of %s", rl.RulesetID, r.Branch), KindProtection) {
			whole = false
			continue
		}
		if rs.Bypass == nil {
			open = true
			r.gap(KindProtection, r.where("who may bypass ruleset %d (%s)", rl.RulesetID, rs.Name), bypassNotShown)
		}
		for _, b := range rs.Bypass {
			open = true
			p.bypass = append(p.bypass, fmt.Sprintf("%s by ruleset %s (%s)", b.name(), rs.Name, b.Mode))
		}
	}
	slices.Sort(p.bypass)
	if p.rs && !p.classic {
		p.admins = !open
	}
	return whole
}

// bypassNotShown is why a ruleset comes without a list of who may pass over it.
const bypassNotShown = "GitHub shows it only to those who may change the ruleset (Administration: write)"

func (b bypassActor) name() string {
	if b.ID == nil {
		return b.Type
	}
	return fmt.Sprintf("%s:%d", b.Type, *b.ID)
}

func (r *reading) ruleset(ctx context.Context, id int64) (ruleset, error) {
	rs, _, err := get[ruleset](ctx, r.run, fmt.Sprintf("repos/%s/%s/rulesets/%d?includes_parents=true", r.owner, r.repo, id))
	return rs, err
}

// rulesets reads all rulesets of the repository and those that the
// organisation lays upon it.
func (r *reading) rulesets(ctx context.Context) {
	r.ask(func() {
		listed, err := all(func(o gh.ListOptions) ([]ruleset, *gh.Response, error) {
			return get[[]ruleset](ctx, r.run, fmt.Sprintf("repos/%s/%s/rulesets?includes_parents=true&per_page=%d&page=%d", r.owner, r.repo, o.PerPage, o.Page))
		})
		r.fails(err, r.where("rulesets"), KindRulesets)
		seen := map[int64]bool{}
		for _, l := range listed {
			if seen[l.ID] {
				continue
			}
			seen[l.ID] = true
			rs, err := r.ruleset(ctx, l.ID)
			if r.fails(err, r.where("ruleset %d (%s)", l.ID, l.Name), KindRulesets) {
				continue
			}
			types, parameters, actors := []any{}, map[string]any{}, []any{}
			for _, rl := range rs.Rules {
				types = append(types, rl.Type)
				if rl.Parameters != nil {
					parameters[rl.Type] = rl.Parameters
				}
			}
			if rs.Bypass == nil {
				r.gap(KindRulesets, r.where("who may bypass ruleset %d (%s)", l.ID, rs.Name), bypassNotShown)
			}
			for _, b := range rs.Bypass {
				actors = append(actors, map[string]any{"actor": b.name(), "actor_type": b.Type, "bypass_mode": b.Mode})
			}
			r.item(KindRulesets, fmt.Sprintf("%s/%d", r.Name, rs.ID), map[string]any{
				"repo": r.Name, "name": rs.Name, "enforcement": rs.Enforcement, "target": rs.Target, "source": rs.Source,
				"rules": types, "rule_parameters": parameters, "conditions": plainJSON(rs.Conditions), "bypass_actors": actors,
			})
		}
	}, KindRulesets)
}

// plainJSON keeps what came as JSON.
func plainJSON(v any) any {
	if b, err := json.Marshal(v); err != nil || strings.TrimSpace(string(b)) == "null" {
		return map[string]any{}
	}
	return v
}
