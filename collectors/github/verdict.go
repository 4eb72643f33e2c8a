package github

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Class is what a change that reached the protected branch is, exactly one.
type Class string

// The classes.
const (
	Approved      Class = "approved"       // by enough eligible people, on the merged head
	StaleApproval Class = "stale-approval" // approved, but an earlier head
	SelfApproved  Class = "self-approved"  // only by somebody who made the change
	BotApproved   Class = "bot-approved"   // only by an account that is no person
	Bypassed      Class = "bypassed"       // a rule was passed over
	DirectPush    Class = "direct-push"    // no merged pull request brought it
	Emergency     Class = "emergency"      // waived, and reviewed afterwards in time
	Unreviewed    Class = "unreviewed"     // a pull request without any approval that counts
	Unknown       Class = "unknown"        // the source would not say what is needed to tell
)

// Access says whether an account may write to the repository.
type Access string

// The states of access.
const (
	AccessWrite   Access = "write" // or more
	AccessNone    Access = "none"  // or reading only, at the time of the review
	AccessLost    Access = "lost"  // none when it was asked, which was after the merge: whether there was any at the review is not known
	AccessUnknown Access = "unknown"
)

// Ghost stands for an account that was deleted.
const Ghost = "ghost"

// Review is one submitted review.
type Review struct {
	User      string // login; Ghost for a deleted account
	Bot       bool
	State     string // APPROVED, CHANGES_REQUESTED, COMMENTED, DISMISSED, PENDING
	Commit    string // the head that was reviewed; "" where the source does not say
	Submitted time.Time
	Access    Access
}

// Check is a check run or commit status at the merged head.
type Check struct {
	Name       string
	Conclusion string // success, neutral, skipped, failure, …; "pending" while it runs
}

// PullRequest holds the facts of the pull request that brought a change.
type PullRequest struct {
	Number       int
	Head         string // the head commit that was merged
	Merged       time.Time
	Author       string
	Contributors []string // authors, committers and co-authors of its commits, by login
	Strangers    []string // co-authors' addresses that no account is known for
	LastPusher   string
	Retargeted   time.Time // when its base was last changed before the merge; zero: never
	Reviews      []Review
	Checks       []Check // at the head
	Queued       bool    // a merge queue merged it, and ran the required checks again on what it made
	QueueChecks  []Check // there, where Queued
	Labels       []string

	ReviewsUnknown  string // why Reviews or Contributors may not be whole; "" where they are
	ChecksUnknown   string // why Checks or QueueChecks may not be whole
	TimelineUnknown string // why LastPusher and Retargeted may be out of date
}

// Change holds the facts of one commit on the protected branch.
type Change struct {
	PR         *PullRequest // nil: none merged to this branch is tied to it
	PRUnknown  string       // why it is not known which one is
	Bypass     string       // who passed over a rule, as the rule suite says; "" where none says so
	Elsewhere  int          // pull request that holds the commit but was merged to another branch; 0 for none
	PickedFrom string       // commit that it says it was cherry-picked from
	Pusher     string       // who pushed it, where there is no pull request and the source says so
	// Makers are the author and the co-authors of the commit as it stands on the
	// branch, by login. A squash may name others than the commits of the pull
	// request did. Its committer is left out: that is whoever merged.
	Makers []string
}

// Rules are what a change is judged by: the policy, and the branch's own rules.
type Rules struct {
	Approvals      int      // how many people must approve; at least 1
	DismissesStale bool     // the branch dismisses approvals when new commits are pushed
	RequiresReview bool     // the branch requires approval, so a merge without one passed over the rule
	RequiredChecks []string // empty: every check at the head is looked at
	EmergencyLabel string   // label that waives the review beforehand; empty: there is none
	EmergencyDays  int      // days within which the review must follow
}

// Verdict is the class of a change and why.
type Verdict struct {
	Class       Class
	Reasons     []string // never empty
	Approvers   []string // whose approval counts
	ChecksGreen *bool    // nil: no check ran, or it is not known
}

