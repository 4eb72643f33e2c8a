package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/controls"
	"trustpack/evidence"
	"trustpack/examples/metering"
	"trustpack/ingest"
	"trustpack/ingest/drill"
)

// year takes the example vendor through twelve months, and counts on its own
// what the registry must say at the end.
type year struct {
	*quarter
	t      *testing.T
	fleet  map[string]*metered    // by tenant/device
	past   []evidence.DeviceState // of generations that another one follows, and of requests that came to nothing
	sample map[string]string      // an event's data by type
	want   ingest.StateNumbers
	drills int64

	rotations, granted, declined int
	across                       int // of rotations, those that ran over a quarter's end
	quarters                     []evidence.Period

	may map[string]string // who may provision, as the test knows it: "request", "approve" or both
	on3 map[string]string // and who could at some moment of 3 August
}

// metered is a device as the test knows it.
type metered struct {
	metering.Device
	client *ingest.DeviceClient
	seq    int
	state  evidence.DeviceState
}

func yearBegins() time.Time { return time.Date(2025, 10, 1, 8, 0, 0, 0, time.UTC) }

// TestYear: provisioning, revocations, exports, drills and the rest of twelve
// months. What the ingest knows at the end is what the test counted, and what
// its logs make again from nothing.
func TestYear(t *testing.T) {
	y := newYear(t)
	ctx := t.Context()
	for month := range 12 {
		at := yearBegins().AddDate(0, month, 0)
		if third := time.Date(2026, 8, 3, 9, 0, 0, 0, time.UTC); at.After(third) && y.on3 == nil {
			y.third(ctx, third)
		}
		if month%3 == 0 && month > 0 {
			y.acrossTheEnd(ctx, at.AddDate(0, 0, -1))
		}
		y.until(ctx, at)
		if month%3 == 0 && month > 0 {
			y.collectQuarter(ctx, at)
		}
		y.month(ctx, month)
	}
	y.until(ctx, yearBegins().AddDate(1, 0, 0))
	y.collectQuarter(ctx, y.now())
	y.quartersAndYear(ctx)
	y.balance(ctx)
}

func newYear(t *testing.T) *year {
	t.Helper()
	fleet, err := metering.Load()
	y := &year{t: t, fleet: map[string]*metered{}, sample: map[string]string{}}
	y.must(err)
	dir := t.TempDir()
	services, err := startServices(filepath.Join(dir, "repository"))
	y.must(err)
	t.Cleanup(services.Close)
	y.must(writeExample(dir, fleet, services))
	config := filepath.Join(dir, "trustpack.yaml")
	text, err := os.ReadFile(config)
	y.must(err)
	for old, now := range map[string]string{
		"default_interval: 12h": "default_interval: 400h", "types: {gateway: 6h}": "types: {gateway: 400h}", "past: 168h": "past: 800h", "gap_after: 24h": "gap_after: 2000h",
		"certificates: {device: 8760h,": "rotation: {due_before: 720h, overlap: 48h}\n  certificates: {device: 2160h,",
	} {
		if !bytes.Contains(text, []byte(old)) {
			t.Fatalf("the example's configuration does not say %q any more", old)
		}
		text = bytes.ReplaceAll(text, []byte(old), []byte(now))
	}
	y.must(os.WriteFile(config, text, 0o644))
	a := &app{out: io.Discard, err: io.Discard, config: config, getenv: os.Getenv}
	cfg, err := a.loadConfig()
	y.must(err)
	y.quarter = &quarter{
		app: a, cfg: cfg, fleet: fleet, base: yearBegins().Add(-time.Hour), since: time.Now(),
		operators: map[string]*ingest.AdminClient{}, codes: map[string]string{}, devices: map[string]*ingest.DeviceClient{},
	}
	a.now = y.now
	schemas, err := filepath.Glob(filepath.Join(dir, "schemas", "*.schema.json"))
	y.must(err)
	for _, s := range schemas {
		b, err := os.ReadFile(s)
		y.must(err)
		data, err := drill.Sample(b)
		y.must(err)
		y.sample[strings.TrimSuffix(filepath.Base(s), ".schema.json")] = string(data)
	}
	y.must(y.start(t.Context()))
	t.Cleanup(func() {
		for _, c := range y.operators {
			c.Close()
		}
		for _, d := range y.fleet {
			if d.client != nil {
				d.client.Close()
			}
		}
		y.must(y.server.Close(context.WithoutCancel(t.Context())))
	})
	y.founding(t.Context())
	return y
}

