package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"trustpack/ledger"
)

// ErrNotHeld says that a pack does not hold what it was asked for: it has no
// such log, or not that entry of it.
var ErrNotHeld = errors.New("the pack does not hold it")

// ShownEntry is an entry of one of a pack's logs. It was proved to stand in the
// log under the pack's checkpoint, which is the one that pack.json names.
// Whether the pack is the vendor's was not asked.
type ShownEntry struct {
	Origin string `json:"origin"`
	Index  int64  `json:"index"`                        // from 0
	Entry  []byte `json:"entry"`                        // its exact bytes; base64 in JSON
	Path   string `json:"path"`                         // of the file of the pack in which it stands
	Size   int64  `json:"size"`                         // of the log, by the checkpoint
	Root   string `json:"root"`                         // base64
	Signed bool   `json:"checkpoint_signature_checked"` // under a key that was given
}

// ShowEntry finds entry index of a log in the pack in r, and proves it
// (FORMAT.md section 7). The log goes by its origin or, where no other ends so,
// by the last part of it. The checkpoint's signature is checked where logKeys
// has the log's verifier key. The error is ErrNotHeld, a *WithheldError where a
// redaction took the entry out, or says what is wrong with the pack.
func ShowEntry(r io.ReaderAt, size int64, limits Limits, logKeys []string, log string, index int64) (ShownEntry, error) {
	v := newVerifier(r, size, VerifyOptions{Limits: limits, LogKeys: logKeys})
	v.checkOptions()
	if err := v.open(); err != nil {
		return ShownEntry{}, fmt.Errorf("opening pack: %w", err)
	}
	heads, _ := v.readLogHeads() // what it could not read is a failure
	if err := v.firstFailure(); err != nil {
		return ShownEntry{}, err
	}
	head, err := chooseLog(heads, log)
	if err != nil {
		return ShownEntry{}, err
	}
	l := &openLog{v: v, head: head, dir: logPath(head.Origin), vkey: v.logKeys[head.Origin]}
	l.readHead()
	if err := v.firstFailure(); err != nil {
		return ShownEntry{}, err
	}
	if index < 0 || index >= head.Size {
		return ShownEntry{}, fmt.Errorf("entry %d of %s: %w: its checkpoint is of %d entries, from 0", index, head.Origin, ErrNotHeld, head.Size)
	}
	shown := ShownEntry{Origin: head.Origin, Index: index, Size: head.Size, Root: head.Root, Signed: l.vkey != ""}
	if shown.Entry, shown.Path, err = l.entry(index); err == nil {
		err = v.ioErr.err
	}
	if err != nil {
		return ShownEntry{}, fmt.Errorf("entry %d of %s: %w", index, head.Origin, err)
	}
	return shown, nil
}

// chooseLog finds the log of that origin, or whose origin alone ends in it.
func chooseLog(heads []LogHead, log string) (LogHead, error) {
	var found []LogHead
	var origins []string
	for _, h := range heads {
		if h.Origin == log {
			return h, nil
		}
		origins = append(origins, h.Origin)
		if strings.HasSuffix(h.Origin, "/"+log) {
			found = append(found, h)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return LogHead{}, fmt.Errorf("log %q: %w: the names of %d logs end so; it has %s", log, ErrNotHeld, len(found), strings.Join(origins, ", "))
	case len(heads) == 0:
		return LogHead{}, fmt.Errorf("log %q: %w: it carries no log", log, ErrNotHeld)
	}
	return LogHead{}, fmt.Errorf("log %q: %w: it has %s", log, ErrNotHeld, strings.Join(origins, ", "))
}

// entry gives an entry below the checkpoint's size and the file in which it
// stands, having proved it.
func (l *openLog) entry(index int64) ([]byte, string, error) {
	number := strconv.FormatInt(index, 10)
	single, proof := l.dir+entriesDir+number+entrySuffix, l.dir+proofsDir+number+proofSuffix
	if l.v.c.Has(proof) {
		text, err := l.v.c.Read(proof)
		if err == nil {
			err = l.checkProof(number+proofSuffix, text)
		}
		if err != nil {
			return nil, "", err
		}
		entry, err := l.v.c.Read(single)
		return entry, single, err
	}
	n := index / ledger.TileWidth
	at := tile{Level: ledger.EntryBundles, N: n, Width: ledger.WidthAt(l.head.Size, ledger.EntryBundles, n)}
	bundle := l.dir + at.Path()
	if !l.v.c.Has(bundle) {
		return nil, "", l.absent(bundle)
	}
	data, err := l.v.c.Read(bundle)
	if err != nil {
		return nil, "", err
	}
	tree := newTileTree(l.head.Size, l.checkpoint.Root, func(t tile) ([]byte, error) { return l.v.c.Read(l.dir + t.Path()) },
		func(t tile) bool { return l.v.c.Has(l.dir + t.Path()) })
	var entry []byte
	left := index - n*ledger.TileWidth
	err = tree.check(at, data, func(e []byte) {
		if left == 0 {
			entry = bytes.Clone(e)
		}
		left--
	})
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", bundle, err)
	}
	return entry, bundle, nil
}

// absent is why there is no bundle, nor a proof of one entry of it: it is
// withheld, or nothing in the pack cites it.
func (l *openLog) absent(bundle string) error {
	tiled := slices.ContainsFunc(l.v.c.Paths(), func(p string) bool { return strings.HasPrefix(p, l.dir+tilesDir) })
	if w := l.v.c.withheld(bundle); tiled && w != nil {
		return w
	}
	return fmt.Errorf("%w: it is not among the entries that the pack cites", ErrNotHeld)
}
