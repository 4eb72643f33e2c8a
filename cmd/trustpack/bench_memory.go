package main

import (
	"fmt"
	"os"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// memorySample is the memory that the process had in use after so many events.
type memorySample struct {
	Events int64  `json:"events"`
	Live   uint64 `json:"heap_live_bytes"` // what the last garbage collection found in use
	Heap   uint64 `json:"heap_bytes"`      // with what was not collected yet
	RSS    uint64 `json:"rss_bytes"`       // 0 where the system does not tell
}

// memoryWatch samples the process's memory.
type memoryWatch struct {
	mu       sync.Mutex
	samples  []memorySample
	progress func(string, ...any)
}

func (w *memoryWatch) sample(events, every int64) {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	m := memorySample{Events: events / every * every, Live: s[0].Value.Uint64(), Heap: s[1].Value.Uint64(), RSS: residentBytes()}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.samples = append(w.samples, m)
	w.progress("%d events: %.1f MB live, %.1f MB heap, %.1f MB resident", m.Events, mega(m.Live), mega(m.Heap), mega(m.RSS))
}

// growth is the ratio of the medians of what the last quarter and the second
// quarter of the samples had resident; 0 for too few samples.
func (w *memoryWatch) growth() float64 {
	n := len(w.samples)
	if n < 8 {
		return 0
	}
	median := func(part []memorySample) float64 {
		var all []uint64
		for _, s := range part {
			all = append(all, s.RSS)
		}
		slices.Sort(all)
		return float64(all[len(all)/2])
	}
	if before := median(w.samples[n/4 : n/2]); before > 0 {
		return median(w.samples[n*3/4:]) / before
	}
	return 0
}

func (w *memoryWatch) rows() [][]string {
	if len(w.samples) == 0 {
		return nil
	}
	last := w.samples[len(w.samples)-1]
	return [][]string{
		{"memory at the end", fmt.Sprintf("%.1f MB live, %.1f MB heap, %.1f MB resident", mega(last.Live), mega(last.Heap), mega(last.RSS))},
		{"resident, last quarter to second", fmt.Sprintf("%.3f", w.growth())},
	}
}

func mega(b uint64) float64 { return float64(b) / 1e6 }

// residentBytes is how much of the process is in memory; 0 where the system
// does not tell it in /proc.
func residentBytes() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}