func (y *year) must(err error) {
	y.t.Helper()
	if err != nil {
		y.t.Fatal(err)
	}
}

func (y *year) as(name string) *ingest.AdminClient {
	y.t.Helper()
	c, err := y.operator(name)
	y.must(err)
	return c
}

// until lets time pass: the ingest's duties once in six hours, and each Monday
// every device that lives sends what it has.
func (y *year) until(ctx context.Context, to time.Time) {
	y.t.Helper()
	for at := y.now().Truncate(6 * time.Hour).Add(6 * time.Hour); !at.After(to); at = at.Add(6 * time.Hour) {
		y.jump(at)
		y.must(y.server.Tick(ctx, y.now()))
		if at.Weekday() == time.Monday && at.Hour() == 6 {
			y.upload(ctx)
		}
	}
	y.jump(to)
}

// founding makes the tenants, the operators and the fleet.
func (y *year) founding(ctx context.Context) {
	y.t.Helper()
	y.want = ingest.StateNumbers{Roles: map[string]int{}, Devices: map[evidence.DeviceState]int{}}
	for _, o := range y.quarter.fleet.Operators {
		if !o.First {
			y.addOperator(ctx, o.Name, o.Roles...)
			continue
		}
		y.want.Operators++
		for _, r := range o.Roles {
			y.want.Roles[r]++
		}
	}
	y.may = map[string]string{"anna.berg": "request", "ben.okafor": "request", "jonas.weber": "request", "carla.ruiz": "approve", "dmitri.volk": "approve", "hana.roth": "request"}
	y.addOperator(ctx, "gil.haas", ingest.RoleExporter)
	y.addOperator(ctx, "hana.roth", ingest.RoleAdmin)
	y.addOperator(ctx, "ivo.lang", ingest.RoleSupport)
	for _, t := range y.quarter.fleet.Tenants {
		y.must(y.as("anna.berg").AddTenant(ctx, evidence.Tenant{ID: t.ID, Name: t.Name}, "contract"))
		y.want.Tenants++
	}
	for _, d := range y.quarter.fleet.Devices {
		y.provision(ctx, d)
	}
}

func (y *year) addOperator(ctx context.Context, name string, roles ...string) {
	y.t.Helper()
	pair, err := y.as("anna.berg").AddOperator(ctx, name, roles, "joins")
	y.must(err)
	y.must(writePair(filepath.Join(y.cfg.ingestDir(), "operators", name), pair))
	y.must(y.secondPerson(ctx, y.as("anna.berg"), metering.Step{Actor: "anna.berg", Name: name}))
	y.want.Operators++
	for _, r := range roles {
		y.want.Roles[r]++
	}
}

// provision takes a device from its request to its first event.
func (y *year) provision(ctx context.Context, d metering.Device) *metered {
	y.t.Helper()
	_, err := y.as("ben.okafor").RequestDevice(ctx, ingest.DeviceRequest{Tenant: d.Tenant, Device: d.ID, Type: d.Type, Site: d.Site, Fleet: d.Fleet, Reason: "wanted"})
	y.must(err)
	code, _, err := y.as("carla.ruiz").ApproveDevice(ctx, d.Tenant, d.ID, "as ordered")
	y.must(err)
	y.want.Approvals++
	if d.Fleet == "sn-substations" {
		if code != "" {
			y.t.Fatalf("%s of a critical fleet was approved by one", d.ID)
		}
		code, _, err = y.as("dmitri.volk").ApproveDevice(ctx, d.Tenant, d.ID, "seen too")
		y.must(err)
		y.want.Approvals++
	}
	return y.enrolled(ctx, d, code)
}

