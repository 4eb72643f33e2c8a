package controls

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"trustpack/evidence"
)

// Link is one step of a change's way from its making to its running.
type Link struct {
	// Step is "commit", "pull-request", "review", "check", "merge", "release",
	// "deployment" or "after-deployment".
	Step string `json:"step"`
	// State is "found", "missing" (it was looked for in evidence that is whole, and
	// is not there) or "not-available" (the evidence is not there, or not whole).
	State  string        `json:"state"`
	Kind   evidence.Kind `json:"kind,omitempty"` // of the evidence that says so
	ID     string        `json:"id,omitempty"`   // of the item in it
	At     string        `json:"at,omitempty"`
	By     string        `json:"by,omitempty"`
	Detail string        `json:"detail"`
}

// The states of a link.
const (
	LinkFound        = "found"
	LinkMissing      = "missing"
	LinkNotAvailable = "not-available"
)

// Chain is the way of one commit, whole where no link is anything but found.
type Chain struct {
	Commit string `json:"commit"`
	Class  string `json:"class"` // of the change, as collected; "unknown" where nothing says
	Links  []Link `json:"links"`
}

// Whole reports whether every link was found.
func (c Chain) Whole() bool {
	return len(c.Links) > 0 && !slices.ContainsFunc(c.Links, func(l Link) bool { return l.State != LinkFound })
}

// Trace follows the change of a commit (at least 7 digits of its hash), a
// release's tag or a deployment's ID through the evidence, both ways: who made
// and approved it, and where it went. It is an error where nothing, or more than
// one thing, goes by that name.
func Trace(in Input, name string) (Chain, error) {
	t := tracer{populations: map[evidence.Kind]*population{}}
	for _, kind := range []evidence.Kind{"git.commits", "github.changes", "github.pull-requests", "github.releases", "github.deployments"} {
		var of []evidence.Collected
		for _, e := range in.Evidence {
			if e.Kind == kind {
				of = append(of, e)
			}
		}
		p, err := populate(kind, in.Period, 0, of, in.LeftOut)
		if err != nil {
			return Chain{}, err
		}
		t.populations[kind] = p
	}
	sha, err := t.resolve(name)
	if err != nil {
		return Chain{}, err
	}
	return t.chain(sha), nil
}

type tracer struct {
	populations map[evidence.Kind]*population
	children    map[string][]string // by parent, of the commits that a clone knows
}

func text(it evidence.Item, key string) string {
	s, _ := it.Attributes[key].(string)
	return s
}

func (t *tracer) items(kind evidence.Kind) []evidence.Item { return t.populations[kind].items }

func (t *tracer) find(kind evidence.Kind, match func(evidence.Item) bool) []evidence.Item {
	var out []evidence.Item
	for _, it := range t.items(kind) {
		if match(it) {
			out = append(out, it)
		}
	}
	return out
}

// resolve finds the commit that is meant.
func (t *tracer) resolve(name string) (string, error) {
	found := map[string]string{} // commit to what it was found as
	for _, kind := range []evidence.Kind{"git.commits", "github.changes"} {
		for _, it := range t.items(kind) {
			id, _, _ := strings.Cut(it.ID, "@") // one commit in two clones bears the clone's name
			if it.ID == name || len(name) >= 7 && strings.HasPrefix(id, name) {
				found[id] = "commit"
			}
		}
	}
	for _, it := range t.items("github.releases") {
		if it.ID == name || text(it, "tag") == name {
			found[text(it, "sha")] = "release " + it.ID
		}
	}
	for _, it := range t.items("github.deployments") {
		if it.ID == name {
			found[text(it, "sha")] = "deployment " + it.ID
		}
	}
	switch len(found) {
	case 0:
		var without []string
		for kind, p := range t.populations {
			if !p.whole {
				without = append(without, string(kind))
			}
		}
		if slices.Sort(without); len(without) > 0 {
			return "", fmt.Errorf("tracing %q: the evidence has no commit, tag or deployment of that name, and is not whole of %s", name, strings.Join(without, ", "))
		}
		return "", fmt.Errorf("tracing %q: the evidence has no commit, tag or deployment of that name", name)
	case 1:
		for sha := range found {
			if sha == "" {
				return "", fmt.Errorf("tracing %q: the %s names no commit", name, found[sha])
			}
			return sha, nil
		}
	}
	var all []string
	for sha, as := range found {
		all = append(all, sha+" ("+as+")")
	}
	slices.Sort(all)
	return "", fmt.Errorf("tracing %q: it may be %s; give more of it", name, strings.Join(all, " or "))
}

// absent is the link for what is not there.
func (t *tracer) absent(step string, kind evidence.Kind, what string) Link {
	p := t.populations[kind]
	if !p.whole {
		return Link{Step: step, State: LinkNotAvailable, Kind: kind, Detail: p.why}
	}
	return Link{Step: step, State: LinkMissing, Kind: kind, Detail: what}
}

