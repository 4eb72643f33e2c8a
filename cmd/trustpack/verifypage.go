package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"trustpack/pack/verifier"
)

// writePage writes the verifier for the browser to path, which must be new,
// and says its digest, by which somebody else's copy is told from it.
func (a *app) writePage(path string) error {
	page, err := verifier.Page()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return hint(fmt.Errorf("writing the page: %w", err), "name another file, or remove this one")
	}
	if err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	_, err = f.Write(page)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("writing the page: %w", err), os.Remove(path))
	}
	a.progress("page: %s, %d bytes, SHA-256 %x", path, len(page), sha256.Sum256(page))
	return nil
}
