package ingest

import (
	"math"
	"strconv"
	"sync"
	"time"
)

// Rate is a sustained rate of events with a burst, both per key.
type Rate struct {
	PerSecond float64 `yaml:"per_second" json:"per_second"`
	Burst     int     `yaml:"burst" json:"burst"`
}

// gcra is one generic-cell-rate limiter (ITU-T I.371, virtual scheduling).
// The zero value is a full bucket. A batch larger than the burst is let in
// when the bucket is full and leaves a debt, so the sustained rate holds and
// no batch size is for ever impossible.
type gcra struct {
	mu  sync.Mutex
	tat int64 // theoretical arrival time, nanoseconds since the Unix epoch
}

// take asks for n events at now. Where it refuses it says after how long the
// same request would be let in. n = 0 asks whether one event would be.
func (g *gcra) take(now time.Time, n int, r Rate) (ok bool, left int, retry time.Duration) {
	t := float64(time.Second) / r.PerSecond
	burst := t * float64(r.Burst)
	want := float64(min(max(n, 1), r.Burst)) * t
	g.mu.Lock()
	defer g.mu.Unlock()
	at := now.UnixNano()
	tat := max(g.tat, at)
	over := float64(tat-at) + want - burst
	if over > 0.5 {
		return false, 0, time.Duration(math.Ceil(over))
	}
	g.tat = tat + int64(math.Round(t*float64(n)))
	return true, max(0, int((burst-float64(g.tat-at))/t)), 0
}

// takeSome takes as many of n events as there is room for at now. Where that
// is not all of them it says after how long one more would be let in.
func (g *gcra) takeSome(now time.Time, n int, r Rate) (taken int, retry time.Duration) {
	t := float64(time.Second) / r.PerSecond
	burst := t * float64(r.Burst)
	g.mu.Lock()
	defer g.mu.Unlock()
	at := now.UnixNano()
	tat := max(g.tat, at)
	free := burst - float64(tat-at) + 0.5
	taken = min(n, max(0, int(free/t)))
	g.tat = tat + int64(math.Round(t*float64(taken)))
	if taken < n {
		retry = time.Duration(math.Ceil(float64(g.tat-at) + t - burst))
	}
	return taken, retry
}

// give returns n events that were taken and then not let in after all.
func (g *gcra) give(n int, r Rate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tat -= int64(math.Round(float64(time.Second) / r.PerSecond * float64(n)))
}

// idle reports whether the limiter is full at now, so that it can be forgotten.
func (g *gcra) idle(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tat <= now.UnixNano()
}

// retrySeconds rounds up to whole seconds, as Retry-After wants them.
func retrySeconds(d time.Duration) int {
	return max(1, int((d+time.Second-1)/time.Second))
}

// appendRate writes the RateLimit field (draft-ietf-httpapi-ratelimit-headers):
// what is left of policy name and after how many seconds there is more.
func appendRate(b []byte, name string, left, seconds int) []byte {
	b = append(b, '"')
	b = append(b, name...)
	b = append(b, `";r=`...)
	b = strconv.AppendInt(b, int64(left), 10)
	b = append(b, `;t=`...)
	return strconv.AppendInt(b, int64(seconds), 10)
}

// ratePolicyHeader is the RateLimit-Policy field: the burst, and the seconds
// in which it fills again.
func ratePolicyHeader(name string, r Rate) string {
	w := max(1, int(math.Ceil(float64(r.Burst)/r.PerSecond)))
	return `"` + name + `";q=` + strconv.Itoa(r.Burst) + `;w=` + strconv.Itoa(w)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
