//go:build !windows

package durable

import (
	"errors"
	"os"
)

func rename(oldPath, newPath string) error { return os.Rename(oldPath, newPath) }

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
