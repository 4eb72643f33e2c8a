package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"trustpack/evidence"
	"trustpack/ledger"
)

func quotaDetail(code Code, quota int) string {
	return fmt.Sprintf("%s, and the tenant has %d open dead letters, the most that it may", code, quota)
}

// raiseLetterQuota raises one alert a tenant until that is resolved.
func (s *Server) raiseLetterQuota(tenantID string, quota int) error {
	s.decide.Lock()
	defer s.decide.Unlock()
	if s.openAlert(AlertLetterQuota, func(a *AlertRecord) bool { return a.Tenant == tenantID }) != nil {
		return nil
	}
	e := s.entry(evidence.EntryAlertRaised, evidence.AuditEntry{Tenant: tenantID})
	a := evidence.Alert{
		ID: alertID(AlertLetterQuota, e.Time, tenantID), Kind: AlertLetterQuota, Since: e.Time,
		Detail: fmt.Sprintf("%d dead letters are open; what cannot be accepted is refused and no longer kept until some are replayed or discarded", quota),
	}
	e.Target, e.Data = a.ID, raw(a)
	_, err := s.record(e)
	return err
}

// namedLetter finds the open dead letter of the path. Who decides by it holds
// s.decide.
func (s *Server) namedLetter(a *adminCall, index int64) (*tenant, DeadLetter, *Problem) {
	if p := a.still(a.tenant); p != nil {
		return nil, DeadLetter{}, p
	}
	t := s.st.tenant(a.tenant)
	if t == nil {
		return nil, DeadLetter{}, problem(CodeNotFound, "there is no such tenant")
	}
	t.mu.Lock()
	_, found := slices.BinarySearch(t.dead, index)
	t.mu.Unlock()
	if !found {
		return nil, DeadLetter{}, problem(CodeNotFound, "entry "+itoa(index)+" of the tenant's log is no dead letter")
	}
	l, err := s.deadLetter(t, index)
	if err != nil {
		return nil, l, s.failure(err)
	}
	a.device, a.generation = l.Device, l.Generation
	if l.State != LetterOpen {
		return nil, l, problem(CodeConflict, "the dead letter was "+l.State+" before, by "+l.DecidedBy)
	}
	return t, l, nil
}

type letterCall struct {
	index  int64
	Reason string `json:"reason"`
	Ticket string `json:"ticket"`
}

func (a *adminCall) letter() (in letterCall, p *Problem) {
	if p := a.decode(&in); p != nil {
		return in, p
	}
	a.tenant = clip(a.r.PathValue("tenant"))
	a.target = a.tenant + "/" + clip(a.r.PathValue("index"))
	index, err := strconv.ParseInt(a.r.PathValue("index"), 10, 64)
	switch {
	case err != nil || index < 0:
		return in, problem(CodeInvalid, "index: want the number of an entry in the tenant's log")
	case strings.TrimSpace(in.Reason) == "" || len(in.Reason) > 2000 || len(in.Ticket) > 500:
		return in, problem(CodeInvalid, "reason: say why in 1 to 2000 bytes; ticket takes at most 500")
	}
	in.index = index
	return in, nil
}

