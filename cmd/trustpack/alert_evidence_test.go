package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/ingest"
)

// TestAlertsBecomeEvidence follows alerts from the device that caused them to
// the finding: one that people acknowledged, gave a ticket and resolved, one
// whose ticket is the issue that was made of it, one that nobody resolved, and
// one that nobody looked at and that no receiver took. The program shows each
// chain, collects it, and judges it.
func TestAlertsBecomeEvidence(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be interrupted there, and a clean stop is part of the test")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	pager, issues := newAlertReceiver(t), newHub(t)
	pager.open()
	s := initServed(t, "  alerts:", "    attempts: 2", "    backoff: 10ms", "    webhooks:",
		fmt.Sprintf("      - {name: pager, url: \"http://%s/hook\", secret_file: secrets/pager}", pager.addr),
		fmt.Sprintf("      - {name: nowhere, url: \"http://%s/hook\", secret_file: secrets/pager, kinds: [operator.break-glass]}", quietPort(t)),
		fmt.Sprintf("    github: {repository: acme/ops, base_url: \"%s/api/v3\", token_file: secrets/github, kinds: [replay.conflict]}", issues.base))
	s.alertSecrets()
	p := s.ready(s.start())
	fleet := []device{{"north", "n-1"}, {"north", "n-2"}, {"north", "n-3"}}
	pairs := s.enrol(ctx, fleet...)
	byDevice := map[string]string{}
	for _, d := range fleet {
		s.conflict(ctx, d, pairs)
	}
	admin := s.operator("admin")
	for _, a := range s.await(ctx, admin, ingest.AlertQuery{Kind: ingest.AlertReplayConflict}, len(fleet)) {
		byDevice[a.Devices[0]] = a.ID
	}
	handled, byIssue, open := byDevice["north/n-1"], byDevice["north/n-2"], byDevice["north/n-3"]
	s.trustpack("operator", "break-glass", "open", "--role", "exporter", "--minutes", "10", "--reason", "nobody else is here", "--as", "admin")
	ignored := s.await(ctx, admin, ingest.AlertQuery{Kind: ingest.AlertBreakGlass}, 1)[0].ID

	s.trustpack("alert", "ack", handled, "--note", "looking", "--ticket", "OPS-1", "--as", "admin")
	s.trustpack("alert", "resolve", handled, "--resolution", "a gateway that was restored twice", "--ticket", "https://tickets.example/OPS-2", "--as", "admin")
	s.trustpack("alert", "ack", byIssue, "--as", "admin")
	s.trustpack("alert", "resolve", byIssue, "--resolution", "as the issue says", "--as", "admin")
	s.trustpack("alert", "ack", open, "--ticket", "OPS-3", "--as", "admin")
	s.eventually(ctx, "everything is told or given up", func() bool {
		waiting, err := admin.FindAlerts(ctx, ingest.AlertQuery{Delivery: ingest.DeliveryWaiting})
		if err != nil {
			t.Fatal(err)
		}
		return len(waiting) == 0
	})

	// As the program shows it.
	listed := s.trustpack("alert", "list", "--as", "admin")
	for id, ticket := range map[string]string{handled: "https://tickets.example/OPS-2", byIssue: issues.base + "/acme/ops/issues/", open: "OPS-3", ignored: "-"} {
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(id) + ` .* ` + regexp.QuoteMeta(ticket)).MatchString(listed) {
			t.Errorf("alert list does not name the ticket %s of %s:\n%s", ticket, id, listed)
		}
	}
	if only := s.trustpack("alert", "list", "--state", "open", "--as", "admin"); !strings.Contains(only, ignored) || strings.Contains(only, "replay.conflict") {
		t.Errorf("open are:\n%s", only)
	}
	shown := s.trustpack("alert", "show", handled, "--as", "admin")
	for _, want := range []string{
		`state +resolved`, `ticket +https://tickets.example/OPS-2`, `acknowledged after +\d+s`, `resolved after +\d+s`,
		`control/\d+ +raised .* a number was used again`, `control/\d+ +acknowledged .* admin +OPS-1 +looking`,
		`control/\d+ +resolved .* admin +https://tickets.example/OPS-2 +a gateway that was restored twice`,
		`control/\d+ +raised +pager +delivered`, `control/\d+ +acknowledged +pager +delivered`, `control/\d+ +resolved +pager +delivered`,
		`control/\d+ +raised +acme/ops +delivered`, `control/\d+ +resolved +acme/ops +delivered`,
	} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(shown) {
			t.Errorf("alert show does not say %q:\n%s", want, shown)
		}
	}
	states := map[string]int{}
	for _, i := range issues.all() {
		states[i.State]++
	}
	if states["closed"] != 2 || states["open"] != 1 {
		t.Errorf("issues are %v", states)
	}
	signed(t, pager.requests())

	// As evidence, of a quarter that is not over.
	slowest := 0.0
	for _, id := range []string{handled, byIssue, open} {
		a, err := admin.Alert(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		for _, seconds := range []*float64{a.AcknowledgeSeconds, a.ResolveSeconds} {
			if seconds != nil {
				slowest = max(slowest, *seconds)
			}
		}
	}
	s.eventually(ctx, "what nobody did has lasted longer than what people did", func() bool {
		a, err := admin.Alert(ctx, ignored)
		return err == nil && time.Since(a.RaisedAt).Seconds() > slowest+2
	})
	today := time.Now().UTC().Truncate(24 * time.Hour)
	period := today.AddDate(0, 0, -1).Format(time.DateOnly) + "/" + today.AddDate(0, 0, 90).Format(time.DateOnly)
	s.trustpack("collect", "--period", period)
	items := s.collected("telemetry.alerts")
	type item struct {
		Ticket, Resolution string
		AcknowledgedBy     string `json:"acknowledged_by"`
		ResolvedBy         string `json:"resolved_by"`
		Undelivered        []string
		Deliveries         []struct{ To, Event, State, Ticket string }
	}
	got := map[string]item{}
	for _, raw := range items {
		var named struct {
			ID string
			item
		}
		if err := json.Unmarshal(raw, &named); err != nil {
			t.Fatal(err)
		}
		got[named.ID] = named.item
	}
	if len(got) != 4 {
		t.Fatalf("%d alerts were collected: %s", len(got), items)
	}
	if a := got[handled]; a.Ticket != "https://tickets.example/OPS-2" || a.AcknowledgedBy != "admin" || a.ResolvedBy != "admin" || a.Resolution != "a gateway that was restored twice" || len(a.Deliveries) != 6 || len(a.Undelivered) != 0 {
		t.Errorf("%+v", a)
	}
	if a := got[byIssue]; !strings.HasPrefix(a.Ticket, issues.base+"/acme/ops/issues/") || a.Ticket != a.Deliveries[slices.IndexFunc(a.Deliveries, func(d struct{ To, Event, State, Ticket string }) bool { return d.To == "acme/ops" })].Ticket {
		t.Errorf("%+v", a)
	}
	if a := got[open]; a.Ticket != "OPS-3" || a.ResolvedBy != "" || a.AcknowledgedBy != "admin" {
		t.Errorf("%+v", a)
	}
	if a := got[ignored]; a.Ticket != "" || a.AcknowledgedBy != "" || !slices.Equal(a.Undelivered, []string{"raised to nowhere"}) {
		t.Errorf("%+v", a)
	}

	// As the control judges it: by its own policy nobody is late yet, and by one
	// that gives little more time than people took, those who did nothing are.
	s.judged(period, "told "+ignored)
	limit := slowest + 1
	writePolicy(t, s.config, fmt.Sprintf("policy: {max_ack_hours: %.9f, max_resolve_days: %.9f}", limit/3600, limit/86400))
	s.judged(period, "acknowledged "+ignored, "resolved "+ignored, "resolved "+open, "ticket "+ignored, "told "+ignored)
	s.stop(p)
	s.keepsSecrets([]byte(p.out.String() + p.errOut.String()))
}

