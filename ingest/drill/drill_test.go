package drill

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

func attack(t *testing.T, f *fake, only ...string) map[string]evidence.DrillResult {
	t.Helper()
	results, err := Run(context.Background(), f.target(), only)
	if err != nil {
		t.Fatal(err)
	}
	return byID(t, results)
}

func byID(t *testing.T, results []evidence.DrillResult) map[string]evidence.DrillResult {
	t.Helper()
	by := map[string]evidence.DrillResult{}
	for _, r := range results {
		if r.ID == "" || r.Control == "" || r.What == "" || r.Expected == "" || r.Got == "" || !strings.HasPrefix(r.ID, r.Control+".") {
			t.Errorf("a result with a hole: %+v", r)
		}
		by[r.ID] = r
	}
	return by
}

// beyondFake are the drills of what the fake has not got. TestEachGuardLeftOut
// has them fail, with all others, against the ingest itself.
var beyondFake = []string{
	"AU-03.role-escalation", "AU-06.expired-support-grant", "AU-06.grant-of-another-tenant", "PR-01.tenant-behind-content-type", "PR-01.tenant-in-stream", "PR-01.tenant-through-gateway",
	"ST-02.status-of-another-tenant", "ST-02.export-by-device", "ST-02.dead-letters-by-device", "ST-02.log-by-device",
	"TR-02.number-before-the-window", "PR-14.future-time", "PR-14.ancient-time", "TR-03.zstd-bomb",
	"ST-06.export-over-limit", "ST-07.export-spike", "ID-02.expired-certificate", "AU-08.silent-device",
}

// known are the drills whose defences the fake has.
func known() []drill {
	return slices.DeleteFunc(all(), func(d drill) bool { return slices.Contains(beyondFake, d.id) })
}

func TestAnIngestWithEveryDefencePasses(t *testing.T) {
	f := newFake(t, "")
	results := attack(t, f, rest("TR-04.flood")...)
	if len(results) != len(known()) || len(results) < 27 {
		t.Fatalf("%d results of %d drills", len(results), len(known()))
	}
	silent := []string{"TR-01.server-certificate", "TR-01.plain-http", "TR-01.tls-1.0", "TR-01.tls-1.1", "TR-01.weak-cipher"} // the fake logs no handshakes
	for id, r := range results {
		if r.Verdict != Passed {
			t.Errorf("%s: %s: %s", id, r.Verdict, r.Got)
		}
		if (r.LogEntry == "") != slices.Contains(silent, id) {
			t.Errorf("%s: log entry %q", id, r.LogEntry)
		}
		if r.LatencyMS <= 0 {
			t.Errorf("%s: latency %v", id, r.LatencyMS)
		}
		if !r.StartedAt.Equal(f.now) {
			t.Errorf("%s: started at %s, not on the target's clock", id, r.StartedAt)
		}
	}
	for _, d := range f.devices {
		if d.fp != "" && d.state != "revoked" {
			t.Errorf("canary %s is left %s", d.id, d.state)
		}
	}
	for _, log := range []string{TenantA, TenantB} {
		for _, e := range f.logs[log] {
			if strings.Contains(string(e), "anybody") {
				t.Errorf("log %s: %s", log, e)
			}
		}
	}
}

// rest is every drill; the flood, which takes its time, only where it is id.
func rest(id string) []string {
	var ids []string
	for _, d := range known() {
		if d.id == id || d.control != "TR-04" {
			ids = append(ids, d.id)
		}
	}
	return ids
}