// Judge gives the one class of a change. It is a pure function: nothing but
// its arguments is looked at, and no clock.
//
// A review counts as an approval where it is that reviewer's last one before
// the merge with an opinion (APPROVED, CHANGES_REQUESTED or DISMISSED), it is
// APPROVED, on the merged head (or the branch dismisses stale approvals), by a
// person with write access who neither made nor last pushed the change. The
// first row that fits decides:
//
//	pull request | approvals that count | and                                        | class
//	-------------+----------------------+--------------------------------------------+---------------
//	not known    | -                    |                                            | unknown
//	none         | -                    |                                            | direct-push
//	yes          | not known            |                                            | unknown
//	yes          | too few              | waived, and approved afterwards in time    | emergency
//	yes          | any                  | the rule suite says that a rule was bypassed | bypassed
//	yes          | any                  | somebody's request for changes stood       | bypassed
//	yes          | enough               | a required check was red or did not run    | bypassed
//	yes          | enough               | the checks are not known                   | unknown
//	yes          | enough               | who pushed last, or whether the base was changed, is not known | unknown
//	yes          | enough               | one of them may be a co-author of no known account | unknown
//	yes          | enough               |                                            | approved
//	yes          | too few              | those whose standing is not known could suffice | unknown
//	yes          | too few              | an eligible person approved an earlier head, or for another base | stale-approval
//	yes          | some                 | but fewer than the policy wants            | bypassed
//	yes          | none                 | somebody who made the change approved      | self-approved
//	yes          | none                 | a bot approved                             | bot-approved
//	yes          | none                 | the branch requires a review               | bypassed
//	yes          | none                 |                                            | unreviewed
//
// One person counts once, however many reviews. Whoever merges is not thereby
// an approver. Updating the branch makes the one who does so its last pusher. A
// revert and a change from a fork are changes like any other; a cherry-pick
// brings no approval with it.
func Judge(c Change, rules Rules) Verdict {
	if c.PRUnknown != "" {
		return Verdict{Class: Unknown, Reasons: []string{"which pull request brought it is not known: " + c.PRUnknown}}
	}
	if c.PR == nil {
		return Verdict{Class: DirectPush, Reasons: directReasons(c)}
	}
	pr := c.PR
	v := Verdict{}
	var checkReason string
	v.ChecksGreen, checkReason = pr.green(rules.RequiredChecks)
	if pr.ReviewsUnknown != "" {
		v.Class, v.Reasons = Unknown, []string{"who reviewed it is not known: " + pr.ReviewsUnknown}
		return v
	}
	t := pr.tally(rules.DismissesStale, c.Makers)
	v.Approvers = t.valid
	want := max(rules.Approvals, 1)
	enough := len(t.valid) >= want
	late, waived := pr.emergency(rules, c.Makers)
	is := func(class Class, format string, args ...any) Verdict {
		v.Class = class
		v.Reasons = append([]string{fmt.Sprintf(format, args...)}, t.notes...)
		if waived && late == "" && class != Approved {
			v.Reasons = append(v.Reasons, fmt.Sprintf("declared an emergency, but nobody eligible approved it within %d days after", rules.EmergencyDays))
		}
		if v.ChecksGreen != nil && !*v.ChecksGreen && checkReason != v.Reasons[0] {
			v.Reasons = append(v.Reasons, checkReason)
		}
		return v
	}
	switch {
	case !enough && late != "":
		return is(Emergency, "declared an emergency by label %q and approved afterwards by %s", rules.EmergencyLabel, late)
	case c.Bypass != "":
		return is(Bypassed, "the rule suite says that %s bypassed a rule", c.Bypass)
	case len(t.objections) > 0:
		return is(Bypassed, "merged while the request for changes of %s stood", strings.Join(t.objections, ", "))
	case enough && pr.ChecksUnknown != "":
		return is(Unknown, "approved by %s, but the checks at the merged head are not known: %s", strings.Join(t.valid, ", "), pr.ChecksUnknown)
	case enough && v.ChecksGreen != nil && !*v.ChecksGreen:
		return is(Bypassed, "%s", checkReason)
	case enough && pr.TimelineUnknown != "":
		return is(Unknown, "approved by %s, but who pushed last and to which base is not known: %s", strings.Join(t.valid, ", "), pr.TimelineUnknown)
	case enough && len(t.valid)-len(pr.Strangers) < want && len(pr.Strangers) > 0:
		return is(Unknown, "approved by %s, but no account is known for co-author %s, who may be the same person",
			strings.Join(t.valid, ", "), strings.Join(pr.Strangers, ", "))
	case enough:
		return is(Approved, "approved by %s on the merged head", strings.Join(t.valid, ", "))
	case len(t.doubtful) > 0 && len(t.valid)+len(t.doubtful) >= want:
		return is(Unknown, "approved by %s, whose standing at that time is not known", strings.Join(t.doubtful, ", "))
	case len(t.stale) > 0 && len(t.valid)+len(t.stale) >= want:
		return is(StaleApproval, "approved by %s, but before the last push: the merged head was approved by nobody", strings.Join(t.stale, ", "))
	case len(t.valid) > 0:
		return is(Bypassed, "approved by %d, while %d must approve", len(t.valid), want)
	case len(t.stale) > 0:
		return is(StaleApproval, "approved by %s, but before the last push", strings.Join(t.stale, ", "))
	case len(t.self) > 0:
		return is(SelfApproved, "approved only by %s, who made the change or pushed it last", strings.Join(t.self, ", "))
	case len(t.bots) > 0:
		return is(BotApproved, "approved only by %s, which is no person", strings.Join(t.bots, ", "))
	case rules.RequiresReview:
		return is(Bypassed, "merged without an approval, though the branch requires one")
	}
	return is(Unreviewed, "merged without an approval")
}