// enrolled exchanges the code for a certificate and sends a first event.
func (y *year) enrolled(ctx context.Context, d metering.Device, code string) *metered {
	y.t.Helper()
	m := &metered{Device: d, state: evidence.DeviceActive}
	y.codes[d.Tenant+"/"+d.ID] = code
	y.must(y.enrol(ctx, d.Tenant, d.ID))
	m.client = y.devices[d.Tenant+"/"+d.ID]
	y.fleet[d.Tenant+"/"+d.ID] = m
	y.send(ctx, m, 1)
	return m
}

// send sends n events that must be accepted.
func (y *year) send(ctx context.Context, m *metered, n int) {
	y.t.Helper()
	typ := y.quarter.fleet.Types[m.Type].Event
	var body []byte
	for range n {
		m.seq++
		body = fmt.Appendf(body, `{"seq":%d,"time":%q,"type":%q,"data":%s}`+"\n", m.seq, y.now().UTC().Format(time.RFC3339), typ, y.sample[typ])
	}
	receipt, err := m.client.Send(ctx, body)
	if err != nil || int(receipt.Accepted) != n {
		y.t.Fatalf("%s: %s/%s: %+v, %v", y.now(), m.Tenant, m.ID, receipt, err)
	}
	y.want.Accepted += int64(n)
}

func (y *year) upload(ctx context.Context) {
	y.t.Helper()
	for _, m := range y.fleet {
		if m.state == evidence.DeviceActive {
			y.send(ctx, m, 3)
		}
	}
}

// refused sends an event that must be refused.
func (y *year) refused(ctx context.Context, m *metered, code ingest.Code) {
	y.t.Helper()
	line := []byte(`{"seq":999999,"time":"2026-01-01T00:00:00Z","type":"x","data":{}}` + "\n")
	_, err := m.client.Send(ctx, line)
	var p *ingest.Problem
	if err != nil && !errors.As(err, &p) {
		// A device that was shut out has its connection cut, which it may notice
		// only as it sends; on a new one it is told why.
		m.client.Close()
		_, err = m.client.Send(ctx, line)
	}
	if !errors.As(err, &p) || p.Code != code {
		y.t.Fatalf("%s/%s: %v, want %s", m.Tenant, m.ID, err, code)
	}
}

