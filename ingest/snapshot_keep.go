package ingest

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// snapshotName is the name under which the ledger keeps the state.
const snapshotName = "state"

// When a snapshot is due: after so many entries, or so long after the last one
// where there were at least a few. All of them together take at most a
// fiftieth of the time.
const (
	snapshotEntries = 1 << 20
	snapshotFew     = 1 << 12
	snapshotEvery   = 10 * time.Minute
	snapshotShare   = 50
)

// snapshots are made beside everything else.
type snapshots struct {
	// changing is held for reading from before entries are made durable until
	// they are noted in the state, and for writing at the moment of which a
	// snapshot is: then the state is what the logs make of it.
	changing sync.RWMutex
	unsound  atomic.Bool // something durable was not noted; a restart will

	making  sync.Mutex // held by who makes one; guards what follows
	running sync.WaitGroup
	entries int64     // of all logs, in the last one
	at      time.Time // of the last one, on the ingest's clock
	ended   time.Time // the same on the machine's
	took    time.Duration
}

// change is the time in which something is made durable and then noted.
type change struct {
	s              *snapshots
	durable, noted bool
}

func (s *snapshots) begin() change {
	s.changing.RLock()
	return change{s: s}
}

func (c *change) end() {
	if c.durable && !c.noted {
		c.s.unsound.Store(true)
	}
	c.s.changing.RUnlock()
}

// keepSnapshot makes a snapshot in the background where one is due.
func (s *Server) keepSnapshot(now time.Time) error {
	k := &s.snapshots
	if !k.making.TryLock() {
		return nil
	}
	news := total(s.led.Sizes()) - k.entries
	due := news >= snapshotEntries || news >= snapshotFew && now.Sub(k.at) >= snapshotEvery
	if !due || time.Since(k.ended) < snapshotShare*k.took {
		k.making.Unlock()
		return nil
	}
	k.running.Go(func() {
		defer k.making.Unlock()
		s.makeSnapshot(now)
	})
	return nil
}

func total(sizes map[string]int64) (n int64) {
	for _, size := range sizes {
		n += size
	}
	return n
}

// saveSnapshot makes a snapshot now, after the one under way, if there is one.
func (s *Server) saveSnapshot() {
	s.snapshots.making.Lock()
	defer s.snapshots.making.Unlock()
	s.makeSnapshot(s.now())
}

// makeSnapshot makes a snapshot of this moment. That it fails costs time at the
// next start, and nothing else. The caller holds making.
func (s *Server) makeSnapshot(now time.Time) {
	k, began := &s.snapshots, time.Now()
	k.changing.Lock()
	if k.unsound.Load() || s.durable() != nil {
		k.changing.Unlock()
		return
	}
	sizes, c := s.led.Sizes(), s.st.capture()
	k.changing.Unlock()
	defer c.drop()
	err := s.led.SaveSnapshot(snapshotName, sizes, func(w io.Writer) error {
		if !s.closing.Load() {
			w = unhurried{w}
		}
		return c.write(w)
	})
	k.entries, k.at, k.ended, k.took = total(sizes), now, time.Now(), time.Since(began)
	if err != nil {
		s.log.Warn("no snapshot of the state could be written; the next start takes longer", "error", err)
		return
	}
	s.log.Debug("snapshot of the state", "entries", k.entries, "ms", k.took.Milliseconds())
}

// unhurried is a writer that leaves half of the disk's time to others.
type unhurried struct{ w io.Writer }

func (u unhurried) Write(b []byte) (int, error) {
	began := time.Now()
	n, err := u.w.Write(b)
	time.Sleep(time.Since(began))
	return n, err
}

// restoreState reads the snapshot of the state, and the sizes of the logs of
// which it is. Where there is none that can be relied on the state is new, and
// err says why there is none.
func restoreState(led *ledger.Ledger, window int64) (st *state, sizes map[string]int64, err error) {
	snap, err := led.OpenSnapshot(snapshotName)
	if err != nil {
		return newState(window), nil, err
	}
	st, err = readState(snap, window)
	if err = errors.Join(err, snap.Close()); err != nil {
		return newState(window), nil, err
	}
	return st, snap.Sizes, nil
}

// foldState makes the state: from the snapshot where there is one, and what
// the logs have beyond it. missed are as fold gives them.
func (s *Server) foldState() (missed []evidence.AuditEntry, err error) {
	began := time.Now()
	st, from, err := restoreState(s.led, s.cfg().Replay.Window)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		s.log.Warn("the snapshot of the state is of no use; the logs are folded from their beginning", "error", err)
	}
	if missed, err = st.fold(s.led, from); err != nil {
		return nil, err
	}
	s.st, s.snapshots.entries, s.snapshots.at = st, total(from), s.now()
	s.log.Info("state made", "from_snapshot", total(from), "folded", total(s.led.Sizes())-total(from), "ms", time.Since(began).Milliseconds())
	return missed, nil
}