func (t *tracer) chain(sha string) Chain {
	c := Chain{Commit: sha, Class: "unknown"}
	add := func(links ...Link) { c.Links = append(c.Links, links...) }
	is := func(it evidence.Item) bool { id, _, _ := strings.Cut(it.ID, "@"); return id == sha }
	commits := t.find("git.commits", is)
	for _, it := range commits {
		signature, _ := it.Attributes["signature"].(map[string]any)
		add(Link{"commit", LinkFound, "git.commits", it.ID, text(it, "committed_at"), text(it, "author_name"),
			fmt.Sprintf("%q, signature %v", text(it, "subject"), cmp.Or(signature["status"], any("none")))})
	}
	if len(commits) == 0 {
		add(t.absent("commit", "git.commits", "the repository that was read does not hold it"))
	}
	changes := t.find("github.changes", is)
	if len(changes) == 0 {
		add(t.absent("pull-request", "github.changes", "the code host does not know of the commit"))
	}
	for _, it := range changes {
		c.Class = text(it, "class")
		if it.Attributes["pr"] == nil {
			add(Link{Step: "pull-request", State: LinkMissing, Kind: "github.changes", ID: it.ID, By: text(it, "pushed_by"), Detail: text(it, "why")})
			continue
		}
		add(t.pullRequest(it)...)
	}
	after := t.descendants(sha)
	add(t.released(after)...)
	add(t.deployed(after)...)
	return c
}

// pullRequest follows a change to the pull request that brought it: its
// reviews, its checks and its merge.
func (t *tracer) pullRequest(change evidence.Item) []Link {
	const kind = evidence.Kind("github.pull-requests")
	number := fmt.Sprint(change.Attributes["pr"])
	id := text(change, "repo") + "#" + number
	prs := t.find(kind, func(it evidence.Item) bool { return it.ID == id })
	if len(prs) == 0 {
		return []Link{t.absent("pull-request", kind, "pull request "+id+" is not among those of the period")}
	}
	pr := prs[0]
	links := []Link{{"pull-request", LinkFound, kind, pr.ID, text(pr, "created_at"), text(pr, "author"), fmt.Sprintf("%q, the change is %s: %s", text(pr, "title"), text(change, "class"), text(change, "why"))}}
	reviews, _ := pr.Attributes["reviews"].([]any)
	for _, r := range reviews {
		if v, ok := r.(map[string]any); ok {
			links = append(links, Link{"review", LinkFound, kind, fmt.Sprint(v["id"]), fmt.Sprint(v["submitted_at"]), fmt.Sprint(v["user"]), fmt.Sprintf("%v of %v", v["state"], v["commit_id"])})
		}
	}
	if approvers, _ := change.Attributes["approvers"].([]any); len(approvers) == 0 {
		links = append(links, Link{Step: "review", State: LinkMissing, Kind: "github.changes", ID: change.ID, Detail: "no approval counts: " + text(change, "why")})
	}
	checks, _ := pr.Attributes["checks"].([]any)
	for _, x := range checks {
		if v, ok := x.(map[string]any); ok {
			links = append(links, Link{Step: "check", State: LinkFound, Kind: kind, ID: fmt.Sprint(v["name"]), Detail: fmt.Sprint(v["conclusion"])})
		}
	}
	if len(checks) == 0 {
		links = append(links, t.absent("check", kind, "no check ran on the merged head"))
	}
	if merged := text(pr, "merged_at"); merged != "" {
		return append(links, Link{"merge", LinkFound, kind, text(pr, "merge_sha"), merged, text(pr, "merged_by"), "method " + cmp.Or(text(pr, "merge_method"), "unknown")})
	}
	return append(links, Link{Step: "merge", State: LinkMissing, Kind: kind, ID: pr.ID, Detail: "it was not merged"})
}

// descendants are the commit and all that stand upon it, as far as the clone
// that was read tells.
func (t *tracer) descendants(sha string) map[string]bool {
	if t.children == nil {
		t.children = map[string][]string{}
		for _, it := range t.items("git.commits") {
			id, _, _ := strings.Cut(it.ID, "@")
			parents, _ := it.Attributes["parents"].([]any)
			for _, p := range parents {
				t.children[fmt.Sprint(p)] = append(t.children[fmt.Sprint(p)], id)
			}
		}
	}
	seen := map[string]bool{sha: true}
	for queue := []string{sha}; len(queue) > 0; queue = queue[1:] {
		for _, child := range t.children[queue[0]] {
			if !seen[child] {
				seen[child] = true
				queue = append(queue, child)
			}
		}
	}
	return seen
}

