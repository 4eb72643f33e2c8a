//go:build linux || darwin

package main

import "golang.org/x/sys/unix"

// freeBytes is how much an account without privileges can still write to the
// disk of dir.
func freeBytes(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return s.Bavail * uint64(s.Bsize), nil
}