// Each drill must fail, and no other, where its defence is missing.
func TestEachDrillFailsWithoutItsDefence(t *testing.T) {
	for _, d := range known() {
		t.Run(d.id, func(t *testing.T) {
			results, err := Run(context.Background(), newFake(t, d.id).target(), rest(d.id))
			// Behind an expired certificate it cannot be seen what an earlier run left.
			if expired := d.id == "TR-01.server-certificate"; (err != nil) != expired || expired && !strings.Contains(err.Error(), "left behind") {
				t.Errorf("the run's error: %v", err)
			}
			if len(results) == 0 {
				t.Fatal("no results")
			}
			for id, r := range byID(t, results) {
				switch {
				case id == d.id && r.Verdict != Failed:
					t.Errorf("%s without its defence: %s: %s", id, r.Verdict, r.Got)
				case id != d.id && d.id == "TR-01.server-certificate" && r.Verdict != NotAvailable:
					t.Errorf("%s: %s: %s, though the server's certificate has expired", id, r.Verdict, r.Got)
				case id != d.id && d.id != "TR-01.server-certificate" && r.Verdict != Passed:
					t.Errorf("%s: %s: %s, though only %s has no defence", id, r.Verdict, r.Got, d.id)
				}
			}
		})
	}
}

// Other ways to be weak, and the drills that must notice.
func TestSubtlerWeaknesses(t *testing.T) {
	for weakness, drills := range map[string][]string{
		"ID-05.revoked-device, open connections": {"ID-05.revoked-device"},
		"TR-03.oversized-body, chunked":          {"TR-03.oversized-body"},
		"403 but stored":                         {"PR-01.tenant-in-path"},
		"records-nothing":                        {"PR-01.tenant-in-path", "PR-01.tenant-in-header", "PR-01.tenant-in-payload", "TR-02.replayed-batch"},
		"keeps-no-dead-letters":                  {"TR-05.truncated-json", "TR-05.bad-utf8", "TR-05.duplicate-keys", "TR-05.not-a-number", "TR-05.huge-number"},
		"starves-neighbours":                     {"TR-04.flood"},
	} {
		t.Run(weakness, func(t *testing.T) {
			for id, r := range attack(t, newFake(t, weakness), drills...) {
				if r.Verdict != Failed {
					t.Errorf("%s: %s: %s", id, r.Verdict, r.Got)
				}
			}
		})
	}
}

// A server may refuse a credential in the handshake. Under TLS 1.3 its alert
// races with what the client sends; it must be heard each time.
func TestRefusalInTheHandshake(t *testing.T) {
	f := newFake(t, "refuses in the handshake")
	for range 10 {
		for id, r := range attack(t, f, "ID-02.foreign-ca", "ID-02.self-signed") {
			if r.Verdict != Passed || !strings.HasPrefix(r.Got, "TLS alert") {
				t.Fatalf("%s: %s: %s", id, r.Verdict, r.Got)
			}
		}
	}
}

// Whatever could not be looked at must not pass.
func TestNothingPassesUnseen(t *testing.T) {
	t.Run("logs hidden", func(t *testing.T) {
		results := attack(t, newFake(t, "hides-logs"), rest("TR-04.flood")...)
		for _, id := range []string{"ID-02.foreign-ca", "ID-05.revoked-device", "PR-01.tenant-in-path", "TR-02.replayed-batch", "TR-03.oversized-body", "TR-05.bad-utf8"} {
			if r := results[id]; r.Verdict != NotAvailable || !strings.Contains(r.Got, "403") {
				t.Errorf("%s: %s: %s", id, r.Verdict, r.Got)
			}
		}
		if r := results["ID-02.no-certificate"]; r.Verdict != Passed || r.LogEntry != "" {
			t.Errorf("no certificate: %+v", r)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		f := newFake(t, "")
		target := f.target()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		target.PublicURL = "https://" + l.Addr().String()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		results, err := Run(context.Background(), target, rest("TR-04.flood"))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.ID == "ID-04.self-approval" {
				continue // on the admin port, which is there
			}
			if r.Verdict != NotAvailable || !strings.Contains(r.Got, "refused") {
				t.Errorf("%s: %s: %s", r.ID, r.Verdict, r.Got)
			}
		}
	})
	t.Run("a port that closes each connection", func(t *testing.T) {
		f := newFake(t, "")
		target := f.target()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_ = c.Close()
			}
		}()
		target.PublicURL = "https://" + l.Addr().String()
		results, err := Run(context.Background(), target, []string{"TR-01", "ID-02"})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Verdict != NotAvailable {
				t.Errorf("%s: %s: %s", r.ID, r.Verdict, r.Got)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		<-done
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		results, err := Run(ctx, newFake(t, "").target(), nil)
		if err != nil || len(results) != len(all()) {
			t.Fatal(len(results), err)
		}
		for _, r := range results {
			if r.Verdict != NotAvailable {
				t.Errorf("%s: %s", r.ID, r.Verdict)
			}
		}
	})
}

