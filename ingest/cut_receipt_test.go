package ingest

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// receipt gives the receipt and the key under which it is checked.
func (r *rig) receipt(tenant, device string, generation int) (CutReceipt, string) {
	r.t.Helper()
	rec, err := r.admin("erin").Receipt(r.t.Context(), tenant, device, generation)
	if err != nil {
		r.t.Fatal(err)
	}
	vkey, err := r.s.led.VerifierKey(controlLog)
	if err != nil {
		r.t.Fatal(err)
	}
	return rec, vkey
}

func TestReceiptOfARevocation(t *testing.T) {
	for _, act := range []struct {
		name   string
		decide func(*AdminClient) (DeviceRecord, error)
		code   Code
	}{
		{"revoke", func(c *AdminClient) (DeviceRecord, error) {
			return c.RevokeDevice(t.Context(), "nord", "m-1", "stolen", "T-7")
		}, CodeRevoked},
		{"quarantine", func(c *AdminClient) (DeviceRecord, error) {
			return c.QuarantineDevice(t.Context(), "nord", "m-1", "stolen", "T-7")
		}, CodeQuarantined},
		{"retire", func(c *AdminClient) (DeviceRecord, error) {
			return c.RetireDevice(t.Context(), "nord", "m-1", "stolen", "T-7")
		}, CodeRetired},
	} {
		t.Run(act.name, func(t *testing.T) {
			r := newRig(t)
			r.tenant("nord")
			pair, other := r.enrol("nord", "m-1"), r.enrol("nord", "m-2")
			open := r.deviceClient(pair)
			r.send(open, r.line(1, 1))
			_, err := open.Send(t.Context(), []byte("{"+strings.Repeat("[", 10))) // a dead letter, no refusal
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.admin("erin").Receipt(t.Context(), "nord", "m-1", 0); err == nil {
				t.Fatal("a receipt of a device that nobody shut out")
			} else {
				refusedWith(t, err, CodeConflict)
			}
			r.clock.add(time.Minute)
			if _, err := act.decide(r.admin("carla")); err != nil {
				t.Fatal(err)
			}

			// Nothing was refused yet: the receipt says so, and is not fine.
			rec, vkey := r.receipt("nord", "m-1", 0)
			if rec.FirstRefused != nil || !strings.Contains(rec.Note, "No attempt") {
				t.Errorf("%+v %q", rec.FirstRefused, rec.Note)
			}
			if err := rec.Check(vkey); !errors.Is(err, ErrReceiptOpen) {
				t.Errorf("without a refused attempt: %v", err)
			}

			// Another device's refusal is not this one's.
			if _, err := r.admin("carla").RevokeDevice(t.Context(), "nord", "m-2", "x", ""); err != nil {
				t.Fatal(err)
			}
			r.clock.add(time.Minute)
			_, err = r.deviceClient(other).Send(t.Context(), []byte(r.line(1, 1)))
			refusedWith(t, err, CodeRevoked)
			if rec, _ := r.receipt("nord", "m-1", 0); rec.FirstRefused != nil {
				t.Errorf("another device's: %+v", rec.FirstRefused)
			}

			for range 2 {
				r.clock.add(time.Minute)
				_, err = r.deviceClient(pair).Send(t.Context(), []byte(r.line(2, 1)))
				refusedWith(t, err, act.code)
			}
			rec, vkey = r.receipt("nord", "m-1", 1)
			if err := rec.Check(vkey); err != nil {
				t.Fatal(err)
			}
			d := rec.Decision
			if d.Action != act.name || d.Actor != "carla" || d.Role == "" || d.Reason != "stolen" || d.Ticket != "T-7" || !d.Time.Equal(newClock().now().Add(time.Minute)) {
				t.Errorf("decision: %+v", d)
			}
			if rec.Cut == nil || rec.Cut.Connections != 1 || rec.Cut.ElapsedMS <= 0 {
				t.Errorf("cut: %+v", rec.Cut)
			}
			f := rec.FirstRefused
			if f == nil || f.Code != act.code || !f.Time.Equal(newClock().now().Add(3*time.Minute)) || f.Path != "/v1/telemetry" || f.Fingerprint != fingerprintOf(pair.Leaf.Raw) || rec.Note != "" {
				t.Errorf("first refused: %+v", f)
			}
			if len(rec.Excerpt.Records) != 3 || len(rec.Excerpt.History) != 0 {
				t.Errorf("%d records, %d steps of history", len(rec.Excerpt.Records), len(rec.Excerpt.History))
			}
		})
	}
}

