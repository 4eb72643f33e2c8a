package telemetry

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// served is an ingest's admin side over a real ledger: what the collector
// reads is what a ledger proves, and the tests say what stands in it.
type served struct {
	t       *testing.T
	led     *ledger.Ledger
	now     time.Time
	devices []map[string]any
	tenants []string
	page    int // devices on a page; 0 is all
	exports []any
	status  map[string]any // by tenant, beside what the tests' devices make of it
	dead    []map[string]any
	broken  map[string]http.HandlerFunc // by path prefix
	swap    func(path string, body []byte) []byte
	hide    string // a log that is not listed

	collectorClock evidence.Clock // simulated where empty
}

var quarter = evidence.Period{From: time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)}

func day(n int, h ...int) time.Time {
	t := quarter.From.AddDate(0, 0, n)
	if len(h) > 0 {
		t = t.Add(time.Duration(h[0]) * time.Hour)
	}
	return t
}

func newServed(t *testing.T, labels ...string) *served {
	t.Helper()
	s := &served{t: t, now: quarter.From, broken: map[string]http.HandlerFunc{}}
	led, err := ledger.Open(t.TempDir(), ledger.Options{
		Instance: "example.com/test", Seed: []byte(strings.Repeat("s", 32)), Now: func() time.Time { return s.now }, Extensions: labels,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := led.Close(); err != nil {
			t.Error(err)
		}
	})
	s.led = led
	return s
}

func (s *served) append(log string, at time.Time, v any) int64 {
	s.t.Helper()
	return s.appendWith(log, at, v, nil)
}

func (s *served) appendWith(log string, at time.Time, v any, payload []byte) int64 {
	s.t.Helper()
	s.now = at
	data, err := evidence.CanonicalJSON(v)
	if err != nil {
		s.t.Fatal(err)
	}
	pos, err := s.led.Append(context.Background(), ledger.Entry{Log: log, Data: data, Payload: payload})
	if err != nil {
		s.t.Fatal(err)
	}
	return pos[0].Index
}

func (s *served) control(at time.Time, e evidence.AuditEntry, data any) int64 {
	s.t.Helper()
	e.Time = at
	if data != nil {
		b, err := evidence.CanonicalJSON(data)
		if err != nil {
			s.t.Fatal(err)
		}
		e.Data = b
	}
	return s.append("control", at, e)
}

func (s *served) event(at time.Time, tenant, device string) int64 {
	s.t.Helper()
	return s.appendWith(tenant, at, map[string]any{"t": "event", "received": at, "device": device, "gen": 1, "seq": 1}, []byte("{}"))
}

func (s *served) checkpoint() {
	s.t.Helper()
	for _, log := range s.led.Logs() {
		if _, err := s.led.Checkpoint(log); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *served) device(tenant, id, state string, prints ...string) {
	var creds []any
	for _, p := range prints {
		creds = append(creds, map[string]any{"fingerprint": p, "method": "x509", "key_type": "ecdsa-p256", "not_before": day(0), "not_after": day(300)})
	}
	s.devices = append(s.devices, map[string]any{"tenant": tenant, "id": id, "generation": 1, "type": "meter", "state": state, "credentials": creds})
}

func (s *served) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for prefix, h := range s.broken {
		if strings.HasPrefix(r.URL.Path, prefix) {
			h(w, r)
			return
		}
	}
	s.answer(w, r)
}

