package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"trustpack/evidence"
	"trustpack/ingest"
)

// ingestFlags are what an ingest can be measured under.
type ingestFlags struct {
	benchFlags
	rate        float64
	half, flood bool
	events      int64
	stream      bool
	inFlight    int
}

func (f *ingestFlags) check() error {
	if err := f.benchFlags.check(); err != nil {
		return err
	}
	modes := 0
	for _, set := range []bool{f.rate != 0, f.half, f.flood, f.events != 0, f.stream} {
		if set {
			modes++
		}
	}
	switch {
	case modes > 1 && !(modes == 2 && f.flood && f.rate != 0):
		return errors.New("--rate, --half, --flood, --events and --stream: give one of them, or --flood with the --rate of the quiet tenant")
	case f.stream && f.batch != 1:
		return fmt.Errorf("--batch: %d: the events of a stream come one by one: give --batch 1", f.batch)
	case f.inFlight < 1 || f.inFlight > 10_000:
		return fmt.Errorf("--in-flight: %d is outside 1 to 10000", f.inFlight)
	case f.rate < 0 || f.rate > 1e6:
		return fmt.Errorf("--rate: %v is outside 0 to 1000000 requests a second", f.rate)
	case f.events < 0 || f.events > 1e12:
		return fmt.Errorf("--events: %d is outside 0 to 1000000000000", f.events)
	}
	return nil
}

// ingestResult is what a run against an ingest has measured.
type ingestResult struct {
	benchResult
	EmptyHandler float64        `json:"empty_handler_requests_per_second,omitempty"` // of net/http with mutual TLS, which only reads the same body
	EmptyP99     float64        `json:"empty_handler_ack_p99_ms,omitempty"`
	EmptyCPU     float64        `json:"empty_handler_cpu_us_per_request,omitempty"` // the load generator included, which is the same
	Ratio        float64        `json:"ratio_to_empty_handler,omitempty"`           // requests a second of the ingest over that
	CPURatio     float64        `json:"cpu_ratio_to_empty_handler,omitempty"`       // its CPU a request over the ingest's, which other processes on the machine change less
	InFlight     int            `json:"in_flight,omitempty"`                        // events of each stream
	Half         *halfResult    `json:"half_rate,omitempty"`
	Flood        *floodResult   `json:"flood,omitempty"`
	Memory       []memorySample `json:"memory,omitempty"`
	Growth       float64        `json:"memory_growth,omitempty"` // see memoryWatch.growth
}

// halfResult is what answers take where half of the top rate is offered.
type halfResult struct {
	Offered  float64 `json:"offered_requests_per_second"`
	Requests float64 `json:"requests_per_second"`
	P50      float64 `json:"ack_p50_ms"`
	P99      float64 `json:"ack_p99_ms"`
	P999     float64 `json:"ack_p999_ms"`
	Max      float64 `json:"ack_max_ms"`
	EmptyP99 float64 `json:"empty_handler_ack_p99_ms"` // where it is offered the same

	seconds float64
}