// judged wants these exceptions of AU-07, each an attribute and an alert. A
// period that is not over cannot be judged whole.
func (s *served) judged(period string, want ...string) {
	s.t.Helper()
	var assessed struct {
		Controls []struct {
			ID         string
			Outcome    evidence.Outcome
			Reason     string
			Exceptions []evidence.Exception
		}
	}
	if err := json.Unmarshal([]byte(s.trustpack("assess", "--period", period, "--json")), &assessed); err != nil {
		s.t.Fatal(err)
	}
	got := []string{}
	for _, f := range assessed.Controls {
		if f.ID != "AU-07" {
			continue
		}
		if f.Outcome != evidence.OutcomeNotAvailable {
			s.t.Errorf("AU-07 is %s: %s", f.Outcome, f.Reason)
		}
		for _, x := range f.Exceptions {
			got = append(got, x.Attribute+" "+x.Item)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.t.Errorf("exceptions are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// writePolicy sets the parameters of controls.
func writePolicy(t *testing.T, config, policy string) {
	t.Helper()
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "policy: {}", policy, 1)
	if changed == string(text) {
		t.Fatal("the configuration has no empty policy")
	}
	writeFile(t, config, changed)
}

// collected are the items of the newest collection of a kind.
func (s *served) collected(kind string) []json.RawMessage {
	s.t.Helper()
	var list []struct{ Kind, ID string }
	if err := json.Unmarshal([]byte(s.trustpack("evidence", "list", "--json")), &list); err != nil {
		s.t.Fatal(err)
	}
	for _, c := range slices.Backward(list) {
		if c.Kind != kind {
			continue
		}
		var shown struct{ Items []json.RawMessage }
		if err := json.Unmarshal([]byte(s.trustpack("evidence", "show", c.ID, "--json")), &shown); err != nil {
			s.t.Fatal(err)
		}
		return shown.Items
	}
	s.t.Fatalf("nothing of kind %s was collected", kind)
	return nil
}
