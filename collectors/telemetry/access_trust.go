package telemetry

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"trustpack/evidence"
)

// clockLimit is how far the ingest's clock may be from the one here before it
// is said. HTTP tells whole seconds.
const clockLimit = 5 * time.Second

// logKeys holds log_keys against the logs that the ingest lists. Without a key
// a log is read under the one that the ingest names, which is said; with
// another one than that, nothing of the log stands.
func (a *asking) logKeys() ([]evidence.Kind, evidence.AccessState, string) {
	none := []evidence.Kind{}
	if rep, asked := a.replies[logsPath]; !asked || rep.err != nil {
		return none, evidence.AccessUnknown, "the list of the logs could not be read"
	}
	var missing, other []string
	for _, l := range a.listed {
		switch key, pinned := a.keys[l.Origin]; {
		case !pinned && a.knownAs(l) != nil:
			return fromLogs(), evidence.AccessLacking, a.knownAs(l).Error()
		case !pinned:
			missing = append(missing, l.Origin)
		case key != l.VerifierKey:
			other = append(other, l.Origin)
		}
	}
	switch {
	case len(other) > 0:
		return fromLogs(), evidence.AccessLacking, "the ingest names another key than log_keys of " + strings.Join(other, ", ") + ": is it the ingest that you know?"
	case len(missing) > 0:
		some := missing[:min(len(missing), 5)]
		return none, evidence.AccessLacking, fmt.Sprintf("of %d logs %d have none, and the ingest's own word is taken: %s; the keys are in each pack (trust/logs)", len(a.listed), len(missing), strings.Join(some, ", "))
	case len(a.listed) == 0:
		return none, evidence.AccessUnknown, "the ingest lists no log"
	}
	return none, evidence.AccessGranted, ""
}

func (a *asking) simulatedTime() bool {
	return a.deps.Clock == evidence.ClockSimulated || a.setup.Clock == evidence.ClockSimulated
}

// clockBeside holds the ingest's clock, as its reply tells it, against the one
// here. Where either is simulated there is nothing to compare,
// which the row of the configuration says.
func (a *asking) clockBeside(rep reply) (evidence.AccessState, string) {
	if a.simulatedTime() {
		return "", ""
	}
	date, err := http.ParseTime(rep.date)
	if err != nil {
		return evidence.AccessUnknown, "the ingest told no time"
	}
	// It was made between the two times here, and cut to a second.
	ahead, behind := date.Sub(rep.request.EndedAt), rep.request.StartedAt.Sub(date.Add(time.Second))
	const do = "set both by the same time servers"
	switch {
	case ahead > clockLimit:
		return evidence.AccessLacking, fmt.Sprintf("the ingest's is at least %s ahead of the one here: %s", ahead.Round(time.Second), do)
	case behind > clockLimit:
		return evidence.AccessLacking, fmt.Sprintf("the ingest's is at least %s behind the one here: %s", behind.Round(time.Second), do)
	}
	return evidence.AccessGranted, ""
}
