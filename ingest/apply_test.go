package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/internal/strictyaml"
)

// readable lets configurations be applied: own is the file that the ingest
// starts from, changed by the test.
func (r *rig) readable(own *Config) {
	r.t.Helper()
	r.read = func(file []byte) (Config, error) {
		c := r.config
		if file == nil {
			return *own, nil
		}
		return c, strictyaml.Decode("file.yaml", file, &c)
	}
	r.restart()
}

// sendReused sends a line and says whether the connection was an open one.
func (r *rig) sendReused(c client, line string) (status int, reused bool) {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodPost, c.url+"/v1/telemetry", bytes.NewReader([]byte(line)))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	req = req.WithContext(httptrace.WithClientTrace(r.t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}))
	res, err := c.http.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, reused
}

func TestConfigurationIsAppliedOnOpenConnections(t *testing.T) {
	r := newRig(t)
	own := r.config
	r.readable(&own)
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1")).client
	if status, _ := r.sendReused(c, r.line(1, 1)); status != 202 {
		t.Fatal(status)
	}
	rulesBefore, certBefore := r.s.rules().hash, r.s.certificate.Load()
	ctx := t.Context()
	got, err := r.admin("root.admin").ApplyConfig(ctx, []byte("limits: {body_bytes: 60}\ntime: {flag: 1m}\nhostnames: [gate.example]\n"), "smaller bodies", "T-1")
	if err != nil {
		t.Fatal(err)
	}
	if got.Version != 2 || !got.Changed || got.Kept || !slices.Contains(got.Diff, "limits.body_bytes: 1048576 -> 60") || len(got.Diff) != 3 {
		t.Errorf("%+v", got)
	}
	if status, reused := r.sendReused(c, r.line(2, 1)); status != 413 || !reused {
		t.Errorf("status %d, on the open connection: %v", status, reused)
	}
	if r.s.rules().hash == rulesBefore || r.s.certificate.Load() == certBefore || !slices.Contains(r.s.certificate.Load().Leaf.DNSNames, "gate.example") {
		t.Error("rules or certificate are the old ones")
	}
	entries := r.control(evidence.EntryConfigApplied)
	if e := entries[len(entries)-1]; len(entries) != 2 || e.Actor.Name != "root.admin" || e.Reason != "smaller bodies" || e.Ticket != "T-1" || e.RequestID == "" || e.Before == nil || e.After == nil {
		t.Errorf("%+v", entries)
	}
	history, err := r.admin("erin").ConfigHistory(ctx)
	if err != nil || len(history) != 2 || history[1].Version != 2 || history[1].Actor != "root.admin" || len(history[1].Diff) != 3 || history[1].SHA256 != got.SHA256 {
		t.Errorf("%+v %v", history, err)
	}
	// The same again is no version; the host's file is another.
	if again, err := r.admin("root.admin").ApplyConfig(ctx, []byte("limits: {body_bytes: 60}\ntime: {flag: 1m}\nhostnames: [gate.example]\n"), "again", ""); err != nil || again.Changed || again.Version != 2 {
		t.Errorf("%+v %v", again, err)
	}
	own.Limits.Lines = 77
	if re, err := r.s.Reload("hangup"); err != nil || re.Version != 3 || !re.Changed || r.s.cfg().Limits.Lines != 77 {
		t.Errorf("%+v %v", re, err)
	}
	if re, err := r.admin("root.admin").ApplyConfig(ctx, nil, "own file", ""); err != nil || re.Changed || !re.Kept {
		t.Errorf("%+v %v", re, err)
	}
	r.sameAsFold()
}

