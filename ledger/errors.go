package ledger

import (
	"errors"
	"fmt"
	"syscall"
)

// ErrJournalLost is what every Append answers after a durable write has
// failed. What was acknowledged before is safe; the entries of the failed
// append may or may not be there after the ledger is opened again.
var ErrJournalLost = errors.New("the ledger can make nothing durable any more")

// ErrClosed is what calls answer after Close.
var ErrClosed = errors.New("ledger is closed")

// ErrReadOnly is what changing calls answer on a ledger opened to read only.
var ErrReadOnly = errors.New("ledger is open to read only")

// ErrNotFound is what reading calls answer for a log, entry, tile or
// checkpoint that is not there.
var ErrNotFound = errors.New("not in the ledger")

// LostError is an ErrJournalLost with its cause.
type LostError struct {
	Doing string // what failed, such as "writing group 17 to journal/0000000003.seg"
	Cause error
}

func (e *LostError) Error() string {
	hint := "entries acknowledged before are safe; mend the storage and start again"
	if errors.Is(e.Cause, syscall.ENOSPC) {
		hint = "the disk is full; entries acknowledged before are safe; free space and start again"
	}
	return fmt.Sprintf("%v: %s: %v (%s)", ErrJournalLost, e.Doing, e.Cause, hint)
}

// Unwrap gives ErrJournalLost and the cause.
func (e *LostError) Unwrap() []error { return []error{ErrJournalLost, e.Cause} }

// DamageError says that a file of the ledger does not hold what was written.
// Nothing has been changed; restore the file from a copy.
type DamageError struct {
	File   string // within the ledger's directory
	Offset int64  // in bytes; -1 where no place can be named
	Reason string
}

func (e *DamageError) Error() string {
	at := ""
	if e.Offset >= 0 {
		at = fmt.Sprintf(" at byte %d", e.Offset)
	}
	return fmt.Sprintf("%s is damaged%s: %s (nothing was changed; restore the ledger from a copy)", e.File, at, e.Reason)
}

// ContradictionError says that a log does not hold what its last stored
// checkpoint signed: entries were lost or replaced, as when an older copy of
// the disk was restored.
type ContradictionError struct {
	Log    string
	Signed int64 // size of the stored checkpoint
	Size   int64 // entries the log holds
	Reason string
}

func (e *ContradictionError) Error() string {
	return fmt.Sprintf("log %s contradicts its signed checkpoint of size %d: %s (it holds %d entries; restore the ledger from a newer copy, since a tree that was signed can never be taken back)", e.Log, e.Signed, e.Reason, e.Size)
}
