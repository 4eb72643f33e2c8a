package metering

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"trustpack/internal/httpreplay"
)

type jsonObject = map[string]any

// GitHubReplies gives the recorded replies of the example's GitHub, as it stood
// when the quarter had ended, for httpreplay.Of. They are written after the
// documented shapes of the REST API; shas is what BuildRepository gave.
func GitHubReplies(shas map[string]string) ([]httpreplay.Exchange, error) {
	h, err := loadHistory()
	if err != nil {
		return nil, err
	}
	r := &replies{h: h, shas: shas, repo: "/repos/" + h.Repository}
	r.people()
	r.rules()
	r.pulls()
	r.branch()
	r.deployments()
	r.releases()
	r.estate()
	if r.missing != "" {
		return nil, fmt.Errorf("making the recorded GitHub replies: no hash is known for %q", r.missing)
	}
	return r.out, nil
}

type replies struct {
	h       *history
	shas    map[string]string
	repo    string
	out     []httpreplay.Exchange
	missing string // the first label without a hash
}

func (r *replies) sha(label string) string {
	s, ok := r.shas[label]
	if !ok && r.missing == "" {
		r.missing = label
	}
	return s
}

// get adds one reply. Query pairs are name, value.
func (r *replies) get(path string, body any, query ...string) {
	e := httpreplay.Exchange{Request: httpreplay.Request{Path: path, Query: pairs(query)}, Reply: httpreplay.Reply{JSON: body}}
	r.identify(&e)
	r.out = append(r.out, e)
}

// pages adds a listing, size entries to a page, with the links between them.
// wrap makes the body of a page; nil leaves it a list.
func (r *replies) pages(path string, size int, entries []any, wrap func([]any) any, query ...string) {
	for page := 1; ; page++ {
		rest := entries[min((page-1)*size, len(entries)):]
		part := rest[:min(size, len(rest))]
		var body any = append([]any{}, part...)
		if wrap != nil {
			body = wrap(part)
		}
		q := append([]string{"per_page", "*", "page", fmt.Sprint(page)}, query...)
		e := httpreplay.Exchange{Request: httpreplay.Request{Path: path, Query: pairs(q)}, Reply: httpreplay.Reply{JSON: body, Headers: map[string]string{}}}
		last := len(rest) <= size
		if !last {
			e.Reply.Headers["Link"] = fmt.Sprintf(`<{{url}}%s?page=%d>; rel="next"`, path, page+1)
		}
		r.identify(&e)
		r.out = append(r.out, e)
		if last {
			return
		}
	}
}

// identify gives each reply the number that GitHub gives to a request.
func (r *replies) identify(e *httpreplay.Exchange) {
	if e.Reply.Headers == nil {
		e.Reply.Headers = map[string]string{}
	}
	e.Reply.Headers["X-GitHub-Request-Id"] = fmt.Sprintf("SAMPLE:%04X", len(r.out)+1)
}

func pairs(kv []string) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}

func (r *replies) user(login string) any {
	if login == "" {
		return nil
	}
	kind := "User"
	if r.h.People[login].Bot {
		kind = "Bot"
	}
	return jsonObject{"login": login, "id": r.h.People[login].ID, "type": kind, "site_admin": false}
}

func (r *replies) people() {
	h := r.h
	r.get("/user", r.user(h.Reader))
	var admins, members, without []any
	for _, login := range slices.Sorted(maps.Keys(h.People)) {
		p := h.People[login]
		permission := "write"
		switch {
		case p.Bot:
			continue
		case p.Role == "admin":
			admins, permission = append(admins, r.user(login)), "admin"
		default:
			members = append(members, r.user(login))
		}
		if p.NoTwoFactor {
			without = append(without, r.user(login))
		}
		r.get(r.repo+"/collaborators/"+login+"/permission", jsonObject{"permission": permission, "role_name": permission, "user": r.user(login)})
	}
	org := "/orgs/" + h.Organization
	r.pages(org+"/members", 100, admins, nil, "role", "admin")
	r.pages(org+"/members", 3, members, nil, "role", "member")
	r.pages(org+"/members", 100, without, nil, "role", "all", "filter", "2fa_disabled")
	r.get(org, jsonObject{"login": h.Organization, "two_factor_requirement_enabled": len(without) == 0, "default_repository_permission": "read",
		"members_can_create_repositories": false, "members_can_create_public_repositories": false})
	r.pages(org+"/teams", 100, []any{jsonObject{"id": 61, "slug": "security", "name": "Security", "privacy": "closed", "parent": nil}}, nil)
	r.pages(org+"/teams/security/members", 100, admins, nil, "role", "maintainer")
	r.pages(org+"/teams/security/members", 100, nil, nil, "role", "member")
	r.pages(org+"/outside_collaborators", 100, nil, nil)
	r.pages(org+"/outside_collaborators", 100, nil, nil, "filter", "2fa_disabled")
	app := jsonObject{"id": 501, "app_id": 77, "app_slug": "gridpulse-ci", "target_type": "Organization", "repository_selection": "selected",
		"permissions": jsonObject{"contents": "write", "checks": "write", "deployments": "write"}}
	r.pages(org+"/installations", 100, []any{app}, func(part []any) any { return jsonObject{"total_count": 1, "installations": part} })
}

