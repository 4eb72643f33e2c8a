package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"trustpack/evidence"
	"trustpack/examples/metering"
	"trustpack/ingest"
)

// quarter takes a real ingest through the example's quarter: real sockets,
// real TLS and real fsync, on a simulated clock.
type quarter struct {
	*app
	cfg    *Config
	fleet  *metering.Fleet
	server *ingest.Server

	mu    sync.Mutex
	base  time.Time // simulated time at since
	since time.Time // real

	root      []byte
	operators map[string]*ingest.AdminClient
	codes     map[string]string // enrolment codes by device
	devices   map[string]*ingest.DeviceClient
	exports   map[string]string               // IDs by ticket
	grants    map[string]string               // IDs by ticket
	replaced  map[string]*ingest.DeviceClient // those of devices that have renewed
	sent      int
}

// The simulated clock jumps from step to step and runs on with the real one
// in between, so that limits that count time work as they do.
func (q *quarter) now() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.base.Add(time.Since(q.since))
}

func (q *quarter) jump(to time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if to.After(q.base.Add(time.Since(q.since))) {
		q.base, q.since = to, time.Now()
	}
}

// tickEvery is how far the ingest's periodic duties are apart in simulated
// time; a real one does them every second.
const tickEvery = 4 * time.Minute

// run is the quarter, the drills in it, and the collection after it.
func (q *quarter) run(ctx context.Context, p evidence.Period) error {
	timeline := q.fleet.Timeline()
	q.base, q.since = timeline[0].At.Add(-time.Hour), time.Now()
	q.operators, q.codes, q.devices = map[string]*ingest.AdminClient{}, map[string]string{}, map[string]*ingest.DeviceClient{}
	q.exports, q.grants, q.replaced = map[string]string{}, map[string]string{}, map[string]*ingest.DeviceClient{}
	if err := q.start(ctx); err != nil {
		return err
	}
	err := q.walk(ctx, p, timeline)
	for _, clients := range []map[string]*ingest.DeviceClient{q.devices, q.replaced} {
		for _, c := range clients {
			c.Close()
		}
	}
	if err == nil {
		err = q.finish(ctx, p)
	}
	for _, c := range q.operators {
		c.Close()
	}
	return errors.Join(err, q.server.Close(context.WithoutCancel(ctx)))
}

// start makes the ingest and serves it.
func (q *quarter) start(ctx context.Context) error {
	first := ""
	for _, o := range q.fleet.Operators {
		if o.First {
			first = o.Name
		}
	}
	if err := ingest.Init(q.cfg.ingestDir(), ingest.InitOptions{
		Instance: q.cfg.Instance, Org: q.cfg.Organisation, FirstAdmin: first, Now: q.now, Clock: q.cfg.Clock, Sample: true,
	}); err != nil {
		return err
	}
	var err error
	if q.root, err = os.ReadFile(filepath.Join(q.cfg.ingestDir(), "ca", "root.crt")); err != nil {
		return err
	}
	if q.server, err = q.openIngest(q.cfg, q.cfg.Clock, nil, ""); err != nil {
		return err
	}
	if err := q.server.Listen(); err != nil {
		return errors.Join(err, q.server.Close(context.WithoutCancel(ctx)))
	}
	// When serving fails, so do the requests below, with the reason.
	go func() {
		if err := q.server.Serve(context.WithoutCancel(ctx)); err != nil {
			q.progress("serving: %v", err)
		}
	}()
	return nil
}

// walk does the steps of the timeline, with ticks and drills in between.
func (q *quarter) walk(ctx context.Context, p evidence.Period, timeline []metering.Step) error {
	nextTick := timeline[0].At
	drills := drillTimes(p)
	for i := 0; i < len(timeline); {
		at := timeline[i].At
		for !nextTick.After(at) {
			q.jump(nextTick)
			if err := q.server.Tick(ctx, q.now()); err != nil {
				return err
			}
			if len(drills) > 0 && !nextTick.Before(drills[0]) {
				drills = drills[1:]
				if err := q.drill(ctx); err != nil {
					return err
				}
				if len(drills) == restoreBefore {
					if err := q.tryBackup(ctx); err != nil {
						return fmt.Errorf("restore test: %w", err)
					}
				}
				if len(drills) == purgeBefore {
					if err := q.purge(ctx, p.From.AddDate(0, 0, 7)); err != nil {
						return fmt.Errorf("purge: %w", err)
					}
				}
			}
			nextTick = nextTick.Add(tickEvery)
		}
		q.jump(at)
		if timeline[i].Kind != metering.SendUpload {
			if err := q.step(ctx, timeline[i]); err != nil {
				return fmt.Errorf("%s %s %s/%s: %w", at.Format(time.RFC3339), timeline[i].Kind, timeline[i].Tenant, timeline[i].Device, err)
			}
			i++
			continue
		}
		end := i
		for end < len(timeline) && timeline[end].At.Equal(at) && timeline[end].Kind == metering.SendUpload {
			end++
		}
		if err := q.upload(ctx, timeline[i:end]); err != nil {
			return err
		}
		if before := q.sent; before/2000 != (before+end-i)/2000 {
			q.progress("%s (simulated): %d uploads", at.Format(time.DateOnly), before+end-i)
		}
		q.sent += end - i
		i = end
	}
	return nil
}
