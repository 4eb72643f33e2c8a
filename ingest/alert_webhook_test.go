package ingest

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// TestWebhookSignatureIsTheSpecifications: the vector of the reference library
// of Standard Webhooks.
func TestWebhookSignatureIsTheSpecifications(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	write := func(text string) [][]byte {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		secrets, err := readSecrets(file)
		if err != nil {
			t.Fatal(err)
		}
		return secrets
	}
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	sign := func(secrets [][]byte) string {
		return webhookSignature(secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	}
	if got := sign(write("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	two := strings.Fields(sign(write(newWebhookSecret(1) + "\n\nwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")))
	if len(two) != 2 || two[1] != want || two[0] == want {
		t.Errorf("two secrets sign %v", two)
	}
	for _, bad := range []string{"", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_short", "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23)), strings.Repeat(newWebhookSecret(1)+"\n", 5), strings.Repeat("\n", 4097)} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readSecrets(file); err == nil || strings.Contains(err.Error(), "MfKQ9r8") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestAlertsAreToldByWebhook(t *testing.T) {
	v := newReceiver(t, 1)
	r := newRig(t, toWebhooks(v.policy("pager")))
	r.tenant("nord")
	id := r.raise(AlertReplayConflict, "nord", "a number was used again")
	raised := r.clock.now()
	r.told(id)
	r.clock.add(90 * time.Second)
	if err := r.admin("carla").AcknowledgeAlert(t.Context(), id, "looking", "https://tickets.example/7"); err != nil {
		t.Fatal(err)
	}
	r.told(id)
	r.clock.add(time.Minute)
	if err := r.admin("root.admin").ResolveAlert(t.Context(), id, "modem replaced", "T-8"); err != nil {
		t.Fatal(err)
	}
	want := []string{"raised>pager:delivered", "acknowledged>pager:delivered", "resolved>pager:delivered"}
	if got := r.told(id); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	got := v.requests()
	if len(got) != 3 || !slices.Equal(v.types(), []string{"raised", "acknowledged", "resolved"}) {
		t.Fatalf("%d requests: %v", len(got), v.types())
	}
	if got[0].stamp != strconv.FormatInt(raised.Unix(), 10) || !got[0].message.Timestamp.Equal(raised) {
		t.Errorf("raised at %v, told with timestamp %s of %v", raised, got[0].stamp, got[0].message.Timestamp)
	}
	first, second, third := got[0].message.Data, got[1].message.Data, got[2].message.Data
	if first.ID != id || first.Kind != AlertReplayConflict || first.Severity != SeverityCritical || first.Tenant != "nord" || first.Detail != "a number was used again" ||
		!slices.Equal(first.Devices, []string{"nord/m-1"}) || first.DeviceCount != 1 || first.Actor != "" || first.Log != "test.example/ingest/control" {
		t.Errorf("raised: %+v", first)
	}
	if second.Actor != "carla" || second.Role != RoleApprover || second.Text != "looking" || second.Ticket != "https://tickets.example/7" || second.AcknowledgedBy != "carla" {
		t.Errorf("acknowledged: %+v", second)
	}
	if third.Actor != "root.admin" || third.Text != "modem replaced" || third.Ticket != "T-8" || third.AcknowledgedBy != "carla" {
		t.Errorf("resolved: %+v", third)
	}
	entries := r.control(evidence.EntryAlertDelivered)
	if len(entries) != 3 || entries[0].Actor != nil || string(entries[0].Data) != `{"attempts":1,"event":"raised","id":"`+id+`","kind":"webhook","to":"pager"}` {
		t.Errorf("%d entries: %s", len(entries), entries[0].Data)
	}

	// The chain, with the entry of each step, and how long it took.
	a := r.alert(id)
	var chain []string
	for _, s := range a.Chain {
		chain = append(chain, s.Event+" by "+s.Actor+": "+s.Text+" "+s.Ticket)
		for data, err := range r.s.led.Entries(controlLog, s.Index, s.Index+1) {
			if err != nil || !strings.Contains(string(data), `"type":"alert.`+s.Event+`"`) {
				t.Errorf("entry %d is said to be of %s: %s %v", s.Index, s.Event, data, err)
			}
		}
	}
	if !slices.Equal(chain, []string{"raised by : a number was used again ", "acknowledged by carla: looking https://tickets.example/7", "resolved by root.admin: modem replaced T-8"}) {
		t.Errorf("%q", chain)
	}
	if a.State != AlertResolved || a.Ticket != "T-8" || *a.AcknowledgeSeconds != 90 || *a.ResolveSeconds != 150 {
		t.Errorf("%+v", a)
	}
	r.sameAsFold()
	before := r.alert(id)
	r.restart()
	if after := r.alert(id); fmt.Sprint(after.Chain, after.Deliveries) != fmt.Sprint(before.Chain, before.Deliveries) {
		t.Errorf("after a restart:\n%+v\n%+v", after, before)
	}
	if n := len(v.requests()); n != 3 {
		t.Errorf("%d requests after a restart", n)
	}
}