func directReasons(c Change) []string {
	out := []string{"no pull request merged to this branch is tied to it"}
	if c.Elsewhere != 0 {
		out = append(out, fmt.Sprintf("pull request #%d holds it, but was merged to another branch", c.Elsewhere))
	}
	if c.PickedFrom != "" {
		out = append(out, "it says that it was cherry-picked from "+c.PickedFrom+", whose approval was for another branch")
	}
	if c.Pusher != "" {
		out = append(out, "pushed by "+c.Pusher)
	}
	if c.Bypass != "" {
		out = append(out, fmt.Sprintf("the rule suite says that %s bypassed a rule", c.Bypass))
	}
	return out
}

// tally sorts the reviewers by what their last opinion before the merge is worth.
type tally struct {
	valid, stale, self, bots, doubtful, objections []string
	notes                                          []string
}

func (pr *PullRequest) tally(dismissesStale bool, makers []string) tally {
	var t tally
	for _, r := range pr.opinions() {
		switch {
		case r.State == "CHANGES_REQUESTED":
			t.objections = append(t.objections, r.User)
		case r.State != "APPROVED":
		case r.Bot:
			t.bots = append(t.bots, r.User)
		case pr.made(r.User, makers):
			t.self = append(t.self, r.User)
		case r.Access == AccessNone:
			t.notes = append(t.notes, r.User+" approved without write access, which does not count")
		case r.Submitted.Before(pr.Retargeted):
			t.stale = append(t.stale, r.User)
			t.notes = append(t.notes, r.User+" approved it for another base branch")
		case r.Commit != pr.Head && r.Commit != "" && !dismissesStale:
			t.stale = append(t.stale, r.User)
		case r.User == Ghost || r.Access != AccessWrite || r.Commit == "" && !dismissesStale:
			t.doubtful = append(t.doubtful, r.User)
			if r.Access == AccessLost {
				t.notes = append(t.notes, r.User+" may not write now; whether that was so at the review is not known")
			}
		default:
			t.valid = append(t.valid, r.User)
		}
	}
	for _, r := range pr.Reviews {
		if r.State == "APPROVED" && r.Submitted.After(pr.Merged) {
			t.notes = append(t.notes, r.User+" approved after the merge, which does not count")
		}
	}
	return t
}

// opinions gives each reviewer's last review with an opinion before the merge,
// by login. Of two at the same instant the later listed counts.
func (pr *PullRequest) opinions() []Review {
	last := map[string]Review{}
	for _, r := range pr.Reviews {
		if !slices.Contains([]string{"APPROVED", "CHANGES_REQUESTED", "DISMISSED"}, r.State) || r.Submitted.After(pr.Merged) {
			continue
		}
		key := strings.ToLower(r.User)
		if before, ok := last[key]; !ok || !r.Submitted.Before(before.Submitted) {
			last[key] = r
		}
	}
	var out []Review
	for _, r := range last {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Review) int { return strings.Compare(a.User, b.User) })
	return out
}

// made reports whether the account made the change, as the pull request or the
// commit on the branch names its makers, or pushed it last.
func (pr *PullRequest) made(login string, makers []string) bool {
	if login == Ghost {
		return false // a deleted account may be anybody
	}
	is := func(who string) bool { return strings.EqualFold(who, login) }
	return is(pr.Author) || is(pr.LastPusher) || slices.ContainsFunc(pr.Contributors, is) || slices.ContainsFunc(makers, is)
}

// emergency tells whether the review was waived, and who made good for it in time.
func (pr *PullRequest) emergency(rules Rules, makers []string) (by string, waived bool) {
	if rules.EmergencyLabel == "" || !slices.Contains(pr.Labels, rules.EmergencyLabel) {
		return "", false
	}
	end := pr.Merged.AddDate(0, 0, rules.EmergencyDays)
	for _, r := range pr.Reviews {
		if r.State == "APPROVED" && r.Submitted.After(pr.Merged) && !r.Submitted.After(end) &&
			!r.Bot && r.User != Ghost && r.Access == AccessWrite && !pr.made(r.User, makers) {
			return r.User, true
		}
	}
	return "", true
}

// green says whether the checks were green on what was merged, the head or what
// a merge queue made of it: the required ones, or all where none is required by name. Of several runs of one name all
// must be.
func (pr *PullRequest) green(required []string) (*bool, string) {
	if pr.ChecksUnknown != "" {
		return nil, ""
	}
	checks := pr.Checks
	if pr.Queued {
		checks = pr.QueueChecks // on what was merged, which is not the head
	}
	green := true
	ran := map[string]bool{}
	reason := ""
	for _, c := range checks {
		ran[c.Name] = true
		if len(required) > 0 && !slices.Contains(required, c.Name) {
			continue
		}
		if !slices.Contains([]string{"success", "neutral", "skipped"}, c.Conclusion) {
			green = false
			reason = fmt.Sprintf("merged though check %q was %s", c.Name, c.Conclusion)
		}
	}
	for _, name := range required {
		if !ran[name] {
			green = false
			reason = fmt.Sprintf("merged though the required check %q did not run", name)
		}
	}
	if len(required) == 0 && len(checks) == 0 {
		return nil, ""
	}
	return &green, reason
}
