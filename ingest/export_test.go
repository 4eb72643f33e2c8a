package ingest

import (
	"bytes"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

func (r *rig) ask(rows string, change ...func(*ExportRequest)) (ExportRecord, error) {
	r.t.Helper()
	q := ExportRequest{Tenant: rows, Format: "ndjson", Destination: "sftp://customer.example", Reason: "their audit"}
	for _, c := range change {
		c(&q)
	}
	return r.admin("emil").RequestExport(r.t.Context(), q)
}

func (r *rig) fetch(who, id string) (string, string, error) {
	r.t.Helper()
	var b bytes.Buffer
	digest, _, err := r.admin(who).FetchExport(r.t.Context(), id, &b)
	return b.String(), digest, err
}

func TestExportHoldsOneTenantsRowsAndItsDigestIsInTheLog(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	r.tenant("sued")
	a, b := r.deviceClient(r.enrol("nord", "a")), r.deviceClient(r.enrol("sued", "secret"))
	r.send(a, strings.Replace(r.line(1, 1), "{", `{"fw":"=1+1",`, 1), r.line(2, 9000))
	r.send(b, r.line(1, 7))
	r.clock.add(time.Hour)
	mid := r.clock.now()
	r.send(a, r.line(3, 3))
	r.clock.add(time.Hour)
	x, err := r.ask("nord")
	if err != nil || x.Rows != 2 || x.State != ExportReady || x.NeedsApproval || x.Requester != "emil" {
		t.Fatalf("%+v %v", x, err)
	}
	r.send(a, r.line(4, 4)) // after it was asked for
	file, digest, err := r.fetch("emil", x.ID)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(file), "\n")
	if len(lines) != 2 || strings.Contains(file, "secret") || strings.Contains(file, "sued") {
		t.Fatalf("%s", file)
	}
	for i, index := range []int64{0, 2} {
		entry, err := r.s.led.Entry("nord", index)
		if err != nil {
			t.Fatal(err)
		}
		row := regexp.MustCompile(`^{"index":(\d+),"salt":"([0-9a-f]{32})",(.*,"payload":"([0-9a-f]{64})"),"data":(.*)}$`).FindStringSubmatch(lines[i])
		if row == nil || row[1] != itoa(index) || "{"+row[3]+"}" != string(entry) {
			t.Fatalf("%s\nis not of %s", lines[i], entry)
		}
		salt, err := hex.DecodeString(row[2])
		if err != nil || evidence.SHA256Hex(append(salt, row[5]...)) != row[4] || !json.Valid([]byte(lines[i])) {
			t.Errorf("%s: %v", lines[i], err)
		}
	}
	done := r.control(evidence.EntryExport)
	var d struct {
		Requester, Approver, Scope, SHA256, Destination string
		Rows, Bytes                                     int64
	}
	if len(done) != 1 || unmarshal(done[0].Data, &d) != nil || d.SHA256 != digest || d.SHA256 != evidence.SHA256Hex([]byte(file)) ||
		d.Rows != 2 || d.Bytes != int64(len(file)) || d.Requester != "emil" || d.Scope == "" || d.Destination != "sftp://customer.example" || done[0].Tenant != "nord" || done[0].Actor.Name != "emil" {
		t.Errorf("%+v %+v", done, d)
	}
	// By time, device and type, as a table that is no program.
	for want, change := range map[int64]func(*ExportRequest){
		1: func(q *ExportRequest) { q.To = mid.Format(time.RFC3339); q.Format = "csv" },
		0: func(q *ExportRequest) { q.EventType = "other.v1" },
		3: func(q *ExportRequest) { q.Device = "a" },
	} {
		x, err := r.ask("nord", change)
		if err != nil || x.Rows != want {
			t.Fatalf("%+v %v, want %d rows", x, err, want)
		}
		if x.Format != "csv" {
			continue
		}
		file, _, err := r.fetch("emil", x.ID)
		if err != nil {
			t.Fatal(err)
		}
		table, err := csv.NewReader(strings.NewReader(file)).ReadAll()
		if err != nil || len(table) != 2 || table[1][2] != "a" || table[1][8] != "'=1+1" || !json.Valid([]byte(table[1][10])) {
			t.Fatalf("%q %v", table, err)
		}
		if salt, err := hex.DecodeString(table[1][11]); err != nil || evidence.SHA256Hex(append(salt, table[1][10]...)) != table[1][12] {
			t.Errorf("%q %v", table, err)
		}
	}
	left, err := os.ReadDir(filepath.Join(r.dir, "exports"))
	if err != nil || len(left) != 0 {
		t.Errorf("%v %v lie about", left, err)
	}
	r.sameAsFold()
	r.restart()
	if list, err := r.admin("erin").Exports(t.Context()); err != nil || len(list) != 4 {
		t.Errorf("%+v %v", list, err)
	}
}