// month does what happens in one.
func (y *year) month(ctx context.Context, month int) {
	y.t.Helper()
	tenant, fleet := "stadtwerk-nord", "sn-households"
	if month%3 == 0 {
		fleet = "sn-substations"
	}
	fresh := metering.Device{ID: fmt.Sprintf("year-%02d", month), Tenant: tenant, Type: "electricity-meter", Site: "kaiweg-21", Fleet: fleet}
	y.provision(ctx, fresh)
	// What was bought last month is looked at, and every second is found wanting.
	if old := y.fleet[tenant+"/"+fmt.Sprintf("year-%02d", month-1)]; old != nil {
		_, err := y.as("ben.okafor").QuarantineDevice(ctx, old.Tenant, old.ID, "seal broken", fmt.Sprintf("SEC-%d", 100+month))
		y.must(err)
		y.refused(ctx, old, ingest.CodeQuarantined)
		if month%2 == 0 {
			_, err = y.as("ben.okafor").RevokeDevice(ctx, old.Tenant, old.ID, "key read out", fmt.Sprintf("SEC-%d", 100+month))
			old.state = evidence.DeviceRevoked
		} else {
			_, err = y.as("carla.ruiz").ReleaseDevice(ctx, old.Tenant, old.ID, "seal renewed", "")
		}
		y.must(err)
		if old.state == evidence.DeviceRevoked {
			y.refused(ctx, old, ingest.CodeRevoked)
			r, err := y.as("erin.sato").Receipt(ctx, old.Tenant, old.ID, 0)
			y.must(err)
			if r.Decision.Action != "revoke" || r.Decision.Ticket == "" || r.Cut == nil || r.FirstRefused == nil {
				y.t.Errorf("receipt of %s: %+v", old.ID, r)
			}
		}
	}
	switch month {
	case 1, 5, 9: // somebody asks and nobody answers
		_, err := y.as("ben.okafor").RequestDevice(ctx, ingest.DeviceRequest{Tenant: "wohnbau-sued", Device: fmt.Sprintf("hesitated-%d", month), Type: "heat-meter", Reason: "perhaps"})
		y.must(err)
		y.past = append(y.past, evidence.DeviceExpired)
	case 4:
		y.transfer(ctx, y.fleet[tenant+"/year-02"], "wohnbau-sued")
	case 6:
		y.retire(ctx, y.fleet[tenant+"/year-04"])
	case 7:
		y.again(ctx, y.fleet[tenant+"/year-01"])
	case 8:
		y.batch(ctx)
	case 10:
		y.renewOperators(ctx)
	}
	y.rotate(ctx)
	y.support(ctx, tenant, month)
	y.export(ctx, tenant)
	y.must(y.drill(ctx))
	y.drills++
}

// transfer takes a device from one customer to another, by two people. The old
// binding ends; the new one begins with nothing of it.
func (y *year) transfer(ctx context.Context, m *metered, to string) {
	y.t.Helper()
	ben, carla := y.as("ben.okafor"), y.as("carla.ruiz")
	_, err := ben.TransferDevice(ctx, m.Tenant, m.ID, ingest.TransferRequest{ToTenant: to, Site: "parkring-2", Fleet: "ws-buildings", Reason: "the house was sold", Ticket: "OPS-77"})
	y.must(err)
	moved, err := carla.ApproveTransfer(ctx, m.Tenant, m.ID, "contract seen")
	y.must(err)
	m.state = evidence.DeviceRetired
	if _, err := m.client.Send(ctx, []byte("{}\n")); err == nil {
		y.t.Fatal("the credential of the old binding still opens something")
	}
	there := m.Device
	there.Tenant, there.Fleet, there.Site = to, "ws-buildings", "parkring-2"
	y.want.Approvals++ // of the new binding
	y.enrolled(ctx, there, moved.Code)
}

func (y *year) retire(ctx context.Context, m *metered) {
	y.t.Helper()
	_, err := y.as("ben.okafor").RetireDevice(ctx, m.Tenant, m.ID, "worn out", "")
	y.must(err)
	m.state = evidence.DeviceRetired
}

// again makes a device anew that was revoked: its next generation.
func (y *year) again(ctx context.Context, m *metered) {
	y.t.Helper()
	y.past = append(y.past, m.state)
	y.provision(ctx, m.Device)
}

// batch is a truck of meters: one file, one look, many devices.
func (y *year) batch(ctx context.Context) {
	y.t.Helper()
	rows := "tenant,device,type,site,fleet,reason\n"
	for i := range 20 {
		rows += fmt.Sprintf("wohnbau-sued,truck-%02d,heat-meter,parkring-9,ws-buildings,delivery 12\n", i)
	}
	asked, err := y.as("ben.okafor").RequestDevices(ctx, []byte(rows), false)
	y.must(err)
	done, err := y.as("carla.ruiz").ApproveBatch(ctx, asked.Batch, "delivery note checked")
	y.must(err)
	if len(done.Approved) != 20 {
		y.t.Fatalf("%+v", done)
	}
	for _, d := range done.Approved {
		y.want.Approvals++
		y.enrolled(ctx, metering.Device{ID: d.Device, Tenant: d.Tenant, Type: "heat-meter", Site: "parkring-9", Fleet: "ws-buildings"}, d.Code)
	}
}