func TestTargetsThatCannotBeUsed(t *testing.T) {
	f := newFake(t, "")
	for want, change := range map[string]func(*Target){
		"want https://host:port":   func(t *Target) { t.PublicURL = "http://localhost:1" },
		"the ingest's admin":       func(t *Target) { t.AdminURL = "https://localhost" },
		"no CA":                    func(t *Target) { t.CA = nil },
		"two operators":            func(t *Target) { t.Approver = t.Requester },
		"credentials of two":       func(t *Target) { t.Approver.Certificate = nil },
		"no event type":            func(t *Target) { t.EventType = "" },
		"no JSON object":           func(t *Target) { t.EventData = json.RawMessage(`[1]`) },
		"no JSON object on one li": func(t *Target) { t.EventData = json.RawMessage("{\n}") },
	} {
		target := f.target()
		change(&target)
		if _, err := Run(context.Background(), target, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error that says %q", err, want)
		}
	}
	if _, err := Run(context.Background(), f.target(), []string{"TR-99"}); err == nil || !strings.Contains(err.Error(), `no drill "TR-99"`) || !strings.Contains(err.Error(), "TR-02") {
		t.Errorf("unknown drill: %v", err)
	}
}

func TestEventsThatTheIngestDoesNotTake(t *testing.T) {
	f := newFake(t, "")
	target := f.target()
	target.EventData = json.RawMessage(`{"x":` + strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20) + `}`)
	results, err := Run(context.Background(), target, []string{"TR-03.too-deep"})
	if err != nil {
		t.Fatal(err)
	}
	if r := results[0]; r.Verdict != NotAvailable || !strings.Contains(r.Got, "first event was not accepted") {
		t.Errorf("%s: %s", r.Verdict, r.Got)
	}
}

func TestOnly(t *testing.T) {
	results := attack(t, newFake(t, ""), "tr-02", "ID-02.no-certificate")
	if len(results) != 4 {
		t.Errorf("%d results, want the three of TR-02 and one more", len(results))
	}
}

func TestPost(t *testing.T) {
	positions, err := Post(context.Background(), newFake(t, "").target(), []evidence.DrillResult{{ID: "x"}})
	if err != nil || !slices.Equal(positions, []string{"control/7"}) {
		t.Errorf("%v, %v", positions, err)
	}
}

func TestEntriesAcrossBundles(t *testing.T) {
	f := newFake(t, "")
	for i := range 700 {
		f.logs["t"] = append(f.logs["t"], fmt.Appendf(nil, `{"t":"event","device":"d","seq":%d}`, i))
	}
	r, err := newRun(f.target())
	if err != nil {
		t.Fatal(err)
	}
	r.measure(context.Background())
	r.since["t"] = 250
	records, err := r.entries(context.Background(), "t")
	if err != nil || len(records) != 450 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	for i, rec := range records {
		if rec.index != int64(250+i) || rec.tenant.Seq != rec.index {
			t.Fatalf("record %d is %+v", i, rec)
		}
	}
	for n, want := range map[int64]string{0: "000", 999: "999", 1000: "x001/000", 1234067: "x001/x234/067"} {
		if got := tilePath(n); got != want {
			t.Errorf("tilePath(%d) = %s, want %s", n, got, want)
		}
	}
	for _, bad := range [][]byte{{0}, {0, 3, 'a'}, {0, 1, 'a', 0, 1, 'b'}} {
		if _, err := split(bad, 1); err == nil {
			t.Errorf("split(%v): no error", bad)
		}
	}
}