// answer is what the ingest answers where nothing is broken.
func (s *served) answer(w http.ResponseWriter, r *http.Request) {
	var v any
	switch path := r.URL.Path; {
	case path == "/v1/admin/config":
		v = json.RawMessage(`{"instance":"example.com/test","operator":"erin","version":1,"sha256":"ab","clock":"system",
			"config":{"heartbeat":{"default_interval":"12h0m0s","missed":2},"approvals":{"critical_fleets":["core"]},"limits":{"body_bytes":1048576},
			"rates":{"device":{"per_second":5,"burst":20},"tenant":{"per_second":50,"burst":200}},"time":{"flag":"2m0s","future":"10m0s","past":"168h0m0s"}},
			"permissions":[{"action":"read","roles":["auditor","approver"]},{"action":"export.request","roles":["exporter"]},
			{"action":"export.get","roles":["exporter"]},{"action":"export.approve","roles":["approver"]}],
			"listeners":[{"name":"devices","addr":"127.0.0.1:1","scheme":"https","tls_min":"1.2","client_auth":"verify","loopback":true}],
			"schemas":[{"type":"meter.v1","sha256":"cd","required":["kwh"],"numeric_fields":["kwh"],"ranged_fields":["kwh"]}]}`)
	case path == "/v1/admin/devices":
		page, next := s.devices, ""
		if s.page > 0 {
			from, _ := strconv.Atoi(r.URL.Query().Get("after"))
			if page = page[from:]; len(page) > s.page {
				page, next = page[:s.page], strconv.Itoa(from+s.page)
			}
		}
		v = map[string]any{"devices": page, "next": next}
	case path == "/v1/admin/operators":
		v = map[string]any{"operators": []any{map[string]any{"name": "carla", "roles": []string{"approver"}}}}
	case path == "/v1/admin/tenants":
		var tenants []any
		for _, id := range s.tenants {
			tenants = append(tenants, evidence.Tenant{ID: id})
		}
		v = map[string]any{"tenants": tenants}
	case path == "/v1/admin/exports":
		v = map[string]any{"exports": append([]any{}, s.exports...)}
	case strings.HasPrefix(path, "/v1/status/"):
		v = s.statusOf(strings.TrimPrefix(path, "/v1/status/"))
	case strings.HasPrefix(path, "/status/"):
		_, _ = w.Write([]byte("<!doctype html><title>status</title>"))
		return
	case path == "/v1/admin/deadletters":
		v = map[string]any{"deadletters": s.dead, "next": ""}
	case path == "/v1/admin/logs":
		var logs []any
		for _, name := range s.led.Logs() {
			if name == s.hide {
				continue
			}
			key, err := s.led.VerifierKey(name)
			if err != nil {
				s.t.Error(err)
			}
			logs = append(logs, map[string]any{"name": name, "origin": s.led.Origin(name), "size": s.led.Size(name), "verifier_key": key, "folders": s.foldersOf(name)})
		}
		v = map[string]any{"logs": logs}
	case strings.HasPrefix(path, "/v1/admin/excerpt/"):
		since, _ := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64)
		var records []int64
		for _, text := range r.URL.Query()["record"] {
			n, _ := strconv.ParseInt(text, 10, 64)
			records = append(records, n)
		}
		excerpt, err := s.led.Excerpt(strings.TrimPrefix(path, "/v1/admin/excerpt/"), since, records)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		v = excerpt
	case strings.HasPrefix(path, "/log/"):
		name, tile, _ := strings.Cut(strings.TrimPrefix(path, "/log/"), "/")
		body, err := s.led.ReadTile(name, tile)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		if s.swap != nil {
			body = s.swap(path, body)
		}
		_, _ = w.Write(body)
		return
	default:
		http.NotFound(w, r)
		return
	}
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.t.Error(err)
	}
}

// tenant adds a customer.
func (s *served) tenant(at time.Time, id string) {
	s.t.Helper()
	s.control(at, evidence.AuditEntry{Type: evidence.EntryTenantAdded, Tenant: id, Target: id}, evidence.Tenant{ID: id})
	s.tenants = append(s.tenants, id)
}

// foldersOf says where a log is kept.
func (s *served) foldersOf(log string) []string {
	folders, err := s.led.Folders(log)
	if err != nil {
		s.t.Error(err)
	}
	return folders
}

// statusOf is the status of a tenant at the end of the quarter.
func (s *served) statusOf(tenant string) map[string]any {
	devices := []any{}
	for _, d := range s.devices {
		if d["tenant"] == tenant {
			devices = append(devices, map[string]any{"device": d["id"]})
		}
	}
	out := map[string]any{"tenant": tenant, "as_of": quarter.To, "silent": 0, "devices": devices, "silences": []any{}}
	for k, v := range s.status {
		out[k] = v
	}
	return out
}

