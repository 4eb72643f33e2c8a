package drill

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"trustpack/evidence"
)

// The tenants in which the canary devices live. They hold nothing else.
const (
	TenantA = evidence.CanaryPrefix + "a"
	TenantB = evidence.CanaryPrefix + "b"
)

// The verdicts of a drill.
const (
	Passed       = "passed"
	Failed       = "failed"
	NotAvailable = "not-available"
)

// Target is the ingest to attack and what the drills may use.
type Target struct {
	PublicURL string // https URL of the device port
	AdminURL  string // https URL of the admin API
	CA        *x509.CertPool
	// Requester asks for the canary devices, Approver approves them; two
	// different operators. Between them they must be allowed to add tenants
	// (unless the canary tenants exist), request, approve, quarantine and
	// revoke devices, resolve alerts, and read the logs.
	Requester, Approver tls.Certificate
	// EventType and EventData are an event that the ingest accepts: a type that
	// it has a schema for, and a JSON object that the schema allows. See Sample.
	EventType string
	EventData json.RawMessage
	// DeviceType of the canaries; "canary" where it is empty.
	DeviceType string
	// Now dates events and judges certificates, and must agree with the
	// ingest's clock; time.Now where it is nil. Latencies never use it.
	Now func() time.Time
	// Settle is how long to wait for entries about like refusals, which the
	// ingest counts for a second before it writes one; 2.5 s where it is zero.
	// It waits only where such an entry is missing.
	Settle time.Duration
	// Wait lets time pass on the ingest's clock where that is not the system's;
	// nil: time passes by itself, or else what needs it is not-available.
	Wait func(context.Context, time.Duration) error
	// Progress is told the ID of each drill before it starts; may be nil.
	Progress func(id string)
}

// filled is t with what may be left out.
func (t Target) filled() Target {
	if t.Now == nil {
		t.Now = time.Now
	}
	if t.DeviceType == "" {
		t.DeviceType = "canary"
	}
	if t.Settle == 0 {
		t.Settle = 2500 * time.Millisecond
	}
	return t
}

func (t Target) check() error {
	for name, raw := range map[string]string{"public": t.PublicURL, "admin": t.AdminURL} {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.Port() == "" {
			return fmt.Errorf("the ingest's %s address %q: want https://host:port", name, raw)
		}
	}
	switch {
	case t.CA == nil:
		return errors.New("no CA to recognise the ingest by: give the root certificate that issued its server certificate")
	case len(t.Requester.Certificate) == 0 || len(t.Approver.Certificate) == 0:
		return errors.New("the drills need the credentials of two operators, one to request canary devices and one to approve them")
	case bytes.Equal(t.Requester.Certificate[0], t.Approver.Certificate[0]):
		return errors.New("requester and approver of the canary devices hold the same certificate: nobody may approve his own request, so give two operators")
	case t.EventType == "":
		return errors.New("no event type for the canary devices: name one that the ingest has a schema for")
	}
	var object map[string]any
	if err := json.Unmarshal(t.EventData, &object); err != nil || bytes.ContainsAny(t.EventData, "\r\n") {
		return fmt.Errorf("the canary devices' event data is no JSON object on one line: %w", err)
	}
	return nil
}

// Run attacks the ingest with the drills that only names, by drill ID
// ("TR-02.replayed-batch") or control ("TR-02"); all where it is empty. It
// gives one result a drill, in the order of the list. The error says that
// nothing could be run (results are nil), or that the canary devices could not
// be revoked afterwards, or their alerts not resolved, or that what an earlier
// run left behind could not be cleared away (results stand).
func Run(ctx context.Context, t Target, only []string) ([]evidence.DrillResult, error) {
	_, results, err := attackAll(ctx, t, only)
	return results, err
}