func (a *app) benchIngest() *cobra.Command {
	var f ingestFlags
	cmd := &cobra.Command{
		Use:   "ingest",
		Short: "Send events over mutual TLS to an ingest made for the purpose",
		Long: `Makes an ingest with its own ledger on loopback, enrols a device for each
connection, and lets all of them send batch after batch, each waiting for its
durable answer. The same client first sends the same bodies to an empty net/http
handler, so that the ratio says what the ingest costs. Client and server share
this process and its cores.

--rate offers a fixed number of requests a second instead, and counts what an
answer took from when its request was due. --half goes on to offer half of the
top rate that it found. --flood lets one tenant send at a modest rate while
another sends all it can, over its limit, and does nothing, by turns, five times
each within twice the duration: the ratio is the median of those of the turns,
so that one stall of the machine does not decide it. It names the longest answer
and says how much of it the ledger took to make something durable. --events sends so many
and watches the memory of the process. --stream sends single events over a
stream for each connection, --in-flight of them ahead of their receipts; what an
answer took is then from sending an event to its receipt.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if f.flood {
				f.tenants = 2
			}
			if f.connections < f.tenants {
				a.progress("a connection is one device's, of one tenant: using %d connections", f.tenants)
				f.connections = f.tenants
			}
			a.spareThread()
			return f.inBenchDir(func(dir string) error {
				r, err := a.loadIngest(cmd.Context(), &f, dir)
				if err != nil {
					return err
				}
				if f.json {
					return a.printJSON(r)
				}
				return a.table(r.rows())
			})
		},
	}
	f.add(cmd, "devices that send at once, each over one kept connection")
	cmd.Flags().Float64Var(&f.rate, "rate", 0, "offer this many requests a second rather than as many as are answered")
	cmd.Flags().BoolVar(&f.half, "half", false, "then offer half of the top rate")
	cmd.Flags().BoolVar(&f.flood, "flood", false, "measure what one tenant's flood does to another tenant")
	cmd.Flags().BoolVar(&f.stream, "stream", false, "send single events over streams; with --batch 1")
	cmd.Flags().IntVar(&f.inFlight, "in-flight", 100, "events of a stream that are ahead of their receipts")
	cmd.Flags().Int64Var(&f.events, "events", 0, "send this many events rather than for a time, and watch the memory")
	return cmd
}

func (r ingestResult) rows() [][]string {
	if r.Flood != nil {
		return r.Flood.rows()
	}
	if r.InFlight > 0 {
		return append(r.benchResult.rows(), []string{"events in flight a stream", fmt.Sprint(r.InFlight)})
	}
	rows := append(r.benchResult.rows(),
		[]string{"requests a second of an empty handler", fmt.Sprintf("%.0f", r.EmptyHandler)},
		[]string{"its answers' p99", fmt.Sprintf("%.3f ms", r.EmptyP99)},
		[]string{"ratio to it", fmt.Sprintf("%.2f", r.Ratio)},
		[]string{"ratio of its CPU a request to the ingest's", fmt.Sprintf("%.2f", r.CPURatio)})
	if h := r.Half; h != nil {
		rows = append(rows,
			[]string{"at half the rate, requests a second", fmt.Sprintf("%.0f of %.0f offered", h.Requests, h.Offered)},
			[]string{"its ack p50, p99", fmt.Sprintf("%.3f ms, %.3f ms", h.P50, h.P99)},
			[]string{"its ack p99.9, longest", fmt.Sprintf("%.3f ms, %.3f ms", h.P999, h.Max)},
			[]string{"an empty handler's p99 there", fmt.Sprintf("%.3f ms", h.EmptyP99)})
	}
	w := memoryWatch{samples: r.Memory}
	return append(rows, w.rows()...)
}

const benchSchema = `{
 "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["kw"], "additionalProperties": false,
 "properties": {"kw": {"type": "number", "minimum": -1000}, "phase": {"enum": ["l1", "l2", "l3"]},
                "meter": {"type": "object", "properties": {"kwh": {"type": "number"}}}},
 "x-ranges": {"kw": {"max": 500}}
}`

// startBenchIngest makes an ingest in dir and runs it until stop is called.
func startBenchIngest(ctx context.Context, dir string, rates ingest.Rates) (s *ingest.Server, stop func() error, err error) {
	schemas := filepath.Join(dir, "schemas")
	if err := os.Mkdir(schemas, 0o700); err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(filepath.Join(schemas, "power.v1.schema.json"), []byte(benchSchema), 0o600); err != nil {
		return nil, nil, err
	}
	state := filepath.Join(dir, "ingest")
	if err := ingest.Init(state, ingest.InitOptions{Instance: "bench.example/ingest", Org: "Bench", FirstAdmin: "requester"}); err != nil {
		return nil, nil, err
	}
	cfg := ingest.DefaultConfig()
	cfg.Listen, cfg.AdminListen, cfg.Schemas = "127.0.0.1:0", "127.0.0.1:0", schemas
	cfg.Rates = rates
	cfg.Limits.BodyBytes = max(cfg.Limits.BodyBytes, 4<<20)
	if s, err = ingest.Open(ingest.Options{Dir: state, Config: cfg, Version: tool()}); err != nil {
		return nil, nil, err
	}
	if err := s.Listen(); err != nil {
		return nil, nil, errors.Join(err, s.Close(ctx))
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(serving) }()
	return s, func() error { cancel(); return <-ended }, nil
}

// enrolBench enrols a device for each connection and gives their credentials.
func enrolBench(ctx context.Context, s *ingest.Server, dir string, f *benchFlags, progress func(string, ...any)) (pairs []tls.Certificate, root []byte, err error) {
	state := filepath.Join(dir, "ingest")
	if root, err = os.ReadFile(filepath.Join(state, "ca", "root.crt")); err != nil {
		return nil, nil, err
	}
	first, err := tls.LoadX509KeyPair(filepath.Join(state, "operators", "requester.crt"), filepath.Join(state, "operators", "requester.key"))
	if err != nil {
		return nil, nil, err
	}
	public, admin := s.Addrs()
	requester, err := ingest.NewAdminClient(ingest.ClientOptions{URL: "https://" + admin, CA: root, Certificate: &first})
	if err != nil {
		return nil, nil, err
	}
	defer requester.Close()
	second, err := requester.AddOperator(ctx, "approver", []string{ingest.RoleApprover}, "bench")
	if err != nil {
		return nil, nil, err
	}
	approver, err := ingest.NewAdminClient(ingest.ClientOptions{URL: "https://" + admin, CA: root, Certificate: second})
	if err != nil {
		return nil, nil, err
	}
	defer approver.Close()
	anyone, err := ingest.NewDeviceClient(ingest.ClientOptions{URL: "https://" + public, CA: root})
	if err != nil {
		return nil, nil, err
	}
	defer anyone.Close()
	progress("enrolling %d devices of %d tenants", f.connections, f.tenants)
	for i := range f.tenants {
		id := fmt.Sprintf("tenant-%d", i)
		if err := requester.AddTenant(ctx, evidence.Tenant{ID: id, Name: id}, "bench"); err != nil {
			return nil, nil, err
		}
	}
	for i := range f.connections {
		tenant, device := fmt.Sprintf("tenant-%d", i%f.tenants), fmt.Sprintf("device-%d", i)
		if _, err := requester.RequestDevice(ctx, ingest.DeviceRequest{Tenant: tenant, Device: device, Type: "meter", Reason: "bench"}); err != nil {
			return nil, nil, err
		}
		code, _, err := approver.ApproveDevice(ctx, tenant, device, "bench")
		if err != nil {
			return nil, nil, err
		}
		pair, err := anyone.Enrol(ctx, tenant, device, code)
		if err != nil {
			return nil, nil, err
		}
		pairs = append(pairs, *pair)
	}
	return pairs, root, nil
}

// loadIngest makes an ingest in dir and measures what the flags ask for.
func (a *app) loadIngest(ctx context.Context, f *ingestFlags, dir string) (r ingestResult, err error) {
	s, stop, err := startBenchIngest(ctx, dir, f.rates())
	if err != nil {
		return r, err
	}
	running := true
	defer func() {
		if running {
			err = errors.Join(err, stop())
		}
	}()
	t := benchTarget{}
	if t.pairs, t.root, err = enrolBench(ctx, s, dir, &f.benchFlags, a.progress); err != nil {
		return r, err
	}
	t.addr, _ = s.Addrs()
	if f.flood {
		r.Flood, err = a.flood(ctx, f, t, s.LongestAppend)
		return r, err
	}
	if f.stream {
		r.InFlight = f.inFlight
		r.benchResult, err = t.streams(ctx, f.load(), f.inFlight)
		r.Tenants = f.tenants
	} else {
		var empty *emptyHandler
		var root []byte
		if empty, root, err = startEmptyHandler(); err != nil {
			return r, err
		}
		r, err = a.compareIngest(ctx, f, benchTarget{t.pairs, root, empty.addr}, t)
		err = errors.Join(err, empty.Close())
	}
	if err != nil {
		return r, err
	}
	running = false
	if err := stop(); err != nil {
		return r, err
	}
	bytes, err := logBytes(filepath.Join(dir, "ingest", "ledger"))
	sent := r.events
	if r.Half != nil {
		sent += r.Half.Requests * r.Half.seconds * float64(f.batch)
	}
	r.DiskBytesPerEvent = float64(bytes) / sent
	return r, err
}

// compareIngest brings the same load to the empty handler and to the ingest.
func (a *app) compareIngest(ctx context.Context, f *ingestFlags, empty, own benchTarget) (r ingestResult, err error) {
	l := f.load()
	l.rate = f.rate
	plain := l
	plain.profile = ""
	a.progress("%v against an empty handler, then the ingest", f.duration)
	before, err := empty.bring(ctx, plain)
	if err != nil {
		return r, err
	}
	watch := memoryWatch{progress: a.progress}
	if l.events = f.events; l.events > 0 {
		l.sample = watch.sample
	}
	if r.benchResult, err = own.bring(ctx, l); err != nil {
		return r, err
	}
	r.Tenants = f.tenants
	r.EmptyHandler, r.EmptyP99, r.Ratio = before.requests, before.AckP99, r.requests/before.requests
	r.EmptyCPU = before.CPUPerEvent * float64(l.batch)
	r.CPURatio = before.CPUPerEvent / r.CPUPerEvent
	r.Memory, r.Growth = watch.samples, watch.growth()
	if !f.half {
		return r, nil
	}
	plain.rate = r.requests / 2
	a.progress("%v at %.0f requests a second against each", f.duration, plain.rate)
	before, err = empty.bring(ctx, plain)
	if err != nil {
		return r, err
	}
	half, err := own.bring(ctx, plain)
	r.Half = &halfResult{plain.rate, half.requests, half.AckP50, half.AckP99, half.AckP999, half.AckMax, before.AckP99, half.Duration}
	return r, err
}

// benchTarget is a server, and the devices that it knows.
type benchTarget struct {
	pairs []tls.Certificate
	root  []byte // PEM
	addr  string
}

// connect opens a connection for each device and sends a first event over it,
// since an ingest records the first contact.
func (t benchTarget) connect() (senders []*benchSender, err error) {
	defer func() {
		if err != nil {
			closeSenders(senders)
		}
	}()
	for i := range t.pairs {
		b := newBenchSender(t.addr, t.root, &t.pairs[i])
		if err := b.dial(); err != nil {
			return senders, err
		}
		senders = append(senders, b)
		if err := b.send(1); err != nil {
			return senders, err
		}
	}
	return senders, nil
}

func closeSenders(senders []*benchSender) {
	for _, b := range senders {
		_ = b.conn.Close() // all of its answers were read
	}
}

// bring connects every device and lets each send.
func (t benchTarget) bring(ctx context.Context, l workload) (benchResult, error) {
	senders, err := t.connect()
	if err != nil {
		return benchResult{}, err
	}
	defer closeSenders(senders)
	return l.drive(ctx, func(worker int) error { return senders[worker].send(l.batch) })
}
