package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"trustpack/evidence"
	"trustpack/internal/durable"
	"trustpack/ledger"
)

// LedgerPolicy says where the logs' last checkpoints are kept apart from the
// ledger, so that a disk that was taken back to an older copy is noticed when
// the ingest starts.
type LedgerPolicy struct {
	CheckpointCopy string          `yaml:"checkpoint_copy"` // file, which should be on another disk; its folder must be there
	Witnesses      []WitnessPolicy `yaml:"witnesses"`
	Quorum         int             `yaml:"quorum"`     // witnesses that must have agreed before the ingest starts
	StartWait      time.Duration   `yaml:"start_wait"` // how long they are waited for then
	Interval       time.Duration   `yaml:"interval"`   // at least so long between two offers to a witness
}

// WitnessPolicy is a witness (c2sp.org/tlog-witness). What it cosigns counts
// under this key alone: with another key it is another witness.
type WitnessPolicy struct {
	URL string `yaml:"url"` // submission prefix
	Key string `yaml:"key"` // verifier key of its cosignatures, <name>+<hash>+<base64>
}

// name is the witness's, in its key, which was validated.
func (w WitnessPolicy) name() string {
	name, _, _ := strings.Cut(w.Key, "+")
	return name
}

func (p LedgerPolicy) configured() bool { return p.CheckpointCopy != "" || len(p.Witnesses) > 0 }

func (p LedgerPolicy) validate() error {
	if p.Quorum < 0 || p.Quorum > len(p.Witnesses) {
		return fmt.Errorf("quorum: %d of %d witnesses cannot be had", p.Quorum, len(p.Witnesses))
	}
	seen := map[string]bool{}
	for i, w := range p.Witnesses {
		name, err := ledger.WitnessName(w.Key)
		if err != nil {
			return fmt.Errorf("witnesses[%d].key: %w", i, err)
		}
		if seen[name] {
			return fmt.Errorf("witnesses[%d].key: %s is listed twice", i, name)
		}
		seen[name] = true
		u, err := url.Parse(w.URL)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
			return fmt.Errorf("witnesses[%d].url: want the witness's submission prefix, such as https://witness.example/w1", i)
		}
		if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return fmt.Errorf("witnesses[%d].url: plain http is for this machine alone; use https", i)
		}
	}
	return nil
}

func (p LedgerPolicy) effective() map[string]any {
	witnesses := []map[string]string{}
	for _, w := range p.Witnesses {
		witnesses = append(witnesses, map[string]string{"name": w.name(), "url": w.URL, "key": w.Key})
	}
	return map[string]any{
		"checkpoint_copy": p.CheckpointCopy, "witnesses": witnesses, "quorum": p.Quorum,
		"start_wait": durationText(p.StartWait), "interval": durationText(p.Interval),
	}
}

// States of a HeldTo, and of a witness or the copy while the ingest runs.
const (
	heldAgrees      = "agrees"
	heldFirstUse    = "first-use"
	heldUnreachable = "unreachable"
	heldFailed      = "failed"
	heldContradicts = "contradicts"
)

// copyName is how the copy of the checkpoints is called in what it saw.
const copyName = "the copy of the checkpoints"

// keptCopy is the content of the copy.
type keptCopy struct {
	Checkpoints map[string]string `json:"checkpoints"` // signed notes by log
}

// hold holds the ledger to what is kept apart, before anything is entered in
// it. The entries say what came of it, rollbacks that o.AcceptRollback accepts
// among it. Any other rollback is an error, and so are a copy that cannot be
// read and a quorum that was not had.
func (a *apart) hold(ctx context.Context) ([]evidence.AuditEntry, error) {
	if !a.policy.configured() {
		if a.s.o.AcceptRollback != "" {
			return nil, errNothingToAccept
		}
		return nil, nil
	}
	held := evidence.LedgerHeld{Quorum: a.policy.Quorum}
	if a.policy.CheckpointCopy != "" {
		h, err := a.holdToCopy()
		if err != nil {
			return nil, err
		}
		held.Copy = &h
		a.copy.set(h.State, h.Detail)
	}
	held.Witnesses = a.askAll(ctx)
	agreed := 0
	for _, h := range held.Witnesses {
		if h.State == heldAgrees || h.State == heldFirstUse {
			agreed++
		}
	}
	a.report(held)
	accepted, err := a.settle()
	if err != nil {
		return nil, err
	}
	if agreed < a.policy.Quorum {
		return nil, fmt.Errorf("ingest.ledger.quorum: %d of %d witnesses agreed, and %d must: %s", agreed, len(held.Witnesses), a.policy.Quorum, heldText(held.Witnesses))
	}
	return append([]evidence.AuditEntry{{Type: evidence.EntryLedgerHeld, Target: "ledger", Data: raw(held)}}, accepted...), nil
}