// renewOperators gives each operator a new certificate before the old one ends,
// by an admin other than himself.
func (y *year) renewOperators(ctx context.Context) {
	y.t.Helper()
	known, err := y.as("erin.sato").Operators(ctx)
	y.must(err)
	for _, o := range known {
		admin := "anna.berg"
		if o.Name == admin {
			admin = "hana.roth"
		}
		pair, err := y.as(admin).AddOperator(ctx, o.Name, o.Roles, "the certificate ends soon")
		y.must(err)
		base := filepath.Join(y.cfg.ingestDir(), "operators", o.Name)
		y.must(errors.Join(os.Remove(base+".crt"), os.Remove(base+".key"), writePair(base, pair)))
		if c := y.operators[o.Name]; c != nil {
			c.Close()
			delete(y.operators, o.Name)
		}
		y.must(y.secondPerson(ctx, y.as(admin), metering.Step{Actor: admin, Name: o.Name}))
	}
}

// rotate lets each device renew whose certificate is due. The old one goes on
// for the overlap, and not a moment longer.
func (y *year) rotate(ctx context.Context) {
	y.t.Helper()
	due, err := y.as("erin.sato").DueCredentials(ctx, "")
	y.must(err)
	renewed := map[string]bool{}
	var old *ingest.DeviceClient
	var oldUntil time.Time
	var last *metered
	for _, c := range due {
		m := y.fleet[c.Tenant+"/"+c.Device]
		if m == nil || m.state != evidence.DeviceActive || renewed[m.ID] {
			continue
		}
		renewed[m.ID] = true
		pair, until, err := m.client.Renew(ctx, m.ID)
		y.must(err)
		client, err := ingest.NewDeviceClient(ingest.ClientOptions{URL: "https://" + y.cfg.Ingest.Listen, CA: y.root, Now: y.now, Certificate: pair})
		y.must(err)
		y.rotations++
		if c.DaysLeft < 3 { // its own end comes before the overlap's
			m.client.Close()
			m.client = client
			continue
		}
		if old != nil {
			old.Close()
		}
		old, oldUntil, last, m.client = m.client, until, m, client
	}
	if last == nil {
		return
	}
	defer old.Close()
	fresh := last.client
	last.client = old
	y.send(ctx, last, 1)
	y.until(ctx, oldUntil)
	y.refused(ctx, last, ingest.CodeExpiredCredential)
	last.client = fresh
	y.send(ctx, last, 1)
}

// acrossTheEnd renews a certificate on the last day of a quarter, so that the old
// one ends in the next.
func (y *year) acrossTheEnd(ctx context.Context, at time.Time) {
	y.t.Helper()
	y.until(ctx, at)
	for _, key := range slices.Sorted(maps.Keys(y.fleet)) {
		m := y.fleet[key]
		if m.state != evidence.DeviceActive {
			continue
		}
		pair, until, err := m.client.Renew(ctx, m.ID)
		y.must(err)
		if until.Before(at.AddDate(0, 0, 1)) {
			continue // by its own end, which comes first
		}
		m.client.Close()
		m.client, err = ingest.NewDeviceClient(ingest.ClientOptions{URL: "https://" + y.cfg.Ingest.Listen, CA: y.root, Now: y.now, Certificate: pair})
		y.must(err)
		y.rotations++
		y.across++
		return
	}
	y.t.Fatalf("%s: no device could renew", at)
}

// collectQuarter collects from the ingest what the quarter that ended at 0:00 of
// the day is judged by.
func (y *year) collectQuarter(ctx context.Context, at time.Time) {
	y.t.Helper()
	to := at.Truncate(24 * time.Hour)
	p := evidence.Period{From: to.AddDate(0, -3, 0), To: to}
	y.must(y.writeKeys(ctx))
	_, err := y.app.collect(ctx, y.cfg, p, []string{"telemetry.rotations", "telemetry.devices"})
	y.must(err)
	y.quarters = append(y.quarters, p)
}

