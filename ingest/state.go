package ingest

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"trustpack/evidence"
)

// controlLog is the log of everything that is no telemetry.
const controlLog = "control"

// state is what the ingest knows. It is the fold of the logs and of nothing
// else: it changes only through apply (control entries, see fold.go) and
// the methods of devices and tenants (entries of a tenant's log), both after the entries are
// durable.
type state struct {
	mu          sync.RWMutex // guards the maps and all registry fields
	tenants     map[string]*tenant
	operators   map[string]*operator // by name
	operatorFor map[string]*operator // by fingerprint of each credential
	devices     map[deviceKey]*device
	latest      map[deviceName]*device // highest generation
	deviceFor   map[string]*device     // by fingerprint
	keyFor      map[string]*device     // by Credential.Key
	alerts      map[string]*AlertRecord
	config      evidence.ConfigApplied
	versions    []ConfigVersion // all, oldest first
	exports     map[string]*ExportRecord
	purges      map[string]*PurgeRecord
	roleChanges map[string]*RoleChange
	grants      map[string]*GrantRecord
	breaks      map[string]*BreakGlass
	refusals    map[Code]int64
	drills      int64
	drillRuns   drillRuns
	credentials uint64            // how often a device's credentials or state changed, or an alert was resolved
	window      int64             // of replay windows
	withdrawals atomic.Int64      // entries after which the list of revoked certificates is another one
	order       []*device         // in the order in which they were requested: by number
	names       map[string]string // what many devices share, kept once; guarded by mu
	sorted      sortedDevices

	capturing atomic.Pointer[capture] // the one under way
	round     uint32                  // of the last one; changes while nothing else does
}

type deviceName struct{ tenant, id string }

type deviceKey struct {
	deviceName
	generation int
}

func (k deviceKey) compare(o deviceKey) int {
	return cmp.Or(cmp.Compare(k.tenant, o.tenant), cmp.Compare(k.id, o.id), cmp.Compare(k.generation, o.generation))
}

// tenant is a customer, and the books of its days.
type tenant struct {
	st *state
	evidence.Tenant
	rate   gcra
	pacing pacing

	// gate is held for reading from when a request is stamped with its time of
	// receipt until it is entered in the books, and for writing when a day is
	// closed, so that nothing is entered in a day that was closed.
	gate sync.RWMutex

	mu     sync.Mutex // guards what follows
	books  map[string]*evidence.Books
	closed map[string]bool

	lastBooks *evidence.Books // those in which was entered last, of the day lastDay since 1970
	lastDay   int64

	dead  []int64        // indexes of dead letters
	fates map[int64]fate // of those that are no longer open

	reserved int // dead letters on their way into the log

	counters [4]atomic.Pointer[prometheus.Counter] // see metrics.lines

	round uint32 // of the last capture that holds it as it is, or does not need it
}

func newState(window int64) *state {
	return &state{
		tenants: map[string]*tenant{}, operators: map[string]*operator{}, operatorFor: map[string]*operator{},
		devices: map[deviceKey]*device{}, latest: map[deviceName]*device{}, deviceFor: map[string]*device{}, keyFor: map[string]*device{},
		roleChanges: map[string]*RoleChange{}, grants: map[string]*GrantRecord{}, breaks: map[string]*BreakGlass{},
		exports: map[string]*ExportRecord{}, purges: map[string]*PurgeRecord{},
		alerts: map[string]*AlertRecord{}, refusals: map[Code]int64{}, names: map[string]string{}, window: window,
	}
}

// name gives the one copy of a text that many devices share. The caller holds
// st.mu for writing, or is alone.
func (st *state) name(text string) string {
	known, ok := st.names[text]
	if !ok {
		known = text
		st.names[text] = known
	}
	return known
}

// byFingerprint finds the device or operator that a certificate belongs to.
func (st *state) byFingerprint(fp string) (*device, *operator) {
	st.mu.RLock()
	defer st.mu.RUnlock()
	return st.deviceFor[fp], st.operatorFor[fp]
}

// operator finds an operator, also one that was removed.
func (st *state) operator(name string) *operator {
	st.mu.RLock()
	defer st.mu.RUnlock()
	return st.operators[name]
}

func (st *state) tenant(id string) *tenant {
	st.mu.RLock()
	defer st.mu.RUnlock()
	return st.tenants[id]
}

// device finds the latest generation of a device.
func (st *state) device(tenant, id string) *device {
	st.mu.RLock()
	defer st.mu.RUnlock()
	return st.latest[deviceName{tenant, id}]
}

// sortedTenants lists the tenants by ID.
func (st *state) sortedTenants() []*tenant {
	st.mu.RLock()
	defer st.mu.RUnlock()
	out := make([]*tenant, 0, len(st.tenants))
	for _, id := range slices.Sorted(maps.Keys(st.tenants)) {
		out = append(out, st.tenants[id])
	}
	return out
}

// someDevices lists the generations for which keep holds, sorted. keep runs
// with st.mu held for reading.
func (st *state) someDevices(keep func(*device) bool) []*device {
	st.mu.RLock()
	out := []*device{}
	for _, d := range st.devices {
		if keep(d) {
			out = append(out, d)
		}
	}
	st.mu.RUnlock()
	slices.SortFunc(out, func(a, b *device) int { return a.key.compare(b.key) })
	return out
}
