package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trustpack/evidence"
	"trustpack/ledger"
)

// heldBy names the files below dir that hold the text.
func heldBy(t *testing.T, dir, text string) (out []string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) {
			out = append(out, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPurgeIsAskedForAndApprovedByTwo(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	r.tenant("nord")
	r.tenant("sued")
	pair := r.enrol("nord", "m-1")
	c := r.deviceClient(pair)
	first := r.line(1, 123.456)
	r.send(c, first, r.line(2, 501)) // the second is a dead letter
	if len(heldBy(t, filepath.Join(r.dir, "ledger"), "123.456")) == 0 {
		t.Fatal("the payload is nowhere: the test shows nothing")
	}
	_, err := r.admin("ben").RequestPurge(ctx, "nord", r.clock.now().Add(5*day).Format("2006-01-02"), "x", "")
	refusedWith(t, err, CodeConflict) // nothing is of a day before today
	r.clock.add(day)
	later := r.line(3, 3)
	r.send(c, later)
	for _, bad := range [][3]string{{"nord", "soon", "x"}, {"nord", "", "x"}, {"nord", "2026-07-02", " "}} {
		_, err := r.admin("ben").RequestPurge(ctx, bad[0], bad[1], bad[2], "")
		refusedWith(t, err, CodeInvalid)
	}
	now := r.clock.now()
	_, err = r.admin("ben").RequestPurge(ctx, "ost", now.Format("2006-01-02"), "x", "")
	refusedWith(t, err, CodeNotFound)
	_, err = r.admin("ben").RequestPurge(ctx, "sued", now.Format("2006-01-02"), "x", "")
	refusedWith(t, err, CodeConflict)
	_, err = r.admin("erin").RequestPurge(ctx, "nord", now.Format("2006-01-02"), "x", "")
	refusedWith(t, err, CodeForbidden)
	if r.pairs["both"], err = r.admin("root.admin").AddOperator(ctx, "both", []string{RoleProvisioner, RoleApprover}, "test"); err != nil {
		t.Fatal(err)
	}
	x, err := r.admin("both").RequestPurge(ctx, "nord", now.Format("2006-01-02T15:04:05Z"), "retention ended", "T-1")
	if err != nil || x.State != PurgePending || x.Before != now.Format("2006-01-02") || x.Purge.Count != 2 || x.Purge.First != 0 {
		t.Fatalf("%+v %v", x, err)
	}
	_, err = r.admin("both").ApprovePurge(ctx, x.ID, "", "")
	refusedWith(t, err, CodeApprovalSelf)
	_, err = r.admin("ben").ApprovePurge(ctx, x.ID, "", "")
	refusedWith(t, err, CodeForbidden)
	_, err = r.admin("carla").ApprovePurge(ctx, "purge-0", "", "")
	refusedWith(t, err, CodeNotFound)
	if _, _, err := r.s.led.Payload("nord", 0); err != nil {
		t.Fatal(err)
	}
	done, err := r.admin("carla").ApprovePurge(ctx, x.ID, "the contract says so", "T-2")
	if err != nil || done.State != PurgeDone || done.Approver != "carla" || done.Requester != "both" || done.Purge.Commitments == "" {
		t.Fatalf("%+v %v", done, err)
	}
	entries := r.control(evidence.EntryPurged)
	var d purgeData
	if len(entries) != 1 || unmarshal(entries[0].Data, &d) != nil || d.Requester != "both" || d.Approver != "carla" || d.Erased != done.Purge || d.Erased.Days != 1 ||
		entries[0].Tenant != "nord" || entries[0].Actor.Name != "carla" || entries[0].Reason != "the contract says so" || entries[0].Ticket != "T-2" {
		t.Errorf("%+v %+v", entries, d)
	}
	_, err = r.admin("carla").ApprovePurge(ctx, x.ID, "", "")
	refusedWith(t, err, CodeConflict)
	check := func() {
		t.Helper()
		if _, _, err := r.s.led.Payload("nord", 0); !errors.Is(err, ledger.ErrPurged) {
			t.Errorf("payload 0: %v", err)
		}
		if _, _, err := r.s.led.Payload("nord", 2); err != nil {
			t.Errorf("payload 2: %v", err)
		}
		if where := heldBy(t, filepath.Join(r.dir, "ledger"), "123.456"); len(where) > 0 {
			t.Errorf("%v hold what was purged", where)
		}
		letters, err := r.admin("erin").DeadLetters(ctx, "nord")
		if err != nil || len(letters) != 1 || !letters[0].Purged || len(letters[0].Bytes) != 0 {
			t.Errorf("%+v %v", letters, err)
		}
		_, err = r.admin("ben").ReplayDeadLetter(ctx, "nord", 1, "x", "")
		refusedWith(t, err, CodePayloadPurged)
		// A number whose payload is gone cannot be told from another content.
		rec := r.send(c, first, later)
		if rec.Refused != 1 || rec.Duplicate != 1 || rec.Lines[0].Code != CodeReplayPurged {
			t.Errorf("%+v", rec)
		}
		list, err := r.admin("erin").Purges(ctx)
		if err != nil || len(list) != 1 || list[0].State != PurgeDone {
			t.Errorf("%+v %v", list, err)
		}
		e, err := r.ask("nord")
		if err != nil || e.Rows != 2 {
			t.Fatalf("%+v %v", e, err)
		}
		file, _, err := r.fetch("emil", e.ID)
		if lines := strings.Split(file, "\n"); err != nil || !strings.HasSuffix(lines[0], `,"purged":true}`) || !strings.Contains(lines[1], `,"data":`) {
			t.Errorf("%s %v", file, err)
		}
		r.sameAsFold()
	}
	check()
	r.restart()
	c = r.deviceClient(pair)
	check()
}

// TestEntryOfADeadLetterHoldsNothingOfIt wants nothing that a device sent to
// stand in the entry, which no purge erases.
func TestEntryOfADeadLetterHoldsNothingOfIt(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1"))
	wide := `{"kw":1`
	for i := range 2 * fewKeys {
		wide += fmt.Sprintf(`,"k%d":1`, i)
	}
	lines := []string{r.line(1, 501.1379), strings.Replace(r.line(2, 1), "{", `{"zebra":1,`, 1)}
	for i, data := range []string{
		`{"kw":"zebra"}`, `{"kw":1,"zebra":2}`, `{"kw":1,"phase":"zebra"}`, `{"kw":1,"zebra":1,"zebra":2}`, wide + `,"zebra":1,"zebra":2}`, `{"kw":zebra}`,
	} {
		whole := r.line(3+i, 1)
		lines = append(lines, whole[:strings.Index(whole, `"data":`)]+`"data":`+data+"}")
	}
	for _, with := range [][2]string{{`"type":"power.v1"`, `"type":"zebra"`}, {`"seq":`, `"device":"zebra","seq":`}, {`"time":"2026`, `"time":"zebra2026`}} {
		lines = append(lines, strings.Replace(r.line(20+len(lines), 1), with[0], with[1], 1))
	}
	rec := r.send(c, lines...)
	if int(rec.DeadLettered) != len(lines) {
		t.Fatalf("%+v", rec)
	}
	for i := range lines {
		entry, err := r.s.led.Entry("nord", int64(i))
		if err != nil || !bytes.Contains(entry, []byte(`"payload":`)) {
			t.Fatalf("%s %v", entry, err)
		}
		if bytes.Contains(entry, []byte("zebra")) || bytes.Contains(entry, []byte("501.1379")) {
			t.Errorf("of %s: %s", lines[i], entry)
		}
	}
}
