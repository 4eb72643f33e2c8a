package ingest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"trustpack/evidence"
)

// bearerClient is an operator's client that shows a token, and a certificate
// where one is given.
func (r *rig) bearerClient(token string, pair *tls.Certificate) *AdminClient {
	r.t.Helper()
	_, addr := r.s.Addrs()
	c, err := NewAdminClient(ClientOptions{URL: "https://" + addr, CA: r.ca, Token: token, Certificate: pair, Now: r.clock.now})
	if err != nil {
		r.t.Fatal(err)
	}
	r.opened(c.Close)
	return c
}

// ledgerText is all that the control log holds.
func (r *rig) controlText() string {
	r.t.Helper()
	var b strings.Builder
	for data, err := range r.s.led.Entries(controlLog, 0, 1<<62) {
		if err != nil {
			r.t.Fatal(err)
		}
		b.Write(data)
		b.WriteByte('\n')
	}
	return b.String()
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestOperatorTokens(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	root := r.admin("root.admin")
	given, err := root.AddOperatorWithToken(ctx, "tora", []string{RoleProvisioner}, 60, "no certificates there")
	if err != nil {
		t.Fatal(err)
	}
	if len(given.Token) != len(operatorTokenBegins)+43 || !given.NotAfter.Equal(r.clock.now().Add(time.Hour)) {
		t.Errorf("%d characters until %v", len(given.Token), given.NotAfter)
	}
	r.tenant("nord")
	tora := r.bearerClient(given.Token, nil)
	if _, err := tora.RequestDevice(ctx, DeviceRequest{Tenant: "nord", Device: "m-1", Type: "meter", Reason: "r"}); err != nil {
		t.Fatal(err)
	}
	acts := r.control(evidence.EntryDeviceRequested)
	if a := acts[0].Actor; a.Name != "tora" || a.Role != RoleProvisioner || a.Credential != tokenPrint(given.Token) {
		t.Errorf("%+v", a)
	}
	_, err = r.bearerClient(given.Token[:len(given.Token)-1]+"A", nil).Devices(ctx, "")
	if err == nil {
		_, err = r.bearerClient(given.Token[:len(given.Token)-1]+"B", nil).Devices(ctx, "")
	}
	refusedWith(t, err, CodeUnknownCredential)
	for _, odd := range []string{"tpo_", "x", "tpo_" + strings.Repeat("A", 43), "a.b.c"} {
		_, err = r.bearerClient(odd, nil).Devices(ctx, "")
		refusedWith(t, err, CodeUnknownCredential)
	}

	// Both at once must be of one person.
	_, err = r.bearerClient(given.Token, r.pairs["carla"]).Devices(ctx, "")
	refusedWith(t, err, CodeForbidden)

	// Rotation: both for the overlap, then the new one alone.
	next, err := tora.RotateToken(ctx, TokenRequest{Minutes: 120, OverlapMinutes: 10, Reason: "due"})
	if err != nil {
		t.Fatal(err)
	}
	r.restart()
	tora, nextClient := r.bearerClient(given.Token, nil), r.bearerClient(next.Token, nil)
	r.clock.add(10*time.Minute - 1)
	for _, c := range []*AdminClient{tora, nextClient} {
		if _, err := c.Devices(ctx, ""); err != nil {
			t.Error(err)
		}
	}
	r.clock.add(1)
	_, err = tora.Devices(ctx, "")
	refusedWith(t, err, CodeExpiredCredential)
	r.clock.add(110*time.Minute - 1)
	if _, err := nextClient.Devices(ctx, ""); err != nil {
		t.Error(err)
	}
	r.clock.add(1)
	_, err = nextClient.Devices(ctx, "")
	refusedWith(t, err, CodeExpiredCredential)

	// Not before its time, not for ever, and not for oneself.
	root = r.admin("root.admin")
	later, err := root.IssueToken(ctx, "tora", TokenRequest{NotBefore: r.clock.now().Add(time.Hour), Minutes: 5})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.bearerClient(later.Token, nil).Devices(ctx, "")
	refusedWith(t, err, CodeExpiredCredential)
	r.clock.add(time.Hour)
	if _, err = r.bearerClient(later.Token, nil).Devices(ctx, ""); err != nil {
		t.Error(err)
	}
	_, err = root.IssueToken(ctx, "tora", TokenRequest{Minutes: 90*24*60 + 1})
	refusedWith(t, err, CodeInvalid)
	_, err = root.IssueToken(ctx, "root.admin", TokenRequest{})
	refusedWith(t, err, CodeApprovalSelf)
	_, err = root.RotateToken(ctx, TokenRequest{})
	refusedWith(t, err, CodeForbidden)
	_, err = r.admin("carla").IssueToken(ctx, "tora", TokenRequest{})
	refusedWith(t, err, CodeForbidden)
	_, err = root.IssueToken(ctx, "nobody", TokenRequest{})
	refusedWith(t, err, CodeNotFound)

	// One that is lost ends with the next, and all with their operator.
	last, err := root.IssueToken(ctx, "tora", TokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.bearerClient(later.Token, nil).Devices(ctx, "")
	refusedWith(t, err, CodeUnknownCredential)
	lastClient := r.bearerClient(last.Token, nil)
	if _, err := lastClient.Devices(ctx, ""); err != nil {
		t.Error(err)
	}
	if err := root.RemoveOperator(ctx, "tora", "left"); err != nil {
		t.Fatal(err)
	}
	_, err = lastClient.Devices(ctx, "")
	refusedWith(t, err, CodeUnknownCredential)
	r.sameAsFold()
	text := r.controlText()
	for _, token := range []string{given.Token, next.Token, later.Token, last.Token} {
		if strings.Contains(text, token) || !strings.Contains(text, tokenPrint(token)) {
			t.Error("the log holds a token, or not its fingerprint")
		}
	}
}

// TestTokenInTheURL: a token in a URL opens nothing, is recorded, and stands
// nowhere in clear; nor does one that was sent to the wrong place.
func TestTokenInTheURL(t *testing.T) {
	said := &lockedBuffer{}
	r := newRig(t, func(*Config) {})
	r.stop()
	r.logger = slog.New(slog.NewJSONHandler(said, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r.start()
	ctx := t.Context()
	given, err := r.admin("root.admin").AddOperatorWithToken(ctx, "tora", []string{RoleAdmin}, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	before := len(r.control(evidence.EntryRefusal))
	for _, path := range []string{
		"/v1/admin/devices?access_token=" + given.Token, "/v1/admin/devices?x=" + given.Token, "/v1/admin/devices?" + given.Token, "/v1/admin/" + given.Token,
		"/v1/admin/devices?access_token=whatever", "/status/" + given.Token, "/v1/admin/devices?x=%74po_" + given.Token[4:],
	} {
		for _, c := range []*AdminClient{r.bearerClient("", nil), r.bearerClient(given.Token, nil), r.admin("root.admin")} {
			_, err := c.Get(ctx, path)
			refusedWith(t, err, CodeTokenInURL)
		}
		r.clock.add(2 * time.Second) // so that each is an entry
	}
	entries := r.control(evidence.EntryRefusal)
	if len(entries)-before < 7 {
		t.Errorf("%d refusals were recorded", len(entries)-before)
	}
	_, addr := r.s.Addrs()
	for _, c := range []*AdminClient{r.admin("root.admin"), r.bearerClient("", nil)} {
		c.url = "https://" + addr
		for _, do := range []func() error{
			func() error { return c.RemoveOperator(ctx, given.Token, given.Token) },
			func() error { return c.AddTenant(ctx, evidence.Tenant{ID: given.Token}, "") },
			func() error {
				_, err := c.RequestDevice(ctx, DeviceRequest{Tenant: given.Token, Device: given.Token, Type: "x", Reason: "x"})
				return err
			},
		} {
			var p *Problem
			if err := do(); !errors.As(err, &p) || strings.Contains(p.Error(), given.Token) {
				t.Error(err)
			}
		}
	}
	// At the devices' port it is no better.
	public, _ := r.s.Addrs()
	d := r.deviceClient(nil)
	for _, path := range []string{"/v1/" + given.Token, "/v1/tenants/" + given.Token + "/telemetry"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+public+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := d.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Error(err)
		}
		res.Body.Close()
	}
	if err := r.s.refusals.flush(true); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"the control log": r.controlText(), "the process's log": said.String()} {
		if strings.Contains(text, given.Token) || !strings.Contains(text, strings.TrimPrefix(tokenPrint(given.Token), "sha256:")[:16]) {
			t.Errorf("%s holds the token, or nothing of it", name)
		}
	}
}