func TestExportAboveTheLimitWaitsForSomebodyElse(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Exports = ExportPolicy{UnapprovedRows: 3, MaxRows: 10, PerDay: 5, SpikeRows: 6, Valid: time.Hour}
	})
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "a"))
	r.send(c, r.line(1, 1), r.line(2, 1))
	first, err := r.ask("nord")
	if err != nil || first.State != ExportReady {
		t.Fatalf("%+v %v", first, err)
	}
	if r.pairs["both"], err = r.admin("root.admin").AddOperator(t.Context(), "both", []string{RoleExporter, RoleApprover}, "test"); err != nil {
		t.Fatal(err)
	}
	// Two more rows are above it together with the two before.
	second, err := r.ask("nord")
	if err != nil || second.State != ExportPending || !second.NeedsApproval {
		t.Fatalf("%+v %v", second, err)
	}
	_, _, err = r.fetch("emil", second.ID)
	refusedWith(t, err, CodeConflict)
	_, err = r.admin("emil").ApproveExport(t.Context(), second.ID, "", "")
	refusedWith(t, err, CodeForbidden)
	if _, err := r.admin("carla").ApproveExport(t.Context(), second.ID, "customer asked", "T-1"); err != nil {
		t.Fatal(err)
	}
	_, err = r.admin("dora").ApproveExport(t.Context(), second.ID, "", "")
	refusedWith(t, err, CodeConflict)
	_, _, err = r.fetch("carla", second.ID) // no exporter
	refusedWith(t, err, CodeForbidden)
	for range 3 {
		if _, _, err := r.fetch("emil", second.ID); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.control(evidence.EntryAlertRaised)); n != 0 {
		t.Errorf("%d alerts at 6 rows, which is not above the limit", n)
	}
	for range 2 {
		if _, _, err := r.fetch("emil", first.ID); err != nil {
			t.Fatal(err)
		}
	}
	if alerts := r.s.listAlerts(); len(alerts) != 1 || alerts[0].Kind != AlertExportSpike || !strings.Contains(alerts[0].Detail, "emil") {
		t.Errorf("%+v", alerts)
	}
	r.clock.add(2 * time.Hour)
	_, _, err = r.fetch("emil", second.ID)
	if p := refusedWith(t, err, CodeConflict); !strings.Contains(p.Detail, "request it again") {
		t.Error(p.Detail)
	}
	for range 3 {
		if _, err := r.ask("nord"); err != nil {
			t.Fatal(err)
		}
	}
	_, err = r.ask("nord")
	if p := refusedWith(t, err, CodeRateExport); p.RetryAfter() != 22*time.Hour {
		t.Errorf("retry after %v", p.RetryAfter())
	}
	r.clock.add(22*time.Hour + time.Second)
	if _, err := r.ask("nord"); err != nil {
		t.Error(err)
	}
	own, err := r.admin("both").RequestExport(t.Context(), ExportRequest{Tenant: "nord", Format: "csv", Destination: "d", Reason: "r"})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = r.fetch("emil", own.ID) // an exporter too, but not who asked
	refusedWith(t, err, CodeForbidden)
	r.send(c, r.line(3, 1), r.line(4, 1), r.line(5, 1))
	own, err = r.admin("both").RequestExport(t.Context(), ExportRequest{Tenant: "nord", Format: "csv", Destination: "d", Reason: "r"})
	if err != nil || own.State != ExportPending {
		t.Fatalf("%+v %v", own, err)
	}
	_, err = r.admin("both").ApproveExport(t.Context(), own.ID, "", "")
	refusedWith(t, err, CodeApprovalSelf)
	r.sameAsFold()
}

