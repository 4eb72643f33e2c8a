package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/internal/durable"
)

// RestoreOptions say how to try a backup. The zero value compares it with the
// checkpoints that are in it.
type RestoreOptions struct {
	TempDir      string            // where to restore to; empty is the system's
	VerifierKeys map[string]string // by log name: checkpoints must be signed under these keys
	// Checkpoints are the signed notes of logs, by name, that were kept
	// elsewhere, such as the running ledger's: the copy must not contradict
	// them, and how far it is behind them is in the record.
	Checkpoints map[string][]byte
	Now         func() time.Time // nil is time.Now
}

// RestoreRecord is what a restore test found, to be kept as evidence.
type RestoreRecord struct {
	Copy      string        `json:"copy"`
	StartedAt time.Time     `json:"started_at"`
	EndedAt   time.Time     `json:"ended_at"`
	Files     int           `json:"files"`
	Bytes     int64         `json:"bytes"`            // of the copy
	Replayed  int64         `json:"replayed_entries"` // out of the journal
	Cut       int64         `json:"cut_bytes"`        // off the journal's torn end
	Logs      []RestoredLog `json:"logs"`
	Problems  []Problem     `json:"problems"` // never nil in JSON
	OK        bool          `json:"ok"`
}

// RestoredLog is one log as restored and derived anew from its entries.
type RestoredLog struct {
	Log    string `json:"log"`
	Origin string `json:"origin,omitempty"` // empty without a checkpoint
	Size   int64  `json:"size"`
	Root   string `json:"root"` // base64
	Key    string `json:"key"`  // as in LogReport
	// Signed is the size of the last checkpoint in the copy, and SignedRoot
	// the root it signs (base64). That the entries hash to it, and to those of
	// all checkpoints before it, was checked: otherwise there is a problem.
	Signed     int64  `json:"signed_size"`
	SignedRoot string `json:"signed_root,omitempty"`
	Known      int64  `json:"known_size,omitempty"` // of the checkpoint kept elsewhere
	Behind     int64  `json:"behind,omitempty"`     // entries of it that the copy lacks
}

// RestoreTest restores the copy of a ledger to a temporary folder, as an
// opening after a crash would, derives every hash anew there, compares the
// roots with the signed checkpoints, and removes the folder. The copy is not
// changed. What is wrong with it is in the record; the error is for a test that
// could not be made.
func RestoreTest(copyDir string, o RestoreOptions) (RestoreRecord, error) {
	now := o.Now
	if now == nil {
		now = time.Now
	}
	r := RestoreRecord{Copy: copyDir, StartedAt: now().UTC(), Logs: []RestoredLog{}, Problems: []Problem{}}
	temp, err := os.MkdirTemp(o.TempDir, "trustpack-restore-")
	if err != nil {
		return r, fmt.Errorf("testing a restore: %w", err)
	}
	err = r.test(copyDir, filepath.Join(temp, "ledger"), o)
	r.EndedAt = now().UTC()
	r.OK = err == nil && len(r.Problems) == 0
	if err = errors.Join(err, os.RemoveAll(temp)); err != nil {
		return r, fmt.Errorf("testing a restore of %s: %w", copyDir, err)
	}
	return r, nil
}

func (r *RestoreRecord) test(copyDir, dir string, o RestoreOptions) error {
	if err := r.copy(copyDir, dir); err != nil {
		return err
	}
	if err := r.recover(dir); err != nil {
		return r.damage(err)
	}
	report, err := Fsck(dir, FsckOptions{VerifierKeys: o.VerifierKeys})
	if err != nil {
		return err
	}
	r.Problems = append(r.Problems, report.Problems...)
	instance, err := restoredInstance(dir)
	if err != nil {
		return r.damage(err)
	}
	l, err := OpenReadOnly(dir, Options{Instance: instance})
	if err != nil {
		return r.damage(err)
	}
	for _, log := range report.Logs {
		restored := RestoredLog{Log: log.Log, Origin: log.Origin, Size: log.Size, Root: log.Root, Key: log.Key}
		if past, err := l.Checkpoints(log.Log); err == nil && len(past) > 0 {
			last := past[len(past)-1]
			restored.Signed, restored.SignedRoot = last.Size, last.Root
		}
		if note, ok := o.Checkpoints[log.Log]; ok {
			r.compare(l, &restored, note, o.VerifierKeys[log.Log])
		}
		r.Logs = append(r.Logs, restored)
	}
	for log := range o.Checkpoints {
		if l.Size(log) == 0 {
			r.problem(log, "it is not in the copy, and there is a checkpoint of it elsewhere")
		}
	}
	return l.Close()
}

