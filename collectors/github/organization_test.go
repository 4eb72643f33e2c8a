package github

import (
	"testing"

	"trustpack/evidence"
	"trustpack/internal/httpreplay"
)

// What GitHub shows to owners alone is null and a gap, never a no.
func TestSettingsThatAreNotShown(t *testing.T) {
	b := newBench(t)
	b.server.Inject(httpreplay.Fault{Path: "/orgs/acme", Status: 200, Body: `{"login":"acme","default_repository_permission":"none"}`})
	e := b.collect()[KindOrganization]
	a := item(t, e, "acme")
	for _, field := range []string{"two_factor_required", "members_create_repositories", "members_create_public_repositories"} {
		if v, there := a[field]; !there || v != nil {
			t.Errorf("%s is %v", field, v)
		}
	}
	if a["base_permission"] != "none" || e.Completeness.State != evidence.Incomplete || len(e.Completeness.Gaps) != 3 {
		t.Errorf("%v, %+v", a, e.Completeness)
	}
}

// Of a team of which half could be read, nothing is said.
func TestHalfATeam(t *testing.T) {
	b := newBench(t)
	b.server.Inject(httpreplay.Fault{Path: "/orgs/acme/teams/ops/members", Status: 403, Body: `{"message":"no"}`, From: 2})
	e := b.collect()[KindTeams]
	a := item(t, e, "acme/ops")
	if a["members"] != nil || a["maintainers"] != nil || e.Completeness.State != evidence.Incomplete || len(e.Completeness.Gaps) != 1 {
		t.Errorf("%v, %+v", a, e.Completeness)
	}
	if night := item(t, e, "acme/night"); night["members"] == nil {
		t.Errorf("%v", night)
	}
}
