package github_test

import (
	"fmt"
	"time"

	"trustpack/collectors/github"
)

// scenario makes one change of main. What its class must be it says itself,
// and never asks the code under test.
type scenario struct {
	name   string
	weight int
	make   func(w *world)
}

const approve, objects, dismissed, comments = "APPROVED", "CHANGES_REQUESTED", "DISMISSED", "COMMENTED"

// simple opens a pull request of one author, lets do happen to it, and merges
// it by a third person.
func simple(class github.Class, do func(w *world, p *pr, ben, carla person)) func(*world) {
	return func(w *world) {
		who := w.some(4)
		p := w.open(who[0], 1+w.rng.IntN(3))
		do(w, p, who[1], who[2])
		w.mergeIt(p, who[3], class)
	}
}

func scenarios() []scenario {
	bot := person{login: "helper[bot]", bot: true, write: true}
	queue := person{login: "github-merge-queue[bot]", bot: true}
	outsider := person{login: "outsider"}
	forker := person{login: "forker"}
	follow := func(w *world, p *pr, by person) { // one more commit
		p.add(w.commit(by, by, "more", p.head))
		w.check(p, "success")
	}
	return []scenario{
		{"approved", 40, simple(github.Approved, func(w *world, p *pr, ben, _ person) { w.review(p, ben, approve) })},
		{"approved after a comment and a request for changes", 6, simple(github.Approved, func(w *world, p *pr, ben, carla person) {
			w.review(p, carla, comments)
			w.review(p, ben, objects)
			follow(w, p, p.author)
			w.review(p, ben, approve)
		})},
		{"approved twice by one", 2, simple(github.Approved, func(w *world, p *pr, ben, _ person) {
			w.review(p, ben, approve)
			w.review(p, ben, approve)
		})},
		{"dismissed, then approved again", 3, simple(github.Approved, func(w *world, p *pr, ben, carla person) {
			w.review(p, ben, dismissed)
			w.happens(p, "review_dismissed", carla, "dismissed_review", map[string]any{"review_id": p.reviews[0].id, "state": "approved"})
			w.review(p, ben, approve)
		})},
		{"from a fork", 4, func(w *world) {
			who := w.some(2)
			p := w.open(forker, 2)
			p.fork = true
			w.review(p, who[0], approve)
			w.mergeIt(p, who[1], github.Approved)
		}},
		{"a bot's change, approved", 4, func(w *world) {
			who := w.some(2)
			p := w.open(bot, 1)
			w.review(p, who[0], approve)
			w.mergeIt(p, who[1], github.Approved)
		}},
		{"merged by the approver", 6, func(w *world) {
			who := w.some(2)
			p := w.open(who[0], 1)
			w.review(p, who[1], approve)
			w.mergeIt(p, who[1], github.Approved)
		}},
		{"merge queue", 6, func(w *world) {
			who := w.some(2)
			p := w.open(who[0], 1)
			w.review(p, who[1], approve)
			w.check(p, "failure") // the queue's own run is what counts
			w.happens(p, "added_to_merge_queue", who[0])
			m := w.commit(who[0], webFlow(), fmt.Sprintf("Merge pull request #%d", p.number), w.tip, p.head)
			p.merge = m
			m.prs = append(m.prs, p)
			w.checks[m.sha] = []check{{name: "build", conclusion: "success"}}
			w.land(p, queue, github.Approved, append(append([]*commit{}, p.commits...), m)...)
		}},
		{"merge queue, red there", 2, func(w *world) {
			who := w.some(2)
			p := w.open(who[0], 1)
			w.review(p, who[1], approve)
			m := w.commit(who[0], webFlow(), fmt.Sprintf("Merge pull request #%d", p.number), w.tip, p.head)
			p.merge = m
			m.prs = append(m.prs, p)
			w.checks[m.sha] = []check{{name: "build", conclusion: "failure"}}
			w.land(p, queue, github.Bypassed, append(append([]*commit{}, p.commits...), m)...)
		}},
		{"retargeted before the approval", 2, simple(github.Approved, func(w *world, p *pr, ben, _ person) {
			w.happens(p, "base_ref_changed", p.author)
			w.review(p, ben, approve)
		})},
		{"a revert by the reviewer of the reverted, approved by its author", 2, func(w *world) {
			who := w.some(3)
			p := w.open(who[0], 1)
			w.review(p, who[1], approve)
			w.mergeIt(p, who[2], github.Approved)
			back := w.open(who[1], 1)
			w.review(back, who[0], approve)
			w.mergeIt(back, who[2], github.Approved)
		}},

		{"stale", 8, simple(github.StaleApproval, func(w *world, p *pr, ben, _ person) {
			w.review(p, ben, approve)
			follow(w, p, p.author)
		})},
		{"stale by a forced push", 3, simple(github.StaleApproval, func(w *world, p *pr, ben, _ person) {
			w.review(p, ben, approve)
			p.commits = nil
			p.add(w.commit(p.author, p.author, "written anew", w.tip))
			w.check(p, "success")
			w.happens(p, "head_ref_force_pushed", p.author, "commit_id", p.head.sha)
		})},
		{"retargeted after the approval", 3, simple(github.StaleApproval, func(w *world, p *pr, ben, _ person) {
			w.review(p, ben, approve)
			w.happens(p, "base_ref_changed", p.author)
		})},

		{"approved by a co-author", 3, func(w *world) {
			who := w.some(3)
			p := w.open(who[0], 1)
			p.add(w.commit(who[0], who[0], "together"+coAuthors(who[1]), p.head))
			w.check(p, "success")
			w.review(p, who[1], approve)
			w.mergeIt(p, who[2], github.SelfApproved)
		}},
		{"branch updated by the approver", 3, simple(github.SelfApproved, func(w *world, p *pr, ben, _ person) {
			w.review(p, ben, approve)
			p.add(w.commit(ben, webFlow(), "Merge branch 'main'", p.head, w.tip))
			w.check(p, "success")
			w.review(p, ben, approve)
		})},
		{"forced by the approver", 2, simple(github.SelfApproved, func(w *world, p *pr, ben, _ person) {
			p.commits = nil
			p.add(w.commit(p.author, p.author, "rebased for him", w.tip))
			w.check(p, "success")
			w.happens(p, "head_ref_force_pushed", ben, "commit_id", p.head.sha)
			w.review(p, ben, approve)
		})},
		{"the squash names the approver as its author", 3, func(w *world) {
			who := w.some(3)
			p := w.open(who[0], 2)
			w.review(p, who[1], approve)
			w.squash(p, who[2], who[1], "", github.SelfApproved)
		}},
		{"the squash names the approver as co-author", 3, func(w *world) {
			who := w.some(3)
			p := w.open(who[0], 2)
			w.review(p, who[1], approve)
			w.squash(p, who[2], who[0], coAuthors(who[1]), github.SelfApproved)
		}},

		{"approved by a bot", 4, simple(github.BotApproved, func(w *world, p *pr, _, _ person) { w.review(p, bot, approve) })},

		{"red check", 4, simple(github.Bypassed, func(w *world, p *pr, ben, _ person) {
			w.review(p, ben, approve)
			w.check(p, "failure")
		})},
		{"required check did not run", 2, simple(github.Bypassed, func(w *world, p *pr, ben, _ person) {
			w.review(p, ben, approve)
			w.checks[p.head.sha] = nil
		})},
		{"a request for changes stood", 4, simple(github.Bypassed, func(w *world, p *pr, ben, carla person) {
			w.review(p, carla, objects)
			w.review(p, ben, approve)
			w.review(p, carla, comments)
		})},
		{"an administrator passed over the rules", 4, func(w *world) {
			who := w.some(2)
			p := w.open(who[0], 1)
			if w.now.Before(window.To.AddDate(0, -1, 4)) { // GitHub forgets it after a month
				w.mergeIt(p, who[1], github.Unreviewed)
				return
			}
			w.mergeIt(p, who[1], github.Bypassed)
			w.suites = append(w.suites, map[string]any{"id": p.number, "actor_name": who[1].login, "after_sha": p.merge.sha, "result": "bypass", "ref": "refs/heads/main"})
		}},

		{"direct push", 6, func(w *world) {
			who := w.some(1)[0]
			at := w.tip
			var cs []*commit
			for range 1 + w.rng.IntN(3) {
				at = w.commit(who, who, "quick fix", at)
				cs = append(cs, at)
			}
			w.push(at, who, "push")
			w.reaches(github.DirectPush, cs...)
		}},
		{"cherry-picked and pushed", 2, func(w *world) {
			who := w.some(1)[0]
			c := w.commit(who, who, "fix\n\n(cherry picked from commit "+w.tip.sha+")", w.tip)
			w.push(c, who, "push")
			w.reaches(github.DirectPush, c)
		}},
		{"merged to another branch, then that one pushed", 2, func(w *world) {
			who := w.some(3)
			p := w.open(who[0], 2)
			p.base = "release"
			w.review(p, who[1], approve)
			p.merge = w.commit(who[2], webFlow(), "Merge pull request", w.tip, p.head)
			p.merge.prs = append(p.merge.prs, p)
			p.merged, p.mergedBy = w.later(1), who[2]
			w.push(p.merge, who[2], "push")
			w.reaches(github.DirectPush, append(append([]*commit{}, p.commits...), p.merge)...)
		}},

		{"emergency, reviewed in time", 3, simple(github.Emergency, func(w *world, p *pr, ben, _ person) {
			p.labels = append(p.labels, "emergency")
			w.promise(p, ben, 2)
		})},
		{"emergency, reviewed too late", 2, simple(github.Unreviewed, func(w *world, p *pr, ben, _ person) {
			p.labels = append(p.labels, "emergency")
			w.promise(p, ben, 5)
		})},
		{"emergency without review", 2, simple(github.Unreviewed, func(_ *world, p *pr, _, _ person) { p.labels = append(p.labels, "emergency") })},

		{"unreviewed", 6, simple(github.Unreviewed, func(*world, *pr, person, person) {})},
		{"only commented", 3, simple(github.Unreviewed, func(w *world, p *pr, ben, _ person) { w.review(p, ben, comments) })},
		{"approved and dismissed", 2, simple(github.Unreviewed, func(w *world, p *pr, ben, _ person) { w.review(p, ben, dismissed) })},
		{"approved after the merge", 3, simple(github.Unreviewed, func(w *world, p *pr, ben, _ person) { w.promise(p, ben, 1) })},

		{"approved by one who may not write", 3, simple(github.Unknown, func(w *world, p *pr, _, _ person) { w.review(p, outsider, approve) })},
		{"approved by a deleted account", 2, simple(github.Unknown, func(w *world, p *pr, _, _ person) { w.review(p, person{}, approve) })},
		{"a co-author whom no account is known for", 2, func(w *world) {
			who := w.some(3)
			p := w.open(who[0], 1)
			p.add(w.commit(who[0], who[0], "with a friend\n\nCo-authored-by: F <friend@elsewhere.example>", p.head))
			w.check(p, "success")
			w.review(p, who[1], approve)
			w.mergeIt(p, who[2], github.Unknown)
		}},
	}
}

// promise is a review that is made so many days after the merge.
func (w *world) promise(p *pr, by person, days int) {
	p.reviews = append(p.reviews, review{id: p.number*100 + len(p.reviews), by: by, state: approve, commit: p.head.sha, at: w.now.AddDate(0, 0, days)})
}

// fill makes changes until there are so many pull requests.
func (w *world) fill(prs int) {
	w.t.Helper()
	list := scenarios()
	total := 0
	for _, s := range list {
		total += s.weight
	}
	for len(w.prs) < prs {
		n := w.rng.IntN(total)
		for _, s := range list {
			if n -= s.weight; n < 0 {
				w.counts[s.name]++
				first := len(w.prs)
				s.make(w)
				for _, p := range w.prs[first:] {
					p.scenario = s.name
				}
				break
			}
		}
		// The changes are spread over the window.
		share := 0.95 * float64(len(w.prs)) / float64(prs)
		if due := window.From.Add(time.Duration(share * float64(window.To.Sub(window.From)))); w.now.Before(due) {
			w.now = due.Truncate(time.Second)
		}
	}
	if !w.now.Before(window.To) {
		w.t.Fatalf("the changes do not fit into the window: %s", w.now)
	}
	w.finish()
}
