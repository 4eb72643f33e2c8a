package rollout

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/internal/httpreplay"
)

const password = "correct-horse-battery"

func recorded(t *testing.T) *httpreplay.Server {
	t.Helper()
	s, err := httpreplay.New(os.DirFS("../../examples/metering/hawkbit"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func ask(t *testing.T, s *httpreplay.Server, period string) evidence.Evidence {
	t.Helper()
	return collect(t,
		Config{Sample: true, HawkBit: &HawkBit{URL: s.URL(), UserEnv: "HB_USER", PasswordEnv: "HB_PASSWORD"}},
		Deps{
			Getenv:  func(k string) string { return map[string]string{"HB_USER": "reader", "HB_PASSWORD": password}[k] },
			Backoff: func(int) time.Duration { return time.Microsecond },
		}, period)
}

func TestHawkBit(t *testing.T) {
	s := recorded(t)
	e := ask(t, s, "2026-Q3")
	if e.Completeness.State != evidence.Complete || len(e.Population.Items) != 1 {
		t.Fatalf("%+v, %d items; not answered: %v", e.Completeness, len(e.Population.Items), s.Unmatched())
	}
	a := e.Population.Items[0].Attributes
	for k, want := range map[string]any{
		"source": "hawkbit", "firmware": "2.8.0", "fleet_size": 10, "requester": "dmitri.volk", "approver": "carla.ruiz",
		"approved_at": "", "change": nil, "started_at": "2026-06-23T05:00:00Z", "finished_at": "2026-07-01T00:20:00Z", "state": "finished",
		"artifact_sha256": "c94f5d13ab7e02c86d10f3a9b85e6f4d27c1a0e3986b5f7d42e80c1b9a6f3d05",
	} {
		if a[k] != want {
			t.Errorf("%s = %v, want %v", k, a[k], want)
		}
	}
	if n := len(a["stages"].([]any)); n != 3 {
		t.Fatalf("%d stages, want 3: the second page was not read", n)
	}
	st := stageOf(t, e, 0, 1)
	for k, want := range map[string]any{
		"name": "early", "order": 2, "devices": 3, "succeeded": 3, "percent_of_fleet": 30.0, "success_threshold": 0.95, "error_threshold": 0.1,
		"started_at": "2026-06-25T05:00:00Z", "finished_at": "2026-06-25T13:40:00Z", "soak_hours": 87.3333, "success_ratio": 1.0,
	} {
		if st[k] != want {
			t.Errorf("early: %s = %v, want %v", k, st[k], want)
		}
	}
	if !strings.Contains(e.Provenance.Principal, "trustpack-reader") || len(e.Raw) != len(e.Provenance.Requests) {
		t.Errorf("principal %q, %d replies of %d requests", e.Provenance.Principal, len(e.Raw), len(e.Provenance.Requests))
	}
	for i, r := range e.Provenance.Requests {
		if r.ReplySHA256 != evidence.SHA256Hex(e.Raw[i].Body) || r.Status != 200 {
			t.Errorf("request %d: %+v", i, r)
		}
		if strings.Contains(r.Target, "/targets/") && !strings.Contains(r.Target, "/status") || strings.HasSuffix(r.Target, "/targets") {
			t.Errorf("%s carries the devices' security tokens", r.Target)
		}
	}
}

// A group that the server calls finished, with outcomes that say otherwise.
func TestHawkBitRatiosAreOurs(t *testing.T) {
	exchanges, err := httpreplay.Load(os.DirFS("../../examples/metering/hawkbit"))
	if err != nil {
		t.Fatal(err)
	}
	changed := false
	for i, e := range exchanges {
		if e.Request.Query["q"] != "rolloutGroup.id==62" {
			continue
		}
		b, err := json.Marshal(e.Reply.JSON)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(b), `"detailStatus":"finished"`, `"detailStatus":"error"`, 1)
		text = strings.Replace(text, `"detailStatus":"finished"`, `"detailStatus":"canceled"`, 1)
		exchanges[i].Reply = httpreplay.Reply{Body: text}
		changed = true
	}
	if !changed {
		t.Fatal("the recorded replies hold no actions of the group")
	}
	s, err := httpreplay.Of(exchanges, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	st := stageOf(t, ask(t, s, "2026-Q3"), 0, 1)
	if st["failed"] != 1 || st["pending"] != 1 || st["error_ratio"] != 0.3333 || st["success_ratio"] != 0.3333 || st["finished_at"] != "" {
		t.Errorf("early: %v", st)
	}
}

func TestHawkBitOutsideOfThePeriodIsNotRead(t *testing.T) {
	s := recorded(t)
	for period, want := range map[string]int{"2026-Q4": 0, "2026-05": 0, "2026-06": 1} {
		before := len(s.Requests())
		if e := ask(t, s, period); len(e.Population.Items) != want || e.Completeness.State != evidence.Complete {
			t.Errorf("%s: %d rollouts, want %d, %+v", period, len(e.Population.Items), want, e.Completeness)
		}
		if n := len(s.Requests()) - before; want == 0 && n != 2 {
			t.Errorf("%s: %d requests, want who I am and the list alone", period, n)
		}
	}
}

func TestHawkBitFaultsAreNamedGaps(t *testing.T) {
	echo := `{"you sent":"` + password + `"}`
	for name, c := range map[string]struct {
		fault      httpreplay.Fault
		what, why  string
		incomplete bool
	}{
		"401":             {httpreplay.Fault{Path: "/rest/v1/rollouts", Status: 401, Body: echo}, "hawkbit rollouts", "HTTP 401", true},
		"403 on groups":   {httpreplay.Fault{Path: "*/deploygroups", Status: 403, Body: echo}, "hawkbit/17: groups", "HTTP 403", true},
		"404 on set":      {httpreplay.Fault{Path: "*/distributionsets/*", Status: 404}, "hawkbit/17: firmware", "HTTP 404", true},
		"429 for ever":    {httpreplay.Fault{Path: "/rest/v1/actions", Status: 429}, `hawkbit/17: group "canary": actions`, "HTTP 429", true},
		"500 on page two": {httpreplay.Fault{Path: "*/deploygroups", Status: 500, From: 2}, "hawkbit/17: groups", "page 2 of", true},
		"cut off":         {httpreplay.Fault{Path: "/rest/v1/rollouts", Cut: true}, "hawkbit rollouts", "cut off", true},
		"not JSON":        {httpreplay.Fault{Path: "/rest/v1/rollouts", Status: 200, Body: "<html>"}, "hawkbit rollouts", "not the JSON", true},
		"redirect":        {httpreplay.Fault{Path: "/rest/v1/rollouts", Status: 302, Headers: map[string]string{"Location": "http://127.0.0.1:1/"}}, "hawkbit rollouts", "HTTP 302", true},
		"500 once":        {httpreplay.Fault{Path: "/rest/v1/rollouts", Status: 500, Times: 1}, "", "", false},
		"429 twice":       {httpreplay.Fault{Path: "*/deploygroups", Status: 429, Times: 2, Headers: map[string]string{"Retry-After": "0"}}, "", "", false},
		"cut off once":    {httpreplay.Fault{Path: "/rest/v1/rollouts", Cut: true, Times: 1}, "", "", false},
		"no identity":     {httpreplay.Fault{Path: "/rest/v1/userinfo", Status: 403, Body: echo}, "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := recorded(t)
			s.Inject(c.fault)
			e := ask(t, s, "2026-Q3")
			if got := e.Completeness.State == evidence.Incomplete; got != c.incomplete {
				t.Fatalf("%+v", e.Completeness)
			}
			if c.incomplete && (!strings.Contains(e.Completeness.Gaps[0].What, c.what) || !strings.Contains(e.Completeness.Gaps[0].Reason, c.why)) {
				t.Errorf("gap %+v, want %q: %q", e.Completeness.Gaps[0], c.what, c.why)
			}
			if n := len(s.Requests()); n > 60 {
				t.Errorf("%d requests: the retries are not bounded", n)
			}
			if n := len(s.Requests()); name == "401" && n != 2 {
				t.Errorf("%d requests: a refused credential is tried again", n)
			}
			noSecret(t, e)
		})
	}
}

func noSecret(t *testing.T, e evidence.Evidence) {
	t.Helper()
	_, record, _, err := evidence.RecordOf(e)
	if err != nil {
		t.Fatal(err)
	}
	all := string(record)
	for _, r := range e.Raw {
		all += string(r.Body)
	}
	for _, secret := range []string{password, "cmVhZGVyOmNvcnJlY3Q", "Basic "} {
		if strings.Contains(all, secret) {
			t.Errorf("the evidence holds %q", secret)
		}
	}
}

func TestHawkBitWithoutACredential(t *testing.T) {
	s := recorded(t)
	e := collect(t, Config{HawkBit: &HawkBit{URL: s.URL(), TokenEnv: "HB_TOKEN"}}, Deps{}, "2026-Q3")
	if e.Completeness.State != evidence.Incomplete || !strings.Contains(e.Completeness.Gaps[0].Reason, "HB_TOKEN is empty") || len(s.Requests()) != 0 {
		t.Errorf("%+v after %d requests", e.Completeness, len(s.Requests()))
	}
}

func TestConfigIsChecked(t *testing.T) {
	for want, c := range map[string]Config{
		"name a folder":        {},
		"the server's address": {HawkBit: &HawkBit{URL: "hawkbit.example.com", TokenEnv: "T"}},
		"carries a user":       {HawkBit: &HawkBit{URL: "https://u:p@hawkbit.example.com", TokenEnv: "T"}},
		"in the clear":         {HawkBit: &HawkBit{URL: "http://hawkbit.example.com", TokenEnv: "T"}},
		"go together":          {HawkBit: &HawkBit{URL: "https://hawkbit.example.com", UserEnv: "U"}},
		"name either":          {HawkBit: &HawkBit{URL: "https://hawkbit.example.com"}},
	} {
		if _, err := New(c, Deps{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		} else if strings.Contains(err.Error(), "u:p") {
			t.Error("the error prints the credential")
		}
	}
}