func attackAll(ctx context.Context, t Target, only []string) (*run, []evidence.DrillResult, error) {
	t = t.filled()
	if err := t.check(); err != nil {
		return nil, nil, fmt.Errorf("preparing drills: %w", err)
	}
	chosen, err := choose(all(), only)
	if err != nil {
		return nil, nil, err
	}
	r, err := newRun(t)
	if err != nil {
		return nil, nil, fmt.Errorf("preparing drills: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	left := r.sweep(ctx)
	r.begin(ctx)
	for _, d := range chosen {
		if d.prepare != nil && ctx.Err() == nil {
			d.prepare(ctx, r)
		}
	}
	outcomes := make([]outcome, len(chosen))
	started := make([]time.Time, len(chosen))
	for i, d := range chosen {
		if t.Progress != nil {
			t.Progress(d.id)
		}
		started[i] = t.Now().UTC()
		if err := ctx.Err(); err != nil {
			outcomes[i] = unable("", err)
			continue
		}
		from := r.sizes[controlLog]
		outcomes[i] = d.attack(ctx, r)
		r.measure(ctx)
		outcomes[i].from, outcomes[i].to = from, r.sizes[controlLog]
	}
	r.judge(ctx, outcomes)
	results := make([]evidence.DrillResult, len(chosen))
	for i, d := range chosen {
		o := outcomes[i]
		results[i] = evidence.DrillResult{
			ID: d.id, Control: d.control, What: d.what, Expected: d.expected,
			Sent: oneLine(o.sent), Got: oneLine(o.got), Verdict: o.verdict,
			StartedAt: started[i], LatencyMS: milliseconds(o.latency), LogEntry: o.entry,
		}
	}
	return r, results, errors.Join(left, r.end(ctx))
}

// Post hands the results to the ingest's own control log and gives the
// positions, "control/123".
func Post(ctx context.Context, t Target, results []evidence.DrillResult) ([]string, error) {
	r, err := newRun(t)
	if err != nil {
		return nil, fmt.Errorf("posting drill results: %w", err)
	}
	var reply struct {
		Positions []string `json:"positions"`
	}
	if err := r.either(ctx, "POST", "/v1/admin/drills", results, &reply); err != nil {
		return nil, fmt.Errorf("posting drill results: %w", err)
	}
	return reply.Positions, nil
}

// run is one pass over the drills.
type run struct {
	t          Target
	id         string // marks the canaries and their revocation
	public     endpoint
	admin      endpoint
	canaries   map[string]*canary
	own        map[string]bool // IDs of alerts that this run caused
	operators  map[string]*canaryOperator
	grants     map[string]*grant
	tenants    map[string]bool  // canary tenants known to exist
	since      map[string]int64 // sizes of the logs before the first attack
	sizes      map[string]int64 // and when they were last looked at
	began      time.Time        // on the target's clock, to the second
	exportable int64            // events stored so that they can be exported
	blind      error            // why the logs cannot be read; nil where they can
	config     config
	dead       time.Time // when a run began that is known to have been cut off; zero for none
}

func newRun(t Target) (*run, error) {
	t = t.filled()
	var random [3]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	r := &run{
		t: t, began: t.Now().UTC().Truncate(time.Second), id: t.Now().UTC().Format(runForm) + "-" + hex.EncodeToString(random[:]),
		canaries: map[string]*canary{}, own: map[string]bool{}, operators: map[string]*canaryOperator{}, grants: map[string]*grant{}, tenants: map[string]bool{}, since: map[string]int64{}, sizes: map[string]int64{},
	}
	var err error
	if r.public, err = endpointOf(t, t.PublicURL); err != nil {
		return nil, err
	}
	if r.admin, err = endpointOf(t, t.AdminURL); err != nil {
		return nil, err
	}
	r.admin.budget = r.public.budget
	return r, nil
}

// oneLine keeps a result's text on one line of bounded length, without
// control characters that an answer may have carried.
func oneLine(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > 600 {
		s = strings.ToValidUTF8(s[:600], "") + "…"
	}
	return s
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}