func TestAmbiguousEntriesAreNotGuessed(t *testing.T) {
	refusal := func(index int64, source string) record {
		return record{log: controlLog, index: index, audit: evidence.AuditEntry{Type: evidence.EntryRefusal}, refusal: evidence.Refusal{Code: "c", Source: source}}
	}
	tr := refusedFor(answer{source: "10.0.0.1"}, "c", "")
	for _, c := range []struct {
		why      string
		records  []record
		from, to int64
		want     string
	}{
		{"another source", []record{refusal(1, "10.0.0.2"), refusal(2, "10.0.0.1:443")}, 0, 9, "control/2"},
		{"two fit", []record{refusal(1, "10.0.0.1"), refusal(2, "10.0.0.1")}, 0, 9, ""},
		{"one of before", []record{refusal(1, "10.0.0.1"), refusal(2, "10.0.0.1")}, 2, 9, "control/2"},
		{"one of later", []record{refusal(1, "10.0.0.1"), refusal(2, "10.0.0.1")}, 0, 2, "control/1"},
		{"counted, written later", []record{refusal(1, "10.0.0.1"), refusal(5, "10.0.0.1")}, 2, 4, "control/5"},
		{"two of later", []record{refusal(5, "10.0.0.1"), refusal(6, "10.0.0.1")}, 2, 4, ""},
	} {
		if got := tr.find(c.records, c.from, c.to); got != c.want {
			t.Errorf("%s: got %q, want %q", c.why, got, c.want)
		}
	}
	byID := refusedFor(answer{source: "10.0.0.1", request: "r2"}, "c", "")
	one, two := refusal(1, "10.0.0.1"), refusal(2, "10.0.0.1")
	one.audit.RequestID, two.audit.RequestID = "r1", "r2"
	if got := byID.find([]record{one, two}, 0, 9); got != "control/2" {
		t.Errorf("by request: got %q", got)
	}
}

// Like refusals are counted, and their entry comes late.
func TestEntriesThatComeLate(t *testing.T) {
	f := newFake(t, "records-late")
	target := f.target()
	target.Settle = 500 * time.Millisecond
	results, err := Run(context.Background(), target, []string{"ID-02.no-certificate", "PR-01.tenant-in-path"})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Verdict != Passed || r.LogEntry == "" {
			t.Errorf("%s: %s: %s, log entry %q", r.ID, r.Verdict, r.Got, r.LogEntry)
		}
	}
}

func TestOneLine(t *testing.T) {
	if got := oneLine("a\nb\x1b[31m\xff" + strings.Repeat("x", 700)); strings.ContainsAny(got, "\n\x1b") || len(got) > 620 {
		t.Errorf("%q", got)
	}
}

func TestSample(t *testing.T) {
	got, err := Sample([]byte(`{"type":"object","required":["n","i","e","b","l"],"properties":{
		"n":{"type":"number","minimum":47,"maximum":53},"i":{"type":["integer","null"],"exclusiveMinimum":3},
		"e":{"enum":["x","y"]},"b":{"type":"boolean"},"l":{"type":"array","minItems":1,"items":{"type":"string","minLength":2}},"optional":{"pattern":"^$"}}}`))
	if err != nil || string(got) != `{"b":true,"e":"x","i":4,"l":["xx"],"n":50}` {
		t.Errorf("%s, %v", got, err)
	}
	for _, bad := range []string{`{`, `{"type":"string"}`, `{"type":"object","required":["a"]}`, `{"type":"object","required":["a"],"properties":{"a":{"$ref":"#/x"}}}`} {
		if got, err := Sample([]byte(bad)); err == nil {
			t.Errorf("Sample(%s) = %s, want an error", bad, got)
		}
	}
}
