package drill

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// drill is one attack.
type drill struct {
	id       string // "<control>.<name>"
	control  string
	what     string
	expected string
	attack   func(context.Context, *run) outcome
	prepare  func(context.Context, *run) // before the first drill, for what then needs time; may be nil
}

// all is the list of drills in the order in which they run. The flood is
// last, since it uses up what its tenant may send.
func all() []drill {
	return slices.Concat(
		[]drill{
			serverCertificate(),
			plainHTTP(),
			oldTLS("1.0"),
			oldTLS("1.1"),
			weakCipher(),
			noCertificate(),
			foreignCA(),
			selfSigned(),
			otherToken(),
			selfApproval(),
			escalation(),
			revoked(),
			quarantined(),
			tenantInPath(),
			tenantInHeader(),
			tenantInPayload(),
			behindContentType(),
			tenantInStream(),
			throughGateway(),
		},
		reading(),
		[]drill{
			replayedBatch(),
			replayConflict(),
			oldNumber(),
		},
		wrongTime(),
		[]drill{
			oversizedBody(),
			tooManyLines(),
			tooDeep(),
			decompressionBomb("gzip"),
			decompressionBomb("zstd"),
		},
		malformed(),
		[]drill{
			wrongContentType(),
			unapproved(),
			spike(),
			foreignGrant(),
			expired(),
			expiredGrant(),
			silentDevice(),
			flood(),
		},
	)
}

// choose picks the drills that only names.
func choose(drills []drill, only []string) ([]drill, error) {
	if len(only) == 0 {
		return drills, nil
	}
	wanted := map[string]bool{}
	for _, name := range only {
		known := false
		for _, d := range drills {
			if strings.EqualFold(name, d.id) || strings.EqualFold(name, d.control) {
				wanted[d.id], known = true, true
			}
		}
		if !known {
			return nil, fmt.Errorf("no drill %q: want a control (%s) or a drill's ID such as %s",
				name, strings.Join(controls(drills), ", "), drills[0].id)
		}
	}
	return slices.DeleteFunc(slices.Clone(drills), func(d drill) bool { return !wanted[d.id] }), nil
}

func controls(drills []drill) []string {
	var ids []string
	for _, d := range drills {
		ids = append(ids, d.control)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// outcome is what became of an attack. Traces and stored are looked up in the
// ingest's logs after the last drill.
type outcome struct {
	sent, got string
	verdict   string
	latency   time.Duration
	traces    []trace  // entries that the ingest should have written about it, best first
	recorded  bool     // one of the traces must be there for the drill to pass
	stored    []stored // what the tenants' logs must hold of what was sent
	from, to  int64    // the control log's size before and after
	entry     string   // "<log>/<index>" once found
}

// trace describes the entry about a refusal. Ours says that whatever matches
// was caused by this drill, so that the first of several will do.
type trace struct {
	log   string
	match func(record) bool
	ours  bool
}

// stored asks that a log hold an event of a device so many times.
type stored struct {
	log, device string
	seq         int64
	want        int
}

// unable is the outcome of a drill that could not look.
func unable(sent string, err error) outcome {
	return outcome{sent: sent, got: err.Error(), verdict: NotAvailable}
}

// judged turns a condition into a verdict.
func judged(ok bool) string {
	if ok {
		return Passed
	}
	return Failed
}

// join keeps the worst of several verdicts: failed over not-available over
// passed.
func join(verdicts ...string) string {
	for _, worst := range []string{Failed, NotAvailable} {
		if slices.Contains(verdicts, worst) {
			return worst
		}
	}
	return Passed
}