// askAll asks the witnesses at the same time.
func (a *apart) askAll(ctx context.Context) []evidence.HeldTo {
	ctx, cancel := context.WithTimeout(ctx, a.policy.StartWait)
	defer cancel()
	out := make([]evidence.HeldTo, len(a.witnesses))
	var asking sync.WaitGroup
	for i, w := range a.witnesses {
		asking.Go(func() { out[i] = a.ask(ctx, w) })
	}
	asking.Wait()
	return out
}

func (a *apart) report(held evidence.LedgerHeld) {
	all := held.Witnesses
	if held.Copy != nil {
		all = append(slices.Clone(all), *held.Copy)
	}
	for _, h := range all {
		log := a.s.log.Info
		if h.State != heldAgrees {
			log = a.s.log.Warn
		}
		log("the ledger was held to what is kept apart", "by", h.Name, "state", h.State, "logs", h.Logs, "detail", h.Detail)
	}
}

func heldText(all []evidence.HeldTo) string {
	var parts []string
	for _, h := range all {
		parts = append(parts, strings.TrimSuffix(h.Name+": "+h.State+" ("+h.Detail, " (")+")")
	}
	return strings.Join(parts, "; ")
}

var errNothingToAccept = errors.New("a rollback was to be accepted, and nobody knows of one: start without that")

// settle refuses rollbacks that were found, or, where the operator accepts
// them, gives their entries. To accept where there is nothing is an error, so
// that nobody accepts in advance.
func (a *apart) settle() ([]evidence.AuditEntry, error) {
	if len(a.rollbacks) == 0 {
		if a.s.o.AcceptRollback != "" {
			return nil, errNothingToAccept
		}
		return nil, nil
	}
	if a.s.o.AcceptRollback == "" {
		var errs []error
		for _, r := range a.rollbacks {
			errs = append(errs, r)
		}
		return nil, fmt.Errorf("%s: %w", CodeLedgerRollback, errors.Join(errs...))
	}
	var out []evidence.AuditEntry
	for _, r := range a.rollbacks {
		a.s.log.Error("an operator accepts that the ledger was taken back", "log", r.Log, "by", r.By, "seen", r.Seen, "size", r.Size)
		out = append(out, evidence.AuditEntry{
			Type: evidence.EntryRollbackTaken, Actor: &evidence.Actor{Name: "host", Role: "host"}, Target: r.Log, Result: "done", Reason: a.s.o.AcceptRollback,
			Data: raw(evidence.RollbackAccepted{Log: r.Log, By: r.By, Seen: r.Seen, Size: r.Size, What: r.What}),
		})
	}
	return out, nil
}

// holdToCopy compares each log with the copy. A copy that is there and cannot
// be used is an error: whoever changed it may have changed the ledger too.
func (a *apart) holdToCopy() (evidence.HeldTo, error) {
	h := evidence.HeldTo{Name: copyName, State: heldFirstUse}
	b, err := os.ReadFile(a.policy.CheckpointCopy)
	if errors.Is(err, os.ErrNotExist) {
		if h.Detail = "it is not there yet"; a.copyWasThere() {
			h.State, h.Detail = heldUnreachable, "it was there before, and is gone"
		}
		return h, nil
	}
	if err != nil {
		return evidence.HeldTo{Name: copyName, State: heldUnreachable, Detail: err.Error()}, nil
	}
	var kept keptCopy
	if err := json.Unmarshal(b, &kept); err != nil {
		return h, fmt.Errorf("ingest.ledger.checkpoint_copy: %s is no copy of checkpoints; move it away if that is known: %w", a.policy.CheckpointCopy, err)
	}
	h.State = heldAgrees
	for log, note := range kept.Checkpoints {
		err := a.s.led.Compare(log, []byte(note), copyName)
		var r *ledger.RollbackError
		switch {
		case errors.As(err, &r):
			h.State, h.Detail = heldContradicts, r.Error()
			a.found(r)
		case err != nil:
			return h, fmt.Errorf("ingest.ledger.checkpoint_copy: %s is not this ingest's; name another file: %w", a.policy.CheckpointCopy, err)
		default:
			h.Logs++
		}
	}
	return h, nil
}

