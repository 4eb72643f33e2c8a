package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"trustpack/internal/durable"
	"trustpack/ledger"
)

// apart keeps the last checkpoints apart from the ledger: in a copy, and with
// witnesses. It runs beside everything else; what fails is tried again later.
type apart struct {
	s         *Server
	policy    LedgerPolicy
	http      *http.Client
	copy      keeper
	witnesses []*witnessState
	stop      context.CancelFunc
	ended     sync.WaitGroup

	mu        sync.Mutex
	rollbacks []*ledger.RollbackError // found at the start
}

// keeper is the state of one that keeps checkpoints. Its name in metrics and
// logs is name.
type keeper struct {
	name string
	wake chan struct{} // room for one: there is news

	mu       sync.Mutex
	state    string
	detail   string
	lastGood time.Time // real time
	failures int       // since then
	sizes    map[string]int64
	notes    map[string]string // text of what it has, by log
}

// witnessState is a witness at work.
type witnessState struct {
	keeper
	at WitnessPolicy
}

func newKeeper(name string) keeper {
	return keeper{name: name, wake: make(chan struct{}, 1), sizes: map[string]int64{}, notes: map[string]string{}}
}

func newApart(s *Server, policy LedgerPolicy) *apart {
	a := &apart{s: s, policy: policy, copy: newKeeper(copyName), stop: func() {}}
	a.http = &http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for _, w := range policy.Witnesses {
		a.witnesses = append(a.witnesses, &witnessState{newKeeper(w.name()), w})
	}
	return a
}

func (k *keeper) set(state, detail string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state, k.detail = state, detail
}

// done notes how an attempt ended, and says whether the state is another.
func (k *keeper) done(state string, err error) (changed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	changed = k.state != state
	k.state, k.detail = state, ""
	if err != nil {
		k.detail, k.failures = clipReason(err), k.failures+1
		return changed
	}
	k.failures, k.lastGood = 0, time.Now()
	return changed
}

// has notes that it has the log's checkpoint.
func (k *keeper) has(log, text string, size int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.notes[log], k.sizes[log] = text, size
}

// lacks reports whether it has another checkpoint of the log than text.
func (k *keeper) lacks(log, text string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.notes[log] != text
}

// pause is how long to wait before the next attempt: interval, doubled with
// each failure up to 5 minutes.
func (k *keeper) pause(interval time.Duration) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failures == 0 {
		return interval
	}
	return max(interval, min(5*time.Minute, time.Second<<min(k.failures, 10)))
}

// run keeps checkpoints apart until close is called.
func (a *apart) run() {
	ctx, cancel := context.WithCancel(context.Background())
	a.stop = cancel
	if a.policy.CheckpointCopy != "" {
		a.ended.Go(func() { a.serve(ctx, &a.copy, 0, a.keepCopy) })
	}
	for _, w := range a.witnesses {
		a.ended.Go(func() {
			a.serve(ctx, &w.keeper, a.policy.Interval, func(ctx context.Context) error { return a.offerAll(ctx, w) })
		})
	}
	a.published()
}

// keepers are the copy and the witnesses that are configured.
func (a *apart) keepers() []*keeper {
	var out []*keeper
	if a.policy.CheckpointCopy != "" {
		out = append(out, &a.copy)
	}
	for _, w := range a.witnesses {
		out = append(out, &w.keeper)
	}
	return out
}

// list tells how each keeper stands.
func (a *apart) list() []Keeper {
	out := []Keeper{}
	for _, k := range a.keepers() {
		k.mu.Lock()
		one := Keeper{Name: k.name, State: k.state, Detail: k.detail}
		if !k.lastGood.IsZero() {
			at := k.lastGood.UTC()
			one.LastGood = &at
		}
		k.mu.Unlock()
		out = append(out, one)
	}
	return out
}

// kept is the size of the log's checkpoint with each keeper that has one.
func (a *apart) kept(log string) map[string]int64 {
	var out map[string]int64
	for _, k := range a.keepers() {
		k.mu.Lock()
		if size, ok := k.sizes[log]; ok {
			if out == nil {
				out = map[string]int64{}
			}
			out[k.name] = size
		}
		k.mu.Unlock()
	}
	return out
}

// published says that there may be new checkpoints. It waits for nobody.
func (a *apart) published() {
	for _, k := range a.keepers() {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

// serve does work whenever there is news, at most once in interval, and less
// often while it fails.
func (a *apart) serve(ctx context.Context, k *keeper, interval time.Duration, work func(context.Context) error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		}
		a.attempt(ctx, k, work)
		pause := time.NewTimer(k.pause(interval))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		if k.failed() { // nobody may publish for a while
			select {
			case k.wake <- struct{}{}:
			default:
			}
		}
	}
}

func (k *keeper) failed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failures > 0
}