// notCarried is the link for a commit that nothing is known to carry. Without
// the whole history of a clone nobody knows what stands upon what.
func (t *tracer) notCarried(step string, kind evidence.Kind, what string) Link {
	l := t.absent(step, kind, what)
	if p := t.populations["git.commits"]; l.State == LinkMissing && !p.whole {
		return Link{Step: step, State: LinkNotAvailable, Kind: "git.commits", Detail: p.why}
	}
	return l
}

// released gives the first release that holds the commit.
func (t *tracer) released(in map[string]bool) []Link {
	const kind = evidence.Kind("github.releases")
	all := t.find(kind, func(it evidence.Item) bool { return in[text(it, "sha")] && it.Attributes["draft"] != true })
	if len(all) == 0 {
		return []Link{t.notCarried("release", kind, "no release of the period holds it")}
	}
	first := slices.MinFunc(all, func(a, b evidence.Item) int { return cmp.Compare(text(a, "published_at"), text(b, "published_at")) })
	assets, _ := first.Attributes["assets"].([]any)
	return []Link{{"release", LinkFound, kind, first.ID, text(first, "published_at"), text(first, "author"), fmt.Sprintf("cut from %s, %d assets", text(first, "sha"), len(assets))}}
}

// deployed gives, for each environment, the first deployment that holds the
// commit and succeeded, or else the last that was tried; and what was recorded
// of it after its success.
func (t *tracer) deployed(in map[string]bool) []Link {
	const kind = evidence.Kind("github.deployments")
	by := map[string][]evidence.Item{}
	for _, it := range t.find(kind, func(it evidence.Item) bool { return in[text(it, "sha")] }) {
		by[text(it, "environment")] = append(by[text(it, "environment")], it)
	}
	if len(by) == 0 {
		return []Link{t.notCarried("deployment", kind, "no deployment of the period holds it"), t.notCarried("after-deployment", kind, "nothing was deployed")}
	}
	var links []Link
	for _, environment := range slices.Sorted(maps.Keys(by)) {
		tried := by[environment]
		slices.SortFunc(tried, func(a, b evidence.Item) int { return cmp.Compare(text(a, "created_at"), text(b, "created_at")) })
		at := slices.IndexFunc(tried, func(it evidence.Item) bool { _, ok := succeeded(it); return ok })
		if at < 0 {
			last := tried[len(tried)-1]
			links = append(links, Link{"deployment", LinkMissing, kind, last.ID, text(last, "created_at"), text(last, "creator"), fmt.Sprintf("to %s, which ended as %s", environment, text(last, "final_state"))})
			continue
		}
		d := tried[at]
		links = append(links, Link{"deployment", LinkFound, kind, d.ID, text(d, "created_at"), text(d, "creator"), fmt.Sprintf("of %s to %s, success", text(d, "sha"), environment)})
		links = append(links, afterwards(d, environment)...)
	}
	return links
}

// afterwards gives what was recorded of a deployment after its success: later
// statuses, and checks that looked at the commit where it ran.
func afterwards(d evidence.Item, environment string) []Link {
	const step, kind = "after-deployment", evidence.Kind("github.deployments")
	recorded, known := d.Attributes["after"].([]any)
	if _, told := d.Attributes["after"]; told && !known {
		return []Link{{Step: step, State: LinkNotAvailable, Kind: kind, ID: d.ID, Detail: "the checks after the deployment to " + environment + " could not be read"}}
	}
	var links []Link
	if !known { // collected before checks were
		rest, _ := succeeded(d)
		for _, v := range rest {
			links = append(links, Link{step, LinkFound, kind, d.ID, fmt.Sprint(v["at"]), fmt.Sprint(v["creator"]), fmt.Sprintf("status: %v, once it ran on %s", v["state"], environment)})
		}
	}
	for _, r := range recorded {
		if v, ok := r.(map[string]any); ok {
			links = append(links, Link{step, LinkFound, kind, d.ID, fmt.Sprint(v["at"]), fmt.Sprint(v["by"]), strings.TrimSpace(fmt.Sprintf("%v %v", v["what"], v["name"])) + fmt.Sprintf(": %v, once it ran on %s", v["state"], environment)})
		}
	}
	if len(links) == 0 {
		links = []Link{{Step: step, State: LinkMissing, Kind: kind, ID: d.ID, Detail: "no status and no check was recorded on " + environment + " after the success"}}
	}
	return links
}

// succeeded reports whether the deployment has a success among its statuses,
// and gives those that came after it, but for GitHub's own note that a later
// deployment took over.
func succeeded(d evidence.Item) (after []map[string]any, ok bool) {
	statuses, _ := d.Attributes["statuses"].([]any)
	for _, s := range statuses {
		v, _ := s.(map[string]any)
		switch {
		case ok && v["state"] != "inactive":
			after = append(after, v)
		case v["state"] == "success":
			ok = true
		}
	}
	return after, ok
}
