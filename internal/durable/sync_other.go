//go:build !linux

package durable

import "os"

// syncData is os.File.Sync, which on macOS asks the drive to empty its cache
// too (F_FULLFSYNC), and on Windows is FlushFileBuffers.
func syncData(f *os.File) error { return f.Sync() }
