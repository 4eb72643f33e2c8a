package main

import (
	"syscall"
	"time"
)

// nap sleeps for d. The runtime's timers wait for whole milliseconds, which is
// more than an answer may take.
func nap(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil) // where a signal ends it early, the request is sent so much earlier
}