// discardDeadLetter says that a dead letter will not be replayed. Its bytes
// stay until they are purged.
func (s *Server) discardDeadLetter(a *adminCall) (any, *Problem) {
	in, p := a.letter()
	if p != nil {
		return nil, p
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	t, l, p := s.namedLetter(a, in.index)
	if p != nil {
		return nil, p
	}
	if p := a.done(evidence.EntryLetterDiscarded, letterEntry(l, in, LetterDiscarded, map[string]any{"index": in.index})); p != nil {
		return nil, p
	}
	return s.letterNow(t, in.index)
}

func letterEntry(l DeadLetter, in letterCall, after string, data map[string]any) evidence.AuditEntry {
	return evidence.AuditEntry{
		Tenant: l.Tenant, Device: l.Device, Generation: l.Generation, Target: l.Tenant + "/" + itoa(l.Index), Reason: in.Reason, Ticket: in.Ticket,
		Before: raw(map[string]string{"state": LetterOpen}), After: raw(map[string]string{"state": after}), Data: raw(data),
	}
}

func (s *Server) letterNow(t *tenant, index int64) (any, *Problem) {
	l, err := s.deadLetter(t, index)
	if err != nil {
		return nil, s.failure(err)
	}
	return l, nil
}

// replayDeadLetter judges a dead letter again by the rules of today and, where
// they take it, enters it as an event that names it. One that they still do
// not take stays open, and nothing of it is entered again.
//
// The device's time is held against the time at which the letter was received,
// not against now: a clock that was wrong then does not become right by
// waiting.
//
// In the books it is one line more on the day of the replay, received and
// accepted, and counted under Replayed: the day on which the letter came may
// be closed, and stays as it was, with the line dead-lettered. So each day
// balances, and Received less Replayed is what devices sent.
func (s *Server) replayDeadLetter(a *adminCall) (any, *Problem) {
	in, p := a.letter()
	if p != nil {
		return nil, p
	}
	set, scanned := s.set.Load(), int64(0)
	if t := s.st.tenant(a.tenant); t != nil {
		if _, l, p := s.namedLetter(a, in.index); p == nil && !l.Purged {
			d, e := s.st.generation(l), set.rejudge(l)
			if d != nil && d.maybeTaken(e.boot, e.seq) { // a long look, before anybody has to wait for it
				scanned = s.led.Size(t.ID)
				if p := s.numberTaken(l, &e, 0, scanned); p != nil {
					return nil, p
				}
			}
		}
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	t, l, p := s.namedLetter(a, in.index)
	if p != nil {
		return nil, p
	}
	if l.Purged {
		return nil, problem(CodePayloadPurged, "the dead letter's bytes were purged; it can be discarded, not replayed")
	}
	d := s.st.generation(l)
	if d == nil {
		return nil, problem(CodeInternal, "")
	}
	e := set.rejudge(l)
	if e.fault != "" {
		return nil, problem(CodeConflict, "today's rules do not take it either: "+string(e.fault)+": "+e.detail)
	}
	d.flow.Lock()
	defer d.flow.Unlock()
	if p := stateProblem(d.record.State); p != nil {
		return nil, problem(CodeConflict, "the device is "+string(d.record.State)+"; nothing of it is accepted")
	}
	if w := d.windows[e.boot]; w != nil {
		if index, known := w.position(e.seq); known && index != l.Index {
			return nil, problem(CodeConflict, "its number stands in entry "+itoa(index)+" too")
		}
	}
	if d.maybeTaken(e.boot, e.seq) {
		if p := s.numberTaken(l, &e, scanned, math.MaxInt64); p != nil {
			return nil, p
		}
	}
	if err := s.enterReplay(a, set, in, t, d, l, &e); err != nil {
		return nil, s.failure(err)
	}
	a.status = http.StatusCreated
	return s.letterNow(t, in.index)
}

// generation is the device that sent the letter.
func (st *state) generation(l DeadLetter) *device {
	st.mu.RLock()
	defer st.mu.RUnlock()
	return st.devices[deviceKey{deviceName{l.Tenant, l.Device}, l.Generation}]
}

// rejudge reads and validates the letter's bytes as if they had come under set.
func (set *settings) rejudge(l DeadLetter) event {
	var e event
	sc := &scanner{}
	sc.event(&e, string(l.Bytes), set.Limits.Depth)
	switch {
	case e.claimed && e.tenant != l.Tenant:
		e.fault, e.detail = CodeTenantMismatch, "it names tenant "+clip(e.tenant)
	case e.fault != "":
	case e.device != "" && e.device != l.Device:
		e.fault, e.detail = CodeDeviceMismatch, "it names device "+clip(e.device)
	default:
		if e.fault, e.detail = set.rules.judge(sc, &e); e.fault == "" {
			e.fault, e.detail, _ = set.Time.judge(e.at, l.Received)
		}
	}
	return e
}

// maybeTaken reports whether only the log can tell that no event holds the
// number: it lies where the window keeps no holes any more.
func (d *device) maybeTaken(boot, seq int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.windows[boot]
	if w == nil || w.high < 0 {
		return d.staleBoot(boot)
	}
	return w.high >= 0 && seq <= w.high && w.holeAt(seq) < 0
}

// numberTaken looks for an event with the number in the entries from..to.
func (s *Server) numberTaken(l DeadLetter, e *event, from, to int64) *Problem {
	if to = min(to, s.led.Size(l.Tenant)); from >= to {
		return nil
	}
	number, index := []byte(`"seq":`+itoa(e.seq)+`,`), from
	for data, err := range s.led.Data(l.Tenant, from, to) {
		if err != nil {
			return s.failure(err)
		}
		var old tenantEntry
		if bytes.Contains(data, number) && json.Unmarshal(data, &old) == nil && old.T == "event" && old.Device == l.Device && old.Gen == l.Generation &&
			old.Boot == e.boot && old.Seq != nil && *old.Seq == e.seq {
			return problem(CodeConflict, "its number stands in entry "+itoa(index)+" too")
		}
		index++
	}
	return nil
}

// enterReplay makes event and decision durable in one append and notes them.
// The caller holds s.decide and d.flow.
func (s *Server) enterReplay(a *adminCall, set *settings, in letterCall, t *tenant, d *device, l DeadLetter, e *event) error {
	t.gate.RLock()
	defer t.gate.RUnlock()
	control := letterEntry(l, in, LetterReplayed, map[string]any{"index": l.Index, "rules": set.rules.hash})
	control.Actor, control.RequestID, control.Result, control.Grant = a.actor(), a.id, "done", a.grant
	control = s.entry(evidence.EntryLetterReplayed, control)
	decided, err := evidence.CanonicalJSON(&control)
	if err != nil {
		return err
	}
	received := control.Time
	_, _, flags := set.Time.judge(e.at, l.Received)
	from := sender{device: l.Device, gen: l.Generation, received: received, rules: set.rules.hash}
	line := from.appendReplay(e, flags, l.Index)
	change := s.snapshots.begin()
	defer change.end()
	positions, err := s.append([]ledger.Entry{{Log: t.ID, Data: line, Payload: []byte(e.data)}, {Log: controlLog, Data: decided}})
	if err != nil {
		return err
	}
	change.durable = true
	index := positions[0].Index
	d.mu.Lock()
	gaps := d.applyReplay(e.boot, e.seq, index, s.st.window, received, e.at)
	d.mu.Unlock()
	t.mu.Lock()
	n := counts{received: 1, accepted: 1, replayed: 1}
	t.count(received, n)
	t.settle(l.Index, func(f *fate) { f.as = index })
	t.mu.Unlock()
	s.metrics.lines(t, n)
	s.st.mu.Lock()
	err = s.st.apply(positions[1].Index, &control)
	s.st.mu.Unlock()
	if err != nil {
		return err
	}
	err = s.recordGaps(d, gaps)
	change.noted = err == nil
	return err
}

// appendReplay writes an event that names the dead letter that it was.
func (f sender) appendReplay(e *event, flags []string, letter int64) []byte {
	line := f.appendEvent(nil, e, flags)
	at := bytes.LastIndex(line, []byte(`,"rules":"`)) // strings that follow have their quotes escaped
	return slices.Insert(line, at, []byte(`,"replays":`+itoa(letter))...)
}