// collectFrom runs the collector against s at the end of the quarter.
func collectFrom(t *testing.T, s *served, cfg Config) map[evidence.Kind]evidence.Evidence {
	t.Helper()
	srv := httptest.NewServer(s)
	defer srv.Close()
	cfg.URL = srv.URL
	c, err := New(cfg, Deps{Tool: "test", Now: func() time.Time { return quarter.To }, Clock: cmp.Or(s.collectorClock, evidence.ClockSimulated), Transport: http.DefaultTransport, Backoff: atOnce})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Collect(context.Background(), quarter)
	if err != nil {
		t.Fatal(err)
	}
	out := map[evidence.Kind]evidence.Evidence{}
	for _, e := range got {
		if _, _, _, err := evidence.RecordOf(e); err != nil {
			t.Errorf("%s: %v", e.Kind, err)
		}
		out[e.Kind] = e
	}
	for _, k := range c.Kinds() {
		if _, ok := out[k]; !ok {
			t.Errorf("no evidence of kind %s came back", k)
		}
	}
	return out
}

func item(t *testing.T, e evidence.Evidence, id string) map[string]any {
	t.Helper()
	for _, it := range e.Population.Items {
		if it.ID == id {
			return it.Attributes
		}
	}
	var ids []string
	for _, it := range e.Population.Items {
		ids = append(ids, it.ID)
	}
	t.Fatalf("%s has no item %q, but %q", e.Kind, id, ids)
	return nil
}

// story fills a ledger with a small quarter: one device that reports twice a
// day and is silent for three days, one that is revoked and still gets an
// event in, one dead letter, and books for the first day.
func story(t *testing.T) *served {
	s := newServed(t)
	s.control(day(-10), evidence.AuditEntry{Type: evidence.EntryOperatorAdded, Target: "carla", Actor: &evidence.Actor{Name: "anna", Role: "admin"}}, evidence.Operator{Name: "carla", Roles: []string{"approver"}})
	s.tenant(day(-10), "nord")
	s.append("nord", day(-9), map[string]any{"t": "tally", "received": day(-9), "device": "m2", "gen": 1, "duplicate": 1})
	s.checkpoint()
	s.control(day(-9), evidence.AuditEntry{Type: evidence.EntryDeviceRequested, Tenant: "nord", Device: "m1", Generation: 1}, evidence.Device{Type: "meter"})
	dev := evidence.AuditEntry{Tenant: "nord", Device: "m2", Generation: 1}
	with := func(typ, actor string) evidence.AuditEntry {
		e := dev
		e.Type, e.Actor = typ, &evidence.Actor{Name: actor, Role: "approver"}
		return e
	}
	s.control(day(0, 1), with(evidence.EntryDeviceRequested, "ben"), evidence.Device{Fleet: "core", Type: "meter"})
	s.control(day(0, 2), with(evidence.EntryDeviceApproved, "carla"), nil)
	s.control(day(0, 3), with(evidence.EntryDeviceIssued, ""), nil)
	for n := range 92 {
		for _, h := range []int{6, 18} {
			if n < 40 || n >= 43 {
				s.event(day(n, h), "nord", "m1")
			}
			if n < 20 {
				s.event(day(n, h), "nord", "m2")
			}
		}
	}
	revoked := with(evidence.EntryRevoked, "carla")
	revoked.Reason, revoked.Ticket = "stolen", "SEC-7"
	at := s.control(day(20, 0), revoked, nil)
	cut := dev
	cut.Type = evidence.EntrySessionsCut
	s.control(day(20, 0).Add(time.Second), cut, map[string]any{"decision_index": at, "connections": 1, "elapsed_ms": 2.5})
	s.event(day(20, 1), "nord", "m2")
	refused := dev
	refused.Type = evidence.EntryRefusal
	s.control(day(20, 2), refused, evidence.Refusal{Code: "auth.revoked", Status: 403, Count: 1})
	s.control(day(41, 8), evidence.AuditEntry{Type: evidence.EntryAlertRaised, Tenant: "nord"}, evidence.Alert{ID: "a1", Kind: "device.silent", Since: day(39, 18), Devices: []string{"nord/m1"}})
	s.control(day(43, 7), evidence.AuditEntry{Type: evidence.EntryAlertResolved, Tenant: "nord"}, map[string]any{"id": "a1", "resolution": "it reports again"})
	delivery := func(at time.Time, typ, event, to, kind string, more map[string]any) {
		d := map[string]any{"id": "a1", "event": event, "to": to, "kind": kind, "attempts": 2}
		maps.Copy(d, more)
		s.control(at, evidence.AuditEntry{Type: typ, Tenant: "nord"}, d)
	}
	delivery(day(43, 8), evidence.EntryAlertDelivered, "raised", "acme/ops", "github-issue", map[string]any{"ticket": "https://github.example/acme/ops/issues/4"})
	delivery(day(43, 8), evidence.EntryAlertUndelivered, "raised", "pager", "webhook", map[string]any{"error": "the receiver answered 500"})
	delivery(day(43, 8), evidence.EntryAlertUndelivered, "resolved", "pager", "webhook", nil)
	delivery(day(43, 9), evidence.EntryAlertResend, "resolved", "pager", "", nil)
	delivery(day(43, 9), evidence.EntryAlertDelivered, "resolved", "pager", "webhook", nil)
	dead := s.appendWith("nord", day(0, 5), map[string]any{"t": "deadletter", "received": day(0, 5), "device": "m1", "gen": 1, "reason": "schema.violation"}, []byte("{}"))
	_, salt, err := s.led.Payload("nord", dead)
	if err != nil {
		t.Fatal(err)
	}
	s.dead = []map[string]any{{"tenant": "nord", "index": dead, "received": day(0, 5), "device": "m1", "reason": "schema.violation", "bytes": []byte("{}"), "salt": hex.EncodeToString(salt)}}
	s.append("nord", day(0, 5), map[string]any{"t": "tally", "received": day(0, 5), "device": "m1", "gen": 1, "duplicate": 2, "refused": 3})
	s.control(day(0, 5), evidence.AuditEntry{Type: evidence.EntryRefusal, Tenant: "nord"}, evidence.Refusal{Code: "rate.tenant", Events: 4, Last: day(0, 5)})
	for n := range 92 {
		b := evidence.Books{Tenant: "nord", Day: day(n).Format(time.DateOnly), Accepted: 2}
		switch {
		case n >= 40 && n < 43:
			continue
		case n < 20:
			b.Accepted = 4
		case n == 20:
			b.Accepted = 3
		}
		if n == 0 {
			b.DeadLettered, b.Refused, b.Duplicate = 1, 7, 2
		}
		b.Received = b.Accepted + b.DeadLettered + b.Refused + b.Duplicate
		s.control(day(n+1), evidence.AuditEntry{Type: evidence.EntryBooksClosed, Tenant: "nord"}, b)
	}
	s.control(day(91, 23), evidence.AuditEntry{Type: evidence.EntryClockChecked, Target: "clock"}, evidence.ClockCheck{Wall: day(91, 23), NTP: "synchronised", NTPSource: "adjtimex", OffsetUS: -7.5})
	s.device("nord", "m1", "active", "sha256:aa")
	s.device("nord", "m2", "revoked", "sha256:bb")
	s.checkpoint()
	return s
}

