package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

const (
	floodMost     = 500_000          // events that a flood sends at most
	floodTime     = 20 * time.Second // and for how long
	neighbourPace = 20 * time.Millisecond
	neighbourMost = 10              // requests of the neighbour once the flood is limited
	neighbourSlow = 2 * time.Second // service slower than this is none
)

// rush is how the flood and its neighbour wait for each other: limited is
// closed when the flood has met its limit or has given up, seen when the
// neighbour has seen enough.
type rush struct{ limited, seen chan struct{} }

// flood sends from one tenant until it is told to stop, while a device of
// another tenant goes about its business. The flood repeats one batch, so that
// it is stored once.
func flood() drill {
	return drill{
		id: "TR-04.flood", control: "TR-04",
		what:     "a device sends far beyond its rate while a device of another tenant sends at its own pace",
		expected: "429 rate.device or rate.tenant with Retry-After for the one, 202 within 2 s each time for the other",
		attack: func(ctx context.Context, r *run) outcome {
			flooder, err := r.canary(ctx, TenantA, "flooding")
			if err != nil {
				return unable("", err)
			}
			neighbour, err := r.canary(ctx, TenantB, "neighbour")
			if err != nil {
				return unable("", err)
			}
			burst, err := r.burst()
			if err != nil {
				return unable("", err)
			}
			f := rush{limited: make(chan struct{}), seen: make(chan struct{})}
			var s service
			go func() {
				defer close(f.seen)
				s = r.live(ctx, neighbour, f.limited)
			}()
			o := r.pour(ctx, flooder, burst, f)
			<-f.seen
			return o.beside(s, neighbour)
		},
	}
}

// burst is how many events a flood must send to meet the device's or the
// tenant's limit.
func (r *run) burst() (int, error) {
	if r.config.err != nil {
		return 0, r.config.err
	}
	var burst float64
	for _, rate := range []rate{r.config.Rates.Device, r.config.Rates.Tenant} {
		if rate.Burst > 0 && (burst == 0 || rate.Burst < burst) {
			burst = rate.Burst
		}
	}
	switch {
	case burst == 0:
		return 0, errors.New("the ingest's settings name no rates.device.burst or rates.tenant.burst")
	case burst > floodMost/2:
		return 0, fmt.Errorf("the smallest burst is %.0f events; a drill sends no more than %d", burst, floodMost)
	}
	return int(burst), nil
}

// pour floods until it is limited, and on until the neighbour has seen enough.
func (r *run) pour(ctx context.Context, c *canary, burst int, f rush) (o outcome) {
	q := r.batch(c, 1) // the same event over and over: stored once, counted each time
	most := r.most(q, burst)
	size := most
	o = outcome{verdict: NotAvailable, traces: []trace{caused("rate.device", c), caused("rate.tenant", c)}}
	requests, events, refused := 0, 0, 0
	defer func() {
		o.sent = fmt.Sprintf("POST /v1/telemetry, %d requests of up to %d events, %d in all, by canary device %s", requests, most, events, c.device)
		if refused == 0 {
			close(f.limited)
		}
	}()
	connection, failed := r.public.dial(ctx, r.public.with(c.certificate))
	if failed != nil {
		o.got = failed.String()
		return o
	}
	defer connection.close()
	for end := time.Now().Add(floodTime); refused > 0 || events < 2*burst+5*most; {
		select {
		case <-f.seen:
			if refused > 0 {
				return o
			}
		default:
		}
		if time.Now().After(end) || ctx.Err() != nil {
			o.got += fmt.Sprintf("; no end after %d requests in %s", requests, floodTime)
			return o
		}
		a := connection.do(upload(bytes.Repeat(q.body, size)))
		requests++
		events += size
		switch {
		case a.status == 429 && size > 1:
			size /= 2 // what is left of the limit is used up as well
		case a.status == 429 && refused == 0:
			refused++
			o.limited(a, requests)
			close(f.limited)
		case a.status != 202 && a.status != 429:
			o.got, o.verdict = fmt.Sprintf("%s after %d requests", a, requests), NotAvailable
			return o
		}
	}
	o.verdict = Failed
	o.got = fmt.Sprintf("202 for all of %d requests, %d events, where the smallest burst is %d", requests, events, burst)
	return o
}

// most is how many events fit into one request of the flood.
func (r *run) most(q request, burst int) int {
	most := min(1000, burst)
	if lines := int(r.config.Limits.Lines); lines > 0 {
		most = min(most, lines)
	}
	if room := int(r.config.Limits.BodyBytes); room > 0 {
		most = min(most, room/len(q.body)-1)
	}
	return max(1, most)
}

// limited judges the first answer that told the flood to stop.
func (o *outcome) limited(a answer, requests int) {
	after := a.header.Get("Retry-After")
	wait, err := strconv.Atoi(after)
	o.latency = a.latency
	o.got = fmt.Sprintf("%s after %d requests, Retry-After: %q", a, requests, after)
	o.verdict = judged(err == nil && wait > 0 && (a.code == "rate.device" || a.code == "rate.tenant"))
}

// service is what a tenant saw beside a flood.
type service struct {
	latencies []time.Duration // of the requests answered with 202
	failed    []string
}

// live sends one event at a time on an open connection, from before the flood
// until some time after it is limited.
func (r *run) live(ctx context.Context, c *canary, limited <-chan struct{}) service {
	var s service
	connection, failed := r.public.dial(ctx, r.public.with(c.certificate))
	if failed != nil {
		return service{failed: []string{failed.String()}}
	}
	defer connection.close()
	pace := time.NewTicker(neighbourPace)
	defer pace.Stop()
	for after := 0; after < neighbourMost; {
		a := connection.do(r.batch(c, 1))
		if receipt, err := a.receipt(); err != nil || receipt.Accepted != 1 {
			s.failed = append(s.failed, a.verbose())
			if a.status == 0 {
				return s // the connection is gone
			}
		} else {
			s.latencies = append(s.latencies, a.latency)
		}
		select {
		case <-limited:
			after++
		default:
		}
		select {
		case <-ctx.Done():
			return s
		case <-pace.C:
		}
	}
	return s
}

// beside joins what the neighbour saw to the outcome of the flood.
func (o outcome) beside(s service, neighbour *canary) outcome {
	o.sent += fmt.Sprintf(", beside %d of 1 event by canary device %s of %s", len(s.latencies)+len(s.failed), neighbour.device, neighbour.tenant)
	slices.Sort(s.latencies)
	if len(s.failed) > 0 || len(s.latencies) == 0 {
		o.got += fmt.Sprintf("; the neighbour was not served %d times, first: %s", len(s.failed), append(s.failed, "no request")[0])
		if o.verdict == Passed {
			o.verdict = Failed
		}
		return o
	}
	worst := s.latencies[len(s.latencies)-1]
	o.got += fmt.Sprintf("; the neighbour got 202 %d times, median %.1f ms, slowest %.1f ms",
		len(s.latencies), milliseconds(s.latencies[len(s.latencies)/2]), milliseconds(worst))
	if worst > neighbourSlow {
		o.verdict = join(o.verdict, Failed)
	}
	return o
}