// quartersAndYear holds what the four quarters judged of old credentials against
// what the year judges as one period: each in one quarter, and those that were
// replaced in one and ended in the next, there.
func (y *year) quartersAndYear(ctx context.Context) {
	y.t.Helper()
	whole := evidence.Period{From: y.quarters[0].From, To: y.quarters[3].To}
	catalog, err := loadCatalog("")
	y.must(err)
	policy := map[string]any{"max_retire_delay_s": 7 * 3600} // this year's duties are done once in six hours
	judge := func(p evidence.Period) (tested, before int) {
		lock, err := y.app.readLocker(y.cfg)
		y.must(err)
		defer lock.Close()
		of, err := y.app.evidenceOf(lock, p)
		y.must(err)
		a, err := catalog.Assess(controls.Input{Period: p, Evidence: of.evidence, Policy: policy})
		y.must(err)
		for _, f := range a.Findings {
			for _, at := range f.Attributes {
				if f.Control == "ID-03" && at.ID == "old-retired" {
					if at.Outcome != evidence.OutcomeMet {
						y.t.Errorf("%s: %s is %s: %s", p, at.ID, at.Outcome, at.Reason)
					}
					tested = at.Tested
				}
			}
		}
		for _, e := range of.evidence {
			for _, it := range e.Population.Items {
				began, _ := it.Attributes["time"].(string)
				if e.Kind == "telemetry.rotations" && began < p.From.Format(time.RFC3339) {
					before++
				}
			}
		}
		return tested, before
	}
	sum, across := 0, 0
	for _, p := range y.quarters {
		tested, before := judge(p)
		sum, across = sum+tested, across+before
	}
	_, err = y.app.collect(ctx, y.cfg, whole, []string{"telemetry.rotations", "telemetry.devices"})
	y.must(err)
	tested, before := judge(whole)
	if before != 0 || y.across != 3 || across != y.across || sum != tested || tested < y.rotations/2 {
		y.t.Errorf("of %d rotations the quarters judged %d and the year %d; %d of %d that ran over a quarter's end were looked back at", y.rotations, sum, tested, across, y.across)
	}
}

// support lets somebody of support look into a tenant under a grant, which is
// asked for, approved by another, and ends by itself.
func (y *year) support(ctx context.Context, tenant string, month int) {
	y.t.Helper()
	ivo := y.as("ivo.lang")
	if _, err := ivo.Devices(ctx, tenant); !forbidden(err) {
		y.t.Fatalf("support without a grant: %v", err)
	}
	g, err := ivo.RequestGrant(ctx, ingest.GrantRequest{Operator: "ivo.lang", Tenant: tenant, Actions: []string{"read"}, Minutes: 30, Reason: "the customer called", Ticket: fmt.Sprintf("SUP-%d", month)})
	y.must(err)
	if month%4 == 3 {
		_, err = y.as("carla.ruiz").DeclineGrant(ctx, g.ID, "ask the customer first")
		y.must(err)
		y.declined++
		return
	}
	_, err = y.as("carla.ruiz").ApproveGrant(ctx, g.ID, "seen the ticket", "")
	y.must(err)
	y.granted++
	_, err = ivo.Devices(ctx, tenant)
	y.must(err)
	if _, err := ivo.Devices(ctx, "wohnbau-sued"); !forbidden(err) {
		y.t.Fatalf("a grant for %s opened another tenant: %v", tenant, err)
	}
	y.until(ctx, y.now().Add(31*time.Minute))
	if _, err := ivo.Devices(ctx, tenant); !forbidden(err) {
		y.t.Fatalf("support after the grant's end: %v", err)
	}
}

