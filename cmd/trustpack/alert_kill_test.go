package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/ingest"
)

// TestAlertsReachAReceiverThatWasDead: while nobody listens at its address,
// alerts are raised, acknowledged and resolved; the ingest is killed; it is
// killed again and again while it tells, after the receiver has read a message
// and before it has answered. In the end each event has reached the receiver at
// least once, what came twice is known by its ID, the log holds one entry of
// each, and what another receiver wants no more is given up in the log too.
func TestAlertsReachAReceiverThatWasDead(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a system on which a process can be interrupted: a clean stop is part of the test")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	pager, gone := newAlertReceiver(t), newAlertReceiver(t)
	gone.answers(func(w http.ResponseWriter, _ *http.Request, _ told) { w.WriteHeader(http.StatusGone) })
	gone.open()
	s := initServed(t, "  alerts:", "    attempts: 100", "    backoff: 20ms", "    max_wait: 1s", "    webhooks:",
		fmt.Sprintf("      - {name: pager, url: \"http://%s/hook\", secret_file: secrets/pager}", pager.addr),
		fmt.Sprintf("      - {name: gone, url: \"http://%s/hook\", secret_file: secrets/pager}", gone.addr))
	s.alertSecrets()
	var said []*process
	p := s.ready(s.start())
	said = append(said, p)
	fleet := []device{{"north", "n-1"}, {"north", "n-2"}, {"north", "n-3"}, {"south", "s-1"}}
	pairs := s.enrol(ctx, fleet...)
	for _, d := range fleet {
		s.conflict(ctx, d, pairs)
	}
	admin := s.operator("admin")
	alerts := s.await(ctx, admin, ingest.AlertQuery{Kind: ingest.AlertReplayConflict}, len(fleet))
	for i, a := range alerts[:2] {
		if err := admin.AcknowledgeAlert(ctx, a.ID, "looking", fmt.Sprintf("OPS-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := admin.ResolveAlert(ctx, alerts[0].ID, "a gateway that was restored twice", ""); err != nil {
		t.Fatal(err)
	}
	const events = 4 + 2 + 1
	untold := func() (waiting, givenUp int) {
		for _, a := range s.await(ctx, admin, ingest.AlertQuery{}, len(fleet)) {
			for _, d := range a.Deliveries {
				switch {
				case d.To == "pager" && d.State == ingest.DeliveryWaiting:
					waiting++
				case d.To == "gone" && d.State == ingest.DeliveryUndelivered:
					givenUp++
				}
			}
		}
		return waiting, givenUp
	}
	s.eventually(ctx, "what the one wants no more is given up, and the other is still to be told", func() bool {
		waiting, givenUp := untold()
		return waiting == events && givenUp == events
	})
	shown, err := admin.Get(ctx, "/v1/admin/config")
	if err != nil {
		t.Fatal(err)
	}
	s.kill(p)

	// The receiver is back; the ingest is killed with a message in its hands.
	const kills = 3
	read, open := make(chan told), make(chan struct{})
	pager.answers(func(w http.ResponseWriter, r *http.Request, m told) {
		select {
		case read <- m:
			<-r.Context().Done()
		case <-open:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	pager.open()
	held := map[string]int{}
	for range kills {
		p = s.ready(s.start())
		said = append(said, p)
		select {
		case m := <-read:
			held[m.id]++
		case <-ctx.Done():
			t.Fatal("nothing is told after a start")
		}
		s.kill(p)
	}
	close(open)
	p = s.ready(s.start())
	said = append(said, p)
	s.eventually(ctx, "everything is told", func() bool { waiting, _ := untold(); return waiting == 0 })
	s.stop(p)

	s.toldOnce(pager.requests(), "pager", evidence.EntryAlertDelivered, events)
	s.toldOnce(gone.requests(), "gone", evidence.EntryAlertUndelivered, events)
	times := map[string]int{}
	for _, m := range pager.requests() {
		times[m.id]++
	}
	for id, n := range held {
		if times[id] != n+1 {
			t.Errorf("message %s was held in %d kills and came %d times", id, n, times[id])
		}
	}
	signed(t, pager.requests())
	s.fsck()
	for _, p := range said {
		shown = append(shown, p.out.String()+p.errOut.String()...)
	}
	s.keepsSecrets(shown)
}

// conflict has a device use a number again for other content.
func (s *served) conflict(ctx context.Context, d device, pairs map[device]*tls.Certificate) {
	s.t.Helper()
	c := s.deviceClient(pairs[d], false)
	for value := range 2 {
		line := fmt.Sprintf(`{"seq":1,"time":%q,"type":"example.v1","data":{"value":%d}}`+"\n", time.Now().UTC().Format(time.RFC3339), value)
		receipt, err := c.Send(ctx, []byte(line))
		if value == 0 && (err != nil || receipt.Accepted != 1) {
			s.t.Fatal(receipt, err)
		}
	}
}

// await waits until the ingest lists n alerts.
func (s *served) await(ctx context.Context, c *ingest.AdminClient, q ingest.AlertQuery, n int) (alerts []ingest.AlertView) {
	s.t.Helper()
	s.eventually(ctx, fmt.Sprintf("%d alerts", n), func() bool {
		var err error
		if alerts, err = c.FindAlerts(ctx, q); err != nil {
			s.t.Fatal(err)
		}
		return len(alerts) == n
	})
	return alerts
}

func (s *served) eventually(ctx context.Context, what string, ok func() bool) {
	s.t.Helper()
	for !ok() {
		select {
		case <-ctx.Done():
			s.t.Fatalf("waiting in vain until %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// toldOnce wants each event of the control log's alerts among the requests, in
// order for each alert, under an ID of its own that it kept, and one entry of
// the type that says so.
func (s *served) toldOnce(requests []told, to, typ string, want int) {
	t := s.t
	t.Helper()
	stored, _ := s.stored()
	entries := map[string]int{} // "alert event"
	type event struct{ id, event string }
	at := map[event]int64{}
	for index, data := range stored["control"] {
		var e evidence.AuditEntry
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatal(err)
		}
		var d struct{ ID, To, Event string }
		switch e.Type {
		case typ:
			if err := json.Unmarshal(e.Data, &d); err != nil {
				t.Fatal(err)
			}
			if d.To == to {
				entries[d.ID+" "+d.Event]++
			}
		case evidence.EntryAlertRaised, evidence.EntryAlertAcked, evidence.EntryAlertResolved:
			at[event{e.Target, strings.TrimPrefix(e.Type, "alert.")}] = int64(index)
		}
	}
	if len(at) != want {
		t.Errorf("the log holds %d events of alerts, want %d", len(at), want)
	}
	first := map[string]told{} // by webhook-id
	last := map[string]int64{} // by alert
	for _, m := range requests {
		d := m.message.Data
		if index, ok := at[event{d.ID, m.event()}]; !ok || index != d.Index || d.Log != "acme.example/meters/control" {
			t.Errorf("%s was told of %s of %s, entry %d of %s, which is %d", to, m.event(), d.ID, d.Index, d.Log, index)
		}
		before, again := first[m.id]
		switch {
		case again && !bytes.Equal(before.body, m.body):
			t.Errorf("message %s came as\n%s\nand as\n%s", m.id, before.body, m.body)
		case !again && d.Index < last[d.ID]:
			t.Errorf("%s of %s was told after what came later", m.event(), d.ID)
		case !again:
			first[m.id], last[d.ID] = m, d.Index
		}
	}
	if len(first) != want {
		t.Errorf("%s was told %d messages, want %d", to, len(first), want)
	}
	seen := map[event]bool{}
	for _, m := range first {
		seen[event{m.message.Data.ID, m.event()}] = true
	}
	for e := range at {
		if !seen[e] || entries[e.id+" "+e.event] != 1 {
			t.Errorf("%s of %s: told to %s: %v; %s stands in the log %d times", e.event, e.id, to, seen[e], typ, entries[e.id+" "+e.event])
		}
	}
	if len(entries) != want {
		t.Errorf("%d entries %s to %s, want %d", len(entries), typ, to, want)
	}
}

// keepsSecrets wants the secrets in no file of the folder but their own, in
// whatever form, and not in what was said.
func (s *served) keepsSecrets(said []byte) {
	t := s.t
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(hookSecret)
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{hookSecret, hookSecret[:20], string(key), hex.EncodeToString(key), issueToken}
	places, logs := 0, 0
	look := func(where string, text []byte) {
		places++
		if bytes.Contains(text, []byte("secrets/pager")) {
			logs++ // here its path stands, and so might the secret
		}
		for i, secret := range secrets {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("secret %d stands in %s", i, where)
			}
		}
	}
	look("what the ingest said", said)
	own := filepath.Join(s.dir, "secrets")
	err = filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == own:
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		text, err := os.ReadFile(path)
		look(path, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for log, entries := range s.entries() {
		for _, data := range entries {
			look("log "+log, data)
		}
	}
	if logs < 3 {
		t.Errorf("of %d places %d name the file of the secret; this looks in the wrong ones", places, logs)
	}
}

func (s *served) entries() map[string][][]byte { entries, _ := s.stored(); return entries }

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// trustpack runs a command in the folder and gives what it printed.
func (s *served) trustpack(args ...string) string {
	s.t.Helper()
	cmd := exec.Command("trustpack", args...)
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("trustpack %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
