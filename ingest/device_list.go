package ingest

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"trustpack/evidence"
)

// sortedDevices are all generations of all devices by tenant, ID and
// generation. There are only ever more; a list once given is not changed.
type sortedDevices struct {
	mu   sync.Mutex
	list []*device
}

// byName lists every generation, sorted.
func (st *state) byName() []*device {
	st.sorted.mu.Lock()
	defer st.sorted.mu.Unlock()
	st.mu.RLock()
	added := slices.Clone(st.order[len(st.sorted.list):])
	st.mu.RUnlock()
	if len(added) == 0 {
		return st.sorted.list
	}
	byKey := func(a, b *device) int { return a.key.compare(b.key) }
	slices.SortFunc(added, byKey)
	merged, old := make([]*device, 0, len(st.sorted.list)+len(added)), st.sorted.list
	for len(old) > 0 && len(added) > 0 {
		from := &old
		if byKey(added[0], old[0]) < 0 {
			from = &added
		}
		merged, *from = append(merged, (*from)[0]), (*from)[1:]
	}
	st.sorted.list = append(append(merged, old...), added...)
	return st.sorted.list
}

// maxPage is how many devices one page holds at most.
const maxPage = 1000

// DeviceQuery says which devices are wanted; what is empty does not matter.
type DeviceQuery struct {
	Tenant   string
	State    evidence.DeviceState
	Fleet    string
	Site     string
	Type     string
	Prefix   string // of the device's ID
	Batch    string // asked for together
	Transfer bool   // only those that wait for a transfer to be decided
	Limit    int    // of one page, up to 1000; 0 is all at once
	After    string // the place after which the page begins: what the one before gave as next
}

// values is the query of a URL.
func (q DeviceQuery) values() url.Values {
	v := url.Values{}
	for key, text := range map[string]string{
		"tenant": q.Tenant, "state": string(q.State), "fleet": q.Fleet, "site": q.Site, "type": q.Type, "prefix": q.Prefix, "batch": q.Batch, "after": q.After,
	} {
		if text != "" {
			v.Set(key, text)
		}
	}
	if q.Transfer {
		v.Set("transfer", "pending")
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v
}

func deviceStates() []evidence.DeviceState {
	return []evidence.DeviceState{
		evidence.DeviceRequested, evidence.DeviceApproved, evidence.DeviceIssued, evidence.DeviceActive, evidence.DeviceQuarantined,
		evidence.DeviceRevoked, evidence.DeviceRetired, evidence.DeviceDeclined, evidence.DeviceExpired,
	}
}

// readDeviceQuery reads what values makes.
func readDeviceQuery(v url.Values) (DeviceQuery, *Problem) {
	q := DeviceQuery{
		Tenant: v.Get("tenant"), State: evidence.DeviceState(v.Get("state")), Fleet: v.Get("fleet"), Site: v.Get("site"), Type: v.Get("type"),
		Prefix: v.Get("prefix"), Batch: v.Get("batch"), After: v.Get("after"),
	}
	if q.State != "" && !slices.Contains(deviceStates(), q.State) {
		return q, problem(CodeInvalid, "state: there is no state "+clip(string(q.State)))
	}
	switch v.Get("transfer") {
	case "":
	case "pending":
		q.Transfer = true
	default:
		return q, problem(CodeInvalid, "transfer: want pending, or leave it out")
	}
	if text := v.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			return q, problem(CodeInvalid, "limit: want 1 to "+strconv.Itoa(maxPage))
		}
		q.Limit = n
	}
	if _, ok := readPlace(q.After); !ok {
		return q, problem(CodeInvalid, "after: give what the page before gave as next")
	}
	return q, nil
}

// readPlace reads the place of a device in the list, as place gives it.
func readPlace(text string) (k deviceKey, ok bool) {
	if text == "" {
		return k, true
	}
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return k, false
	}
	n, err := strconv.Atoi(parts[2])
	return deviceKey{deviceName{parts[0], parts[1]}, n}, err == nil && n > 0
}

func (k deviceKey) place() string { return k.tenant + "/" + k.id + "/" + strconv.Itoa(k.generation) }

// findDevices gives a page of what q asks for, and the place of its last where
// there is more.
func (st *state) findDevices(q DeviceQuery) (found []*device, next string) {
	all := st.byName()
	from, _ := readPlace(q.After) // of a query that was read
	if begin := (deviceKey{deviceName{q.Tenant, q.Prefix}, 0}); q.Tenant != "" && begin.compare(from) > 0 {
		from = begin
	}
	at, exact := slices.BinarySearchFunc(all, from, func(d *device, k deviceKey) int { return d.key.compare(k) })
	if exact {
		at++ // it was the last of the page before; none has generation 0
	}
	st.mu.RLock()
	defer st.mu.RUnlock()
	for _, d := range all[at:] {
		if q.Tenant != "" && cmp.Or(cmp.Compare(d.key.tenant, q.Tenant), past(d.key.id, q.Prefix)) > 0 {
			break
		}
		if !q.holds(d) {
			continue
		}
		if q.Limit > 0 && len(found) == q.Limit {
			return found, found[len(found)-1].key.place()
		}
		found = append(found, d)
	}
	return found, ""
}

// past is above 0 where id and all that sort after it do not begin with prefix.
func past(id, prefix string) int {
	if strings.HasPrefix(id, prefix) {
		return 0
	}
	return cmp.Compare(id, prefix)
}

// holds reports whether d is one of those wanted. The caller holds st.mu.
func (q *DeviceQuery) holds(d *device) bool {
	r := &d.record
	return (q.Tenant == "" || d.key.tenant == q.Tenant) && strings.HasPrefix(d.key.id, q.Prefix) &&
		(q.State == "" || r.State == q.State) && (q.Fleet == "" || r.Fleet == q.Fleet) && (q.Site == "" || r.Site == q.Site) && (q.Type == "" || r.Type == q.Type) &&
		(q.Batch == "" || d.life.batch == q.Batch) && (!q.Transfer || d.life.transfer != nil)
}

// listDevices lists the devices that the query asks for: all at once, or,
// where it gives a limit, a page and the place at which the next begins.
func (s *Server) listDevices(a *adminCall) (any, *Problem) {
	q, p := readDeviceQuery(a.r.URL.Query())
	if p != nil {
		return nil, p
	}
	if q.Tenant, p = a.onlyTenant(q.Tenant); p != nil {
		return nil, p
	}
	found, next := s.st.findDevices(q)
	out := DevicePage{Devices: make([]DeviceRecord, 0, len(found)), Next: next}
	for _, d := range found {
		out.Devices = append(out.Devices, s.st.recordOf(d))
	}
	return out, nil
}

// DevicePage is a part of the list of devices.
type DevicePage struct {
	Devices []DeviceRecord `json:"devices"`
	Next    string         `json:"next,omitempty"` // where there is more: what the next query gives as After
}
