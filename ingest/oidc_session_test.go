package ingest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// TestSessions: who ends one, and what ends it besides.
func TestSessions(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	root := r.admin("root.admin")
	client := func(token string) *AdminClient { return r.bearerClient(token, nil) }
	works := func(what string, c *AdminClient) {
		t.Helper()
		if _, err := c.Devices(ctx, ""); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	over := func(what string, c *AdminClient) {
		t.Helper()
		_, err := c.Devices(ctx, "")
		var p *Problem
		if !errors.As(err, &p) || p.Code != CodeUnknownCredential && p.Code != CodeExpiredCredential {
			t.Errorf("%s: %v", what, err)
		}
	}

	// A logout ends the session that it came by, and no other.
	one, two := client(r.session("lena", RoleAuditor)), client(r.session("lena", RoleAuditor))
	if err := one.Logout(ctx); err != nil {
		t.Fatal(err)
	}
	over("logged out", one)
	works("the other session", two)
	refusedWith(t, r.admin("ben").Logout(ctx), CodeForbidden)

	// An admin ends anybody's, and nobody else does.
	open, err := root.Sessions(ctx)
	if err != nil || len(open) != 1 || open[0].Operator != "lena" || strings.Join(open[0].Roles, " ") != RoleAuditor || open[0].Source != "127.0.0.1" || !open[0].Until.Equal(open[0].Begun.Add(time.Hour)) {
		t.Fatalf("%+v %v", open, err)
	}
	refusedWith(t, r.admin("carla").EndSession(ctx, open[0].ID, "r"), CodeForbidden)
	refusedWith(t, root.EndSession(ctx, "0123456789abcdef", "r"), CodeNotFound)
	if err := root.EndSession(ctx, open[0].ID, "left the desk"); err != nil {
		t.Fatal(err)
	}
	over("ended", two)
	refusedWith(t, root.EndSession(ctx, open[0].ID, "r"), CodeNotFound)
	ends := r.control(evidence.EntryOperatorLogout)
	var why []string
	for _, e := range ends {
		var d sessionEnded
		if err := unmarshal(e.Data, &d); err != nil {
			t.Fatal(err)
		}
		why = append(why, e.Actor.Name+" "+d.Name+" "+d.Why+" "+e.Reason)
	}
	if !slices.Equal(why, []string{"lena lena logout ", "root.admin lena ended left the desk"}) {
		t.Errorf("%q", why)
	}

	// Of one operator ten are open at most; the oldest gives way.
	tokens := make([]string, 0, maxOpenSessions+1)
	for range maxOpenSessions + 1 {
		tokens = append(tokens, r.session("lena", RoleAuditor))
		r.clock.add(time.Second)
	}
	over("the oldest of eleven", client(tokens[0]))
	works("the second", client(tokens[1]))
	works("the newest", client(tokens[maxOpenSessions]))

	// With the operator all of them go, also for another of his name.
	if err := root.RemoveOperator(ctx, "lena", "left"); err != nil {
		t.Fatal(err)
	}
	over("an operator who was removed", client(tokens[maxOpenSessions]))
	if _, err := root.AddOperator(ctx, "lena", []string{RoleAuditor}, "another lena"); err != nil {
		t.Fatal(err)
	}
	over("another operator of the name", client(tokens[maxOpenSessions]))
	r.restart()
	r.sameAsFold()
}

// A session holds from the network of its login alone.
func TestSessionElsewhere(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		source string
		works  bool
	}{{"127.0.0.1", true}, {"127.0.0.2", false}, {"192.0.2.7", false}, {"2001:db8::/64", false}} {
		_, err := r.bearerClient(r.sessionFrom("lena", c.source, RoleAuditor), nil).Devices(t.Context(), "")
		var p *Problem
		if c.works && err != nil || !c.works && (!errors.As(err, &p) || p.Code != CodeUnknownCredential) {
			t.Errorf("from %s: %v", c.source, err)
		}
	}
	for from, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "2001:db8:1:2::9": "2001:db8:1:2::/64", "::ffff:192.0.2.7": "::ffff:192.0.2.7", "": "",
	} {
		if got := networkOf(from); got != want {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
	}
}

// In a session an operator has the roles of his groups, and not those that go
// with his certificate.
func TestRolesOfASession(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	r.tenant("nord")
	ben := r.bearerClient(r.session("ben", RoleAuditor), nil)
	_, err := ben.RequestDevice(ctx, DeviceRequest{Tenant: "nord", Device: "m-1", Type: "meter", Reason: "r"})
	refusedWith(t, err, CodeForbidden)
	if _, err := r.admin("ben").RequestDevice(ctx, DeviceRequest{Tenant: "nord", Device: "m-1", Type: "meter", Reason: "r"}); err != nil {
		t.Error(err)
	}
	// What he asks for by one credential he cannot approve by another.
	_, _, err = r.bearerClient(r.session("ben", RoleApprover), nil).ApproveDevice(ctx, "nord", "m-1", "")
	refusedWith(t, err, CodeApprovalSelf)
}