// copyWasThere reports whether an earlier start was held to a copy.
func (a *apart) copyWasThere() bool {
	was := false
	a.eachControl(evidence.EntryLedgerHeld, func(e evidence.AuditEntry) {
		var h evidence.LedgerHeld
		was = was || json.Unmarshal(e.Data, &h) == nil && h.Copy != nil && h.Copy.State != heldUnreachable
	})
	return was
}

// eachControl calls do for the entries of a type in the control log as it
// stands before the state is folded. What cannot be read is left to the fold,
// which refuses it.
func (a *apart) eachControl(typ string, do func(evidence.AuditEntry)) {
	for data, err := range a.s.led.Entries(controlLog, 0, a.s.led.Size(controlLog)) {
		if err != nil {
			return
		}
		var e evidence.AuditEntry
		if bytes.Contains(data, []byte(typ)) && json.Unmarshal(data, &e) == nil && e.Type == typ {
			do(e)
		}
	}
}

// ask offers the last checkpoint of each log to the witness, which says if it
// knows better.
func (a *apart) ask(ctx context.Context, w *witnessState) evidence.HeldTo {
	h := evidence.HeldTo{Name: w.name, State: heldAgrees}
	firstUse := true
	for _, log := range a.s.led.Logs() {
		before, err := a.s.led.LastCheckpoint(log)
		if errors.Is(err, ledger.ErrNotFound) {
			continue // nobody can know one
		}
		err = a.offer(ctx, w, log)
		var r *ledger.RollbackError
		if errors.As(err, &r) {
			h.State, h.Detail = heldContradicts, r.Error()
			a.found(r)
			continue
		}
		if err != nil {
			h.State, h.Detail = heldFailed, clipReason(err)
			if ctx.Err() != nil || isNetwork(err) {
				h.State = heldUnreachable
			}
			break
		}
		firstUse = firstUse && !bytes.Contains(before, []byte("\n— "+w.name+" "))
		h.Logs++
	}
	if h.State == heldAgrees && firstUse {
		h.State = heldFirstUse
	}
	w.set(h.State, h.Detail)
	return h
}

func isNetwork(err error) bool {
	var u *url.Error
	return errors.As(err, &u)
}

// found keeps a rollback for settle, unless it was accepted before.
func (a *apart) found(r *ledger.RollbackError) {
	if a.wasAccepted(r) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rollbacks = append(a.rollbacks, r)
}

// wasAccepted looks for the entry that accepts the rollback.
func (a *apart) wasAccepted(r *ledger.RollbackError) bool {
	was := false
	a.eachControl(evidence.EntryRollbackTaken, func(e evidence.AuditEntry) {
		var t evidence.RollbackAccepted
		was = was || json.Unmarshal(e.Data, &t) == nil && t.Log == r.Log && t.By == r.By && t.Seen == r.Seen
	})
	return was
}

// post sends to a witness. Its answers are short, and it sends nobody on.
func (a *apart) post(ctx context.Context, url string, body []byte) ([]byte, int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	resp, err := a.http.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return reply, resp.StatusCode, err
}

// writeCopy keeps the notes in the file.
func writeCopy(path string, notes map[string]string) error {
	b, err := json.MarshalIndent(keptCopy{notes}, "", " ")
	if err != nil {
		return err
	}
	return durable.WriteFile(path, append(b, '\n'), 0o600)
}