func TestStoryIsToldAsTheLogsHoldIt(t *testing.T) {
	got := collectFrom(t, story(t), Config{Sample: true})
	for k, e := range got {
		if e.Completeness.State != evidence.Complete {
			t.Errorf("%s is %s: %v", k, e.Completeness.State, e.Completeness.Gaps)
		}
		if e.Provenance.Origin != evidence.OriginSample || e.Provenance.Clock != evidence.ClockSimulated || e.Provenance.Principal != "operator erin" {
			t.Errorf("%s: provenance is %+v", k, e.Provenance)
		}
	}
	c := item(t, got[KindConfig], "ingest")
	if r, when := c["rates"].(map[string]any), c["time"].(map[string]any); r["device_per_second"] != 5.0 || r["tenant_burst"] != 200.0 || when["flag_s"] != 120.0 || len(c["schemas"].([]any)) != 1 {
		t.Errorf("configuration is %v", c)
	}
	p := item(t, got[KindProvisioning], "nord/m2/g1")
	approvals := p["approvals"].([]any)
	if p["requester"] != "ben" || p["critical"] != true || len(approvals) != 1 || approvals[0].(map[string]any)["held_role"] != true {
		t.Errorf("provisioning is %v", p)
	}
	if n := len(got[KindRevocations].Population.Items); n != 1 {
		t.Fatalf("%d revocations, want 1", n)
	}
	r := got[KindRevocations].Population.Items[0].Attributes
	if r["ticket"] != "SEC-7" || r["sessions_cut"] != 1 || r["cut_ms"] != 2.5 || r["first_refused_at"] != ts(day(20, 2)) || r["accepted_after"] != 1 {
		t.Errorf("revocation is %v", r)
	}
	if n := len(got[KindSilences].Population.Items); n != 1 {
		t.Fatalf("%d silences, want 1: %v", n, got[KindSilences].Population.Items)
	}
	sil := got[KindSilences].Population.Items[0].Attributes
	if sil["device"] != "m1" || sil["alert_id"] != "a1" || sil["since"] != ts(day(39, 18)) || sil["until"] != ts(day(43, 6)) {
		t.Errorf("silence is %v", sil)
	}
	a := item(t, got[KindAlerts], "a1")
	if a["resolution"] != "it reports again" || a["resolved_at"] != ts(day(43, 7)) {
		t.Errorf("alert is %v", a)
	}
	told := a["deliveries"].([]any)
	if d := told[1].(map[string]any); len(told) != 3 || d["to"] != "pager" || d["event"] != "raised" || d["state"] != "undelivered" || d["error"] != "the receiver answered 500" || d["at"] != ts(day(43, 8)) || d["attempts"] != 2 {
		t.Errorf("told is %v", told)
	}
	if d := told[2].(map[string]any); d["state"] != "delivered" || d["kind"] != "webhook" {
		t.Errorf("sent again: %v", d)
	}
	if u := a["undelivered"].([]any); a["ticket"] != "https://github.example/acme/ops/issues/4" || len(u) != 1 || u[0] != "raised to pager" {
		t.Errorf("ticket is %v, undelivered %v", a["ticket"], u)
	}
	b := item(t, got[KindBooks], "nord/"+day(0).Format(time.DateOnly))
	if b["balanced"] != true || b["recounted"] != true || b["recounted_accepted"] != int64(4) || b["recounted_refused"] != int64(7) {
		t.Errorf("books are %v", b)
	}
	d := got[KindDeadLetters].Population.Items[0].Attributes
	if d["included"] != true || d["reason"] != "schema.violation" {
		t.Errorf("dead letter is %v", d)
	}
	if n := len(got[KindCheckpoints].Population.Items); n != 2 {
		t.Errorf("%d checkpoints in the period, want the latest of two logs", n)
	}
	excerpt := excerptOf(t, got[KindCheckpoints], "control")
	if excerpt.Previous == "" || len(excerpt.Records) < 90 {
		t.Errorf("excerpt of control has %d records, previous %q", len(excerpt.Records), excerpt.Previous)
	}
	if err := excerpt.Verify(excerpt.VerifierKey); err != nil {
		t.Error(err)
	}
}