func TestConfigurationThatCannotStandChangesNothing(t *testing.T) {
	r := newRig(t)
	own := r.config
	r.readable(&own)
	empty := t.TempDir()
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "x.v1.schema.json"), []byte(`{"type":7}`), 0o600); err != nil {
		t.Fatal(err)
	}
	before, set := r.s.st.config, r.s.set.Load()
	refusals := 0
	for file, want := range map[string]string{
		"listen: 127.0.0.1:9\n":                         "ingest.listen: cannot change while the ingest runs",
		"admin_listen: 127.0.0.1:9\n":                   "ingest.admin_listen",
		"replay: {window: 5}\n":                         "ingest.replay.window",
		"timeouts: {idle: 5s}\n":                        "ingest.timeouts",
		"limits: {depth: 1}\n":                          "ingest.limits.depth: 1 is outside",
		"limits: {dept: 9}\n":                           `file.yaml:1:10: unknown key "dept"`,
		"schemas: " + empty + "\n":                      "no event could be accepted",
		"schemas: " + broken + "\n":                     "x.v1.schema.json",
		"ranges: {nosuch.v1: {a: {min: 1}}}\n":          "nosuch.v1",
		"limits: {lines: 5}\n" + "limits: {depth: 9}\n": "file.yaml",
	} {
		_, err := r.admin("root.admin").ApplyConfig(t.Context(), []byte(file), "try", "")
		if p := refusedWith(t, err, CodeInvalid); !strings.Contains(p.Detail, want) {
			t.Errorf("%q: %s", file, p.Detail)
		}
		refusals++
	}
	_, err := r.admin("carla").ApplyConfig(t.Context(), []byte("limits: {lines: 5}"), "try", "")
	refusedWith(t, err, CodeForbidden)
	_, err = r.admin("root.admin").ApplyConfig(t.Context(), []byte("limits: {lines: 5}"), " ", "")
	refusedWith(t, err, CodeInvalid)
	if n := len(r.control(evidence.EntryAdminRefused)); n != refusals+2 {
		t.Errorf("%d refused acts in the log, want %d", n, refusals+2)
	}
	own.Listen = "127.0.0.1:9"
	if _, err := r.s.Reload("hangup"); err == nil || !strings.Contains(err.Error(), "ingest.listen: cannot change") || !strings.Contains(err.Error(), "stays in force") {
		t.Error(err)
	}
	r.s.o.ReadConfig = func([]byte) (Config, error) { return Config{}, errors.New("no such file") }
	if _, err := r.s.Reload("hangup"); err == nil {
		t.Error("a file that cannot be read was taken")
	}
	if e := r.control(evidence.EntryConfigRefused); len(e) != 2 || !strings.Contains(string(e[0].Data), "restart it with the new configuration") || e[0].Result != "refused" {
		t.Errorf("%+v", e)
	}
	if r.s.st.config.Version != before.Version || r.s.set.Load() != set || len(r.control(evidence.EntryConfigApplied)) != 1 {
		t.Error("something changed")
	}
	r.sameAsFold()
}

// TestARestartThatRevertsAConfigurationSaysSo: the file is the host's, and
// what an operator applied is not in it.
func TestARestartThatRevertsAConfigurationSaysSo(t *testing.T) {
	r := newRig(t)
	own, log := r.config, &logged{}
	r.logger = slog.New(slog.NewJSONHandler(log, nil))
	r.readable(&own)
	kept := func() string {
		t.Helper()
		b, err := r.admin("erin").Get(t.Context(), "/v1/admin/config")
		var got struct {
			Kept    bool
			Unknown string `json:"kept_unknown"`
		}
		if err != nil || json.Unmarshal(b, &got) != nil {
			t.Fatalf("%s %v", b, err)
		}
		return fmt.Sprint(got.Kept, got.Unknown)
	}
	if got := kept(); got != "true" {
		t.Errorf("kept: %s", got)
	}
	if _, err := r.admin("root.admin").ApplyConfig(t.Context(), []byte("limits: {body_bytes: 60}\n"), "smaller bodies", ""); err != nil {
		t.Fatal(err)
	}
	if got := kept(); got != "false" || !strings.Contains(log.String(), "a restart goes back to the file") {
		t.Errorf("kept: %s; %s", got, log.String())
	}
	r.restart()
	entries := r.control(evidence.EntryConfigApplied)
	if e := entries[len(entries)-1]; len(entries) != 3 || e.Actor.Role != "host" || e.Reason != "configuration file read at start, which version 2 that root.admin applied is not in" {
		t.Errorf("%+v", entries[len(entries)-1])
	}
	alerts := r.s.listAlerts()
	if len(alerts) != 1 || alerts[0].Kind != AlertConfigReverted || !strings.Contains(alerts[0].Detail, "version 2 that root.admin applied on 2026-07-01T10:00:00Z is not: limits.body_bytes: 60 -> 1048576") {
		t.Errorf("%+v", alerts)
	}
	if !strings.Contains(log.String(), `"level":"WARN","msg":"the file differs from the configuration that was applied last, and takes its place","version":2,"applied_by":"root.admin"`) {
		t.Errorf("%s", log.String())
	}
	r.clock.add(time.Minute) // the host's own change is none to be alerted of
	r.restart()
	r.config.Limits.Lines, own.Limits.Lines = 76, 76
	r.restart()
	if n := len(r.control(evidence.EntryConfigApplied)); n != 4 || len(r.s.listAlerts()) != 1 {
		t.Errorf("%d versions, %d alerts", n, len(r.s.listAlerts()))
	}
	// An operator's that is put into the file is there after a restart.
	if got, err := r.admin("root.admin").ApplyConfig(t.Context(), []byte("limits: {body_bytes: 70}\n"), "smaller bodies", ""); err != nil || got.Kept {
		t.Errorf("%+v %v", got, err)
	}
	r.config.Limits.BodyBytes, own.Limits.BodyBytes = 70, 70
	if got := kept(); got != "true" {
		t.Errorf("kept: %s", got)
	}
	r.restart()
	if n := len(r.control(evidence.EntryConfigApplied)); n != 5 || len(r.s.listAlerts()) != 1 {
		t.Errorf("%d versions, %d alerts", n, len(r.s.listAlerts()))
	}
	r.sameAsFold()
	r.read = func([]byte) (Config, error) { return Config{}, errors.New("the file is gone") }
	r.restart()
	if got := kept(); got != "falsethe file is gone" && got != "false the file is gone" {
		t.Errorf("kept: %s", got)
	}
}