func (r *RestoreRecord) problem(log, what string) {
	r.Problems = append(r.Problems, Problem{log, -1, filepath.Join(logsDir, log), what})
}

// damage takes damage of the copy as a result.
func (r *RestoreRecord) damage(err error) error {
	var d *DamageError
	var c *ContradictionError
	switch {
	case errors.As(err, &d):
		r.Problems = append(r.Problems, Problem{"", -1, d.File, d.Reason})
	case errors.As(err, &c):
		r.problem(c.Log, fmt.Sprintf("it contradicts its signed checkpoint of size %d: %s", c.Signed, c.Reason))
	default:
		return err
	}
	return nil
}

// compare holds a restored log to a checkpoint that was kept elsewhere.
func (r *RestoreRecord) compare(l *Ledger, log *RestoredLog, note []byte, vkey string) {
	if vkey == "" {
		var err error
		if vkey, err = l.VerifierKey(log.Log); err != nil {
			r.problem(log.Log, "it has no checkpoint of its own, so give the key for the one kept elsewhere")
			return
		}
	}
	known, err := OpenCheckpoint(note, vkey)
	if err != nil {
		r.problem(log.Log, "the checkpoint kept elsewhere: "+err.Error())
		return
	}
	log.Known = known.Size
	if known.Size > log.Size {
		log.Behind = known.Size - log.Size // a backup is older, which is no flaw
		return
	}
	t, err := l.find(log.Log)
	if err == nil {
		var root tlog.Hash
		if root, err = t.rootAt(known.Size); err == nil && root != known.Root {
			err = fmt.Errorf("its first %d entries hash to %s, but the checkpoint kept elsewhere signs %s", known.Size, hashText(root), hashText(known.Root))
		}
	}
	if err != nil {
		r.problem(log.Log, err.Error())
	}
}

// recover does what Open does before it writes entries of its own.
func (r *RestoreRecord) recover(dir string) error {
	instance, err := restoredInstance(dir)
	if err != nil {
		return err
	}
	l, err := newLedger(dir, Options{Instance: instance})
	if err != nil {
		return err
	}
	end, err := l.load()
	if err == nil {
		err = l.takeOver(end)
	}
	r.Replayed, r.Cut = l.recovery.Entries, l.recovery.Cut
	return errors.Join(err, l.release())
}

// restoredInstance is the name the ledger was made under, or any where no
// checkpoint depends on it.
func restoredInstance(dir string) (string, error) {
	instance, err := InstanceOf(dir)
	if errors.Is(err, ErrNotFound) {
		return "restored", nil
	}
	return instance, err
}

// copy copies the ledger's files. A copy that a process writes to is refused.
func (r *RestoreRecord) copy(from, to string) (err error) {
	lock, err := durable.LockDirShared(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if _, err := os.Stat(filepath.Join(from, journalDir)); err != nil {
		return fmt.Errorf("%s holds no ledger: %w", from, err)
	}
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case !d.Type().IsRegular() || rel == durable.LockName:
			return nil
		}
		n, err := copyFile(path, filepath.Join(to, rel))
		r.Files++
		r.Bytes += n
		return err
	})
}

func copyFile(from, to string) (int64, error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(out, in)
	return n, errors.Join(err, out.Close())
}
