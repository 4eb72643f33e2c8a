package ingest

import (
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

func TestLoginAtTheProvider(t *testing.T) {
	r, p := oidcRig(t)
	ctx := t.Context()
	r.tenant("nord")
	root := r.admin("root.admin")
	if err := root.AddOperatorByIdentity(ctx, "ada.b", "ada", "joins"); err != nil {
		t.Fatal(err)
	}
	p.groups("ada", "fitters guests")
	ada, s := r.loggedIn(p, r.anonymous(), "ada")
	if s.Name != "ada.b" || len(s.Roles) != 1 || s.Roles[0] != RoleProvisioner || !s.Until.Equal(r.clock.now().Add(8*time.Hour)) || !strings.HasPrefix(s.Token, "tpo_") {
		t.Errorf("%+v", s)
	}
	if _, err := ada.RequestDevice(ctx, DeviceRequest{Tenant: "nord", Device: "m-1", Type: "meter", Reason: "r"}); err != nil {
		t.Fatal(err)
	}
	if a := r.control(evidence.EntryDeviceRequested)[0].Actor; a.Name != "ada.b" || a.Role != RoleProvisioner || a.Credential != tokenPrint(s.Token) {
		t.Errorf("%+v", a)
	}
	_, _, err := ada.ApproveDevice(ctx, "nord", "m-1", "")
	refusedWith(t, err, CodeForbidden)

	logins := r.control(evidence.EntryOperatorLogin)
	var d loginDone
	if err := unmarshal(logins[0].Data, &d); err != nil {
		t.Fatal(err)
	}
	if len(logins) != 1 || d.Name != "ada.b" || d.Issuer != p.issuer || d.Subject != evidence.SHA256Hex([]byte(p.issuer+"\nada")) || strings.Join(d.Groups, " ") != "fitters" || strings.Join(d.Roles, " ") != RoleProvisioner || !d.Until.Equal(s.Until) || d.Source != "127.0.0.1" || !d.Linked {
		t.Errorf("%+v", d)
	}
	if text := r.controlText(); strings.Contains(text, s.Token) {
		t.Error("the log holds the session's token")
	}

	// The session is of the state, so it survives a restart, and a fold.
	r.restart()
	r.sameAsFold()
	ada = r.bearerClient(s.Token, nil)
	if _, err := ada.Devices(ctx, ""); err != nil {
		t.Error(err)
	}

	// It ends by itself.
	r.clock.add(8*time.Hour - 1)
	if _, err := ada.Devices(ctx, ""); err != nil {
		t.Error(err)
	}
	r.clock.add(1)
	_, err = ada.Devices(ctx, "")
	refusedWith(t, err, CodeExpiredCredential)
}

// Whoever has a certificate and an identity at the provider is one operator,
// so that he cannot approve by the one what he asked for by the other.
func TestOnePersonByEitherCredential(t *testing.T) {
	r, p := oidcRig(t)
	ctx := t.Context()
	r.tenant("nord")
	p.groups("ben", "deciders")
	p.groups("carla", "deciders")

	// Without a link ben's identity is nobody, whatever his groups are.
	r.refusedLogin("not linked", r.idToken(p, "ben"), CodeLoginUnlinked)

	// He shows his certificate with the login, which links the two.
	ben, s := r.loggedIn(p, r.admin("ben"), "ben")
	if s.Name != "ben" || strings.Join(s.Roles, " ") != RoleApprover {
		t.Fatalf("%+v", s)
	}
	if _, err := r.admin("ben").RequestDevice(ctx, DeviceRequest{Tenant: "nord", Device: "m-1", Type: "meter", Reason: "r"}); err != nil {
		t.Fatal(err)
	}
	_, _, err := ben.ApproveDevice(ctx, "nord", "m-1", "by the other credential")
	refusedWith(t, err, CodeApprovalSelf)

	// From then on the identity alone says who he is, also after a restart.
	r.restart()
	ben, s = r.loggedIn(p, r.anonymous(), "ben")
	if s.Name != "ben" {
		t.Fatalf("%+v", s)
	}
	_, _, err = ben.ApproveDevice(ctx, "nord", "m-1", "again")
	refusedWith(t, err, CodeApprovalSelf)

	// An identity is one operator's, and an operator has one identity.
	_, err = r.admin("carla").Login(ctx, r.idToken(p, "ben"))
	refusedWith(t, err, CodeForbidden)
	_, err = r.admin("ben").Login(ctx, r.idToken(p, "carla"))
	refusedWith(t, err, CodeLoginUnlinked)
	if err := r.admin("root.admin").AddOperatorByIdentity(ctx, "carla.b", "carla", "r"); err != nil {
		t.Fatal(err)
	}
	_, err = r.admin("dora").Login(ctx, r.idToken(p, "carla"))
	refusedWith(t, err, CodeLoginUnlinked)
	refusedWith(t, r.admin("root.admin").AddOperatorByIdentity(ctx, "x", "carla", "r"), CodeConflict)
	refusedWith(t, r.admin("root.admin").AddOperatorByIdentity(ctx, "ben", "x", "r"), CodeConflict)

	// Nobody acts as two: a session over a connection with another's certificate.
	_, err = r.bearerClient(s.Token, r.pairs["carla"]).Devices(ctx, "")
	refusedWith(t, err, CodeForbidden)
	if _, err = r.bearerClient(s.Token, r.pairs["ben"]).Devices(ctx, ""); err != nil {
		t.Error(err)
	}

	// A new certificate for ben is no new person.
	if r.pairs["ben"], err = r.admin("root.admin").AddOperator(ctx, "ben", []string{RoleProvisioner}, "lost"); err != nil {
		t.Fatal(err)
	}
	if _, s = r.loggedIn(p, r.anonymous(), "ben"); s.Name != "ben" {
		t.Errorf("%+v", s)
	}
	// One who was removed is nobody, also when another gets the name.
	if err := r.admin("root.admin").RemoveOperator(ctx, "ben", "left"); err != nil {
		t.Fatal(err)
	}
	r.refusedLogin("removed", r.idToken(p, "ben"), CodeLoginUnlinked)
	if _, err := r.admin("root.admin").AddOperator(ctx, "ben", []string{RoleProvisioner}, "another ben"); err != nil {
		t.Fatal(err)
	}
	r.refusedLogin("another ben", r.idToken(p, "ben"), CodeLoginUnlinked)
	r.sameAsFold()
}
