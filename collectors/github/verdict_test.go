package github

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var mergedAt = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// fact changes the facts of a pull request by anna at head "h2", which has no
// review and no check and was merged at mergedAt.
type fact func(*Change, *Rules)

// review adds one: at is in hours before the merge, negative for after.
func review(user, state, commit string, at int) fact {
	return func(c *Change, _ *Rules) {
		c.PR.Reviews = append(c.PR.Reviews, Review{User: user, State: state, Commit: commit, Access: AccessWrite,
			Bot: strings.HasSuffix(user, "[bot]"), Submitted: mergedAt.Add(-time.Duration(at) * time.Hour)})
	}
}

func access(a Access) fact {
	return func(c *Change, _ *Rules) { c.PR.Reviews[len(c.PR.Reviews)-1].Access = a }
}

func checked(name, conclusion string) fact {
	return func(c *Change, _ *Rules) { c.PR.Checks = append(c.PR.Checks, Check{name, conclusion}) }
}

func TestJudge(t *testing.T) {
	const A, R, D, C = "APPROVED", "CHANGES_REQUESTED", "DISMISSED", "COMMENTED"
	noPR := func(c *Change, _ *Rules) { c.PR = nil }
	contributor := func(who string) fact {
		return func(c *Change, _ *Rules) { c.PR.Contributors = append(c.PR.Contributors, who) }
	}
	stranger := func(c *Change, _ *Rules) { c.PR.Strangers = []string{"x@example.org"} }
	pusher := func(who string) fact { return func(c *Change, _ *Rules) { c.PR.LastPusher = who } }
	bypass := func(c *Change, _ *Rules) { c.Bypass = "dmitri" }
	prUnknown := func(c *Change, _ *Rules) { c.PR, c.PRUnknown = nil, "HTTP 500" }
	elsewhere := func(c *Change, _ *Rules) { c.PR, c.Elsewhere = nil, 7 }
	reviewsUnknown := func(c *Change, _ *Rules) { c.PR.ReviewsUnknown = "HTTP 403" }
	checksUnknown := func(c *Change, _ *Rules) { c.PR.ChecksUnknown = "HTTP 502" }
	emergency := func(c *Change, _ *Rules) { c.PR.Labels = append(c.PR.Labels, "bug", "emergency") }
	otherLabel := func(c *Change, _ *Rules) { c.PR.Labels = append(c.PR.Labels, "emergency-exit") }
	dismisses := func(_ *Change, r *Rules) { r.DismissesStale = true }
	requires := func(_ *Change, r *Rules) { r.RequiresReview = true }
	two := func(_ *Change, r *Rules) { r.Approvals = 2 }
	makers := func(who ...string) fact { return func(c *Change, _ *Rules) { c.Makers = who } }
	picked := func(c *Change, _ *Rules) { c.PR, c.PickedFrom = nil, "abc" }
	pushedBy := func(who string) fact { return func(c *Change, _ *Rules) { c.Pusher = who } }
	timelineUnknown := func(c *Change, _ *Rules) { c.PR.TimelineUnknown = "HTTP 410" }
	// retargeted so many hours before the merge
	retargeted := func(at int) fact {
		return func(c *Change, _ *Rules) { c.PR.Retargeted = mergedAt.Add(-time.Duration(at) * time.Hour) }
	}
	queued := func(name, conclusion string) fact {
		return func(c *Change, _ *Rules) {
			c.PR.Queued = true
			if name != "" {
				c.PR.QueueChecks = append(c.PR.QueueChecks, Check{name, conclusion})
			}
		}
	}
	needs := func(names ...string) fact { return func(_ *Change, r *Rules) { r.RequiredChecks = names } }

	cases := []struct {
		name  string
		facts []fact
		class Class
		why   string // in one of the reasons
	}{
		{"approved on the head", []fact{review("ben", A, "h2", 1)}, Approved, "by ben"},
		{"nothing at all", nil, Unreviewed, "without an approval"},
		{"nothing, and the branch requires a review", []fact{requires}, Bypassed, "though the branch requires one"},
		{"a comment is no approval", []fact{review("ben", C, "h2", 1)}, Unreviewed, ""},
		{"a pending review is no approval", []fact{review("ben", "PENDING", "h2", 1)}, Unreviewed, ""},
		{"a comment does not undo an approval", []fact{review("ben", A, "h2", 2), review("ben", C, "h2", 1)}, Approved, ""},
		{"no pull request", []fact{noPR}, DirectPush, "no pull request"},
		{"no pull request, and a bypass", []fact{noPR, bypass}, DirectPush, "dmitri bypassed"},
		{"merged to another branch", []fact{elsewhere}, DirectPush, "#7"},
		{"pull request not known", []fact{prUnknown}, Unknown, "HTTP 500"},
		{"reviews endpoint missing", []fact{reviewsUnknown}, Unknown, "HTTP 403"},
		{"reviews not known, with an approval at hand", []fact{review("ben", A, "h2", 1), reviewsUnknown}, Unknown, "HTTP 403"},
		{"reviews not known, and a bypass", []fact{reviewsUnknown, bypass}, Unknown, ""},

		{"approval, then push", []fact{review("ben", A, "h1", 2)}, StaleApproval, "before the last push"},
		{"approval, then push, on a branch that requires", []fact{review("ben", A, "h1", 2), requires}, StaleApproval, ""},
		{"approval, then push, where stale ones are dismissed by rule", []fact{review("ben", A, "h1", 2), dismisses}, Approved, ""},
		{"approval, push, approval", []fact{review("ben", A, "h1", 3), review("ben", A, "h2", 1)}, Approved, ""},
		{"one stale, another on the head", []fact{review("ben", A, "h1", 3), review("carla", A, "h2", 1)}, Approved, "by carla"},
		{"approval of no named commit", []fact{review("ben", A, "", 1)}, Unknown, ""},
		{"approval of no named commit, where stale ones are dismissed", []fact{review("ben", A, "", 1), dismisses}, Approved, ""},

		{"dismissed", []fact{review("ben", D, "h2", 1)}, Unreviewed, ""},
		{"dismissed, then approved again", []fact{review("ben", D, "h2", 2), review("ben", A, "h2", 1)}, Approved, ""},
		{"approved, then dismissed", []fact{review("ben", A, "h2", 2), review("ben", D, "h2", 1)}, Unreviewed, ""},
		{"dismissed, and approved by another", []fact{review("ben", D, "h2", 2), review("carla", A, "h2", 1)}, Approved, "by carla"},
		{"order of listing is no order in time", []fact{review("ben", A, "h2", 1), review("ben", D, "h2", 2)}, Approved, ""},

		{"request for changes stands", []fact{review("ben", A, "h2", 2), review("carla", R, "h2", 1)}, Bypassed, "carla stood"},
		{"request for changes of an earlier head stands", []fact{review("ben", A, "h2", 1), review("carla", R, "h1", 5)}, Bypassed, "carla stood"},
		{"request for changes, then approved by the same", []fact{review("carla", R, "h1", 2), review("carla", A, "h2", 1)}, Approved, ""},
		{"request for changes, then a comment by the same", []fact{review("ben", A, "h2", 1), review("carla", R, "h1", 3), review("carla", C, "h2", 1)}, Bypassed, ""},
		{"request for changes dismissed", []fact{review("ben", A, "h2", 1), review("carla", D, "h1", 2)}, Approved, ""},
		{"request for changes after the merge", []fact{review("ben", A, "h2", 1), review("carla", R, "h2", -1)}, Approved, ""},
		{"request for changes and no approval", []fact{review("carla", R, "h2", 1)}, Bypassed, ""},
		{"approved, then changes requested by the same", []fact{review("ben", A, "h2", 2), review("ben", R, "h2", 1)}, Bypassed, ""},

		{"the author", []fact{review("anna", A, "h2", 1)}, SelfApproved, "anna"},
		{"the author in other letters", []fact{review("Anna", A, "h2", 1)}, SelfApproved, ""},
		{"the author of a commit", []fact{contributor("ben"), review("ben", A, "h2", 1)}, SelfApproved, "ben"},
		{"a co-author", []fact{contributor("carla"), review("carla", A, "h2", 1)}, SelfApproved, ""},
		{"the last pusher", []fact{pusher("ben"), review("ben", A, "h2", 1)}, SelfApproved, ""},
		{"update-branch by the approver", []fact{review("ben", A, "h1", 2), pusher("ben"), review("ben", A, "h2", 1)}, SelfApproved, ""},
		{"the author and another", []fact{review("anna", A, "h2", 2), review("ben", A, "h2", 1)}, Approved, "by ben"},
		{"the author on an earlier head", []fact{review("anna", A, "h1", 2)}, SelfApproved, ""},
		{"the author on the head, another on an earlier one", []fact{review("anna", A, "h2", 1), review("ben", A, "h1", 2)}, StaleApproval, ""},
		{"squash by another author", []fact{contributor("ben"), review("carla", A, "h2", 1)}, Approved, ""},

		{"a bot", []fact{review("ci[bot]", A, "h2", 1)}, BotApproved, "no person"},
		{"a bot and a person", []fact{review("ci[bot]", A, "h2", 2), review("ben", A, "h2", 1)}, Approved, "by ben"},
		{"a bot and the author", []fact{review("ci[bot]", A, "h2", 2), review("anna", A, "h2", 1)}, SelfApproved, ""},
		{"a bot's change approved by a person", []fact{pusher("ci[bot]"), contributor("ci[bot]"), review("ben", A, "h2", 1)}, Approved, ""},
		{"a bot on a branch that requires", []fact{review("ci[bot]", A, "h2", 1), requires}, BotApproved, ""},

		{"without write access", []fact{review("eve", A, "h2", 1), access(AccessNone)}, Unreviewed, "without write access"},
		{"lost write access, branch requires", []fact{review("eve", A, "h2", 1), access(AccessNone), requires}, Bypassed, ""},
		{"access not known", []fact{review("eve", A, "h2", 1), access(AccessUnknown)}, Unknown, "eve"},
		{"access not known, another known", []fact{review("eve", A, "h2", 1), access(AccessUnknown), review("ben", A, "h2", 1)}, Approved, "by ben"},
		{"deleted account", []fact{review(Ghost, A, "h2", 1), access(AccessUnknown)}, Unknown, Ghost},
		{"deleted account on an earlier head", []fact{review(Ghost, A, "h1", 1), access(AccessUnknown)}, StaleApproval, ""},
		{"deleted author, approved", []fact{func(c *Change, _ *Rules) { c.PR.Author = Ghost }, review("ben", A, "h2", 1)}, Approved, ""},

		{"approved after the merge", []fact{review("ben", A, "h2", -1)}, Unreviewed, "after the merge"},
		{"approved at the very merge", []fact{review("ben", A, "h2", 0)}, Approved, ""},
		{"two must, one did", []fact{two, review("ben", A, "h2", 1)}, Bypassed, "2 must"},
		{"two must, two did", []fact{two, review("ben", A, "h2", 1), review("carla", A, "h2", 1)}, Approved, "ben, carla"},
		{"two must, one did twice", []fact{two, review("ben", A, "h2", 2), review("ben", A, "h2", 1)}, Bypassed, "2 must"},
		{"two must, one of them stale", []fact{two, review("ben", A, "h2", 1), review("carla", A, "h1", 2)}, StaleApproval, ""},
		{"two must, one of them of unknown access", []fact{two, review("ben", A, "h2", 1), review("eve", A, "h2", 1), access(AccessUnknown)}, Unknown, ""},
		{"two must, one stale alone", []fact{two, review("carla", A, "h1", 2)}, StaleApproval, ""},

		{"the rule suite says bypass", []fact{review("ben", A, "h2", 1), bypass}, Bypassed, "dmitri"},
		{"bypass without review", []fact{bypass}, Bypassed, "dmitri"},
		{"bypass with a stale approval", []fact{bypass, review("ben", A, "h1", 1)}, Bypassed, "dmitri"},
		{"green checks", []fact{review("ben", A, "h2", 1), checked("test", "success"), checked("lint", "skipped")}, Approved, ""},
		{"red check", []fact{review("ben", A, "h2", 1), checked("test", "failure")}, Bypassed, `check "test" was failure`},
		{"check still running", []fact{review("ben", A, "h2", 1), checked("test", "pending")}, Bypassed, "pending"},
		{"red check that is not required", []fact{needs("test"), review("ben", A, "h2", 1), checked("test", "success"), checked("nightly", "failure")}, Approved, ""},
		{"required check did not run", []fact{needs("test", "lint"), review("ben", A, "h2", 1), checked("test", "success")}, Bypassed, `"lint" did not run`},
		{"required check twice, one red", []fact{needs("test"), review("ben", A, "h2", 1), checked("test", "failure"), checked("test", "success")}, Bypassed, ""},
		{"checks not known", []fact{review("ben", A, "h2", 1), checksUnknown}, Unknown, "HTTP 502"},
		{"checks not known, and no approval", []fact{checksUnknown}, Unreviewed, ""},
		{"red check and stale", []fact{review("ben", A, "h1", 1), checked("test", "failure")}, StaleApproval, `"test" was failure`},

		{"emergency with later review", []fact{emergency, review("ben", A, "h2", -24)}, Emergency, "ben"},
		{"emergency with later review on a branch that requires", []fact{emergency, requires, bypass, review("ben", A, "h2", -24)}, Emergency, ""},
		{"emergency reviewed at the last moment", []fact{emergency, review("ben", A, "h2", -72)}, Emergency, ""},
		{"emergency reviewed too late", []fact{emergency, review("ben", A, "h2", -73)}, Unreviewed, "within 3 days"},
		{"emergency without later review", []fact{emergency}, Unreviewed, "within 3 days"},
		{"emergency reviewed later by its author", []fact{emergency, review("anna", A, "h2", -24)}, Unreviewed, ""},
		{"emergency reviewed later by a bot", []fact{emergency, review("ci[bot]", A, "h2", -24)}, Unreviewed, ""},
		{"emergency reviewed later without access", []fact{emergency, review("eve", A, "h2", -24), access(AccessNone)}, Unreviewed, ""},
		{"emergency that was approved beforehand", []fact{emergency, review("ben", A, "h2", 1)}, Approved, ""},
		{"a label that is no waiver", []fact{otherLabel, review("ben", A, "h2", -24)}, Unreviewed, ""},
		{"emergency with a stale approval and a later one", []fact{emergency, review("ben", A, "h1", 5), review("ben", A, "h2", -24)}, Emergency, ""},

		{"lost write access, when is not known", []fact{review("eve", A, "h2", 1), access(AccessLost)}, Unknown, "may not write now"},
		{"lost write access, and another approved", []fact{review("eve", A, "h2", 1), access(AccessLost), review("ben", A, "h2", 1)}, Approved, "by ben"},
		{"lost write access, on an earlier head", []fact{review("eve", A, "h1", 1), access(AccessLost)}, StaleApproval, ""},
		{"emergency reviewed later by one who lost access", []fact{emergency, review("eve", A, "h2", -24), access(AccessLost)}, Unreviewed, ""},

		{"the squash names the approver as author", []fact{makers("ben"), review("ben", A, "h2", 1)}, SelfApproved, "ben"},
		{"the squash names the approver as co-author", []fact{makers("anna", "Ben"), review("ben", A, "h2", 1)}, SelfApproved, ""},
		{"the squash names an approver, another approved too", []fact{makers("ben"), review("ben", A, "h2", 1), review("carla", A, "h2", 1)}, Approved, "by carla"},
		{"the emergency's later reviewer made the squash", []fact{makers("ben"), emergency, review("ben", A, "h2", -24)}, Unreviewed, ""},

		{"retargeted after the approval", []fact{review("ben", A, "h2", 2), retargeted(1)}, StaleApproval, "another base"},
		{"retargeted after the approval, stale ones dismissed by rule", []fact{dismisses, review("ben", A, "h2", 2), retargeted(1)}, StaleApproval, "another base"},
		{"retargeted before the approval", []fact{review("ben", A, "h2", 1), retargeted(2)}, Approved, ""},
		{"retargeted between two approvals", []fact{review("ben", A, "h2", 3), retargeted(2), review("carla", A, "h2", 1)}, Approved, "by carla"},
		{"retargeted, and approved again by the same", []fact{review("ben", A, "h2", 3), retargeted(2), review("ben", A, "h2", 1)}, Approved, ""},
		{"timeline not known, approved", []fact{timelineUnknown, review("ben", A, "h2", 1)}, Unknown, "HTTP 410"},
		{"timeline not known, not approved", []fact{timelineUnknown}, Unreviewed, ""},
		{"timeline not known, and a red check", []fact{timelineUnknown, review("ben", A, "h2", 1), checked("test", "failure")}, Bypassed, ""},

		{"merge queue, green there", []fact{needs("test"), queued("test", "success"), checked("test", "failure"), review("ben", A, "h2", 1)}, Approved, ""},
		{"merge queue, red there", []fact{needs("test"), queued("test", "failure"), checked("test", "success"), review("ben", A, "h2", 1)}, Bypassed, "failure"},
		{"merge queue, nothing ran there", []fact{needs("test"), queued("", ""), checked("test", "success"), review("ben", A, "h2", 1)}, Bypassed, "did not run"},
		{"merge queue, approval of an earlier head", []fact{queued("test", "success"), review("ben", A, "h1", 1)}, StaleApproval, ""},

		{"cherry-picked", []fact{picked}, DirectPush, "cherry-picked from abc"},
		{"pushed by a known account", []fact{noPR, pushedBy("dmitri")}, DirectPush, "pushed by dmitri"},
		{"revert by its own approver", []fact{makers("ben"), contributor("ben"), pusher("ben"), func(c *Change, _ *Rules) { c.PR.Author = "ben" }, review("ben", A, "h2", 1)}, SelfApproved, ""},
		{"revert of the reviewer's own change, approved by the reverted", []fact{makers("ben"), contributor("ben"), pusher("ben"), func(c *Change, _ *Rules) { c.PR.Author = "ben" }, review("anna", A, "h2", 1)}, Approved, "by anna"},
		{"from a fork, approved", []fact{func(c *Change, _ *Rules) { c.PR.Author, c.PR.LastPusher = "forker", "forker" }, review("ben", A, "h2", 1)}, Approved, ""},
		{"from a fork, updated by the approver", []fact{func(c *Change, _ *Rules) { c.PR.Author, c.PR.LastPusher = "forker", "ben" }, review("ben", A, "h2", 1)}, SelfApproved, ""},
		{"from a fork, approved by another outsider", []fact{func(c *Change, _ *Rules) { c.PR.Author, c.PR.LastPusher = "forker", "forker" }, review("eve", A, "h2", 1), access(AccessNone)}, Unreviewed, "without write access"},

		{"bypass, request for changes and emergency", []fact{bypass, emergency, review("carla", R, "h2", 1), review("ben", A, "h2", -1)}, Emergency, ""},
		{"emergency with a red check and a later review", []fact{emergency, checked("test", "failure"), review("ben", A, "h2", -1)}, Emergency, `"test" was failure`},
		{"enough, but one of two objects", []fact{two, review("ben", A, "h2", 3), review("carla", A, "h2", 2), review("erin", R, "h2", 1)}, Bypassed, "erin stood"},
		{"two must, author and one other", []fact{two, review("anna", A, "h2", 2), review("ben", A, "h2", 1)}, Bypassed, "2 must"},
		{"two must, bot and one other", []fact{two, review("ci[bot]", A, "h2", 2), review("ben", A, "h2", 1)}, Bypassed, "2 must"},
		{"two must, one lost access", []fact{two, review("eve", A, "h2", 1), access(AccessLost), review("ben", A, "h2", 1)}, Unknown, ""},
		{"dismissed by rule, then nothing", []fact{dismisses, review("ben", D, "h1", 2)}, Unreviewed, ""},
		{"two names of one login", []fact{two, review("ben", A, "h2", 2), review("BEN", A, "h2", 1)}, Bypassed, "2 must"},

		{"co-author with no known account", []fact{stranger, review("ben", A, "h2", 1)}, Unknown, "x@example.org"},
		{"co-author with no known account, two approvers", []fact{stranger, review("ben", A, "h2", 1), review("carla", A, "h2", 1)}, Approved, ""},
	}
	names := map[string]bool{}
	classes := map[Class]int{}
	for _, c := range cases {
		if names[c.name] {
			t.Errorf("case %q stands twice", c.name)
		}
		names[c.name] = true
		change := Change{PR: &PullRequest{Number: 1, Head: "h2", Merged: mergedAt, Author: "anna", LastPusher: "anna"}}
		rules := Rules{Approvals: 1, EmergencyLabel: "emergency", EmergencyDays: 3}
		for _, f := range c.facts {
			f(&change, &rules)
		}
		got := Judge(change, rules)
		classes[got.Class]++
		if got.Class != c.class || !strings.Contains(strings.Join(got.Reasons, "; "), c.why) || len(got.Reasons) == 0 {
			t.Errorf("%s: %s %q, want %s because of %q", c.name, got.Class, got.Reasons, c.class, c.why)
		}
	}
	for _, c := range []Class{Approved, StaleApproval, SelfApproved, BotApproved, Bypassed, DirectPush, Emergency, Unreviewed, Unknown} {
		if classes[c] == 0 {
			t.Errorf("no case ends in %s", c)
		}
	}
}

