package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"trustpack/ingest"
)

// floodResult is how long one tenant's answers take while all is quiet, and
// while another tenant sends all it can, far over its limit.
type floodResult struct {
	Offered     float64      `json:"offered_requests_per_second"` // of the quiet tenant
	Connections int          `json:"flood_connections"`
	Taken       float64      `json:"flood_taken_per_second"`   // requests of the flood that were taken
	Refused     float64      `json:"flood_refused_per_second"` // and that were not
	Reconnects  int64        `json:"flood_reconnects"`
	Quiet       benchPart    `json:"quiet"` // of all turns
	Flooded     benchPart    `json:"flooded"`
	Turns       []floodTurn  `json:"turns"`
	Ratio       float64      `json:"p99_ratio"` // of flooded to quiet; the median of the turns'
	Longest     *longestWait `json:"longest"`
}

// floodTurn is one part without the flood and one with it, side by side.
type floodTurn struct {
	Quiet   benchPart `json:"quiet"`
	Flooded benchPart `json:"flooded"`
	Ratio   float64   `json:"p99_ratio"`
}

// benchPart is what answers took in one part of a run.
type benchPart struct {
	Answers uint64  `json:"answers"` // fewer than a hundred, and the p99 is the longest
	P50     float64 `json:"ack_p50_ms"`
	P99     float64 `json:"ack_p99_ms"`
	P999    float64 `json:"ack_p999_ms"`
	Max     float64 `json:"ack_max_ms"`
}

func (h *histogram) part() benchPart {
	return benchPart{h.n, h.quantile(0.5), h.quantile(0.99), h.quantile(0.999), milliseconds(h.most)}
}

const (
	quietConnections = 8   // of the tenant that is watched
	quietRate        = 200 // requests a second of it, where --rate does not say
	floodTurns       = 5   // within the duration, of either kind
)

// rates are the limits that the ingest is given: none but where a flood is to
// go over them. They let the quiet tenant send twice what it does.
func (f *ingestFlags) rates() ingest.Rates {
	unlimited := ingest.Rate{PerSecond: 1e9, Burst: 1 << 30}
	if !f.flood {
		return ingest.Rates{Device: unlimited, Tenant: unlimited}
	}
	if f.rate == 0 {
		f.rate = quietRate
	}
	twice := 2 * f.rate * float64(f.batch)
	return ingest.Rates{Device: unlimited, Tenant: ingest.Rate{PerSecond: twice, Burst: int(twice)}}
}

// flood measures the quiet tenant alone and under the other's flood, by turns.
// What comes first changes from turn to turn, so that a machine that grows
// slower favours neither.
func (a *app) flood(ctx context.Context, f *ingestFlags, t benchTarget, longestAppend func() (time.Time, time.Duration)) (*floodResult, error) {
	run := floodRun{quiet: t, loud: t, f: f, watch: stallWatch{longestAppend: longestAppend}}
	run.quiet.pairs, run.loud.pairs = nil, nil
	for i, pair := range t.pairs {
		if i%2 == 0 {
			run.quiet.pairs = append(run.quiet.pairs, pair)
		} else {
			run.loud.pairs = append(run.loud.pairs, pair)
		}
	}
	run.quiet.pairs = run.quiet.pairs[:min(quietConnections, len(run.quiet.pairs))]
	a.progress("%d turns of %v with %.0f requests a second of one tenant, without and with the flood of %d connections of another", floodTurns, f.duration/floodTurns, f.rate, len(run.loud.pairs))
	r := &floodResult{Offered: f.rate, Connections: len(run.loud.pairs)}
	var quiet, flooded histogram
	for turn := range floodTurns {
		var parts [2]histogram // quiet, flooded
		for _, k := range []int{turn % 2, 1 - turn%2} {
			var err error
			if parts[k], err = run.part(ctx, turn+1, k == 1); err != nil {
				return nil, err
			}
		}
		quiet.merge(&parts[0])
		flooded.merge(&parts[1])
		done := floodTurn{Quiet: parts[0].part(), Flooded: parts[1].part()}
		done.Ratio = done.Flooded.P99 / done.Quiet.P99
		r.Turns = append(r.Turns, done)
		a.progress("turn %d: p99 %.3f ms, and %.3f ms under the flood", turn+1, done.Quiet.P99, done.Flooded.P99)
	}
	r.Quiet, r.Flooded, r.Longest = quiet.part(), flooded.part(), run.watch.longest
	r.Ratio = r.median()
	seconds := run.seconds
	r.Taken, r.Refused, r.Reconnects = float64(run.taken)/seconds, float64(run.refused)/seconds, run.reconnects
	return r, nil
}

