package ingest

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

func allowTokens(c *Config) { c.Tokens.Allowed.Types = []string{"meter"} }

// tokenDevice provisions a device with a token.
func (r *rig) tokenDevice(tenant, device string) DeviceToken {
	r.t.Helper()
	out, err := r.deviceClient(nil).EnrolToken(r.t.Context(), tenant, device, r.codeFor(tenant, device))
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// codeFor requests and approves a device.
func (r *rig) codeFor(tenant, device string) string {
	r.t.Helper()
	if _, err := r.admin("ben").RequestDevice(r.t.Context(), DeviceRequest{Tenant: tenant, Device: device, Type: "meter", Fleet: "f1", Reason: "test"}); err != nil {
		r.t.Fatal(err)
	}
	code, _, err := r.admin("carla").ApproveDevice(r.t.Context(), tenant, device, "ok")
	if err != nil {
		r.t.Fatal(err)
	}
	return code
}

// withToken is a device's client that brings a token, and a certificate where
// one is given.
func (r *rig) withToken(token string, pair *tls.Certificate, change ...func(*ClientOptions)) *DeviceClient {
	r.t.Helper()
	addr, _ := r.s.Addrs()
	o := ClientOptions{URL: "https://" + addr, CA: r.ca, Token: token, Certificate: pair, Now: r.clock.now}
	for _, c := range change {
		c(&o)
	}
	c, err := NewDeviceClient(o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.opened(c.Close)
	return c
}

// TestATokenIsShownOnce: 256 bits, of which log, registry and process log hold
// the SHA-256 alone; only where the policy says so, and only once for a code.
func TestATokenIsShownOnce(t *testing.T) {
	log := &lockedBuffer{}
	r := newRig(t)
	r.stop()
	r.logger = slog.New(slog.NewTextHandler(log, nil))
	r.start()
	r.tenant("nord")
	code := r.codeFor("nord", "m-1")
	_, err := r.deviceClient(nil).EnrolToken(t.Context(), "nord", "m-1", code)
	refusedWith(t, err, CodeTokenNotAllowed)
	r.stop()
	allowTokens(&r.config)
	r.start()
	_, err = r.deviceClient(nil).EnrolToken(t.Context(), "nord", "m-1", code+"A")
	refusedWith(t, err, CodeEnrolBadCode)
	out, err := r.deviceClient(nil).EnrolToken(t.Context(), "nord", "m-1", code)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.deviceClient(nil).EnrolToken(t.Context(), "nord", "m-1", code)
	refusedWith(t, err, CodeEnrolBadCode)
	if !plainDeviceToken(out.Token) || len(out.Token) != 47 || !out.NotBefore.Equal(r.clock.now()) || !out.NotAfter.Equal(r.clock.now().Add(90*day)) {
		t.Errorf("%d characters, %v to %v", len(out.Token), out.NotBefore, out.NotAfter)
	}
	if other := r.tokenDevice("nord", "m-2"); other.Token == out.Token {
		t.Error("two devices have one token")
	}
	r.send(r.withToken(out.Token, nil), r.line(1, 1))
	want := evidence.Credential{Fingerprint: tokenPrint(out.Token), Method: "token", KeyType: "token-256", NotBefore: out.NotBefore, NotAfter: out.NotAfter}
	var c evidence.Credential
	if e := r.control(evidence.EntryTokenIssued); len(e) != 2 || unmarshal(e[0].Data, &c) != nil || c != want {
		t.Errorf("%+v", c)
	}
	if rec := r.s.st.recordOf(r.s.st.device("nord", "m-1")); rec.State != evidence.DeviceActive || len(rec.Credentials) != 1 || rec.Credentials[0] != want {
		t.Errorf("%+v", rec)
	}
	for what, text := range map[string]string{"control log": r.controlText(), "process log": log.String()} {
		if strings.Contains(text, out.Token) || strings.Contains(text, out.Token[4:]) {
			t.Errorf("the %s holds the token", what)
		}
	}
	r.stop()
	same(t, "the ingest and its logs", r.foldCopy(), plainOf(r.s.st))
}

// TestTokensEndAndRotate: not after not_after, to the nanosecond, over HTTP/2
// and the reader of small batches; a new one goes beside the old one until
// old_until, and the old one's connection is cut.
func TestTokensEndAndRotate(t *testing.T) {
	for _, http1 := range []bool{true, false} {
		r := newRig(t, allowTokens, func(c *Config) { c.Tokens.DeviceMax = 10 * day; c.Heartbeat.DefaultInterval = 1000 * day })
		r.tenant("nord")
		first := r.tokenDevice("nord", "m-1")
		only1 := func(o *ClientOptions) { o.HTTP1 = http1 }
		old := r.withToken(first.Token, nil, only1)
		r.send(old, r.line(1, 1))
		r.clock.add(5 * day)
		second, err := old.RenewToken(t.Context())
		if err != nil || !second.OldUntil.Equal(r.clock.now().Add(day)) {
			t.Fatal(second.OldUntil, err)
		}
		r.restart()
		old = r.withToken(first.Token, nil, only1)
		fresh := r.withToken(second.Token, nil, only1)
		r.clock.add(day - 1)
		r.send(old, r.line(2, 1))
		r.send(fresh, r.line(3, 1))
		r.clock.add(1)
		_, err = old.Send(t.Context(), []byte(r.line(4, 1)))
		refusedWith(t, err, CodeExpiredCredential)
		if r.tokenSessions(first) == 0 {
			t.Error("no connection is known to have brought the old token")
		}
		r.tick()
		if r.tokenSessions(first) != 0 || r.tokenSessions(second) == 0 {
			t.Errorf("%d connections of the old token, %d of the new one", r.tokenSessions(first), r.tokenSessions(second))
		}
		r.send(fresh, r.line(5, 1))
		r.clock.add(second.NotAfter.Sub(r.clock.now()) - 1)
		r.send(fresh, r.line(6, 1))
		r.clock.add(1)
		_, err = fresh.Send(t.Context(), []byte(r.line(7, 1)))
		refusedWith(t, err, CodeExpiredCredential)
		_, err = fresh.RenewToken(t.Context())
		refusedWith(t, err, CodeExpiredCredential)
		r.tick()
		var d retiredData
		if e := r.control(evidence.EntryCredentialDead); len(e) != 2 || unmarshal(e[1].Data, &d) != nil || d.Why != whyExpired {
			t.Errorf("%+v", e)
		}
		if r.tokenSessions(second) != 0 {
			t.Error("the connection of an expired token is open")
		}
	}
}

func (r *rig) tokenSessions(tok DeviceToken) int {
	r.s.sessions.mu.Lock()
	defer r.s.sessions.mu.Unlock()
	return len(r.s.sessions.byKey[tokenPrint(tok.Token)])
}

// TestATokenEndsWithinARequest: a request that was begun with a good token and
// comes to its end after it is refused.
func TestATokenEndsWithinARequest(t *testing.T) {
	r := newRig(t, allowTokens)
	r.tenant("nord")
	tok := r.tokenDevice("nord", "m-1")
	for i, left := range []time.Duration{1, 0} {
		c := &call{bearer: bearerState{}}
		r.s.enter(c, &session{s: r.s, listener: "public", source: "127.0.0.1"}, "/v1/telemetry")
		c.bearer.text = tok.Token
		if p := r.s.identify(c); p != nil {
			t.Fatal(p)
		}
		r.clock.add(tok.NotAfter.Sub(r.clock.now()) - left)
		b := r.s.batch(c)
		b.texts = []string{r.line(i, 1)}
		if p := r.s.scan(c, b); p != nil {
			t.Fatal(p)
		}
		b.by(c)
		err := r.s.take(b)
		if left > 0 && err != nil || left == 0 && refusedWith(t, err, CodeExpiredCredential) == nil {
			t.Errorf("%v before its end: %v", left, err)
		}
	}
}

// TestWrongTokens are refused and recorded by fingerprint, and those of one
// source that go on are counted; a good token from there goes through.
func TestWrongTokens(t *testing.T) {
	r := newRig(t, allowTokens)
	r.tenant("nord")
	good := r.tokenDevice("nord", "m-1")
	wrong := deviceTokenBegins + strings.Repeat("A", 43)
	_, err := r.withToken(wrong, nil).Send(t.Context(), []byte(r.line(1, 1)))
	refusedWith(t, err, CodeUnknownCredential)
	var f evidence.Refusal
	if e := r.control(evidence.EntryRefusal); len(e) != 1 || unmarshal(e[0].Data, &f) != nil || f.Fingerprint != tokenPrint(wrong) || f.Source != "127.0.0.1" {
		t.Errorf("%+v", f)
	}
	for _, odd := range []string{"hunter2", "tpd_", good.Token[:46], good.Token + "A", "tpd_" + strings.Repeat("é", 21) + "x", "a.b.c", strings.Replace(good.Token, "tpd_", "tpo_", 1)} {
		_, err = r.withToken(odd, nil).Send(t.Context(), []byte(r.line(1, 1)))
		refusedWith(t, err, CodeUnknownCredential)
	}
	if strings.Contains(r.controlText(), evidence.SHA256Hex([]byte("hunter2"))) {
		t.Error("the log holds the digest of what is no token, and may be a password")
	}
	n := 0
	for ; n < 100; n++ {
		_, err = r.withToken(fmt.Sprintf("tpd_%043d", n), nil).Send(t.Context(), []byte(r.line(1, 1)))
		if p, ok := err.(*Problem); ok && p.Code == CodeRateSource {
			if p.RetryAfter() == 0 {
				t.Error("no Retry-After")
			}
			break
		}
		refusedWith(t, err, CodeUnknownCredential)
	}
	if n > missRate().Burst || n == 0 {
		t.Errorf("%d wrong tokens were named", n)
	}
	r.send(r.withToken(good.Token, nil), r.line(1, 1))
	if text := r.controlText(); strings.Contains(text, wrong) {
		t.Error("the log holds a token that was tried")
	}
	r.clock.add(time.Minute)
	_, err = r.withToken(wrong, nil).Send(t.Context(), []byte(r.line(1, 1)))
	refusedWith(t, err, CodeUnknownCredential)
}

// TestATokenInTheURL is refused and recorded, and never logged in clear.
func TestATokenInTheURL(t *testing.T) {
	log := &lockedBuffer{}
	r := newRig(t, allowTokens)
	r.stop()
	r.logger = slog.New(slog.NewTextHandler(log, nil))
	r.start()
	r.tenant("nord")
	tok := r.tokenDevice("nord", "m-1")
	addr, _ := r.s.Addrs()
	c := r.withToken("", nil)
	for i, path := range []string{
		"/v1/telemetry?access_token=" + tok.Token, "/v1/telemetry?x=" + tok.Token, "/v1/telemetry?lines=all&" + tok.Token, "/v1/telemetry/" + tok.Token, "/" + tok.Token + "/../v1/telemetry",
		"/v1/tenants/" + tok.Token + "/telemetry", "/v1/telemetry?x=%74pd_" + tok.Token[4:], "//" + tok.Token, "/v1/stream?token=" + tok.Token, "/status/" + tok.Token,
	} {
		before := len(r.control(evidence.EntryRefusal))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+addr+path, strings.NewReader(r.line(1, 1)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-ndjson")
		if i%2 == 0 {
			req.Header.Set("Authorization", "Bearer "+tok.Token)
		}
		res, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 400 || !strings.Contains(string(body), string(CodeTokenInURL)) || strings.Contains(string(body), tok.Token) {
			t.Errorf("%s: %s %s", path, res.Status, body)
		}
		if len(r.control(evidence.EntryRefusal)) == before {
			r.clock.add(2 * time.Second) // counted with one like it
		}
	}
	if n := len(r.control(evidence.EntryRefusal)); n < 5 {
		t.Errorf("%d refusals are in the log", n)
	}
	for what, text := range map[string]string{"control log": r.controlText(), "process log": log.String()} {
		if strings.Contains(text, tok.Token[4:]) {
			t.Errorf("the %s holds the token", what)
		}
	}
	if n := r.s.st.device("nord", "m-1").accepted; n != 0 {
		t.Errorf("%d events were taken", n)
	}
}

// TestOneConnectionSpeaksForOneDevice: a certificate and a token of two devices
// are refused, and so are tokens of two devices over one connection; those of
// one device go together.
func TestOneConnectionSpeaksForOneDevice(t *testing.T) {
	r := newRig(t, allowTokens)
	r.tenant("nord")
	r.tenant("sued")
	pair, tok := r.enrol("nord", "m-1"), r.tokenDevice("nord", "m-2")
	_, err := r.withToken(tok.Token, pair).Send(t.Context(), []byte(r.line(1, 1)))
	refusedWith(t, err, CodeCredentialMismatch)
	e := r.control(evidence.EntryRefusal)
	var f evidence.Refusal
	if last := e[len(e)-1]; unmarshal(last.Data, &f) != nil || last.Device != "m-1" || f.Fingerprint != tokenPrint(tok.Token) {
		t.Errorf("%+v %+v", last, f)
	}
	_, err = r.withToken(tok.Token, r.pairs["carla"]).Send(t.Context(), []byte(r.line(1, 1)))
	refusedWith(t, err, CodeCredentialMismatch)
	_, err = r.withToken("tpd_"+strings.Repeat("A", 43), pair).Send(t.Context(), []byte(r.line(1, 1)))
	refusedWith(t, err, CodeUnknownCredential)
	if n := r.s.st.device("nord", "m-2").accepted + r.s.st.device("nord", "m-1").accepted; n != 0 {
		t.Errorf("%d events were taken", n)
	}

	// Tokens of two devices over one connection.
	other := r.tokenDevice("sued", "m-3")
	sess := &session{s: r.s, listener: "public", source: "127.0.0.1"}
	for i, text := range []string{tok.Token, other.Token} {
		q := &call{}
		r.s.enter(q, sess, "/v1/telemetry")
		q.bearer.text = text
		if p := r.s.identify(q); (p == nil) != (i == 0) || p != nil && p.Code != CodeCredentialMismatch {
			t.Errorf("token %d: %v", i, p)
		}
	}

	// Both of one device: the certificate goes on beside the token that an
	// order gave it.
	code, _, err := r.admin("carla").RotateDevice(t.Context(), "nord", "m-1", "it loses its key store", "")
	if err != nil {
		t.Fatal(err)
	}
	own, err := r.deviceClient(nil).EnrolToken(t.Context(), "nord", "m-1", code)
	if err != nil {
		t.Fatal(err)
	}
	both := r.withToken(own.Token, pair)
	r.send(both, r.line(1, 1))
	if r.tokenSessions(own) != 1 || r.shown(pair) == 0 {
		t.Error("the connection is not bound to both")
	}
	r.clock.add(day)
	_, err = both.Send(t.Context(), []byte(r.line(2, 1)))
	refusedWith(t, err, CodeExpiredCredential) // of the certificate, which the token replaced
	r.send(r.withToken(own.Token, nil), r.line(2, 1))
}

// TestDecisionsReachTokens: a quarantine and a revocation cut the connections
// that brought the token, and refuse it.
func TestDecisionsReachTokens(t *testing.T) {
	r := newRig(t, allowTokens)
	r.tenant("nord")
	tok := r.tokenDevice("nord", "m-1")
	c := r.withToken(tok.Token, nil)
	r.send(c, r.line(1, 1))
	for i, decide := range []func(*AdminClient) error{
		func(a *AdminClient) error {
			_, err := a.QuarantineDevice(t.Context(), "nord", "m-1", "x", "")
			return err
		},
		func(a *AdminClient) error { _, err := a.RevokeDevice(t.Context(), "nord", "m-1", "x", ""); return err },
	} {
		if r.tokenSessions(tok) == 0 {
			t.Fatal("no connection is bound to the token")
		}
		if err := decide(r.admin("carla")); err != nil {
			t.Fatal(err)
		}
		if n := r.tokenSessions(tok); n != 0 {
			t.Errorf("%d connections are open after decision %d", n, i)
		}
		_, err := c.Send(t.Context(), []byte(r.line(2, 1)))
		refusedWith(t, err, []Code{CodeQuarantined, CodeRevoked}[i])
		if _, err = c.RenewToken(t.Context()); err == nil {
			t.Error("renewed")
		}
		if i == 0 {
			if _, err := r.admin("carla").ReleaseDevice(t.Context(), "nord", "m-1", "x", ""); err != nil {
				t.Fatal(err)
			}
			r.send(c, r.line(2, 1))
		}
	}
}

// TestTokensAndCertificatesAreCountedTogether: a device has as many connections
// as one may, whatever it shows.
func TestTokensAndCertificatesAreCountedTogether(t *testing.T) {
	r := newRig(t, allowTokens, func(c *Config) { c.Limits.ConnectionsPerDevice = 2 })
	r.tenant("nord")
	first := r.tokenDevice("nord", "m-1")
	a := r.withToken(first.Token, nil)
	r.send(a, r.line(1, 1))
	second, err := a.RenewToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.send(r.withToken(second.Token, nil), r.line(2, 1))
	for _, tok := range []DeviceToken{first, second} {
		_, err = r.withToken(tok.Token, nil).Send(t.Context(), []byte(r.line(3, 1)))
		refusedWith(t, err, CodeTooManyConns)
	}
}

// TestACertificateDoesNotBecomeAToken by itself.
func TestACertificateDoesNotBecomeAToken(t *testing.T) {
	r := newRig(t, allowTokens)
	r.tenant("nord")
	pair, tok := r.enrol("nord", "m-1"), r.tokenDevice("nord", "m-2")
	r.send(r.deviceClient(pair), r.line(1, 1))
	_, err := r.deviceClient(pair).RenewToken(t.Context())
	refusedWith(t, err, CodeTokenNotAllowed)
	c := r.withToken(tok.Token, nil)
	r.send(c, r.line(1, 1))
	next, _, err := c.Renew(t.Context(), "m-2") // the other way is no loss
	if err != nil {
		t.Fatal(err)
	}
	r.send(r.deviceClient(next), r.line(2, 1))
}

// TestTheStatusPageTakesAToken of its tenant.
func TestTheStatusPageTakesAToken(t *testing.T) {
	r := newRig(t, allowTokens)
	r.tenant("nord")
	r.tenant("sued")
	c := r.withToken(r.tokenDevice("nord", "m-1").Token, nil)
	if _, err := c.do(t.Context(), http.MethodGet, "/v1/status/nord", "", nil); err != nil {
		t.Error(err)
	}
	_, err := c.do(t.Context(), http.MethodGet, "/v1/status/sued", "", nil)
	refusedWith(t, err, CodeTenantMismatch)
	_, err = r.withToken("tpd_"+strings.Repeat("A", 43), r.pairs["erin"]).do(t.Context(), http.MethodGet, "/v1/status/nord", "", nil)
	refusedWith(t, err, CodeUnknownCredential)
}

// TestSmallBatchesTakeATokenWithoutNetHTTP: the reader of small batches knows
// the field in its one form; all others are for net/http to read.
func TestSmallBatchesTakeATokenWithoutNetHTTP(t *testing.T) {
	r := newRig(t, allowTokens)
	r.tenant("nord")
	tok := r.tokenDevice("nord", "m-1")
	h := &hot{s: r.s, port: r.s.port, sess: &session{s: r.s, listener: "public", source: "127.0.0.1"}}
	for i := range 3 {
		h.in = []byte(hotPost(r.line(i, 1), "Authorization: Bearer "+tok.Token, "Content-Type: application/x-ndjson"))
		if !parseHotHead(h.in, &h.head) {
			t.Fatalf("not taken: %s", h.in)
		}
		b := h.judge()
		if h.to.status != 202 {
			t.Fatalf("%d %s", h.to.status, h.to.body)
		}
		b.release()
		if h.call.bearer.text != "" {
			t.Error("the call keeps the token's text")
		}
	}
	for _, odd := range []string{"bearer " + tok.Token, "Bearer  " + tok.Token, "Bearer " + tok.Token + "A", "Bearer " + tok.Token[:46], "Bearer tpo_" + tok.Token[4:], tok.Token, "Basic " + tok.Token, "Bearer " + tok.Token + ", x"} {
		if in := []byte(hotPost(r.line(9, 1), "Authorization: "+odd)); parseHotHead(in, &h.head) {
			t.Errorf("taken: %s", in)
		}
	}
	if in := []byte(hotPost(r.line(9, 1), "Authorization: Bearer "+tok.Token, "Authorization: Bearer "+tok.Token)); parseHotHead(in, &h.head) {
		t.Errorf("taken: %s", in)
	}
}

// TestAuthorizationStandsOnce and is a device's token, or the request is refused
// though its certificate is good: nobody is taken for whom he may not mean to be.
func TestAuthorizationStandsOnce(t *testing.T) {
	r := newRig(t, allowTokens)
	r.tenant("nord")
	pair, tok := r.enrol("nord", "m-1"), r.tokenDevice("nord", "m-2")
	addr, _ := r.s.Addrs()
	for _, c := range []struct {
		who   *DeviceClient
		field []string
	}{
		{r.deviceClient(pair), []string{"Basic eDp5"}}, {r.deviceClient(pair), []string{""}}, {r.deviceClient(pair), []string{"Bearer"}},
		{r.deviceClient(nil), []string{"Bearer " + tok.Token, "Bearer " + tok.Token}}, {r.deviceClient(nil), []string{"Digest " + tok.Token}},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+addr+"/v1/telemetry", strings.NewReader(r.line(1, 1)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header["Authorization"], req.Header["Content-Type"] = c.field, []string{"application/x-ndjson"}
		res, err := c.who.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 401 {
			t.Errorf("%q: %s", c.field, res.Status)
		}
	}
	if strings.Contains(r.controlText(), tok.Token) {
		t.Error("the log holds the token")
	}
}

// TestATokenIsNotGoodBeforeItsTime, and who asks who it is learns its end to
// the nanosecond.
func TestATokenIsNotGoodBeforeItsTime(t *testing.T) {
	r := newRig(t, allowTokens)
	r.tenant("nord")
	r.codeFor("nord", "m-1")
	text, now := deviceTokenBegins+strings.Repeat("B", 43), r.clock.now()
	d := r.s.st.device("nord", "m-1")
	d.flow.Lock()
	_, err := r.s.record(r.s.entry(evidence.EntryTokenIssued, evidence.AuditEntry{
		Tenant: "nord", Device: "m-1", Generation: 1, Data: raw(evidence.Credential{Fingerprint: tokenPrint(text), Method: MethodToken, NotBefore: now.Add(time.Hour), NotAfter: now.Add(2 * time.Hour)}),
	}))
	d.flow.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at time.Duration
		ok bool
	}{{time.Hour - 1, false}, {time.Hour, true}, {2*time.Hour - 1, true}, {2 * time.Hour, false}} {
		r.clock.add(now.Add(c.at).Sub(r.clock.now()))
		q := &call{}
		r.s.enter(q, &session{s: r.s, listener: "public", source: "127.0.0.1"}, "/")
		q.bearer.text = text
		if p := r.s.identify(q); (p == nil) != c.ok || p != nil && p.Code != CodeExpiredCredential {
			t.Errorf("after %v: %v", c.at, p)
		}
	}
}

// TestANewTokenOnTheSameConnectionIsSeen: so that the one before it, once its
// successor is in use, renews nothing.
func TestANewTokenOnTheSameConnectionIsSeen(t *testing.T) {
	r := newRig(t, allowTokens)
	r.tenant("nord")
	first := r.tokenDevice("nord", "m-1")
	h := &hot{s: r.s, port: r.s.port, sess: &session{s: r.s, listener: "public", source: "127.0.0.1"}}
	seq := 0
	say := func(tok DeviceToken) {
		seq++
		h.in = []byte(hotPost(r.line(seq, 1), "Authorization: Bearer "+tok.Token, "Content-Type: application/x-ndjson"))
		if !parseHotHead(h.in, &h.head) {
			t.Fatalf("not taken: %s", h.in)
		}
		b := h.judge()
		if h.to.status != 202 {
			t.Fatalf("%d %s", h.to.status, h.to.body)
		}
		b.release()
	}
	say(first)
	second, err := r.withToken(first.Token, nil).RenewToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	say(second)
	if got := r.s.st.device("nord", "m-1").sources(tokenPrint(second.Token)); len(got) != 1 {
		t.Errorf("the new token was seen from %v", got)
	}
	_, err = r.withToken(first.Token, nil).RenewToken(t.Context())
	refusedWith(t, err, CodeConflict)
}
