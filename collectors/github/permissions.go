package github

import (
	"fmt"
	"strings"

	"trustpack/evidence"
)

// Permission is the least that one sort of request needs.
// https://docs.github.com/rest/authentication/permissions-required-for-fine-grained-personal-access-tokens
type Permission struct {
	Name    string          // as GitHub's settings call it
	ID      string          // as an App's installation calls it
	Level   string          // "read", or "write" where GitHub shows it to nobody else
	Account string          // "repository" or "organisation"
	For     string          // what is read with it
	Kinds   []evidence.Kind // the kinds that are incomplete without it
	probe   string          // path of a request that needs it; {repo}, {branch}, {org}
	absent  string          // what GitHub says with a 404 where it may be seen and there is none
}

// Permissions is the least that each kind needs, in the order in which
// CheckAccess asks.
func Permissions() []Permission {
	const repo, org = "repository", "organisation"
	return []Permission{
		{"Metadata", "metadata", "read", repo, "settings, rulesets, collaborators",
			[]evidence.Kind{KindRepository, KindRulesets, KindProtection, KindAccess, KindPullRequests, KindChanges}, "repos/{repo}", ""},
		{"Contents", "contents", "read", repo, "commits, pushes, tags, releases, CODEOWNERS",
			[]evidence.Kind{KindChanges, KindPushes, KindReleases, KindRepository}, "repos/{repo}/commits?sha={branch}&per_page=1", ""},
		{"Pull requests", "pull_requests", "read", repo, "pull requests, reviews, timelines",
			[]evidence.Kind{KindPullRequests, KindChanges}, "repos/{repo}/pulls?per_page=1", ""},
		{"Checks", "checks", "read", repo, "check runs", []evidence.Kind{KindPullRequests, KindChanges}, "repos/{repo}/commits/{branch}/check-runs?per_page=1", ""},
		{"Commit statuses", "statuses", "read", repo, "statuses", []evidence.Kind{KindPullRequests, KindChanges}, "repos/{repo}/commits/{branch}/status?per_page=1", ""},
		{"Deployments", "deployments", "read", repo, "deployments and their statuses", []evidence.Kind{KindDeployments}, "repos/{repo}/deployments?per_page=1", ""},
		{"Actions", "actions", "read", repo, "environments and their reviewers", []evidence.Kind{KindEnvironments}, "repos/{repo}/environments?per_page=1", ""},
		{"Administration", "administration", "read", repo, "branch protection, teams, deploy keys",
			[]evidence.Kind{KindProtection, KindAccess, KindChanges}, "repos/{repo}/branches/{branch}/protection", "Branch not protected"},
		{"Administration", "administration", "write", repo, "rule suites, who may bypass rulesets",
			[]evidence.Kind{KindChanges, KindProtection, KindRulesets, KindRuleSuites}, "repos/{repo}/rulesets/rule-suites?per_page=1", ""},
		{"Members", "members", "read", org, "members, outside collaborators, teams", []evidence.Kind{KindMembers, KindTeams}, "orgs/{org}/members?per_page=1", ""},
		{"Administration", "organization_administration", "read", org, "installed apps, what is demanded of members", []evidence.Kind{KindMembers, KindOrganization}, "orgs/{org}/installations?per_page=1", ""},
		{"Administration", "organization_administration", "read", org, "the audit log (`audit_log: true`)", []evidence.Kind{KindAuditLog}, "orgs/{org}/audit-log?per_page=1", ""},
		{"Members, as an owner", "members", "read", org, "who has no second factor", []evidence.Kind{KindMembers}, "orgs/{org}/members?filter=2fa_disabled&per_page=1", ""},
	}
}

// PermissionTable is Permissions as a table in Markdown.
func PermissionTable() string {
	var b strings.Builder
	b.WriteString("| permission | of the | reads | for the kinds |\n|---|---|---|---|\n")
	for _, p := range Permissions() {
		kinds := make([]string, len(p.Kinds))
		for i, k := range p.Kinds {
			kinds[i] = "`" + strings.TrimPrefix(string(k), "github.") + "`"
		}
		fmt.Fprintf(&b, "| %s: %s | %s | %s | %s |\n", p.Name, p.Level, p.Account, p.For, strings.Join(kinds, ", "))
	}
	return b.String()
}

// needed is what an App was granted of that the collector needs, no more of it
// than that.
func needed(granted map[string]string) map[string]string {
	out := map[string]string{}
	for _, p := range Permissions() {
		if has := granted[p.ID]; has != "" && (out[p.ID] == "" || p.Level == "write" && has == "write") {
			out[p.ID] = p.Level
			if has == "read" {
				out[p.ID] = has
			}
		}
	}
	return out
}
