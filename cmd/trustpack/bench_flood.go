package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"trustpack/ingest"
)

// floodResult is how long one tenant's answers take while all is quiet, and
// while another tenant sends all it can, far over its limit.
type floodResult struct {
	Offered     float64   `json:"offered_requests_per_second"` // of the quiet tenant
	Connections int       `json:"flood_connections"`
	Taken       float64   `json:"flood_taken_per_second"`   // requests of the flood that were taken
	Refused     float64   `json:"flood_refused_per_second"` // and that were not
	Reconnects  int64     `json:"flood_reconnects"`
	Quiet       benchPart `json:"quiet"`
	Flooded     benchPart `json:"flooded"`
	Ratio       float64   `json:"p99_ratio"` // of flooded to quiet
}

// benchPart is what answers took in one part of a run.
type benchPart struct {
	P50  float64 `json:"ack_p50_ms"`
	P99  float64 `json:"ack_p99_ms"`
	P999 float64 `json:"ack_p999_ms"`
	Max  float64 `json:"ack_max_ms"`
}

const (
	quietConnections = 8   // of the tenant that is watched
	quietRate        = 200 // requests a second of it, where --rate does not say
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

// flood measures the quiet tenant alone and under the other's flood.
func (a *app) flood(ctx context.Context, f *ingestFlags, t benchTarget) (*floodResult, error) {
	quiet, loud := t, t
	quiet.pairs, loud.pairs = nil, nil
	for i, pair := range t.pairs {
		if i%2 == 0 {
			quiet.pairs = append(quiet.pairs, pair)
		} else {
			loud.pairs = append(loud.pairs, pair)
		}
	}
	quiet.pairs = quiet.pairs[:min(quietConnections, len(quiet.pairs))]
	l := workload{workers: len(quiet.pairs), batch: f.batch, duration: f.duration, rate: f.rate}
	a.progress("%v with %.0f requests a second of one tenant, then %v with the flood of %d connections of another", f.duration, f.rate, f.duration, len(loud.pairs))
	before, err := quiet.bring(ctx, l)
	if err != nil {
		return nil, err
	}
	w, err := loud.open(ctx, f.batch)
	if err != nil {
		return nil, err
	}
	l.profile = f.profile
	during, err := quiet.bring(ctx, l)
	if err = errors.Join(err, w.stop()); err != nil {
		return nil, err
	}
	r := &floodResult{Offered: f.rate, Connections: len(loud.pairs), Quiet: before.part(), Flooded: during.part(), Ratio: during.AckP99 / before.AckP99}
	seconds := time.Since(w.began).Seconds()
	r.Taken, r.Refused, r.Reconnects = float64(w.taken.Load())/seconds, float64(w.refused.Load())/seconds, w.reconnects.Load()
	return r, nil
}

func (r benchResult) part() benchPart { return benchPart{r.AckP50, r.AckP99, r.AckP999, r.AckMax} }

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
		return fmt.Sprintf("%.3f, %.3f, %.3f, %.3f ms", p.P50, p.P99, p.P999, p.Max)
	}
	return [][]string{
		{"MEASURED", "VALUE"},
		{"one tenant's requests a second", fmt.Sprintf("%.0f", r.Offered)},
		{"its acks while all is quiet: p50, p99, p99.9, longest", part(r.Quiet)},
		{"and under another tenant's flood", part(r.Flooded)},
		{"ratio of the p99", fmt.Sprintf("%.2f", r.Ratio)},
		{"the flood's requests a second", fmt.Sprintf("%.0f taken, %.0f refused, over %d connections", r.Taken, r.Refused, r.Connections)},
	}
}
