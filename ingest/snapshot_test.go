package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// TestSnapshotAndTailAreTheFold: whatever happened, and at whatever point the
// snapshot was made, the state from it and what came after is the state from
// the logs alone, and the one that the ingest had. So it is when the snapshot
// is an older one, is cut off, is changed or is gone.
func TestSnapshotAndTailAreTheFold(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 3
	}
	var used, damaged atomic.Int64
	t.Run("seeds", func(t *testing.T) {
		for seed := range seeds {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel() // each waits for its own disk most of the time
				snapshotAndTail(t, seed, &used, &damaged)
			})
		}
	})
	if u, d := used.Load(), damaged.Load(); u < int64(seeds) || d < int64(seeds) {
		t.Errorf("%d snapshots were used, %d refused: that tests little", u, d)
	}
}

// snapshotAndTail is one history, and counts the snapshots that were used and
// those that were refused.
func snapshotAndTail(t *testing.T, seed uint64, used, damaged *atomic.Int64) {
	h := newHistory(t, seed)
	var older []byte
	for range 4 {
		for range 20 + h.rnd.IntN(120) {
			h.step()
		}
		switch h.rnd.IntN(4) {
		case 0:
			h.close() // with a snapshot
			h.open()
		case 1:
		default:
			h.s.saveSnapshot()
			for range h.rnd.IntN(60) {
				h.step()
			}
		}
		if err := h.s.refusals.flush(true); err != nil {
			t.Fatal(err)
		}
		led, dir := h.copied()
		alone, with, ok, err := h.folded(led)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			t.Fatal(err)
		}
		same(t, "the logs alone and the ingest", alone, plainOf(h.s.st))
		same(t, "the logs alone and with the snapshot", alone, with)
		if ok {
			used.Add(1)
		}
		if err := led.Close(); err != nil {
			t.Fatal(err)
		}
		file := h.snapshotFile(dir)
		b, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		for _, other := range [][]byte{older, b[:h.rnd.IntN(len(b))], flipped(b, h.rnd.IntN(len(b)*8)), append(bytes.Clone(b), 1)} {
			if err := os.WriteFile(file, other, 0o600); err != nil {
				t.Fatal(err)
			}
			led := h.reopened(dir)
			_, with, ok, err := h.folded(led)
			same(t, "the logs alone and with another snapshot", alone, with)
			if ok != (err == nil) || ok && other != nil && !bytes.Equal(other, older) {
				t.Error("a damaged snapshot was used")
			}
			if !ok {
				damaged.Add(1)
			}
			if err := led.Close(); err != nil {
				t.Fatal(err)
			}
		}
		older = b
		if t.Failed() {
			t.FailNow()
		}
	}
}

func flipped(b []byte, bit int) []byte {
	b = bytes.Clone(b)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}

// TestSnapshotIsOfOneMoment: what happens while a snapshot is written is not
// in it, though nobody waits for it.
func TestSnapshotIsOfOneMoment(t *testing.T) {
	for seed := range uint64(6) {
		h := newHistory(t, 100+seed)
		for range 150 {
			h.step()
		}
		sizes, before := h.s.led.Sizes(), plainCopy(t, h.s.st)
		k := h.s.st.capture()
		for range 150 {
			h.step()
		}
		var b bytes.Buffer
		if err := k.write(&b); err != nil {
			t.Fatal(err)
		}
		st, err := readState(&b, h.config.Replay.Window)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "the moment and its snapshot", before, plainOf(st))
		if missed, err := st.fold(h.s.led, sizes); err != nil || len(missed) > 0 {
			t.Fatal(missed, err)
		}
		same(t, "now and the snapshot with what came after", plainOf(h.s.st), plainOf(st))
		if t.Failed() {
			t.Fatalf("that was seed %d", 100+seed)
		}
	}
}

