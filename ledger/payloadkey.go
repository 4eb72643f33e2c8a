package ledger

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"trustpack/internal/durable"
)

const (
	payloadsDir   = "payloads"
	keySuffix     = ".key"
	payloadSuffix = ".zst"
	timesSuffix   = ".idx"
)

// payloadName is the path of a log's file of a day within the ledger's
// directory.
func payloadName(log string, day utcDay, suffix string) string {
	return filepath.Join(payloadsDir, log, day.String()+suffix)
}

// useKey gives the tree the key of the day, which it makes durable first where
// there is none. The committer calls it.
func (t *tree) useKey(fsys durable.FS, day utcDay) error {
	if t.key != nil && t.key.day == day {
		return nil
	}
	key, err := readKey(fsys, t.ledger, t.name, day)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = makeKey(fsys, t.ledger, t.name, day)
	}
	if err != nil {
		return err
	}
	t.key = key
	return nil
}

func makeKey(fsys durable.FS, dir, log string, day utcDay) (*payloadKey, error) {
	secret := make([]byte, payloadKeyLen)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("drawing a key: %w", err)
	}
	path := filepath.Join(dir, payloadName(log, day, keySuffix))
	if err := durable.MkdirIn(fsys, filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := durable.WriteFileIn(fsys, path, secret, 0o600); err != nil {
		return nil, err
	}
	return newPayloadKey(day, secret)
}

// readKey reads the key of a day; an error is fs.ErrNotExist where there is
// none.
func readKey(fsys durable.FS, dir, log string, day utcDay) (*payloadKey, error) {
	name := payloadName(log, day, keySuffix)
	secret, err := durable.ReadFileIn(fsys, filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	if len(secret) != payloadKeyLen {
		return nil, &DamageError{File: name, Offset: -1, Reason: fmt.Sprintf("it holds %d bytes, want a key of %d", len(secret), payloadKeyLen)}
	}
	return newPayloadKey(day, secret)
}