func (a *apart) attempt(ctx context.Context, k *keeper, work func(context.Context) error) {
	err := work(ctx)
	if ctx.Err() != nil && err != nil {
		return
	}
	state := heldAgrees
	switch {
	case errors.Is(err, ledger.ErrRollback):
		state = heldContradicts
	case err != nil && isNetwork(err):
		state = heldUnreachable
	case err != nil:
		state = heldFailed
	}
	switch changed := k.done(state, err); {
	case err != nil && changed:
		a.s.log.Error("checkpoints are not kept apart", "by", k.name, "state", state, "error", err)
	case changed:
		a.s.log.Info("checkpoints are kept apart", "by", k.name)
	}
}

// keepCopy writes the copy where a log has another checkpoint than in it.
func (a *apart) keepCopy(context.Context) error {
	notes, news := map[string]string{}, map[string]int64{}
	for _, log := range a.s.led.Logs() {
		note, size, err := a.last(log)
		if err != nil {
			return err
		}
		if note == "" {
			continue
		}
		notes[log] = note
		if a.copy.lacks(log, note) {
			news[log] = size
		}
	}
	if len(news) == 0 {
		return nil
	}
	if err := writeCopy(a.policy.CheckpointCopy, notes); err != nil {
		return err
	}
	for log, size := range news {
		a.copy.has(log, notes[log], size)
	}
	return nil
}

// last is the last signed note of a log, and its size; empty if it has none.
// It is the ledger's own: its signature needs no check.
func (a *apart) last(log string) (note string, size int64, err error) {
	b, err := a.s.led.LastCheckpoint(log)
	if errors.Is(err, ledger.ErrNotFound) {
		return "", 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	c, err := ledger.ParseCheckpoint(signedText(string(b)) + "\n")
	return string(b), c.Size, err
}

// offerAll offers the witness what it has not cosigned yet.
func (a *apart) offerAll(ctx context.Context, w *witnessState) error {
	var contradicted error
	for _, log := range a.s.led.Logs() {
		err := a.offer(ctx, w, log)
		if errors.Is(err, ledger.ErrRollback) && a.s.led.Err() == nil { // one that was accepted
			contradicted = err
			continue
		}
		if err != nil {
			return err
		}
	}
	return contradicted
}

// offer has the witness cosign the log's last checkpoint, unless it has.
func (a *apart) offer(ctx context.Context, w *witnessState, log string) error {
	note, _, err := a.last(log)
	if err != nil || note == "" || !w.lacks(log, signedText(note)) {
		return err
	}
	at := ledger.Witness{URL: w.at.URL, Key: w.at.Key, Accepted: func(r *ledger.RollbackError) bool { return a.tolerates(r) }}
	if err := a.s.led.Cosign(ctx, log, at, a.post); err != nil {
		return err
	}
	note, size, err := a.last(log) // it may be a later one by now
	if err != nil {
		return err
	}
	if _, by, err := ledger.OpenCosigned([]byte(note), a.key(log), []string{w.at.Key}); err != nil {
		return err
	} else if len(by) == 1 {
		w.has(log, signedText(note), size)
	}
	return nil
}

func (a *apart) key(log string) string {
	vkey, err := a.s.led.VerifierKey(log)
	if err != nil {
		return "" // which verifies nothing
	}
	return vkey
}

// signedText is a note without its signatures and the newline before them.
func signedText(note string) string {
	text, _, _ := strings.Cut(note, "\n\n")
	return text
}

// tolerates says whether writing goes on though the witness contradicts: at
// the start, until settle has judged; later, where that was accepted.
func (a *apart) tolerates(r *ledger.RollbackError) bool {
	return a.s.started.IsZero() || a.wasAccepted(r)
}

// putAside renames the copy that an accepted rollback contradicts.
func (a *apart) putAside(now time.Time) error {
	if a.copy.state != heldContradicts {
		return nil
	}
	path := a.policy.CheckpointCopy
	aside := path + "." + now.UTC().Format("20060102T150405Z")
	if err := (durable.Disk{}).Rename(path, aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("putting the copy of the checkpoints aside: %w", err)
	}
	a.s.log.Warn("the copy of the checkpoints of before the rollback was put aside", "file", aside)
	return nil
}

// close ends the keeping, after it was done for what was published last. A
// witness that does not answer holds nobody up for long.
func (a *apart) close(ctx context.Context) {
	a.stop()
	a.ended.Wait()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var last sync.WaitGroup
	if a.policy.CheckpointCopy != "" {
		last.Go(func() { a.attempt(ctx, &a.copy, a.keepCopy) })
	}
	for _, w := range a.witnesses {
		if !w.failed() {
			last.Go(func() {
				a.attempt(ctx, &w.keeper, func(ctx context.Context) error { return a.offerAll(ctx, w) })
			})
		}
	}
	last.Wait()
}