func TestExportRequestsThatCannotStand(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Exports.MaxRows = 1 })
	r.tenant("nord")
	r.send(r.deviceClient(r.enrol("nord", "a")), r.line(1, 1), r.line(2, 1))
	for name, x := range map[string]struct {
		change func(*ExportRequest)
		code   Code
	}{
		"format":      {func(q *ExportRequest) { q.Format = "xls" }, CodeInvalid},
		"destination": {func(q *ExportRequest) { q.Destination = " " }, CodeInvalid},
		"reason":      {func(q *ExportRequest) { q.Reason = "" }, CodeInvalid},
		"times":       {func(q *ExportRequest) { q.From, q.To = "2026-07-02", "2026-07-01" }, CodeInvalid},
		"time":        {func(q *ExportRequest) { q.From = "yesterday" }, CodeInvalid},
		"tenant":      {func(q *ExportRequest) { q.Tenant = "sued" }, CodeNotFound},
		"too large":   {func(*ExportRequest) {}, CodeInvalid},
	} {
		if _, err := r.ask("nord", x.change); err == nil {
			t.Errorf("%s: taken", name)
		} else {
			refusedWith(t, err, x.code)
		}
	}
	_, err := r.admin("ben").RequestExport(t.Context(), ExportRequest{Tenant: "nord", Format: "csv", Destination: "d", Reason: "r"})
	refusedWith(t, err, CodeForbidden)
	if n := len(r.control(evidence.EntryExportRequested)); n != 0 {
		t.Errorf("%d requests were entered", n)
	}
}

func TestAnExportIsDeclined(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Exports.UnapprovedRows = 1 })
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1"))
	r.send(c, r.line(1, 1), r.line(2, 2))
	small, err := r.ask("nord", func(q *ExportRequest) { q.Device = "another" })
	if err != nil || small.State != ExportReady {
		t.Fatalf("%+v %v", small, err)
	}
	x, err := r.ask("nord")
	if err != nil || x.State != ExportPending {
		t.Fatalf("%+v %v", x, err)
	}
	decline := func(who, id, reason string) (ExportRecord, error) {
		return r.admin(who).DeclineExport(t.Context(), id, reason, "T-9")
	}
	_, err = decline("emil", x.ID, "mine")
	refusedWith(t, err, CodeForbidden)
	_, err = decline("carla", x.ID, " ")
	refusedWith(t, err, CodeInvalid)
	_, err = decline("carla", "nosuch", "no")
	refusedWith(t, err, CodeNotFound)
	_, err = decline("carla", small.ID, "no")
	refusedWith(t, err, CodeConflict)
	if n := len(r.control(evidence.EntryExportDeclined)); n != 0 {
		t.Fatalf("%d entries", n)
	}
	got, err := decline("carla", x.ID, "nobody there may have it")
	if err != nil || got.State != ExportDeclined || got.Decliner != "carla" || got.Why != "nobody there may have it" || got.DeclinedAt.IsZero() {
		t.Fatalf("%+v %v", got, err)
	}
	e := r.control(evidence.EntryExportDeclined)
	if len(e) != 1 || e[0].Actor.Name != "carla" || e[0].Target != x.ID || e[0].Tenant != "nord" || e[0].Reason != "nobody there may have it" || e[0].Ticket != "T-9" || e[0].Result != "done" {
		t.Errorf("%+v", e)
	}
	r.restart() // it stays so
	_, _, err = r.fetch("emil", x.ID)
	if p := refusedWith(t, err, CodeConflict); !strings.Contains(p.Detail, "declined by carla") {
		t.Errorf("%+v", p)
	}
	_, err = r.admin("dora").ApproveExport(t.Context(), x.ID, "after all", "")
	refusedWith(t, err, CodeConflict)
	_, err = decline("dora", x.ID, "twice")
	refusedWith(t, err, CodeConflict)
	r.sameAsFold()
}
