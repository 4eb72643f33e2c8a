package github

import (
	"regexp"
	"slices"
	"strings"
)

// closes finds the words by which a pull request says that it closes an issue.
// https://docs.github.com/issues/tracking-your-work-with-issues/using-issues/linking-a-pull-request-to-an-issue
var closes = regexp.MustCompile(`(?i)\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?[ \t]+(?:https?://[^/\s]+/([\w.-]+/[\w.-]+)/issues/(\d+)|([\w.-]+/[\w.-]+)?#(\d+))\b`)

// linkedIssues lists the issues that texts of a pull request name as closed, as
// "owner/name#number", sorted. Issues that somebody linked by hand are not in
// the texts: the timeline tells of each as "connected", and not which it is.
func linkedIssues(repo string, texts ...string) []string {
	out := []string{}
	for _, text := range texts {
		for _, m := range closes.FindAllStringSubmatch(text, -1) {
			issue := m[1] + m[3] + "#" + m[2] + m[4]
			if strings.HasPrefix(issue, "#") {
				issue = repo + issue
			}
			if !slices.Contains(out, issue) {
				out = append(out, issue)
			}
		}
	}
	slices.Sort(out)
	return out
}