func forbidden(err error) bool {
	var p *ingest.Problem
	return errors.As(err, &p) && p.Code == ingest.CodeForbidden
}

// export asks for a file and fetches it.
func (y *year) export(ctx context.Context, tenant string) {
	y.t.Helper()
	x, err := y.as("gil.haas").RequestExport(ctx, ingest.ExportRequest{
		Tenant: tenant, From: y.now().AddDate(0, -1, 0).Format(time.RFC3339), Format: "csv", Destination: "the customer's portal", Reason: "monthly statement",
	})
	y.must(err)
	if x.State == ingest.ExportPending {
		x, err = y.as("carla.ruiz").ApproveExport(ctx, x.ID, "as agreed", "")
		y.must(err)
	}
	_, _, err = y.as("gil.haas").FetchExport(ctx, x.ID, io.Discard)
	y.must(err)
}

// third is 3 August: jonas, who could provision, leaves at nine, and kim comes at
// ten. Nobody asks about it before the year
// is over, and much is different then: certificates, roles, people.
func (y *year) third(ctx context.Context, at time.Time) {
	y.t.Helper()
	y.on3 = maps.Clone(y.may)
	y.until(ctx, at)
	y.must(y.as("anna.berg").RemoveOperator(ctx, "jonas.weber", "his contract has ended"))
	y.want.Operators--
	y.want.Roles[ingest.RoleProvisioner]--
	y.until(ctx, at.Add(time.Hour))
	y.addOperator(ctx, "kim.lee", ingest.RoleProvisioner)
	y.on3["kim.lee"] = "request"
	y.until(ctx, at.AddDate(0, 0, 1))
	_, err := y.as("anna.berg").ChangeRoles(ctx, "dmitri.volk", []string{ingest.RoleAuditor}, "another job")
	y.must(err)
	y.must(y.as("anna.berg").RemoveOperator(ctx, "kim.lee", "it was for a day"))
	_, err = y.as("anna.berg").AddOperator(ctx, "lars.ek", []string{ingest.RoleAuditor}, "joins")
	y.must(err)
	y.want.Roles[ingest.RoleApprover]--
	y.want.Roles[ingest.RoleProvisioner]--
	y.want.Roles[ingest.RoleAuditor] += 2
}

// whoCould asks the command, over the logs alone, who could provision on 3
// August, and holds the answer to what the test kept of the day.
func (y *year) whoCould(ctx context.Context, ledger string) {
	y.t.Helper()
	var out bytes.Buffer
	a := &app{out: &out, err: io.Discard, now: y.now, getenv: os.Getenv}
	cmd := a.operatorList(&adminFlags{})
	cmd.SetArgs([]string{"--at", "2026-08-03", "--action", "provision", "--ledger", ledger, "--json"})
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	y.must(cmd.ExecuteContext(ctx))
	var w ingest.WhoCould
	y.must(json.Unmarshal(out.Bytes(), &w))
	got := map[string]string{}
	for _, x := range w.Able {
		if strings.HasPrefix(x.Operator, evidence.CanaryPrefix) {
			continue
		}
		for _, action := range x.Actions {
			got[x.Operator] += strings.TrimPrefix(action, "device.")
		}
		if x.Operator == "jonas.weber" && (x.Until.Hour() != 9 || x.EndedBy == nil) || x.Operator == "kim.lee" && x.From.Hour() != 10 {
			y.t.Errorf("3 August: %+v", x)
		}
	}
	if !maps.Equal(got, y.on3) {
		y.t.Errorf("on 3 August could provision: %v, want %v", got, y.on3)
	}
}

