package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"trustpack/evidence"
	"trustpack/ledger"
)

// What Rebuild says of the snapshot that it found.
const (
	SnapshotNone    = "none"
	SnapshotAgrees  = "agrees"
	SnapshotDiffers = "differs"
	SnapshotUnread  = "not-compared" // made by another version, or with other settings
)

// Rebuilt is the state made again from nothing but the logs.
type Rebuilt struct {
	StateSum
	// Snapshot says whether the snapshot beside the logs, taken on to their
	// ends, gives the same state; a start goes out from it.
	Snapshot string `json:"snapshot"`
	// SnapshotDetail says why it was not compared.
	SnapshotDetail string `json:"snapshot_detail,omitempty"`
	// UnrecordedGaps are gaps in the devices' numbers that the control log does
	// not hold yet: the process was killed; the next start records them.
	UnrecordedGaps int `json:"unrecorded_gaps,omitempty"`
}

// ErrShorter says that a log lacks entries that it is said to have.
var ErrShorter = errors.New("entries are missing, or it is another ledger")

// ErrNoIngest says that a ledger is not an ingest's.
var ErrNoIngest = errors.New("it has no control log, so it is not the ledger of an ingest")

// Rebuild folds the logs of the ledger in dir, which no process may be writing
// to, up to the sizes given, or to their ends where upTo is nil. Where they go
// to the ends, the snapshot in dir is held against the outcome.
func Rebuild(dir string, upTo map[string]int64) (out Rebuilt, err error) {
	var o ledger.Options
	// Snapshots are sealed with the ingest's own seed: only where that is beside
	// the ledger is there anything to hold against the logs.
	home := filepath.Dir(dir)
	if _, err = os.Stat(filepath.Join(home, "ingest.json")); err == nil {
		o.Seed, err = readSeed(home)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Rebuilt{}, fmt.Errorf("rebuilding the state: %w", err)
	}
	led, err := openLogs(dir, o)
	if err != nil {
		return Rebuilt{}, fmt.Errorf("rebuilding the state: %w", err)
	}
	defer func() { err = errors.Join(err, led.Close()) }()
	sizes := led.Sizes()
	if _, ok := sizes[controlLog]; !ok {
		return Rebuilt{}, fmt.Errorf("rebuilding the state of %s: %w", dir, ErrNoIngest)
	}
	to := sizes
	if upTo != nil {
		for _, log := range slices.Sorted(maps.Keys(upTo)) {
			if upTo[log] > sizes[log] {
				return Rebuilt{}, fmt.Errorf("rebuilding the state of %s: log %s should have %d entries and has %d: %w", dir, log, upTo[log], sizes[log], ErrShorter)
			}
		}
		to = upTo
	}
	st, missed, err := rebuild(led, to)
	if err != nil {
		return Rebuilt{}, fmt.Errorf("rebuilding the state: %w", err)
	}
	out.UnrecordedGaps = len(missed)
	if out.StateSum, err = sumOfState(st.capture(), to, st.window); err != nil {
		return Rebuilt{}, fmt.Errorf("rebuilding the state: %w", err)
	}
	out.Snapshot, out.SnapshotDetail = SnapshotUnread, "only a part of the logs was folded"
	if upTo == nil {
		out.Snapshot, out.SnapshotDetail, err = out.compareSnapshot(led)
	}
	return out, err
}

// openLogs opens the ledger in dir, whatever its instance is, to read.
func openLogs(dir string, o ledger.Options) (*ledger.Ledger, error) {
	var err error
	switch o.Instance, err = ledger.InstanceOf(dir); {
	case errors.Is(err, ledger.ErrNotFound):
		o.Instance = "unsigned.invalid" // nothing was signed yet, so there are no origins to hold it against
	case err != nil:
		return nil, err
	}
	return ledger.OpenReadOnly(dir, o)
}

// rebuild folds the logs from their beginnings with the replay window of the
// configuration that was in force last.
func rebuild(led *ledger.Ledger, to map[string]int64) (*state, []evidence.AuditEntry, error) {
	probe := newState(0)
	if _, err := probe.foldControl(led, 0, to[controlLog]); err != nil {
		return nil, nil, fmt.Errorf("folding the control log: %w", err)
	}
	var config struct {
		Replay struct {
			Window int64 `json:"window"`
		} `json:"replay"`
	}
	if len(probe.config.Config) > 0 {
		if err := json.Unmarshal(probe.config.Config, &config); err != nil {
			return nil, nil, fmt.Errorf("reading the configuration in force: %w", err)
		}
	}
	st := newState(config.Replay.Window)
	missed, err := st.foldTo(led, nil, to)
	return st, missed, err
}

func (r *Rebuilt) compareSnapshot(led *ledger.Ledger) (verdict, detail string, err error) {
	st, from, err := restoreState(led, r.Window)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return SnapshotNone, "", nil
	case err != nil:
		return SnapshotUnread, err.Error(), nil // a start would not use it either
	}
	if _, err := st.fold(led, from); err != nil {
		return "", "", fmt.Errorf("folding what the logs have beyond the snapshot: %w", err)
	}
	sum, err := sumOfState(st.capture(), r.Logs, r.Window)
	if err != nil {
		return "", "", err
	}
	if sum.SHA256 != r.SHA256 {
		return SnapshotDiffers, "what the snapshot says is not what the logs make", nil
	}
	return SnapshotAgrees, "", nil
}
