package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"trustpack/collectors/github"
	"trustpack/evidence"
	"trustpack/examples/metering"
	"trustpack/ingest"
	"trustpack/internal/locker"
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

// restoreBefore is how many nights of drills are left when the vendor tries a
// backup.
const restoreBefore = 5

// purgeBefore is how many nights of drills are left when the vendor purges what
// was received in the quarter's first week: its policy keeps it for 60 days.
const purgeBefore = 2

// purge erases what was received of each tenant before a day. One asks, and
// another approves.
func (q *quarter) purge(ctx context.Context, before time.Time) error {
	asks, err := q.operator("ben.okafor")
	if err != nil {
		return err
	}
	approves, err := q.operator("carla.ruiz")
	if err != nil {
		return err
	}
	for _, t := range q.fleet.Tenants {
		x, err := asks.RequestPurge(ctx, t.ID, before.Format(time.DateOnly), "the 60 days of the contract are over", "")
		if err != nil {
			return err
		}
		if _, err := approves.ApprovePurge(ctx, x.ID, "as the contract has it", ""); err != nil {
			return err
		}
	}
	return nil
}

// tryBackup copies the ingest's ledger as a backup does, restores the copy,
// and keeps the record as evidence.
func (q *quarter) tryBackup(ctx context.Context) error {
	temp, err := os.MkdirTemp("", "trustpack-demo-backup-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	backup := filepath.Join(temp, "backup")
	if err := os.CopyFS(filepath.Join(backup, "ledger"), os.DirFS(filepath.Join(q.cfg.ingestDir(), "ledger"))); err != nil {
		return err
	}
	c, err := q.operator("erin.sato")
	if err != nil {
		return err
	}
	logs, err := c.Logs(ctx)
	if err != nil {
		return err
	}
	pinned := map[string]string{}
	for _, l := range logs {
		pinned[l.Origin] = l.VerifierKey
	}
	sample := *q.app
	sample.now = q.now
	records, err := sample.restoreTest([]string{filepath.Join(backup, "ledger")}, pinned)
	if err != nil {
		return err
	}
	for _, r := range records {
		if !r.OK {
			return fmt.Errorf("the copy is not what was signed: %v", r.Problems)
		}
	}
	return sample.recordRestoreTest(ctx, q.cfg, "backup", "ben.okafor", records)
}

// drillTimes are the nights in which the vendor lets the drills run: weekly.
func drillTimes(p evidence.Period) []time.Time {
	var out []time.Time
	for at := p.From.Add(26 * time.Hour); at.Before(p.To); at = at.AddDate(0, 0, 7) {
		out = append(out, at)
	}
	return out
}

func (q *quarter) drill(ctx context.Context) error {
	quiet := *q.app
	quiet.now = q.now
	target, err := quiet.drillTarget(q.cfg, adminFlags{as: "anna.berg"}, adminFlags{as: "carla.ruiz"}, "meter.v1")
	if err != nil {
		return err
	}
	// The ingest's duties, which write what was counted, go on meanwhile.
	target.Settle = 200 * time.Millisecond
	target.Wait = func(_ context.Context, d time.Duration) error {
		q.jump(q.now().Add(d))
		return nil
	}
	ticking, stop := context.WithCancel(ctx)
	group, ticking := errgroup.WithContext(ticking)
	group.Go(func() error {
		for {
			select {
			case <-ticking.Done():
				return nil
			case <-time.After(50 * time.Millisecond):
				if err := q.server.Tick(ctx, q.now()); err != nil {
					return err
				}
			}
		}
	})
	results, err := quiet.runDrills(ctx, target, nil)
	stop()
	if err := errors.Join(err, group.Wait()); err != nil {
		return fmt.Errorf("drills: %w", err)
	}
	return drillVerdict(results)
}

// upload sends what several devices send at one time, all at once, and checks
// that the ingest answered each as the example says it must.
func (q *quarter) upload(ctx context.Context, steps []metering.Step) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for _, s := range steps {
		client := q.devices[s.Tenant+"/"+s.Device]
		if client == nil {
			return fmt.Errorf("%s/%s uploads before it is enrolled", s.Tenant, s.Device)
		}
		group.Go(func() error {
			receipt, err := client.Send(ctx, s.Upload.Body)
			if err := asExpected(s.Upload.Expect, receipt, err); err != nil {
				return fmt.Errorf("%s upload of %s/%s: %w", s.At.Format(time.RFC3339), s.Tenant, s.Device, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func asExpected(want metering.Expect, got ingest.Receipt, err error) error {
	var p *ingest.Problem
	switch {
	case errors.As(err, &p):
		if p.Status == want.Status && string(p.Code) == want.Code {
			return nil
		}
		return fmt.Errorf("refused: %w", err)
	case err != nil:
		return err
	case want.Status != 202:
		return fmt.Errorf("it was taken, and %d %s was expected", want.Status, want.Code)
	case int(got.Accepted) != want.Accepted || int(got.Duplicate) != want.Duplicate || int(got.DeadLettered) != want.DeadLettered || got.Refused != 0:
		return fmt.Errorf("receipt %+v, want %+v", got, want)
	}
	return nil
}

// operator gives the client of an operator, whose files are where --as finds
// them.
func (q *quarter) operator(name string) (*ingest.AdminClient, error) {
	if c := q.operators[name]; c != nil {
		return c, nil
	}
	o, err := q.adminOptions(q.cfg, adminFlags{as: name})
	if err != nil {
		return nil, err
	}
	o.Now = q.now
	c, err := ingest.NewAdminClient(o)
	if err == nil {
		q.operators[name] = c
	}
	return c, err
}

// secondPerson approves the roles of an operator who was added, where somebody
// besides who added him must.
func (q *quarter) secondPerson(ctx context.Context, c *ingest.AdminClient, s metering.Step) error {
	changes, err := c.RoleChanges(ctx)
	if err != nil {
		return err
	}
	operators, err := c.Operators(ctx)
	if err != nil {
		return err
	}
	for _, change := range changes {
		if change.Name != s.Name || change.State != ingest.RolesPending {
			continue
		}
		for _, o := range operators {
			if o.Name == s.Actor || o.Name == s.Name || !slices.Contains(o.Roles, ingest.RoleAdmin) && !slices.Contains(o.Roles, ingest.RoleApprover) {
				continue
			}
			second, err := q.operator(o.Name)
			if err != nil {
				return err
			}
			_, err = second.ApproveRoles(ctx, change.ID, "known to me, and asked for by who may")
			return err
		}
	}
	return nil
}

// step does what an operator or a device does at one time.
func (q *quarter) step(ctx context.Context, s metering.Step) error {
	device := s.Tenant + "/" + s.Device
	switch s.Kind {
	case metering.EnrolDevice:
		return q.enrol(ctx, s.Tenant, s.Device)
	case metering.RenewDevice:
		return q.renew(ctx, s.Tenant, s.Device)
	case metering.ShowOldKey:
		return q.showOldKey(ctx, s.Tenant, s.Device)
	}
	c, err := q.operator(s.Actor)
	if err != nil {
		return err
	}
	switch s.Kind {
	case metering.AddTenant:
		return c.AddTenant(ctx, evidence.Tenant{ID: s.Tenant, Name: s.Name}, s.Reason)
	case metering.AddOperator:
		pair, err := c.AddOperator(ctx, s.Name, s.Roles, s.Reason)
		if err != nil {
			return err
		}
		if err := writePair(filepath.Join(q.cfg.ingestDir(), "operators", s.Name), pair); err != nil {
			return err
		}
		return q.secondPerson(ctx, c, s)
	case metering.RemoveOperator:
		return c.RemoveOperator(ctx, s.Name, s.Reason)
	case metering.RequestGrant, metering.ApproveGrant, metering.UseGrant, metering.MissGrant:
		return q.support(ctx, c, s)
	case metering.RequestExport, metering.ApproveExport, metering.FetchExport:
		return q.export(ctx, c, s)
	case metering.RequestDevice:
		_, err := c.RequestDevice(ctx, ingest.DeviceRequest{Tenant: s.Tenant, Device: s.Device, Type: s.Type, Site: s.Site, Fleet: s.Fleet, Reason: s.Reason})
		return err
	case metering.ApproveDevice:
		code, _, err := c.ApproveDevice(ctx, s.Tenant, s.Device, s.Reason)
		if code != "" {
			q.codes[device] = code
		}
		return err
	case metering.RequestTransfer:
		_, err := c.TransferDevice(ctx, s.Tenant, s.Device, ingest.TransferRequest{ToTenant: s.To, Site: s.Site, Fleet: s.Fleet, Reason: s.Reason, Ticket: s.Ticket})
		return err
	case metering.ApproveTransfer:
		moved, err := c.ApproveTransfer(ctx, s.Tenant, s.Device, s.Reason)
		q.codes[s.To+"/"+s.Device] = moved.Code
		return err
	case metering.QuarantineDevice:
		_, err := c.QuarantineDevice(ctx, s.Tenant, s.Device, s.Reason, s.Ticket)
		return err
	case metering.ReleaseDevice:
		_, err := c.ReleaseDevice(ctx, s.Tenant, s.Device, s.Reason, s.Ticket)
		return err
	case metering.RevokeDevice:
		_, err := c.RevokeDevice(ctx, s.Tenant, s.Device, s.Reason, s.Ticket)
		return err
	case metering.AckAlert, metering.ResolveAlert:
		return q.handleAlert(ctx, c, s)
	}
	return fmt.Errorf("the example has a step of the unknown kind %q", s.Kind)
}

func (q *quarter) handleAlert(ctx context.Context, c *ingest.AdminClient, s metering.Step) error {
	alerts, err := c.Alerts(ctx)
	if err != nil {
		return err
	}
	for _, a := range alerts {
		if a.Kind != s.Alert || s.Device != "" && !slices.Contains(a.Devices, s.Tenant+"/"+s.Device) {
			continue
		}
		if s.Kind == metering.AckAlert {
			return c.AcknowledgeAlert(ctx, a.ID, "", s.Ticket)
		}
		if a.ResolvedAt != nil {
			return nil // the device's return has closed it
		}
		return c.ResolveAlert(ctx, a.ID, s.Reason, s.Ticket)
	}
	return fmt.Errorf("there is no alert %s to act on", s.Alert)
}

// enrol exchanges the device's code for a certificate and keeps its client.
func (q *quarter) enrol(ctx context.Context, tenant, device string) error {
	o := ingest.ClientOptions{URL: "https://" + q.cfg.Ingest.Listen, CA: q.root, Now: q.now}
	c, err := ingest.NewDeviceClient(o)
	if err != nil {
		return err
	}
	defer c.Close()
	var pair *tls.Certificate
	if pair, err = c.Enrol(ctx, tenant, device, q.codes[tenant+"/"+device]); err != nil {
		return err
	}
	o.Certificate = pair
	q.devices[tenant+"/"+device], err = ingest.NewDeviceClient(o)
	return err
}

// finish closes the last day, writes the logs' verifier keys, and collects.
func (q *quarter) finish(ctx context.Context, p evidence.Period) error {
	q.jump(p.To.Add(time.Hour))
	if err := q.server.Tick(ctx, q.now()); err != nil {
		return err
	}
	if err := q.writeKeys(ctx); err != nil {
		return err
	}
	q.progress("%d uploads sent; collecting evidence", q.sent)
	sample := *q.app
	sample.now, sample.getenv = q.now, func(string) string { return "sample-not-a-secret" }
	done, err := sample.collect(ctx, q.cfg, p, nil)
	if err != nil {
		return err
	}
	for _, c := range done {
		if c.Kind == github.KindRuleSuites {
			continue // of a quarter that is collected once, GitHub gives the last month of these alone
		}
		for _, g := range c.Gaps {
			return fmt.Errorf("%s is incomplete: %s: %s", c.Kind, g.What, g.Reason)
		}
	}
	return nil
}

// writeKeys writes the verifier key of every log to a file of its name.
func (q *quarter) writeKeys(ctx context.Context) error {
	c, err := q.operator("erin.sato")
	if err != nil {
		return err
	}
	logs, err := c.Logs(ctx)
	if err != nil {
		return err
	}
	keys := map[string]string{}
	for _, l := range logs {
		keys[l.Name] = l.VerifierKey
	}
	lock, err := q.openLocker(q.cfg)
	if err != nil {
		return err
	}
	keys[locker.LogName], err = lock.Ledger().VerifierKey(locker.LogName)
	if err := errors.Join(err, lock.Close()); err != nil {
		return err
	}
	for name, key := range keys {
		if err := os.WriteFile(filepath.Join(q.cfg.dir, name+".vkey"), []byte(key+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}
