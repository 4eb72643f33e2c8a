package ledger

import (
	"errors"
	"fmt"
	"iter"

	"golang.org/x/mod/sumdb/tlog"
)

// Logs names the logs that hold an entry or have a checkpoint, sorted.
func (l *Ledger) Logs() []string {
	names := []string{}
	for _, t := range l.trees() {
		t.await()
		t.checkpoints.mu.Lock()
		known := t.size() > 0 || t.checkpoints.last != nil
		t.checkpoints.mu.Unlock()
		if known {
			names = append(names, t.name)
		}
	}
	return names
}

// Size is the number of durable entries in the log; 0 for one never used.
func (l *Ledger) Size(log string) int64 {
	t, err := l.find(log)
	if err != nil {
		return 0
	}
	return t.size()
}

// Sizes gives the number of acknowledged entries of each log that has any. It
// waits for nothing: those last acknowledged may not be readable yet.
func (l *Ledger) Sizes() map[string]int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	out := make(map[string]int64, len(l.logs))
	for name, t := range l.logs {
		if n := t.durable.Load(); n > 0 {
			out[name] = n
		}
	}
	return out
}

// Origin is the log's origin in checkpoints, and the name of its key.
func (l *Ledger) Origin(log string) string { return l.options.Instance + "/" + log }

// VerifierKey is the key that verifies the log's checkpoints: that of the
// seed, or, where the ledger was opened without one, the key stored with the
// last checkpoint, which vouches for nothing but itself.
func (l *Ledger) VerifierKey(log string) (string, error) {
	if err := CheckLogName(log); err != nil {
		return "", err
	}
	if l.options.Seed != nil {
		return VerifierKey(l.options.Seed, l.Origin(log))
	}
	t, err := l.find(log)
	if err != nil {
		return "", fmt.Errorf("reading verifier key: %w", err)
	}
	t.checkpoints.mu.Lock()
	defer t.checkpoints.mu.Unlock()
	if t.checkpoints.last == nil {
		return "", fmt.Errorf("reading verifier key: log %s has no checkpoint, and the ledger was opened without a seed: %w", log, ErrNotFound)
	}
	return t.checkpoints.last.VerifierKey, nil
}

// Entries yields the log's durable entries from index from up to, not
// including, to, in order; to is cut to the size that the log has when the
// iteration begins, so math.MaxInt64 reads to the end. A log never used has
// none. An entry with a payload is its leaf, which has the commitment at its
// end. A yielded slice stays as it is, and keeps up to 255 neighbours in
// memory. An error is yielded once and ends the iteration.
func (l *Ledger) Entries(log string, from, to int64) iter.Seq2[[]byte, error] {
	return l.entries(log, from, to, (*tree).leaves)
}

// Data is Entries that yields each entry's Data as it was appended, without
// the commitment to its payload: all that follows from the entries follows
// from this too, and it costs less to read.
func (l *Ledger) Data(log string, from, to int64) iter.Seq2[[]byte, error] {
	return l.entries(log, from, to, (*tree).bundle)
}

func (l *Ledger) entries(log string, from, to int64, bundleOf func(*tree, int64) ([]byte, error)) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		t, err := l.find(log)
		if errors.Is(err, ErrNotFound) && CheckLogName(log) == nil {
			return
		}
		if err != nil {
			yield(nil, fmt.Errorf("reading entries: %w", err))
			return
		}
		if from < 0 {
			yield(nil, fmt.Errorf("reading entries of %s: index %d is below 0", log, from))
			return
		}
		to := min(to, t.size())
		for n := from; n < to; {
			bundle, err := bundleOf(t, n/tileWidth)
			if err != nil {
				yield(nil, fmt.Errorf("reading entry %d of %s: %w", n, log, err))
				return
			}
			for at := n / tileWidth * tileWidth; at < min(to, (n/tileWidth+1)*tileWidth); at++ {
				entry, rest, err := cutEntry(bundle)
				if err != nil {
					yield(nil, fmt.Errorf("reading entry %d of %s: %w", at, log, err))
					return
				}
				bundle = rest
				if at >= n && !yield(entry, nil) {
					return
				}
			}
			n = (n/tileWidth + 1) * tileWidth
		}
	}
}

// leaf is the leaf of one entry that is there.
func (t *tree) leaf(index int64) ([]byte, error) {
	bundle, err := t.bundle(index / tileWidth)
	if err != nil {
		return nil, err
	}
	var data []byte
	for range index%tileWidth + 1 {
		if data, bundle, err = cutEntry(bundle); err != nil {
			return nil, err
		}
	}
	c, err := t.readCommitments(index, 1)
	if err != nil || c == nil {
		return data, err
	}
	return appendLeaf(nil, data, &c[0]), nil
}

// Entry is the log's entry of that index; one with a payload is its leaf, as
// Entries gives it.
func (l *Ledger) Entry(log string, index int64) ([]byte, error) {
	t, err := l.find(log)
	if err != nil {
		return nil, fmt.Errorf("reading entry %d: %w", index, err)
	}
	if index < 0 || index >= t.size() {
		return nil, fmt.Errorf("reading entry %d of %s, which has %d: %w", index, log, t.size(), ErrNotFound)
	}
	entry, err := t.leaf(index)
	if err != nil {
		return nil, fmt.Errorf("reading entry %d of %s: %w", index, log, err)
	}
	return entry, nil
}

// InclusionProof proves that the tree of the given size holds the entry of
// that index (RFC 6962, section 2.1.1).
func (l *Ledger) InclusionProof(log string, index, size int64) (tlog.RecordProof, error) {
	t, err := l.find(log)
	if err != nil {
		return nil, fmt.Errorf("proving inclusion: %w", err)
	}
	if size > t.size() || index < 0 || index >= size {
		return nil, fmt.Errorf("proving inclusion of entry %d of %s at size %d, where it has %d: %w", index, log, size, t.size(), ErrNotFound)
	}
	p, err := tlog.ProveRecord(size, index, tlog.HashReaderFunc(t.readHashes))
	if err != nil {
		return nil, fmt.Errorf("proving inclusion of entry %d of %s at size %d: %w", index, log, size, err)
	}
	return p, nil
}

// ConsistencyProof proves that the tree of size holds that of old as its
// prefix (RFC 6962, section 2.1.2). From an empty tree, and between equal
// sizes, the proof is empty.
func (l *Ledger) ConsistencyProof(log string, old, size int64) (tlog.TreeProof, error) {
	t, err := l.find(log)
	if err != nil {
		return nil, fmt.Errorf("proving consistency: %w", err)
	}
	if size > t.size() || old < 0 || old > size {
		return nil, fmt.Errorf("proving consistency of sizes %d and %d of %s, which has %d entries: %w", old, size, log, t.size(), ErrNotFound)
	}
	if old == 0 || old == size {
		return nil, nil
	}
	p, err := tlog.ProveTree(size, old, tlog.HashReaderFunc(t.readHashes))
	if err != nil {
		return nil, fmt.Errorf("proving consistency of sizes %d and %d of %s: %w", old, size, log, err)
	}
	return p, nil
}
