package ingest

import (
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// nonce begins a login.
func (r *rig) nonce() string {
	r.t.Helper()
	terms, err := r.anonymous().LoginTerms(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return terms.Nonce
}

// claims are those of an ID token for ada that would let her in.
func (r *rig) claims(p *provider) map[string]any {
	now := r.clock.now().Unix()
	return map[string]any{
		"iss": p.issuer, "sub": "ada", "aud": "trustpack", "azp": "trustpack", "iat": now, "exp": now + 300, "nonce": r.nonce(),
		"preferred_username": "ada", "groups": []string{"fitters"},
	}
}

// refusedLogin has the token refused with the code, with an entry that says so
// and with no session.
func (r *rig) refusedLogin(what, token string, code Code) {
	r.t.Helper()
	size := r.s.led.Size(controlLog)
	_, err := r.anonymous().Login(r.t.Context(), token)
	p, ok := err.(*Problem)
	if !ok || p.Code != code {
		r.t.Errorf("%s: %v, want %s", what, err, code)
		return
	}
	r.clock.add(2 * refusalSpan) // so that each is an entry of its own
	if entries := r.since(size); code != CodeProviderSilent && (len(entries) == 0 || entries[0].Type != evidence.EntryRefusal || !strings.Contains(string(entries[len(entries)-1].Data), string(code))) {
		r.t.Errorf("%s: entries %+v", what, entries)
	}
}

// unsigned is a token of the claims with the head and a signature of our own.
func unsigned(head string, claims map[string]any, sign func(text string) []byte) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + base64.RawURLEncoding.EncodeToString(raw(claims))
	return text + "." + base64.RawURLEncoding.EncodeToString(sign(text))
}

func TestLoginsThatAreRefused(t *testing.T) {
	r, p := oidcRig(t)
	if err := r.admin("root.admin").AddOperatorByIdentity(t.Context(), "ada", "ada", "joins"); err != nil {
		t.Fatal(err)
	}
	with := func(change map[string]any) string {
		c := r.claims(p)
		maps.Copy(c, change)
		maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
		return p.sign(c)
	}
	seconds := func(d time.Duration) int64 { return r.clock.now().Add(d).Unix() }
	// What is refused differs from this in one thing alone.
	if _, err := r.anonymous().Login(t.Context(), with(nil)); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]map[string]any{
		"audience":               {"aud": "other"},
		"no audience":            {"aud": nil},
		"issuer":                 {"iss": "http://127.0.0.1:1/"},
		"issuer without a slash": {"iss": strings.TrimSuffix(p.issuer, "/")},
		"another client's":       {"aud": []string{"trustpack", "other"}, "azp": "other"},
		"nobody's of two":        {"aud": []string{"trustpack", "other"}, "azp": nil},
		"expired":                {"exp": seconds(-2 * time.Minute)},
		"no end":                 {"exp": nil},
		"not yet":                {"nbf": seconds(2 * time.Minute)},
		"of the future":          {"iat": seconds(2 * time.Minute)},
		"old":                    {"iat": seconds(-11 * time.Minute)},
		"no time":                {"iat": nil},
		"no subject":             {"sub": nil},
		"no name":                {"preferred_username": nil},
		"two names":              {"preferred_username": []string{"ada", "ben"}},
		"no nonce":               {"nonce": nil},
		"a nonce of his own":     {"nonce": "n"},
		"a nonce of our form":    {"nonce": base64.RawURLEncoding.EncodeToString(make([]byte, 56))},
	} {
		r.refusedLogin(what, with(change), CodeLoginInvalid)
	}
	r.refusedLogin("somebody nobody added", with(map[string]any{"sub": "gast", "preferred_username": "gast"}), CodeLoginUnlinked)
	r.refusedLogin("another person under her name", with(map[string]any{"sub": "gast"}), CodeLoginUnlinked)
	r.refusedLogin("no group", with(map[string]any{"groups": []string{"guests"}}), CodeLoginNoRole)
	r.refusedLogin("no groups", with(map[string]any{"groups": nil}), CodeLoginNoRole)
	r.refusedLogin("a group as an object", with(map[string]any{"groups": map[string]any{"fitters": true}}), CodeLoginNoRole)

	// Slack of a minute, and no more.
	for what, change := range map[string]map[string]any{
		"expired a moment ago": {"exp": seconds(-30 * time.Second)}, "valid in a moment": {"nbf": seconds(30 * time.Second)}, "a clock ahead": {"iat": seconds(30 * time.Second)},
		"one group as a text": {"groups": "fitters"},
	} {
		if _, err := r.anonymous().Login(t.Context(), with(change)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}

	// A nonce begins one login, for some minutes.
	again := r.claims(p)
	if _, err := r.anonymous().Login(t.Context(), p.sign(again)); err != nil {
		t.Fatal(err)
	}
	r.refusedLogin("the same token", p.sign(again), CodeLoginInvalid)
	again["jti"] = "another"
	r.refusedLogin("the nonce in another token", p.sign(again), CodeLoginInvalid)
	late := r.nonce()
	r.clock.add(oidcFresh)
	r.refusedLogin("a nonce of long ago", with(map[string]any{"nonce": late}), CodeLoginInvalid)
	before := r.nonce()
	r.restart()
	r.refusedLogin("a nonce of the process before", with(map[string]any{"nonce": before}), CodeLoginInvalid)
}

func TestForgedTokensAreRefused(t *testing.T) {
	r, p := oidcRig(t)
	if err := r.admin("root.admin").AddOperatorByIdentity(t.Context(), "ada", "ada", "joins"); err != nil {
		t.Fatal(err)
	}
	good := p.sign(r.claims(p))
	head, rest, _ := strings.Cut(good, ".")
	body, signature, _ := strings.Cut(rest, ".")
	var known struct {
		ID string `json:"kid"`
	}
	b, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil || json.Unmarshal(b, &known) != nil {
		t.Fatal(err)
	}
	none := func(string) []byte { return nil }
	r.refusedLogin("alg none", unsigned(`{"alg":"none"}`, r.claims(p), none), CodeLoginInvalid)
	r.refusedLogin("alg None", unsigned(`{"alg":"None","kid":"`+known.ID+`"}`, r.claims(p), none), CodeLoginInvalid)
	r.refusedLogin("no signature", head+"."+body+".", CodeLoginInvalid)
	r.refusedLogin("two parts", head+"."+body, CodeLoginInvalid)
	r.refusedLogin("nothing", "", CodeLoginInvalid)
	r.refusedLogin("not a token", "a.b.c", CodeLoginInvalid)
	r.refusedLogin("too long", strings.Repeat("a", oidcTokenMax)+"."+body+"."+signature, CodeLoginInvalid)

	// The public key as the secret of an HMAC, in each form that it is shown in.
	page, err := get(http.Get(p.issuer + "keys"))
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []json.RawMessage }
	var key struct{ N string }
	if err := json.Unmarshal(page, &set); err != nil || json.Unmarshal(set.Keys[0], &key) != nil {
		t.Fatal(err)
	}
	n, err := base64.RawURLEncoding.DecodeString(key.N)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	for what, secret := range map[string][]byte{"DER": der, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "JWK": set.Keys[0]} {
		r.refusedLogin("HS256 with the public key as "+what, unsigned(`{"alg":"HS256","kid":"`+known.ID+`"}`, r.claims(p), func(text string) []byte {
			m := hmac.New(sha256.New, secret)
			m.Write([]byte(text))
			return m.Sum(nil)
		}), CodeLoginInvalid)
	}

	// Tampered with: other claims, and each part a little.
	c := r.claims(p)
	c["groups"] = []string{"owners"}
	r.refusedLogin("other claims", head+"."+base64.RawURLEncoding.EncodeToString(raw(c))+"."+signature, CodeLoginInvalid)
	turned := []byte(signature)
	turned[20] ^= 1
	r.refusedLogin("another signature", head+"."+body+"."+string(turned), CodeLoginInvalid)

	// Another provider's key, under its own name and under the known one.
	other := startProvider(t)
	r.refusedLogin("another provider's", other.sign(r.claims(p)), CodeLoginInvalid)

	// None of this has spent the nonce.
	if _, err := r.anonymous().Login(t.Context(), good); err != nil {
		t.Error(err)
	}
	// An ID token is no bearer token.
	_, err = r.bearerClient(p.sign(r.claims(p)), nil).Devices(t.Context(), "")
	refusedWith(t, err, CodeUnknownCredential)
}

