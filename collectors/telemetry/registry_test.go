package telemetry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// A device may have an interval of its own, which goes before that of its type.
func TestADeviceWithAnIntervalOfItsOwn(t *testing.T) {
	s := newServed(t)
	const rules = `{"heartbeat":{"default_interval":"6h0m0s","missed":2,"devices":{"nord/m1":"1h0m0s","nord/m2":"240h0m0s"}}}`
	s.control(day(-1), evidence.AuditEntry{Type: evidence.EntryConfigApplied, Target: "config", Result: "done"}, evidence.ConfigApplied{Version: 1, Config: json.RawMessage(rules)})
	for _, id := range []string{"m1", "m2", "m3"} {
		s.control(day(0), evidence.AuditEntry{Type: evidence.EntryDeviceRequested, Tenant: "nord", Device: id, Generation: 1}, evidence.Device{Type: "meter"})
		s.device("nord", id, "active")
		s.event(day(1), "nord", id)
		s.event(day(1, 3), "nord", id)
		s.event(day(2), "nord", id)
	}
	s.broken["/v1/admin/config"] = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"config":%s}`, rules)
	}
	s.checkpoint()
	e := collectFrom(t, s, Config{})[KindSilences]
	want(t, item(t, e, "nord/m1/"+ts(day(1))), map[string]any{"threshold_s": 7200.0, "duration_s": 10800.0})
	want(t, item(t, e, "nord/m3/"+ts(day(1, 3))), map[string]any{"threshold_s": 43200.0})
	want(t, item(t, e, "nord/m2/"+ts(day(2))), map[string]any{"threshold_s": 1728000.0})
	if n := len(e.Population.Items); n != 6 {
		t.Errorf("%d silences, want three of m1, two of m3 and one of m2: %v", n, e.Population.Items)
	}
}

// What a kind finds among the devices of the registry is not whole where the
// registry leaves one out, or has it of another type than it was requested as.
func TestWhatLeansOnTheRegistryIsAGapWhereItLies(t *testing.T) {
	s := story(t)
	m1 := s.devices[0]
	s.devices = s.devices[1:]
	got := collectFrom(t, s, Config{})
	for _, k := range []evidence.Kind{KindDevices, KindSilences, KindBindings, KindStatusPages} {
		gapsSay(t, got[k], "nord/m1/g1", "lacks it")
	}
	m1["type"] = "unwatched"
	s.devices = append(s.devices, m1)
	got = collectFrom(t, s, Config{})
	for _, k := range []evidence.Kind{KindDevices, KindSilences, KindBindings, KindStatusPages} {
		gapsSay(t, got[k], "nord/m1/g1", `as "unwatched"`)
	}
}

// What an ingest tells twice is a gap and no end of the collection.
func TestWhatIsToldTwiceIsAGap(t *testing.T) {
	for _, tc := range []struct {
		path, body string
		kind       evidence.Kind
		what, why  string
	}{
		{"/v1/admin/devices", "", KindDevices, "nord/m1/g1", "twice"},
		{"/v1/admin/operators", `{"operators":[{"name":"carla","roles":["approver"]},{"name":"carla","roles":["admin"]}]}`, KindOperators, "carla", "twice"},
		{"/v1/admin/tenants", `{"tenants":[{"id":"nord"},{"id":"nord"}]}`, KindLayout, "list of tenants", `"nord" twice`},
		{"/v1/admin/tenants", `{"tenants":[{"id":"nord"},{"id":"nord"}]}`, KindStatusPages, "list of tenants", `"nord" twice`},
		{"/v1/admin/logs", "", KindAlerts, "list of logs", `"control" twice`},
		{"/v1/admin/logs", "", KindCheckpoints, "list of logs", `"control" twice`},
	} {
		s := story(t)
		if tc.path == "/v1/admin/devices" {
			s.devices = append(s.devices, s.devices[0])
		} else {
			s.broken[tc.path] = func(w http.ResponseWriter, r *http.Request) {
				body := tc.body
				if body == "" {
					rec := httptest.NewRecorder()
					s.answer(rec, r)
					var got struct{ Logs []map[string]any }
					if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
						t.Error(err)
					}
					twice, err := json.Marshal(map[string]any{"logs": append(got.Logs, got.Logs...)})
					if err != nil {
						t.Error(err)
					}
					body = string(twice)
				}
				_, _ = w.Write([]byte(body))
			}
		}
		gapsSay(t, collectFrom(t, s, Config{})[tc.kind], tc.what, tc.why)
	}
}

// A log under another origin than the one whose key is pinned is not the log
// that is known.
func TestALogOfAnotherOriginThanThePinnedOne(t *testing.T) {
	key := func(origin string) string {
		file := filepath.Join(t.TempDir(), "log.vkey")
		if err := os.WriteFile(file, []byte(origin+"+2b1d3a4c+AQ==\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	cfg := Config{LogKeys: []string{key("known.example/test/control")}}
	got := collectFrom(t, story(t), cfg)
	for _, k := range []evidence.Kind{KindAlerts, KindRefusals, KindDevices} {
		gapsSay(t, got[k], "control log", "log_keys has the key of known.example/test/control")
	}
	if c := rowFor(t, checkAccess(t, story(t), cfg, nil), "log_keys"); c.State != evidence.AccessLacking || !strings.Contains(c.Said, "known.example/test/control") {
		t.Errorf("doctor says %+v", c)
	}
	if e := collectFrom(t, story(t), Config{LogKeys: []string{key("known.example/test/evidence")}})[KindAlerts]; e.Completeness.State != evidence.Complete {
		t.Errorf("the key of a log that is not the ingest's: %v", e.Completeness)
	}
}

// A tenant of whom nothing was accepted has a log too, where it has dead letters.
func TestALogOfDeadLettersAloneThatIsNotListed(t *testing.T) {
	s := story(t)
	s.control(day(70), evidence.AuditEntry{Type: evidence.EntryBooksClosed}, evidence.Books{Tenant: "ost", Day: "2026-09-08", Received: 1, DeadLettered: 1})
	s.checkpoint()
	gapsSay(t, collectFrom(t, s, Config{})[KindCheckpoints], "log ost", "lists no log of that name")
}

// By what rules a device was silent is not known where one version of them
// cannot be read.
func TestAVersionOfTheRulesThatCannotBeRead(t *testing.T) {
	s := story(t)
	s.control(day(70), evidence.AuditEntry{Type: evidence.EntryConfigApplied}, map[string]any{"version": 2, "config": map[string]any{"heartbeat": "none"}})
	s.checkpoint()
	got := collectFrom(t, s, Config{})
	for _, k := range []evidence.Kind{KindSilences, KindProvisioning, KindExportSpikes} {
		gapsSay(t, got[k], "control log", "configuration in control entry")
	}
}

// Of a reply without an end no beginning is taken for the whole.
func TestAReplyThatIsTooLarge(t *testing.T) {
	s := story(t)
	s.broken["/status/"] = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(append([]byte("<!doctype html>"), make([]byte, maxReply)...))
	}
	e := collectFrom(t, s, Config{})[KindStatusPages]
	gapsSay(t, e, "status page of nord", "reply larger than 67108864 bytes")
	if len(e.Population.Items) != 0 {
		t.Errorf("%v is shown", e.Population.Items)
	}
}

// What follows a decision is its own: the cut that names it, and what was
// accepted until the device was let in again.
func TestWhatFollowsADecisionIsItsOwn(t *testing.T) {
	s := story(t)
	step := func(at time.Time, typ, result string, data any) int64 {
		e := of("m1")
		e.Type, e.Result = typ, result
		return s.control(at, e, data)
	}
	cut := func(at time.Time, decision int64, n int) {
		step(at, evidence.EntrySessionsCut, "done", map[string]any{"decision_index": decision, "connections": n, "elapsed_ms": 1})
	}
	refused := step(day(93), evidence.EntryQuarantined, "refused", nil)
	held := step(day(93, 1), evidence.EntryQuarantined, "done", nil)
	s.event(day(93, 2), "nord", "m1")
	ended := step(day(93, 3), evidence.EntryRevoked, "done", nil)
	cut(day(93, 3), ended, 3)
	cut(day(93, 4), held, 2)
	step(day(93, 5), evidence.EntryReleased, "done", nil)
	s.event(day(93, 6), "nord", "m1")
	s.checkpoint()
	period := quarter
	period.To = day(100)
	srv := httptest.NewServer(s)
	defer srv.Close()
	c, err := New(Config{URL: srv.URL}, Deps{Now: func() time.Time { return period.To }, Clock: evidence.ClockSimulated, Transport: http.DefaultTransport, Backoff: atOnce})
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.Collect(t.Context(), period)
	if err != nil {
		t.Fatal(err)
	}
	e := all[slices.IndexFunc(all, func(e evidence.Evidence) bool { return e.Kind == KindRevocations })]
	want(t, item(t, e, entry{index: held}.id()), map[string]any{"action": "quarantine", "sessions_cut": 2, "accepted_after": 1, "released_at": ts(day(93, 5))})
	want(t, item(t, e, entry{index: ended}.id()), map[string]any{"action": "revoke", "sessions_cut": 3, "accepted_after": 0})
	if slices.ContainsFunc(e.Population.Items, func(it evidence.Item) bool { return it.ID == entry{index: refused}.id() }) {
		t.Error("a quarantine that was refused is a decision")
	}
}

// A silence counts inside the period and while the device is let in, and only an
// alert of its own time answers it. The threshold is a day.
func TestWhichSilencesCount(t *testing.T) {
	s := newServed(t)
	s.control(day(-30), evidence.AuditEntry{Type: evidence.EntryDeviceRequested, Tenant: "nord", Device: "m1", Generation: 1}, evidence.Device{Type: "meter"})
	s.device("nord", "m1", "revoked")
	state := func(at time.Time, typ string) {
		e := of("m1")
		e.Type = typ
		s.control(at, e, nil)
	}
	alert := func(at time.Time, id string) {
		s.control(at, evidence.AuditEntry{Type: evidence.EntryAlertRaised, Tenant: "nord"}, evidence.Alert{ID: id, Kind: "device.silent", Devices: []string{"nord/m1"}})
	}
	seen := func(days ...int) {
		for _, n := range days {
			s.event(day(n), "nord", "m1")
		}
	}
	seen(-20, -10) // over before the period
	seen(0, 1)
	alert(day(1), "early") // of the silence before the next
	seen(2, 3, 7)
	alert(day(9), "late") // more than a day after it was over
	seen(8, 9, 10, 14)
	alert(day(12), "own")
	seen(15)
	state(day(16), evidence.EntryQuarantined)
	state(day(18), evidence.EntryReleased)
	seen(21)
	state(day(24), evidence.EntryRevoked)
	s.checkpoint()
	silences := func() []evidence.Item { return collectFrom(t, s, Config{})[KindSilences].Population.Items }
	var got []string
	for _, it := range silences() {
		got = append(got, fmt.Sprint(it.Attributes["since"], " ", it.Attributes["duration_s"].(float64)/86400, " ", it.Attributes["alert_id"]))
	}
	want := []string{ts(day(3)) + " 4 ", ts(day(10)) + " 4 own", ts(day(18)) + " 3 ", ts(day(21)) + " 3 "}
	if !slices.Equal(got, want) {
		t.Errorf("silences are %q, want %q", got, want)
	}

	s.control(day(25), evidence.AuditEntry{Type: evidence.EntryDeviceRequested, Tenant: "nord", Device: "m2", Generation: 1}, evidence.Device{Type: "meter"})
	s.device("nord", "m2", "active")
	s.event(day(91, 12), "nord", "m2")
	s.event(day(95), "nord", "m2") // overdue when the period was over
	s.checkpoint()
	if n := len(silences()); n != len(want) {
		t.Errorf("%d silences with one of the next period, want %d", n, len(want))
	}
}

func TestADayWhoseBooksAreNotClosedIsAGap(t *testing.T) {
	s := story(t)
	s.event(day(50), "ost", "m9")
	s.checkpoint()
	gapsSay(t, collectFrom(t, s, Config{})[KindBooks], "ost/2026-08-20", "has not closed its books")
}

// What came after the registry was read need not be in it.
func TestWhatCameWhileTheIngestWasRead(t *testing.T) {
	s := story(t)
	at := quarter.To.Add(time.Second)
	s.control(at, evidence.AuditEntry{Type: evidence.EntryDeviceRequested, Tenant: "nord", Device: "m7", Generation: 1}, evidence.Device{Type: "meter"})
	added := by(evidence.EntryOperatorAdded, "anna", "admin")
	added.Target = "zoe"
	s.control(at, added, evidence.Operator{Name: "zoe", Roles: []string{"auditor"}})
	added.Target = "carla"
	s.control(at, added, evidence.Operator{Name: "carla", Roles: []string{"admin"}})
	s.checkpoint()
	got := collectFrom(t, s, Config{})
	for _, k := range []evidence.Kind{KindDevices, KindOperators} {
		if got[k].Completeness.State != evidence.Complete {
			t.Errorf("%s: %v", k, got[k].Completeness.Gaps)
		}
	}
}

// The ingest is left alone for as long as it wants, but not for ever; one call
// that fails for good does not make the others be given up at once.
func TestHowOftenTheIngestIsAsked(t *testing.T) {
	r := &run{collector: &collector{deps: Deps{Backoff: func(attempt int) time.Duration { return time.Duration(attempt) }}}}
	for _, tc := range []struct {
		attempt      int
		wanted, want time.Duration
	}{{1, 0, 2}, {3, 0, 4}, {1, 7 * time.Second, 7 * time.Second}, {1, time.Hour, maxWait}} {
		if got := r.pause(tc.attempt, tc.wanted); got != tc.want {
			t.Errorf("after attempt %d and a wish for %v: %v, want %v", tc.attempt, tc.wanted, got, tc.want)
		}
	}
	s := story(t)
	busy := 1
	s.broken["/v1/admin/config"] = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "x", http.StatusServiceUnavailable) }
	s.broken["/v1/admin/tenants"] = func(w http.ResponseWriter, r *http.Request) {
		if busy--; busy >= 0 {
			http.Error(w, "x", http.StatusServiceUnavailable)
			return
		}
		s.answer(w, r)
	}
	if e := collectFrom(t, s, Config{})[KindLayout]; e.Completeness.State != evidence.Complete || busy >= 0 {
		t.Errorf("a call that failed once: %v", e.Completeness.Gaps)
	}
}

// A page that names itself as the next would never end.
func TestAPageThatNamesItself(t *testing.T) {
	for path, kind := range map[string]evidence.Kind{"/v1/admin/devices": KindDevices, "/v1/admin/deadletters": KindDeadLetters} {
		s := story(t)
		n := 0
		s.broken[path] = func(w http.ResponseWriter, r *http.Request) {
			if n++; n > 20 {
				http.Error(w, "x", http.StatusNotFound)
				return
			}
			rec := httptest.NewRecorder()
			s.answer(rec, r)
			body := strings.TrimSuffix(strings.TrimSpace(rec.Body.String()), "}")
			_, _ = w.Write([]byte(strings.Replace(body, `,"next":""`, "", 1) + `,"next":"0"}`))
		}
		got := collectFrom(t, s, Config{})[kind]
		if n != 2 || !strings.Contains(fmt.Sprint(got.Completeness.Gaps), "page 2 names one before it as the next") {
			t.Errorf("%s: %d pages were asked for, and the gaps are %v", path, n, got.Completeness.Gaps)
		}
	}
}

// A history that the log's growth does not bear out discredits the log.
func TestAHistoryThatDoesNotHold(t *testing.T) {
	s := story(t)
	s.broken["/v1/admin/excerpt/control"] = func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		s.answer(rec, r)
		var e ledger.Excerpt
		if err := json.Unmarshal(rec.Body.Bytes(), &e); err != nil {
			t.Error(err)
		}
		if len(e.History) > 1 { // the whole history, which is asked for first
			e.History[1].Consistency = nil
		}
		if err := json.NewEncoder(w).Encode(e); err != nil {
			t.Error(err)
		}
	}
	got := collectFrom(t, s, Config{})
	gapsSay(t, got[KindAlerts], "control log", "history step 1")
	gapsSay(t, got[KindCheckpoints], "log control", "history step 1")
}

// A page with nothing on it that names another would never end.
func TestAnEmptyPageThatNamesAnother(t *testing.T) {
	for path, member := range map[string]string{"/v1/admin/devices": "devices", "/v1/admin/deadletters": "deadletters"} {
		s := story(t)
		n := 0
		s.broken[path] = func(w http.ResponseWriter, _ *http.Request) {
			if n++; n > 20 {
				http.Error(w, "x", http.StatusNotFound)
				return
			}
			_, _ = fmt.Fprintf(w, `{%q:[],"next":"%d"}`, member, n)
		}
		got := collectFrom(t, s, Config{})
		if n > 1 {
			t.Errorf("%s: %d pages were asked for", path, n)
		}
		kind := map[string]evidence.Kind{"devices": KindDevices, "deadletters": KindDeadLetters}[member]
		if !strings.Contains(fmt.Sprint(got[kind].Completeness.Gaps), "holds nothing and names another") {
			t.Errorf("%s: %v", path, got[kind].Completeness.Gaps)
		}
	}
}