// balance holds what the ingest says to what was counted here, and both to what
// the logs alone make, by the command that anybody can run.
func (y *year) balance(ctx context.Context) {
	y.t.Helper()
	said, err := y.as("erin.sato").State(ctx)
	y.must(err)
	for _, m := range y.fleet {
		y.want.Devices[m.state]++
	}
	for _, state := range y.past {
		y.want.Devices[state]++
	}
	canaries := 0
	devices, err := y.as("erin.sato").Devices(ctx, "")
	y.must(err)
	for _, d := range devices {
		if strings.HasPrefix(d.Tenant, evidence.CanaryPrefix) {
			canaries++
			if d.State != evidence.DeviceRevoked {
				y.t.Errorf("canary %s is %s", d.ID, d.State)
			}
			said.Numbers.Devices[d.State]--
			said.Numbers.Approvals -= len(d.Approvals)
			said.Numbers.Accepted -= d.Accepted
		}
	}
	if canaries == 0 {
		y.t.Error("no canary was ever provisioned")
	}
	for _, state := range []evidence.DeviceState{
		evidence.DeviceRequested, evidence.DeviceApproved, evidence.DeviceIssued, evidence.DeviceActive, evidence.DeviceQuarantined, evidence.DeviceRevoked, evidence.DeviceRetired,
		evidence.DeviceDeclined, evidence.DeviceExpired,
	} {
		if n := said.Numbers.Devices[state]; n != y.want.Devices[state] {
			y.t.Errorf("%d devices are %s, want %d", n, state, y.want.Devices[state])
		}
	}
	// The drills ask for exports and grants of their own.
	grants, exports := map[string]int{}, 0
	listed, err := y.as("erin.sato").Grants(ctx)
	y.must(err)
	for _, g := range listed {
		if !strings.HasPrefix(g.Tenant, evidence.CanaryPrefix) {
			grants[g.State]++
		}
	}
	files, err := y.as("erin.sato").Exports(ctx)
	y.must(err)
	for _, x := range files {
		if !strings.HasPrefix(x.Tenant, evidence.CanaryPrefix) && x.State == ingest.ExportReady {
			exports++
		}
	}
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"operators", said.Numbers.Operators, y.want.Operators},
		{"roles", fmt.Sprint(said.Numbers.Roles), fmt.Sprint(y.want.Roles)},
		{"living credentials", said.Numbers.Living, y.want.Devices[evidence.DeviceActive] + y.want.Devices[evidence.DeviceQuarantined]},
		{"grants", fmt.Sprint(grants), fmt.Sprint(map[string]int{ingest.GrantEnded: y.granted, ingest.GrantDeclined: y.declined})},
		{"approvals", said.Numbers.Approvals, y.want.Approvals},
		{"accepted events", said.Numbers.Accepted, y.want.Accepted},
		{"exports", exports, 12},
		{"rounds of drills", said.Numbers.Drills % y.drills, int64(0)},
	} {
		if c.got != c.want {
			y.t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
	if y.rotations < 3*len(y.fleet) {
		y.t.Errorf("%d rotations in a year of certificates of 90 days", y.rotations)
	}
	if said.Numbers.Drills < 20*y.drills {
		y.t.Errorf("%d drills in %d rounds", said.Numbers.Drills, y.drills)
	}
	now, err := y.as("erin.sato").State(ctx)
	y.must(err)
	b, err := json.Marshal(now)
	y.must(err)
	file := filepath.Join(y.t.TempDir(), "said.json")
	y.must(os.WriteFile(file, b, 0o600))
	backup := filepath.Join(y.t.TempDir(), "ledger")
	y.must(os.CopyFS(backup, os.DirFS(filepath.Join(y.cfg.ingestDir(), "ledger"))))
	y.whoCould(ctx, backup)
	var out bytes.Buffer
	fsck := &app{out: &out, err: io.Discard, now: y.now, getenv: os.Getenv}
	cmd := fsck.ledgerFsck()
	cmd.SetArgs([]string{backup, "--state-of", file})
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	if err := cmd.ExecuteContext(ctx); err != nil || !strings.Contains(out.String(), "what the ingest said: agrees") {
		y.t.Errorf("%v\n%s", err, out.String())
	}
}