// TestNoChangeEscapesASnapshot makes each kind of change alone, and first,
// while a snapshot is written.
func TestNoChangeEscapesASnapshot(t *testing.T) {
	h := newHistory(t, 1)
	h.admin(h.s.addTenant, "root.admin", map[string]string{"id": "ta", "name": "A"})
	h.admin(h.s.requestDevice, "ben", map[string]string{"tenant": "ta", "device": "d", "type": "meter", "reason": "r"})
	e := evidence.AuditEntry{Tenant: "ta", Device: "d", Generation: 1, Data: raw(evidence.Credential{Fingerprint: "sha256:1"})}
	h.record(evidence.EntryDeviceIssued, e)
	e.Data = raw(sourceData{"sha256:1", "192.0.2.1"})
	h.record(evidence.EntryDeviceActivated, e)
	d := h.s.st.device("ta", "d")
	line := func(seq int, kw int) string { return eventLine(seq, h.clock.now(), float64(kw)) }
	h.send(d, line(1, 1), line(5, 1), `{"bad`, line(6, 501))
	x, ok := h.admin(h.s.requestExport, "emil", map[string]string{"tenant": "ta", "format": "csv", "destination": "disk", "reason": "why"}).(*ExportRecord)
	if !ok {
		t.Fatal("no export")
	}
	fetched := func() {
		h.record(evidence.EntryExport, evidence.AuditEntry{Target: x.ID, Data: raw(map[string]any{"id": x.ID, "rows": 3})})
	}
	fetched()
	alert := evidence.AuditEntry{Tenant: "ta", Data: raw(evidence.Alert{ID: "x", Kind: AlertClockJump})}
	h.record(evidence.EntryAlertRaised, alert)
	h.record(evidence.EntryGrantRequested, evidence.AuditEntry{Data: raw(grantData{ID: "g"})})
	h.record(evidence.EntryBreakGlassOpened, evidence.AuditEntry{Data: raw(breakGlassData{ID: "b"})})
	h.record(evidence.EntryOperatorAdded, evidence.AuditEntry{Data: raw(evidence.Operator{Name: "ben", Fingerprint: "sha256:ben"})})
	h.record(evidence.EntryRoleRequested, evidence.AuditEntry{Data: raw(roleData{"r", "ben", []string{RoleAdmin}})})
	for what, change := range map[string]func(){
		"event":       func() { h.send(d, line(2, 1)) },
		"dead letter": func() { h.send(d, line(8, 501)) },
		"bad line":    func() { h.send(d, "{") },
		"duplicate":   func() { h.clock.add(1); h.send(d, line(5, 1)) },
		"replay": func() {
			h.clock.add(1)
			l, _, err := h.s.deadLetters("ta", "", 1)
			if err != nil {
				t.Fatal(err)
			}
			a := &adminCall{s: h.s, op: &operator{}, id: "x"}
			event := scanEvent([]byte(line(3, 1)), 32)
			d.flow.Lock()
			defer d.flow.Unlock()
			if err := h.s.enterReplay(a, h.s.set.Load(), letterCall{Reason: "why"}, h.s.st.tenant("ta"), d, l[0], &event); err != nil {
				t.Fatal(err)
			}
		},
		"discard": func() {
			h.record(evidence.EntryLetterDiscarded, evidence.AuditEntry{Tenant: "ta", Data: raw(map[string]int{"index": 3})})
		},
		"gap":    func() { h.record(evidence.EntryGap, gapEntry(d.key, 0, gap{2, 3})) },
		"source": func() { e.Data = raw(sourceData{"sha256:1", "192.0.2.2"}); h.record(evidence.EntryCredentialSeen, e) },
		"refusal": func() {
			h.record(evidence.EntryRefusal, evidence.AuditEntry{Tenant: "ta", Data: raw(evidence.Refusal{Code: "x", Count: 1, Events: 2, Last: h.clock.now()})})
		},
		"books": func() {
			h.record(evidence.EntryBooksClosed, evidence.AuditEntry{Data: raw(evidence.Books{Tenant: "ta", Day: "2026-06-01"})})
		},
		"alert":     func() { h.record(evidence.EntryAlertAcked, alert) },
		"new alert": func() { h.record(evidence.EntryAlertRaised, evidence.AuditEntry{Data: raw(evidence.Alert{ID: "y"})}) },
		"export":    fetched,
		"tenant": func() {
			h.admin(h.s.addTenant, "root.admin", map[string]string{"id": "tb", "name": "B"})
			h.record(evidence.EntryRefusal, evidence.AuditEntry{Tenant: "tb", Data: raw(evidence.Refusal{Code: "x", Count: 1, Events: 2, Last: h.clock.now()})})
		},
		"device": func() {
			h.admin(h.s.requestDevice, "ben", map[string]string{"tenant": "ta", "device": "e", "type": "meter", "reason": "r"})
		},
		"operator": func() {
			h.record(evidence.EntryOperatorRemoved, evidence.AuditEntry{Data: raw(evidence.Operator{Name: "root.admin"})})
		},
		"role change": func() {
			h.record(evidence.EntryRoleRequested, evidence.AuditEntry{Data: raw(roleData{"r2", "carla", nil})})
		},
		"role change that was": func() {
			h.record(evidence.EntryRoleDeclined, evidence.AuditEntry{Data: raw(roleData{"r", "ben", nil})})
		},
		"grant": func() {
			h.record(evidence.EntryGrantRequested, evidence.AuditEntry{Data: raw(grantData{ID: "g2"})})
		},
		"grant that was": func() {
			h.record(evidence.EntryGrantApproved, evidence.AuditEntry{Data: raw(grantData{ID: "g"})})
		},
		"break-glass": func() {
			h.record(evidence.EntryBreakGlassOpened, evidence.AuditEntry{Data: raw(breakGlassData{ID: "b2"})})
		},
		"break-glass that was": func() {
			h.record(evidence.EntryBreakGlassClosed, evidence.AuditEntry{Data: raw(breakGlassData{ID: "b"})})
		},
		"token": func() {
			h.record(evidence.EntryOperatorIssued, evidence.AuditEntry{Data: raw(credentialIssued{Name: "ben", OperatorCredential: OperatorCredential{Fingerprint: "sha256:t"}})})
		},
		"drill": func() { h.record(evidence.EntryDrill, evidence.AuditEntry{}) },
		"config": func() {
			h.record(evidence.EntryConfigApplied, evidence.AuditEntry{Data: raw(evidence.ConfigApplied{Version: 7})})
		},
	} {
		before := plainCopy(t, h.s.st)
		k := h.s.st.capture()
		change()
		var b bytes.Buffer
		if err := k.write(&b); err != nil {
			t.Fatal(err)
		}
		st, err := readState(&b, h.config.Replay.Window)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		same(t, what, before, plainOf(st))
		if reflect.DeepEqual(before, plainOf(h.s.st)) {
			t.Errorf("%s: changed nothing", what)
		}
	}
}