func TestKeysOfTheProviderChange(t *testing.T) {
	r, p := oidcRig(t)
	if err := r.admin("root.admin").AddOperatorByIdentity(t.Context(), "ada", "ada", "joins"); err != nil {
		t.Fatal(err)
	}
	login := func() error {
		_, err := r.anonymous().Login(t.Context(), p.sign(r.claims(p)))
		return err
	}
	if err := login(); err != nil {
		t.Fatal(err)
	}
	old := p.sign(r.claims(p))
	p.test("rotate", "")
	read := p.test("read", "")
	// Whoever makes up keys has the provider asked once in a while, not each time.
	for range 5 {
		if err := login(); err == nil {
			t.Error("a key that nobody could have read")
		}
	}
	if now := p.test("read", ""); now != read {
		t.Errorf("the keys were read from %s to %s times", read, now)
	}
	r.clock.add(oidcKeysPause)
	if err := login(); err != nil {
		t.Errorf("the new key: %v", err)
	}
	r.refusedLogin("the key before", old, CodeLoginInvalid)

	// A key that was withdrawn is not taken for longer than five minutes.
	old = p.sign(r.claims(p))
	p.test("rotate", "")
	r.clock.add(oidcKeysKept)
	r.refusedLogin("a key that was withdrawn", old, CodeLoginInvalid)
}

func TestProviderOutOfReach(t *testing.T) {
	r, p := oidcRig(t)
	ctx := t.Context()
	if err := r.admin("root.admin").AddOperatorByIdentity(ctx, "ada", "ada", "joins"); err != nil {
		t.Fatal(err)
	}
	p.groups("ada", "deciders")
	ada, _ := r.loggedIn(p, r.anonymous(), "ada")
	token := p.sign(r.claims(p))
	p.end()
	r.clock.add(oidcKeysKept)
	r.refusedLogin("no provider", token, CodeProviderSilent)
	r.refusedLogin("a forged one", unsigned(`{"alg":"none"}`, r.claims(p), func(string) []byte { return nil }), CodeProviderSilent)
	if _, err := ada.Devices(ctx, ""); err != nil {
		t.Errorf("a session: %v", err)
	}
	if _, err := r.admin("carla").Devices(ctx, ""); err != nil {
		t.Errorf("a certificate: %v", err)
	}
}