// requiredChecks must be green before a merge.
func requiredChecks() []string { return []string{"contract-tests", "unit-tests"} }

// rules: the branch is protected, but not against its administrators, and an
// approval outlives a push.
func (r *replies) rules() {
	var checks []any
	for _, c := range requiredChecks() {
		checks = append(checks, jsonObject{"context": c, "app_id": 77})
	}
	off := jsonObject{"enabled": false}
	r.get(r.repo+"/branches/"+r.h.Branch+"/protection", jsonObject{
		"url":                           "{{url}}" + r.repo + "/branches/" + r.h.Branch + "/protection",
		"required_status_checks":        jsonObject{"strict": true, "contexts": requiredChecks(), "checks": checks},
		"required_pull_request_reviews": jsonObject{"dismiss_stale_reviews": false, "require_code_owner_reviews": false, "require_last_push_approval": false, "required_approving_review_count": 1},
		"enforce_admins":                off, "required_linear_history": off, "allow_force_pushes": off, "allow_deletions": off,
		"required_conversation_resolution": jsonObject{"enabled": true},
	})
	keep := jsonObject{"id": 301, "name": "Keep the history of main", "target": "branch", "source_type": "Repository", "source": r.h.Repository, "enforcement": "active"}
	tags := jsonObject{"id": 302, "name": "Releases stay as they are", "target": "tag", "source_type": "Repository", "source": r.h.Repository, "enforcement": "active"}
	r.pages(r.repo+"/rulesets", 100, []any{keep, tags}, nil, "includes_parents", "true")
	detail := func(rs jsonObject, refs string, rules []any, bypass []any) jsonObject {
		out := maps.Clone(rs)
		out["conditions"] = jsonObject{"ref_name": jsonObject{"include": []any{refs}, "exclude": []any{}}}
		out["rules"], out["bypass_actors"] = rules, bypass
		return out
	}
	deletion, rewrite := jsonObject{"type": "deletion"}, jsonObject{"type": "non_fast_forward"}
	r.get(r.repo+"/rulesets/301", detail(keep, "~DEFAULT_BRANCH", []any{deletion, rewrite}, []any{}), "includes_parents", "true")
	r.get(r.repo+"/rulesets/302", detail(tags, "refs/tags/v*", []any{deletion, rewrite, jsonObject{"type": "update"}},
		[]any{jsonObject{"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}}), "includes_parents", "true")
	of := func(rule jsonObject) jsonObject {
		out := maps.Clone(rule)
		out["ruleset_id"], out["ruleset_source"], out["ruleset_source_type"] = 301, r.h.Repository, "Repository"
		return out
	}
	r.pages(r.repo+"/rules/branches/"+r.h.Branch, 100, []any{of(deletion), of(rewrite)}, nil)

	var suites []any
	for _, a := range r.h.History {
		if a.PR != nil && a.PR.BypassedBy != "" {
			suites = append(suites, jsonObject{"id": 9000 + a.PR.Number, "actor_id": r.h.People[a.PR.BypassedBy].ID, "actor_name": a.PR.BypassedBy,
				"ref": "refs/heads/" + r.h.Branch, "repository_name": r.h.Repository, "after_sha": r.sha(a.PR.mergeLabel()),
				"pushed_at": stamp(a.PR.Merged), "result": "bypass"})
		}
	}
	r.pages(r.repo+"/rulesets/rule-suites", 100, suites, nil, "ref", "refs/heads/"+r.h.Branch, "time_period", "month", "rule_suite_result", "all")
}

func (r *replies) deployments() {
	ds := slices.Clone(r.h.Deployments)
	slices.SortFunc(ds, func(a, b deployment) int { return b.At.Compare(a.At) })
	ci := r.user("gridpulse-ci[bot]")
	var listed []any
	smoke := map[string][]any{} // check runs that look at what was deployed, by commit
	for _, d := range ds {
		listed = append(listed, jsonObject{"id": d.ID, "sha": r.sha(d.Change), "ref": r.h.Branch, "task": "deploy", "environment": d.Environment,
			"creator": ci, "created_at": stamp(d.At), "updated_at": stamp(d.At.Add(6 * time.Minute))})
		outcome := d.Outcome
		if outcome == "" {
			outcome = "success"
		}
		if at := d.At.Add(9 * time.Minute); outcome == "success" && !d.Unchecked {
			smoke[d.Change] = append(smoke[d.Change], jsonObject{"id": d.ID * 100, "name": "smoke (" + d.Environment + ")", "head_sha": r.sha(d.Change), "status": "completed",
				"conclusion": "success", "started_at": stamp(at), "completed_at": stamp(at.Add(2 * time.Minute)), "app": jsonObject{"id": 77, "slug": "gridpulse-ci"}})
		} else if smoke[d.Change] == nil {
			smoke[d.Change] = []any{}
		}
		status := func(n int, state string, after time.Duration) any {
			return jsonObject{"id": d.ID*10 + n, "state": state, "creator": ci, "environment": d.Environment, "created_at": stamp(d.At.Add(after))}
		}
		r.pages(fmt.Sprintf("%s/deployments/%d/statuses", r.repo, d.ID), 100,
			[]any{status(2, outcome, 6*time.Minute), status(1, "in_progress", 20*time.Second)}, nil)
	}
	r.pages(r.repo+"/deployments", 8, listed, nil)
	for _, change := range slices.Sorted(maps.Keys(smoke)) {
		runs := smoke[change]
		r.pages(r.repo+"/commits/"+r.sha(change)+"/check-runs", 100, runs, func(part []any) any { return jsonObject{"total_count": len(runs), "check_runs": part} }, "filter", "all")
	}
}

// releases are what was published, and the tags that they are named by.
func (r *replies) releases() {
	var listed, tags []any
	for i, rel := range slices.Backward(r.h.Releases) {
		var assets []any
		for n, name := range rel.Assets {
			assets = append(assets, jsonObject{"id": 8800 + i*10 + n, "name": name, "size": 48210 + 71*n, "uploader": r.user("gridpulse-ci[bot]"),
				"created_at": stamp(rel.At.Add(-time.Minute)), "updated_at": stamp(rel.At.Add(-time.Minute))})
		}
		listed = append(listed, jsonObject{"id": 8000 + i, "tag_name": rel.Tag, "name": rel.Tag, "target_commitish": r.h.Branch, "draft": false, "prerelease": false,
			"author": r.user(rel.Author), "created_at": stamp(rel.At.Add(-2 * time.Minute)), "published_at": stamp(rel.At), "assets": assets})
		tags = append(tags, jsonObject{"name": rel.Tag, "commit": jsonObject{"sha": r.sha(rel.Change)}})
	}
	r.pages(r.repo+"/releases", 100, listed, nil)
	r.pages(r.repo+"/tags", 100, tags, nil)
}

// estate is the repository itself: its settings, its environments, and who may
// write to it.
func (r *replies) estate() {
	r.get(r.repo, jsonObject{"id": 4242, "full_name": r.h.Repository, "private": true, "visibility": "private", "default_branch": r.h.Branch, "archived": false,
		"fork": false, "allow_merge_commit": true, "allow_squash_merge": true, "allow_rebase_merge": true, "allow_auto_merge": false})
	r.get(r.repo+"/codeowners/errors", jsonObject{"errors": []any{}}, "ref", r.h.Branch)
	var people []any
	for _, login := range slices.Sorted(maps.Keys(r.h.People)) {
		p := r.h.People[login]
		if p.Bot {
			continue
		}
		role := "write"
		if p.Role == "admin" {
			role = "admin"
		}
		who := maps.Clone(r.user(login).(jsonObject))
		who["role_name"], who["permissions"] = role, jsonObject{"pull": true, "push": true, "admin": role == "admin"}
		people = append(people, who)
	}
	r.pages(r.repo+"/collaborators", 100, people, nil, "affiliation", "all")
	r.pages(r.repo+"/teams", 100, []any{jsonObject{"id": 61, "slug": "security", "name": "Security", "permission": "push"}}, nil)
	r.pages(r.repo+"/keys", 100, nil, nil)
	environments := []any{
		jsonObject{"id": 31, "name": "production", "can_admins_bypass": true, "deployment_branch_policy": jsonObject{"protected_branches": true, "custom_branch_policies": false},
			"protection_rules": []any{jsonObject{"id": 32, "type": "branch_policy"}}},
		jsonObject{"id": 33, "name": "staging", "can_admins_bypass": true, "deployment_branch_policy": nil, "protection_rules": []any{}},
	}
	r.pages(r.repo+"/environments", 100, environments, func(part []any) any { return jsonObject{"total_count": len(environments), "environments": part} })
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