// ratios are those of the turns, sorted.
func (r *floodResult) ratios() []float64 {
	var out []float64
	for _, t := range r.Turns {
		out = append(out, t.Ratio)
	}
	slices.Sort(out)
	return out
}

// median is the ratio in the middle of an odd number of turns.
func (r *floodResult) median() float64 { return r.ratios()[len(r.Turns)/2] }

// floodRun is a measurement under way.
type floodRun struct {
	f           *ingestFlags
	quiet, loud benchTarget
	watch       stallWatch

	taken, refused, reconnects int64 // of all floods
	seconds                    float64
}

// part measures the quiet tenant for the share of the duration that a turn has.
func (run *floodRun) part(ctx context.Context, turn int, flooded bool) (acks histogram, err error) {
	l := workload{workers: len(run.quiet.pairs), batch: run.f.batch, duration: run.f.duration / floodTurns, rate: run.f.rate}
	if flooded {
		if turn == floodTurns {
			l.profile = run.f.profile
		}
		w, err := run.loud.open(ctx, run.f.batch)
		if err != nil {
			return acks, err
		}
		defer func() {
			err = errors.Join(err, w.stop())
			run.taken, run.refused, run.reconnects = run.taken+w.taken.Load(), run.refused+w.refused.Load(), run.reconnects+w.reconnects.Load()
			run.seconds += time.Since(w.began).Seconds()
		}()
	}
	end := run.watch.begin()
	r, err := run.quiet.bring(ctx, l)
	end(&r.acks, turn, flooded)
	return r.acks, err
}

// wave is a flood under way.
type wave struct {
	taken, refused, reconnects atomic.Int64
	began                      time.Time
	stop                       func() error
}

// open begins a flood over all connections, which heeds no refusal and dials
// anew where it is cut off. It has gone on for a while, and spent the burst
// that the limits allow, when open returns.
func (t benchTarget) open(ctx context.Context, batch int) (*wave, error) {
	senders, err := t.connect()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &wave{began: time.Now()}
	var wg sync.WaitGroup
	errs := make([]error, len(senders))
	for i, b := range senders {
		wg.Go(func() { errs[i] = w.flow(ctx, b, batch) })
	}
	w.stop = func() error {
		cancel()
		wg.Wait()
		closeSenders(senders)
		return errors.Join(errs...)
	}
	for deadline := time.Now().Add(30 * time.Second); w.refused.Load() == 0; {
		if time.Now().After(deadline) {
			return nil, errors.Join(errors.New("the flood stays within the limit: give it more --connections"), w.stop())
		}
		time.Sleep(10 * time.Millisecond)
	}
	return w, nil
}

// flow is one connection of the flood.
func (w *wave) flow(ctx context.Context, b *benchSender, batch int) error {
	for ctx.Err() == nil {
		status, why, err := b.try(batch)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			w.reconnects.Add(1)
			if err := b.dial(); err != nil {
				return err
			}
		case status == 202:
			w.taken.Add(1)
		case status == 429:
			w.refused.Add(1)
		default:
			return fmt.Errorf("the flood was answered %d: %s", status, why)
		}
	}
	return nil
}

func (r *floodResult) rows() [][]string {
	part := func(p benchPart) string {
		return fmt.Sprintf("%.3f, %.3f, %.3f, %.3f ms of %d", p.P50, p.P99, p.P999, p.Max, p.Answers)
	}
	ratios := r.ratios()
	rows := [][]string{
		{"MEASURED", "VALUE"},
		{"one tenant's requests a second", fmt.Sprintf("%.0f", r.Offered)},
		{"its acks while all is quiet: p50, p99, p99.9, longest", part(r.Quiet)},
		{"and under another tenant's flood", part(r.Flooded)},
	}
	for i, t := range r.Turns {
		rows = append(rows, []string{fmt.Sprintf("turn %d: p99 quiet, flooded, ratio", i+1), fmt.Sprintf("%.3f ms, %.3f ms, %.2f", t.Quiet.P99, t.Flooded.P99, t.Ratio)})
	}
	return append(rows,
		[]string{"ratio of the p99: median, lowest, highest", fmt.Sprintf("%.2f, %.2f, %.2f", r.Ratio, ratios[0], ratios[len(ratios)-1])},
		[]string{"the longest ack", r.Longest.String()},
		[]string{"the flood's requests a second", fmt.Sprintf("%.0f taken, %.0f refused, over %d connections", r.Taken, r.Refused, r.Connections)})
}
