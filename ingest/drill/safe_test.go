package drill

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// What a run sends is counted, held back, and ends.
func TestARunKeepsToItsBudget(t *testing.T) {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	var slept time.Duration
	b := &budget{now: func() time.Time { return now.Add(slept) }, sleep: func(d time.Duration) { slept += d }}
	for i := range runRequests {
		if err := b.spend(1); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if want := (runRequests - 1) * time.Second / runPerSecond; slept != want {
		t.Errorf("%d requests in %v, want %v", runRequests, slept, want)
	}
	if err := b.spend(1); err == nil || !strings.Contains(err.Error(), "no more than 10000 requests") {
		t.Errorf("one more request: %v", err)
	}
	slept = 0
	b = &budget{now: func() time.Time { return now.Add(slept) }, sleep: func(d time.Duration) { slept += d }}
	for i := range runBytes / runRate {
		if err := b.spend(runRate); err != nil {
			t.Fatalf("%d bytes: %v", i*runRate, err)
		}
	}
	if want := (runBytes/runRate - 1) * time.Second; slept != want {
		t.Errorf("%d bytes in %v, want %v", runBytes, slept, want)
	}
	if err := b.spend(1); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("one more byte: %v", err)
	}
}

// A request that the budget has no room for is not sent, and its drill is
// not-available.
func TestADrillWithoutBudgetIsNotAvailable(t *testing.T) {
	f := newFake(t, "")
	e, err := endpointOf(f.target(), "https://"+f.public)
	if err != nil {
		t.Fatal(err)
	}
	e.budget.requests = runRequests
	a := e.once(context.Background(), e.with(), request{method: "GET", path: "/"})
	if a.err == nil || a.refusal(401, "auth.no-certificate") != NotAvailable {
		t.Errorf("%+v", a)
	}
}

// The drills together stay far below what a run may cost, and every tenant and
// operator they touch is a canary.
func TestDrillsTouchCanariesOnly(t *testing.T) {
	target, _ := realIngest(t, evidence.ClockSystem, time.Now)
	customer(t, target)
	r, results, err := attackAll(context.Background(), target, nil)
	if err != nil || len(results) != len(all()) {
		t.Fatal(len(results), err)
	}
	b := r.public.budget
	t.Logf("%d requests, %d bytes", b.requests, b.bytes)
	if b.requests > 2000 || b.bytes > 32<<20 {
		t.Errorf("%d requests and %d bytes", b.requests, b.bytes)
	}
	r.measure(context.Background())
	entries, err := r.entries(context.Background(), controlLog)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.audit.Actor == nil || e.audit.Type == evidence.EntryAdminRefused {
			continue
		}
		named := []string{e.audit.Tenant}
		if strings.HasPrefix(e.audit.Type, "operator.") {
			named = append(named, e.audit.Target)
		}
		for _, name := range named {
			if name != "" && !strings.HasPrefix(name, evidence.CanaryPrefix) {
				t.Errorf("entry %d, %s, is about %s", e.index, e.audit.Type, name)
			}
		}
	}
	logs, err := r.names(context.Background())
	if err != nil || !slices.Equal(logs, []string{TenantA, TenantB, controlLog, "customer"}) {
		t.Errorf("logs %v, %v", logs, err)
	}
	// What is told of the customer holds nothing of the canaries.
	for path, want := range map[string]string{"/v1/admin/books?tenant=customer": "customer", "/v1/status/customer": "customer", "/v1/admin/devices?tenant=customer": "customer"} {
		var reply json.RawMessage
		if err := r.either(context.Background(), "GET", path, nil, &reply); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(reply), evidence.CanaryPrefix) || !strings.Contains(string(reply), want) {
			t.Errorf("%s: %s", path, reply)
		}
	}
	var books struct {
		Books []evidence.Books `json:"books"`
	}
	if err := r.either(context.Background(), "GET", "/v1/admin/books", nil, &books); err != nil {
		t.Fatal(err)
	}
	for _, b := range books.Books {
		if b.Tenant == "customer" && b.Received != 1 {
			t.Errorf("the customer's books are %+v", b)
		}
	}
}

// names are the logs of the ingest.
func (r *run) names(ctx context.Context) ([]string, error) {
	var list struct {
		Logs []struct {
			Name string `json:"name"`
		} `json:"logs"`
	}
	err := r.either(ctx, "GET", "/v1/admin/logs", nil, &list)
	var names []string
	for _, l := range list.Logs {
		names = append(names, l.Name)
	}
	slices.Sort(names)
	return names, err
}

// customer is somebody beside whom the drills run.
func customer(t *testing.T, target Target) {
	t.Helper()
	r, err := newRun(target)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := r.either(ctx, "POST", "/v1/admin/tenants", evidence.Tenant{ID: "customer"}, nil); err != nil {
		t.Fatal(err)
	}
	r.tenants["customer"] = true
	if _, err := r.canary(ctx, "customer", "meter"); err != nil {
		t.Fatal(err)
	}
}

// What a run left behind that was cut off is cleared away by the next, and not
// before that run must have ended.
func TestLeftoversOfAnEarlierRun(t *testing.T) {
	target, _ := realIngest(t, evidence.ClockSystem, time.Now)
	ctx := context.Background()
	cutOff := func(ago time.Duration) *run {
		t.Helper()
		r, err := newRun(target)
		if err != nil {
			t.Fatal(err)
		}
		r.id = time.Now().Add(-ago).UTC().Format(runForm) + "-abcdef"
		if _, err := r.canary(ctx, TenantA, "main"); err != nil {
			t.Fatal(err)
		}
		if err := r.tenant(ctx, TenantB); err != nil {
			t.Fatal(err)
		}
		if err := r.request(ctx, target.Requester, &canary{tenant: TenantB, device: r.id + "-asked"}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.operator(ctx, "climbing", "auditor"); err != nil {
			t.Fatal(err)
		}
		return r
	}
	old, young := cutOff(time.Hour), cutOff(time.Minute)
	if _, err := Run(ctx, target, []string{"TR-01.tls-1.0"}); err != nil {
		t.Fatal(err)
	}
	for r, want := range map[*run]bool{old: false, young: true} {
		var devices struct {
			Devices []struct {
				ID    string               `json:"id"`
				State evidence.DeviceState `json:"state"`
			} `json:"devices"`
		}
		var operators struct {
			Operators []evidence.Operator `json:"operators"`
		}
		if err := r.either(ctx, "GET", "/v1/admin/devices", nil, &devices); err != nil {
			t.Fatal(err)
		}
		if err := r.either(ctx, "GET", "/v1/admin/operators", nil, &operators); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, d := range devices.Devices {
			if strings.HasPrefix(d.ID, r.id) {
				if n++; (d.State != evidence.DeviceRevoked) != want {
					t.Errorf("%s is %s", d.ID, d.State)
				}
			}
		}
		if n != 2 {
			t.Errorf("%d devices of run %s", n, r.id)
		}
		there := slices.ContainsFunc(operators.Operators, func(o evidence.Operator) bool { return strings.Contains(o.Name, r.id) })
		if there != want {
			t.Errorf("the operator of run %s is there: %v", r.id, there)
		}
	}
}