// plainCopy is plainOf, of what will not change.
func plainCopy(t *testing.T, st *state) plainState {
	t.Helper()
	var b bytes.Buffer
	if err := st.capture().write(&b); err != nil {
		t.Fatal(err)
	}
	now, err := readState(&b, st.window)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the state and its copy", plainOf(st), plainOf(now))
	return plainOf(now)
}

// TestSnapshotsBesideTraffic makes snapshots while devices send and operators
// act; each of them is good.
func TestSnapshotsBesideTraffic(t *testing.T) {
	r := newRig(t)
	h := &history{t: t, config: r.config}
	r.tenant("nord")
	r.tenant("sued")
	var wg sync.WaitGroup
	var files [][]byte
	ended := make(chan struct{})
	for i, tenant := range []string{"nord", "nord", "sued", "sued"} {
		c := r.deviceClient(r.enrol(tenant, string(rune('a'+i))))
		wg.Go(func() {
			for n := range 60 {
				if _, err := c.Send(t.Context(), []byte(r.line(3*n, 1)+"\n"+r.line(3*n+40, 1)+"\n"+r.line(n, 700))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	r.enrol("nord", "z")
	wg.Go(func() {
		for range 20 {
			for _, act := range []string{"quarantine", "release"} {
				if _, err := r.admin("carla").decide(t.Context(), "nord", "z", act, "x", ""); err != nil {
					t.Error(err)
				}
			}
		}
	})
	go func() { wg.Wait(); close(ended) }()
	for done := false; !done; {
		select {
		case <-ended:
			done = true
		default:
		}
		r.s.saveSnapshot()
		b, err := os.ReadFile(h.snapshotFile(r.dir))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, b)
	}
	if err := r.s.refusals.flush(true); err != nil {
		t.Fatal(err)
	}
	dir := copyDir(t, r.dir)
	for i, b := range files {
		if err := os.WriteFile(h.snapshotFile(dir), b, 0o600); err != nil {
			t.Fatal(err)
		}
		led := h.reopened(dir)
		alone, with, ok, err := h.folded(led)
		if !ok {
			t.Errorf("snapshot %d of %d: %v", i, len(files), err)
		}
		same(t, "the logs alone and with a snapshot", alone, with)
		if err := led.Close(); err != nil || t.Failed() {
			t.Fatal(err)
		}
	}
	if len(files) < 3 {
		t.Errorf("%d snapshots", len(files))
	}
}

// TestDeletingTheSnapshotChangesNothing starts the same ingest with its
// snapshot and without.
func TestDeletingTheSnapshotChangesNothing(t *testing.T) {
	h := newHistory(t, 3)
	for range 300 {
		h.step()
	}
	h.close()
	without := copyDir(t, h.dir)
	if err := os.RemoveAll(filepath.Join(without, "ledger", "snapshots")); err != nil {
		t.Fatal(err)
	}
	h.log.Reset()
	h.open()
	with := plainOf(h.s.st)
	if !bytes.Contains(h.log.Bytes(), []byte("folded=0")) {
		t.Errorf("entries were folded beyond the snapshot of a clean end: %s", h.log.String())
	}
	h.close()
	h.dir = without
	h.log.Reset()
	h.open()
	if !bytes.Contains(h.log.Bytes(), []byte("from_snapshot=0")) {
		t.Errorf("%s", h.log.String())
	}
	same(t, "with and without", with, plainOf(h.s.st))
}

// TestSnapshotOfAnotherKindIsLeft: of another version, another replay window,
// or with something missing.
func TestSnapshotOfAnotherKindIsLeft(t *testing.T) {
	h := newHistory(t, 5)
	for range 200 {
		h.step()
	}
	var b bytes.Buffer
	if err := h.s.st.capture().write(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := readState(bytes.NewReader(b.Bytes()), 41); err == nil || !bytes.Contains([]byte(err.Error()), []byte("replay.window 40, which now is 41")) {
		t.Errorf("another window: %v", err)
	}
	parts := [][]byte{}
	for rest := b.Bytes(); len(rest) > 0; {
		c := codec{b: rest, reading: true}
		n := c.count(0)
		end := len(rest) - len(c.b) + 1 + n
		parts, rest = append(parts, rest[:end]), rest[end:]
	}
	newer := bytes.Clone(b.Bytes())
	newer[2]++
	if _, err := readState(bytes.NewReader(newer), 40); err == nil || !bytes.Contains([]byte(err.Error()), []byte("version "+itoa(stateVersion+1)+",")) {
		t.Errorf("another version: %v", err)
	}
	kinds := map[byte]bool{}
	for i, part := range parts {
		c := codec{b: part, reading: true}
		c.count(0)
		kind := c.b[0]
		if kinds[kind] {
			continue
		}
		kinds[kind] = true
		if kind == partOperator || kind == partAlert || kind == partExport || kind == partPurge {
			continue // of these there may be any number
		}
		if _, err := readState(bytes.NewReader(bytes.Join(slices.Delete(slices.Clone(parts), i, i+1), nil)), 40); err == nil {
			t.Errorf("without part %d of kind %d it was read", i, kind)
		}
		if _, err := readState(bytes.NewReader(bytes.Join(slices.Insert(slices.Clone(parts), i, part), nil)), 40); err == nil {
			t.Errorf("with part %d of kind %d twice it was read", i, kind)
		}
	}
	if len(kinds) != int(partEnd) {
		t.Errorf("the history has parts of %d kinds of %d", len(kinds), partEnd)
	}
}

// TestSnapshotIsDue: not for a few entries, but for many, or for some after a
// time, and one that fails is not tried again at once.
func TestSnapshotIsDue(t *testing.T) {
	h := newHistory(t, 9)
	file := h.snapshotFile(h.dir)
	made := func() bool {
		h.tick()
		h.s.snapshots.running.Wait()
		_, err := os.Stat(file)
		if err == nil {
			err = os.Remove(file)
		}
		return err == nil
	}
	if made() {
		t.Error("at once")
	}
	h.clock.add(snapshotEvery)
	if made() {
		t.Error("for a few entries")
	}
	h.s.snapshots.entries = -snapshotFew
	if !made() {
		t.Error("not for some entries after the time")
	}
	h.s.snapshots.entries, h.s.snapshots.took = -snapshotFew, 0
	if made() {
		t.Error("for some entries before the time")
	}
	h.s.snapshots.entries = -snapshotEntries
	if !made() {
		t.Error("not for many entries")
	}
	h.s.snapshots.entries, h.s.snapshots.took = -snapshotEntries, time.Hour
	if made() {
		t.Error("again, where the last took an hour")
	}
	h.s.snapshots.took = 0
	h.s.snapshots.unsound.Store(true)
	if made() {
		t.Error("of a state that is not what the logs say")
	}
}

// TestSnapshotFailsAlone: where it cannot be written the ingest goes on and
// ends well, says so, and keeps the one before.
func TestSnapshotFailsAlone(t *testing.T) {
	h := newHistory(t, 11)
	for range 50 {
		h.step()
	}
	path := filepath.Dir(h.snapshotFile(h.dir))
	if err := os.WriteFile(path, nil, 0o600); err != nil { // where a folder belongs
		t.Fatal(err)
	}
	h.s.saveSnapshot()
	if !bytes.Contains(h.log.Bytes(), []byte("no snapshot of the state could be written")) {
		t.Errorf("%s", h.log.String())
	}
	for range 50 {
		h.step()
	}
	if h.s.st.capturing.Load() != nil {
		t.Error("the capture goes on")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	before := plainOf(h.s.st)
	led, _ := h.copied()
	alone, _, _, err := h.folded(led)
	if !errors.Is(err, ledger.ErrNotFound) {
		t.Error(err)
	}
	same(t, "the logs alone and the ingest", alone, before)
}

// TestSnapshotKnowsTheState names each field of the state, so that nobody adds
// one that a snapshot forgets. Those of evidence and of records are filled with
// something and must come back.
func TestSnapshotKnowsTheState(t *testing.T) {
	derived := "derived or passing"
	for _, c := range []struct {
		of     any
		fields map[string]string
	}{
		{state{}, map[string]string{
			"mu": derived, "tenants": "partTenant", "operators": "partOperator", "operatorFor": derived, "devices": "partRegistry", "latest": derived, "deviceFor": derived,
			"alerts": "partAlert", "config": "partGeneral", "versions": "partGeneral", "exports": "partExport", "purges": "partPurge", "refusals": "partGeneral", "grants": "partGeneral", "roleChanges": "partGeneral", "breaks": "partGeneral", "drills": "partGeneral", "drillRuns": "partGeneral",
			"keyFor": derived,
			"window": "partBegin", "order": "numbers of devices", "names": derived, "capturing": derived, "round": derived, "sorted": derived, "withdrawals": derived,
			"credentials": derived,
		}},
		{tenant{}, map[string]string{
			"st": derived, "Tenant": "tenant", "rate": derived, "pacing": derived, "gate": derived, "mu": derived, "books": "tenant", "closed": "tenant", "lastBooks": derived, "lastDay": derived, "dead": "tenant", "fates": "tenant",
			"reserved": derived, "round": derived, "counters": derived,
		}},
		{device{}, map[string]string{
			"st": derived, "key": "registry", "number": "part", "rate": derived, "flow": derived, "watch": derived, "record": "registry", "requested": "registry", "approvals": "registry", "rotation": "registry",
			"codeHash": "registry", "codeUntil": "registry", "issued": "registry", "activated": "registry", "decision": "registry", "released": "registry", "letIn": "registry",
			"seenFrom": "registry", "registryRound": derived, "mu": derived, "windows": "traffic", "lastSeen": "traffic", "lastAccepted": "traffic", "lastEvent": "traffic",
			"accepted": "traffic", "firmware": "traffic", "trafficRound": derived, "life": "registry",
		}},
		{life{}, map[string]string{"expires": "life", "batch": "life", "transfer": "life", "from": "life", "to": "life"}},
		{window{}, map[string]string{"high": "window", "floor": "window", "holes": "window", "runs": "window"}},
		{hole{}, map[string]string{"from": "window", "to": "window", "since": "window", "leading": "window"}},
		{runs{}, map[string]string{"packed": "runs", "from": "runs", "to": "runs", "last": "runs", "count": "runs"}},
		{run{}, map[string]string{"seq": "runs", "index": "runs", "n": "runs"}},
		{fate{}, map[string]string{"state": "fate", "by": "fate", "at": "fate", "reason": "fate", "as": "fate"}},
		{operator{}, map[string]string{"Operator": "operator", "removed": "operator", "identity": "operator", "credentials": "operator", "withdrawn": "operator"}},
		{contact{}, map[string]string{"fingerprint": "contact", "sources": "contact"}},
		{provisionStep{}, map[string]string{"actor": "registry", "at": "registry", "reason": "registry"}},
	} {
		typ := reflect.TypeOf(c.of)
		for i := range typ.NumField() {
			if name := typ.Field(i).Name; c.fields[name] == "" {
				t.Errorf("%s.%s: say in snapshot_parts.go what a snapshot keeps of it, and here where", typ.Name(), name)
			}
		}
		if typ.NumField() != len(c.fields) {
			t.Errorf("%s has %d fields, %d are listed", typ.Name(), typ.NumField(), len(c.fields))
		}
	}
	comesBack(t, (*codec).deviceRecord)
	comesBack(t, (*codec).credential)
	comesBack(t, (*codec).approval)
	comesBack(t, (*codec).decision)
	comesBack(t, (*codec).transfer)
	comesBack(t, (*codec).binding)
	comesBack(t, (*codec).alert)
	comesBack(t, (*codec).export)
	comesBack(t, (*codec).purge)
	comesBack(t, (*codec).version)
	comesBack(t, (*codec).config)
	comesBack(t, (*codec).operatorCredential)
	comesBack(t, (*codec).grant)
	comesBack(t, (*codec).roleChange)
	comesBack(t, (*codec).breakGlass)
	comesBack(t, (*codec).day)
	comesBack(t, func(c *codec, o *evidence.Operator) {
		p := operator{Operator: *o}
		c.operator(&p)
		*o = p.Operator
	})
	comesBack(t, func(c *codec, o *evidence.Tenant) {
		p := tenant{Tenant: *o}
		c.tenant(&p)
		*o = p.Tenant
	})
}

// comesBack fills every field of a T, writes it and reads it.
func comesBack[T any](t *testing.T, each func(*codec, *T)) {
	t.Helper()
	for n := range 40 {
		var in, out T
		fill(t, reflect.ValueOf(&in).Elem(), &n)
		w := &codec{}
		each(w, &in)
		r := &codec{b: w.b, reading: true}
		each(r, &out)
		if !reflect.DeepEqual(in, out) || r.err != nil || len(r.b) > 0 {
			t.Errorf("%T: %v, %d bytes left:\n%+v\n%+v", in, r.err, len(r.b), in, out)
		}
		for cut := range w.b {
			r := &codec{b: w.b[:cut], reading: true}
			if each(r, &out); r.err == nil {
				t.Fatalf("%T: %d of %d bytes were read as if they were all", in, cut, len(w.b))
			}
		}
	}
}

// fill sets everything in v to something that is not empty.
func fill(t *testing.T, v reflect.Value, n *int) {
	*n++
	switch at := v.Addr().Interface().(type) {
	case *time.Time:
		*at = t0.Add(time.Duration(*n) * 1001 * time.Millisecond).In([]*time.Location{time.UTC, time.FixedZone("", -3600*5)}[*n%2])
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("x" + itoa(int64(*n)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n) * 977)
	case reflect.Uint8:
		v.SetUint(uint64(*n % 256))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, v.Index(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	default:
		t.Fatalf("cannot fill a %v", v.Type())
	}
}

// FuzzState: no bytes make the reader of a snapshot's state panic, and what it
// takes it writes as bytes that it takes as the same.
func FuzzState(f *testing.F) {
	h := newHistory(f, 1)
	for range 12 {
		h.step()
	}
	var b bytes.Buffer
	if err := h.s.st.capture().write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	h.close()
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := readState(bytes.NewReader(b), 40)
		if err != nil {
			return
		}
		same(t, "read and read again", plainOf(st), plainCopy(t, st))
	})
}

// TestNoSnapshotOfWhatWasNotNoted: once something durable did not make it into
// the state, no snapshot is made of that.
func TestNoSnapshotOfWhatWasNotNoted(t *testing.T) {
	for what, fail := range map[string]func(*Server){
		"an entry that cannot be applied": func(s *Server) {
			if _, err := s.record(s.entry(evidence.EntryAlertAcked, evidence.AuditEntry{Data: raw(map[string]string{"id": "never raised"})})); err == nil {
				t.Error("it was applied")
			}
		},
		"a change that broke off": func(s *Server) {
			change := s.snapshots.begin()
			defer change.end()
			change.durable = true
		},
	} {
		h := newHistory(t, 13)
		fail(h.s)
		h.s.saveSnapshot()
		if _, err := os.Stat(h.snapshotFile(h.dir)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a snapshot was made", what)
		}
	}
}
