//go:build unix

package ingest

import (
	"syscall"
	"testing"
)

// needFiles sees to it that the process may hold n files open, or skips.
func needFiles(b testing.TB, n uint64) {
	b.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	if uint64(limit.Cur) >= n {
		return
	}
	if uint64(limit.Max) < n {
		b.Skipf("the process may hold %d files open, and %d are needed: raise the hard limit (ulimit -Hn)", limit.Max, n)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Skipf("the limit of open files cannot be raised: %v", err)
	}
}
