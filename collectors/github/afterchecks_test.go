package github

import (
	"testing"

	"trustpack/evidence"
	"trustpack/internal/httpreplay"
)

func after(what, name, state, at, by string) any {
	return map[string]any{"what": what, "name": name, "state": state, "at": at, "by": by}
}

// What was recorded after a deployment is not known where the checks at its
// commit cannot be read, and that is a gap.
func TestChecksAfterADeploymentThatCannotBeRead(t *testing.T) {
	b := newBench(t)
	b.server.Inject(httpreplay.Fault{Path: "/repos/acme/meter/commits/m1/check-runs", Status: 403, Body: `{"message":"no"}`})
	got := b.collect()[KindDeployments]
	if v, there := item(t, got, "71")["after"]; v != nil || !there {
		t.Errorf("after a deployment whose checks could not be read: %v", v)
	}
	if got.Completeness.State != evidence.Incomplete || len(got.Completeness.Gaps) != 1 || got.Completeness.Gaps[0].What != "acme/meter: checks after deployment 71" {
		t.Errorf("%+v", got.Completeness)
	}
}
