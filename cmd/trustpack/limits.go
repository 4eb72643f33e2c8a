package main

import (
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"trustpack/pack"
)

// limitFlags say what reading a pack may cost.
type limitFlags struct {
	entries             int
	maxBytes, wholeRead string
}

func (f *limitFlags) register(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.entries, "max-entries", 1_000_000, "files that the pack may have at most")
	cmd.Flags().StringVar(&f.maxBytes, "max-bytes", "64GiB", "bytes that the pack may have at most")
	cmd.Flags().StringVar(&f.wholeRead, "max-read", "256MiB", "bytes that a file may have at most that is read into memory whole")
}

func (f *limitFlags) limits() (l pack.Limits, err error) {
	if l.MaxEntries = f.entries; l.MaxEntries < 1 {
		return l, fmt.Errorf("--max-entries: %d, want 1 or more", l.MaxEntries)
	}
	for _, s := range []struct {
		flag, text string
		into       *int64
	}{{"max-bytes", f.maxBytes, &l.MaxBytes}, {"max-read", f.wholeRead, &l.MaxRead}} {
		if *s.into, err = parseSize(s.text); err == nil && *s.into < 1 {
			err = fmt.Errorf("want 1 byte or more")
		}
		if err != nil {
			return l, fmt.Errorf("--%s: %w", s.flag, err)
		}
	}
	return l, nil
}

// parseSize reads a number of bytes, "2GB" and the like.
func parseSize(s string) (int64, error) {
	for _, u := range []struct {
		suffix string
		factor int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}, {"", 1}} {
		digits, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > (1<<42)/u.factor {
			break
		}
		return n * u.factor, nil
	}
	return 0, fmt.Errorf("%q is no number of bytes: want such as 64kB, 256MB or 2GiB, up to 4096 GiB", s)
}

// large is a pack, in bytes, for which memory is worth more than time.
const large = 256 << 20

// frugal collects garbage early until the function that it gives is called:
// large packs are read in a stream, and little of what is allocated stays. For
// a small one it would double the work and save a few megabytes. What the
// environment sets stands.
func (a *app) frugal(size int64) (restore func()) {
	if size < large || a.getenv("GOGC") != "" {
		return func() {}
	}
	was := debug.SetGCPercent(25)
	return func() { debug.SetGCPercent(was) }
}