func excerptOf(t *testing.T, e evidence.Evidence, log string) ledger.Excerpt {
	t.Helper()
	i := slices.IndexFunc(e.Raw, func(r evidence.RawReply) bool { return r.Name == ExcerptFile(log) })
	if i < 0 {
		t.Fatalf("no excerpt of %s was kept", log)
	}
	var x ledger.Excerpt
	if err := json.Unmarshal(e.Raw[i].Body, &x); err != nil {
		t.Fatal(err)
	}
	return x
}

func incomplete(t *testing.T, got map[evidence.Kind]evidence.Evidence, want string, kinds ...evidence.Kind) {
	t.Helper()
	for k, e := range got {
		gaps := fmt.Sprint(e.Completeness.Gaps)
		if slices.Contains(kinds, k) != (e.Completeness.State == evidence.Incomplete) {
			t.Errorf("%s is %s: %s", k, e.Completeness.State, gaps)
		} else if slices.Contains(kinds, k) && !strings.Contains(gaps, want) {
			t.Errorf("gaps of %s are %s, want one that says %q", k, gaps, want)
		}
	}
}

var fromControlLog = []evidence.Kind{
	KindConfigChanges, KindDevices, KindOperators, KindProvisioning, KindRevocations, KindRefusals, KindAlerts, KindSilences,
	KindGaps, KindExports, KindPurges, KindPayloadDays, KindDrills, KindCheckpoints, KindBooks, KindAdminActions, KindDeadLetters, KindClock,
	KindBindings, KindTransfers, KindRotations, KindSupportGrants, KindBreakGlass, KindLogins, KindRoleChanges, KindLayout, KindStatusPages, KindExportPermissions, KindExportFiles, KindExportSpikes,
}