// The order in which a source lists reviews must not matter.
func TestJudgeIgnoresTheOrderOfListing(t *testing.T) {
	states := []string{"APPROVED", "CHANGES_REQUESTED", "DISMISSED", "COMMENTED"}
	for i, first := range states {
		for j, second := range states {
			change := Change{PR: &PullRequest{Head: "h2", Merged: mergedAt, Author: "anna"}}
			review("ben", first, "h2", 5)(&change, nil)
			review("ben", second, "h2", 3)(&change, nil)
			review("carla", states[(i+j)%4], "h1", 4)(&change, nil)
			want := fmt.Sprint(Judge(change, Rules{}).Class)
			slices.Reverse(change.PR.Reviews)
			if got := fmt.Sprint(Judge(change, Rules{}).Class); got != want {
				t.Errorf("%s then %s: %s, and %s when listed backwards", first, second, want, got)
			}
		}
	}
}

func TestChecksGreen(t *testing.T) {
	pr := &PullRequest{}
	if green, _ := pr.green(nil); green != nil {
		t.Error("no check ran, and yet they are called green or red")
	}
	if green, _ := pr.green([]string{"test"}); green == nil || *green {
		t.Error("a required check that did not run is not red")
	}
	pr.Checks = []Check{{"test", "neutral"}}
	if green, _ := pr.green(nil); green == nil || !*green {
		t.Error("a neutral check is not green")
	}
}

func BenchmarkJudge(b *testing.B) {
	change := Change{PR: &PullRequest{Head: "h2", Merged: mergedAt, Author: "anna", Contributors: []string{"anna", "erin"}}}
	review("ben", "CHANGES_REQUESTED", "h1", 5)(&change, nil)
	review("ben", "APPROVED", "h2", 3)(&change, nil)
	checked("test", "success")(&change, nil)
	checked("lint", "success")(&change, nil)
	rules := Rules{Approvals: 1, RequiredChecks: []string{"test", "lint"}}
	for b.Loop() {
		if Judge(change, rules).Class != Approved {
			b.Fatal("not approved")
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "changes/s")
}