// TestReceiptRefusesEveryChange changes what a receipt says in each place.
func TestReceiptRefusesEveryChange(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	r.send(r.deviceClient(pair), r.line(1, 1))
	if _, err := r.admin("carla").QuarantineDevice(t.Context(), "nord", "m-1", "odd", "T-1"); err != nil {
		t.Fatal(err)
	}
	_, err := r.deviceClient(pair).Send(t.Context(), []byte(r.line(2, 1)))
	refusedWith(t, err, CodeQuarantined)
	if _, err := r.admin("carla").RevokeDevice(t.Context(), "nord", "m-1", "stolen", "T-7"); err != nil {
		t.Fatal(err)
	}
	_, err = r.deviceClient(pair).Send(t.Context(), []byte(r.line(2, 1)))
	refusedWith(t, err, CodeRevoked)
	rec, vkey := r.receipt("nord", "m-1", 0)
	if err := rec.Check(vkey); err != nil {
		t.Fatal(err)
	}
	quarantine := r.control(evidence.EntryQuarantined)
	if len(quarantine) != 1 {
		t.Fatal("no quarantine")
	}
	text := string(raw(rec))
	for name, change := range map[string]func(*CutReceipt){
		"device":           func(c *CutReceipt) { c.Device = "m-2" },
		"tenant":           func(c *CutReceipt) { c.Tenant = "sued" },
		"generation":       func(c *CutReceipt) { c.Generation = 2 },
		"entries":          func(c *CutReceipt) { c.Entries++ },
		"action":           func(c *CutReceipt) { c.Decision.Action = "retire" },
		"unknown action":   func(c *CutReceipt) { c.Decision.Action = "x" },
		"actor":            func(c *CutReceipt) { c.Decision.Actor = "dora" },
		"role":             func(c *CutReceipt) { c.Decision.Role = "admin" },
		"reason":           func(c *CutReceipt) { c.Decision.Reason = "lost" },
		"ticket":           func(c *CutReceipt) { c.Decision.Ticket = "" },
		"decision time":    func(c *CutReceipt) { c.Decision.Time = c.Decision.Time.Add(-time.Second) },
		"decision index":   func(c *CutReceipt) { c.Decision.Index = c.Cut.Index },
		"cut index":        func(c *CutReceipt) { c.Cut.Index = c.Decision.Index },
		"cut time":         func(c *CutReceipt) { c.Cut.Time = c.Cut.Time.Add(time.Second) },
		"connections":      func(c *CutReceipt) { c.Cut.Connections++ },
		"elapsed":          func(c *CutReceipt) { c.Cut.ElapsedMS /= 2 },
		"refused time":     func(c *CutReceipt) { c.FirstRefused.Time = c.FirstRefused.Time.Add(time.Second) },
		"refused code":     func(c *CutReceipt) { c.FirstRefused.Code = CodeQuarantined },
		"refused index":    func(c *CutReceipt) { c.FirstRefused.Index-- },
		"source":           func(c *CutReceipt) { c.FirstRefused.Source = "192.0.2.9" },
		"entry":            func(c *CutReceipt) { c.Excerpt.Records[0].Entry[20] ^= 1 },
		"entry left out":   func(c *CutReceipt) { c.Excerpt.Records = c.Excerpt.Records[1:] },
		"checkpoint":       func(c *CutReceipt) { c.Excerpt.Checkpoint = strings.Replace(c.Excerpt.Checkpoint, "\n", "\n1", 1) },
		"another log":      func(c *CutReceipt) { c.Excerpt.Origin = "test.example/ingest/nord" },
		"proof of another": func(c *CutReceipt) { c.Excerpt.Records[0].Proof = c.Excerpt.Records[1].Proof },
	} {
		var bad CutReceipt
		if err := json.Unmarshal([]byte(text), &bad); err != nil {
			t.Fatal(err)
		}
		change(&bad)
		if err := bad.Check(vkey); err == nil || errors.Is(err, ErrReceiptOpen) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is left out is never fine, and never taken for a lie.
	for name, change := range map[string]func(*CutReceipt){
		"cut": func(c *CutReceipt) { c.Cut = nil }, "first refused": func(c *CutReceipt) { c.FirstRefused = nil },
	} {
		var less CutReceipt
		if err := json.Unmarshal([]byte(text), &less); err != nil {
			t.Fatal(err)
		}
		change(&less)
		if err := less.Check(vkey); !errors.Is(err, ErrReceiptOpen) {
			t.Errorf("%s left out: %v", name, err)
		}
	}
	// A receipt of another log, itself sound.
	nord, err := r.s.led.VerifierKey("nord")
	if err != nil {
		t.Fatal(err)
	}
	if err := rec.Check(nord); err == nil {
		t.Error("checked under the key of another log")
	}
}

// TestReceiptCitesWhatTheDecisionCaused has refusals in the log before the cut,
// for another reason, and counted from before the decision.
func TestReceiptCitesWhatTheDecisionCaused(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	r.enrol("nord", "m-1")
	d := r.s.st.device("nord", "m-1")
	about := evidence.AuditEntry{Tenant: "nord", Device: "m-1", Generation: 1, Result: "done", Reason: "x", Actor: &evidence.Actor{Name: "carla", Role: RoleApprover}}
	enter := func(typ string, data any) int64 {
		t.Helper()
		e := about
		if data != nil {
			e.Data = raw(data)
		}
		index, err := r.s.record(r.s.entry(typ, e))
		if err != nil {
			t.Fatal(err)
		}
		return index[0]
	}
	refusal := func(code Code, first time.Time) int64 {
		return enter(evidence.EntryRefusal, evidence.Refusal{Code: string(code), Status: 403, Count: 1, First: first, Last: r.clock.now()})
	}
	early := r.clock.now()
	r.clock.add(time.Second)
	decided := enter(evidence.EntryRevoked, nil)
	r.clock.add(time.Second)
	rated := refusal(CodeRateDevice, r.clock.now())
	counted := refusal(CodeRevoked, early)
	want := refusal(CodeRevoked, r.clock.now())
	refusal(CodeRevoked, r.clock.now())
	enter(evidence.EntrySessionsCut, map[string]any{"decision_index": decided - 1, "connections": 9, "elapsed_ms": 9})
	cut := enter(evidence.EntrySessionsCut, map[string]any{"decision_index": decided, "connections": 1, "elapsed_ms": 1})
	rec, err := r.s.cutReceipt(d, d.decision)
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := r.s.led.VerifierKey(controlLog)
	if err != nil {
		t.Fatal(err)
	}
	if rec.FirstRefused == nil || rec.FirstRefused.Index != want || rec.Cut == nil || rec.Cut.Index != cut {
		t.Fatalf("%+v %+v, want %d and %d", rec.FirstRefused, rec.Cut, want, cut)
	}
	if err := rec.Check(vkey); err != nil {
		t.Error(err)
	}
	for _, index := range []int64{rated, counted, decided} {
		bad := *rec
		bad.Excerpt.Records = nil
		all, err := r.s.led.ExcerptTo(controlLog, rec.Entries, rec.Entries, []int64{decided, cut, index})
		if err != nil {
			t.Fatal(err)
		}
		bad.Excerpt.Records = all.Records
		e, err := readAudit(all.Records[2].Entry)
		if err != nil {
			t.Fatal(err)
		}
		var f evidence.Refusal
		_ = json.Unmarshal(e.Data, &f)
		bad.FirstRefused = &ReceiptRefused{Index: index, Time: f.First, Code: Code(f.Code), Count: f.Count}
		if err := bad.Check(vkey); err == nil || errors.Is(err, ErrReceiptOpen) {
			t.Errorf("entry %d passes for the first refused attempt: %v", index, err)
		}
	}
}