func TestServedEntriesThatAreNotTheSignedOnes(t *testing.T) {
	s := story(t)
	s.swap = func(path string, body []byte) []byte {
		if strings.HasPrefix(path, "/log/control/") {
			return []byte(strings.Replace(string(body), "SEC-7", "SEC-8", 1))
		}
		return body
	}
	incomplete(t, collectFrom(t, s, Config{}), "is not what it signed", fromControlLog...)
}

func TestTenantLogCutOff(t *testing.T) {
	s := story(t)
	s.swap = func(path string, body []byte) []byte {
		if strings.HasPrefix(path, "/log/nord/") {
			return body[:len(body)-1]
		}
		return body
	}
	incomplete(t, collectFrom(t, s, Config{}), "ends inside entry", KindRevocations, KindSilences, KindBooks, KindDeadLetters, KindPayloadDays, KindCheckpoints, KindLayout, KindTransfers)
}

func TestAnotherKeyIsPinned(t *testing.T) {
	s := story(t)
	key, err := ledger.VerifierKey([]byte(strings.Repeat("x", 32)), "example.com/test/control")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "logs.vkey")
	if err := os.WriteFile(file, []byte("# pinned\n"+key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := collectFrom(t, s, Config{LogKeys: []string{file}})
	incomplete(t, got, "control", fromControlLog...)
}

func TestFailuresAreNamedGaps(t *testing.T) {
	for name, c := range map[string]struct {
		path  string
		h     http.HandlerFunc
		want  string
		kinds []evidence.Kind
	}{
		"500": {"/v1/admin/config", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "x", 500) }, "500 Internal Server Error", []evidence.Kind{KindConfig}},
		"403 with a problem": {"/v1/admin/devices", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			_, _ = w.Write([]byte(`{"code":"role.missing","title":"your role may not"}`))
		}, "role.missing: your role may not", []evidence.Kind{KindDevices}},
		"cut off": {"/v1/admin/operators", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"operators":[`))
		}, "cut off after 14 bytes", []evidence.Kind{KindOperators}},
		"not JSON": {"/v1/admin/deadletters", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "not the JSON that was expected", []evidence.Kind{KindDeadLetters}},
	} {
		t.Run(name, func(t *testing.T) {
			s := story(t)
			s.broken[c.path] = c.h
			got := collectFrom(t, s, Config{})
			for _, k := range c.kinds {
				e := got[k]
				if e.Completeness.State != evidence.Incomplete || !strings.Contains(fmt.Sprint(e.Completeness.Gaps), c.want) {
					t.Errorf("%s is %s: %v, want a gap that says %q", k, e.Completeness.State, e.Completeness.Gaps, c.want)
				}
			}
		})
	}
}

func TestSharedCredentialIsNamedOnBothDevices(t *testing.T) {
	s := story(t)
	s.control(day(1), evidence.AuditEntry{Type: evidence.EntryDeviceRequested, Tenant: "sued", Device: "m9", Generation: 1}, evidence.Device{Type: "meter"})
	s.checkpoint()
	s.device("sued", "m9", "active", "sha256:aa")
	got := collectFrom(t, s, Config{})
	for id, other := range map[string]string{"nord/m1/g1": "sued/m9/g1", "sued/m9/g1": "nord/m1/g1"} {
		if shared := item(t, got[KindDevices], id)["shared_with"].([]any); len(shared) != 1 || shared[0] != other {
			t.Errorf("%s is shared with %v, want %s", id, shared, other)
		}
	}
}

func TestBooksThatSayMoreThanTheLog(t *testing.T) {
	s := story(t)
	s.control(day(5, 1), evidence.AuditEntry{Type: evidence.EntryBooksClosed, Tenant: "sued"}, evidence.Books{Tenant: "sued", Day: day(4).Format(time.DateOnly), Received: 9, Accepted: 8})
	s.checkpoint()
	b := item(t, collectFrom(t, s, Config{})[KindBooks], "sued/"+day(4).Format(time.DateOnly))
	if b["balanced"] != false || b["recounted"] != false {
		t.Errorf("books that neither balance nor agree with the log are %v", b)
	}
}
