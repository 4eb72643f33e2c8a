package ingest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"trustpack/evidence"
)

// A snapshot of the state is a sequence of parts, each its length (uvarint),
// its kind and what the codec of that kind wrote. The first names the version
// and the replay window with which the state was folded, the last the number
// of tenants and devices, so that none can be missing. In between they come in
// any order: what changes while a snapshot is written is written before it
// changes. A device has two parts, under its number.
const stateVersion = 13

const (
	partBegin byte = iota + 1
	partGeneral
	partTenant
	partOperator
	partRegistry
	partTraffic
	partAlert
	partExport
	partPurge
	partEnd
)

// general is what a snapshot says of the state as a whole.
type general struct {
	config    evidence.ConfigApplied
	versions  []ConfigVersion
	refusals  map[Code]int64
	drills    int64
	drillRuns drillRuns
	grants    map[string]*GrantRecord
	breaks    map[string]*BreakGlass
	roles     map[string]*RoleChange
}

func (c *codec) general(g *general) {
	c.config(&g.config)
	listOf(c, &g.versions, (*codec).version)
	tableOf(c, &g.refusals, func(c *codec, k *Code) { c.text((*string)(k)) }, (*codec).int64)
	c.int64(&g.drills)
	c.drillRuns(&g.drillRuns)
	tableOf(c, &g.grants, (*codec).text, func(c *codec, v **GrantRecord) { optional(c, v, (*codec).grant) })
	tableOf(c, &g.breaks, (*codec).text, func(c *codec, v **BreakGlass) { optional(c, v, (*codec).breakGlass) })
	tableOf(c, &g.roles, (*codec).text, func(c *codec, v **RoleChange) { optional(c, v, (*codec).roleChange) })
}

// capture is the state at one moment, on its way into a snapshot. At that
// moment nothing changes, and all that is done is to note what there is; what
// can change is then written bit by bit, and what is about to change before
// its turn is written at once, by who changes it. So nobody waits for long,
// and the snapshot holds what was true at the moment.
type capture struct {
	st    *state
	round uint32

	general   general
	tenants   []*tenant
	operators []*operator
	devices   []*device
	alerts    []*AlertRecord
	exports   []*ExportRecord
	purges    []*PurgeRecord

	mu  sync.Mutex // guards what follows; nothing is locked while it is held
	c   codec
	buf []byte // parts, not yet written
}

// capture notes what there is. The caller sees to it that nothing changes
// meanwhile, and calls write or drop.
func (st *state) capture() *capture {
	st.mu.RLock()
	defer st.mu.RUnlock()
	st.round++
	k := &capture{
		st: st, round: st.round, general: general{st.config, st.versions, maps.Clone(st.refusals), st.drills, st.drillRuns, maps.Clone(st.grants), maps.Clone(st.breaks), maps.Clone(st.roleChanges)}, devices: st.order,
		tenants: slices.Collect(maps.Values(st.tenants)), operators: slices.Collect(maps.Values(st.operators)),
		alerts: slices.Collect(maps.Values(st.alerts)), exports: slices.Collect(maps.Values(st.exports)),
		purges: slices.Collect(maps.Values(st.purges)),
	}
	version, window := uint64(stateVersion), st.window
	k.part(partBegin, func(c *codec) { c.uint(&version); c.int64(&window) })
	st.capturing.Store(k)
	return k
}

// drop gives the capture up, or ends it.
func (k *capture) drop() { k.st.capturing.Store(nil) }

func (k *capture) part(kind byte, describe func(*codec)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.c.b = k.c.b[:0]
	describe(&k.c)
	k.buf = binary.AppendUvarint(k.buf, uint64(len(k.c.b)))
	k.buf = append(append(k.buf, kind), k.c.b...)
}

// tenant, registry and traffic write what may change. Who calls them holds
// what guards it, for writing where it changes it next.

func (k *capture) tenant(t *tenant) {
	if t.round != k.round {
		t.round = k.round
		k.part(partTenant, func(c *codec) { c.tenant(t) })
	}
}

func (k *capture) registry(d *device) {
	if d.registryRound != k.round {
		d.registryRound = k.round
		k.part(partRegistry, func(c *codec) { c.uint32(&d.number); c.registry(d) })
	}
}

func (k *capture) traffic(d *device) {
	if d.trafficRound != k.round {
		d.trafficRound = k.round
		k.part(partTraffic, func(c *codec) { c.uint32(&d.number); c.traffic(d) })
	}
}

// captureBytes is how much is gathered before it is written.
const captureBytes = 256 << 10

// write writes the whole snapshot to w and ends the capture.
func (k *capture) write(w io.Writer) error {
	defer k.drop()
	k.part(partGeneral, func(c *codec) { c.general(&k.general) })
	for _, o := range k.operators {
		k.part(partOperator, func(c *codec) { c.operator(o) })
	}
	for _, a := range k.alerts {
		k.part(partAlert, func(c *codec) { c.alert(a) })
		if err := k.flush(w, captureBytes); err != nil {
			return err
		}
	}
	for _, x := range k.exports {
		k.part(partExport, func(c *codec) { c.export(x) })
	}
	for _, x := range k.purges {
		k.part(partPurge, func(c *codec) { c.purge(x) })
	}
	for _, t := range k.tenants {
		t.mu.Lock()
		k.tenant(t)
		t.mu.Unlock()
		if err := k.flush(w, captureBytes); err != nil {
			return err
		}
	}
	for _, d := range k.devices {
		k.st.mu.RLock()
		k.registry(d)
		k.st.mu.RUnlock()
		d.mu.Lock()
		k.traffic(d)
		d.mu.Unlock()
		if err := k.flush(w, captureBytes); err != nil {
			return err
		}
	}
	tenants, devices := uint64(len(k.tenants)), uint64(len(k.devices))
	k.part(partEnd, func(c *codec) { c.uint(&tenants); c.uint(&devices) })
	return k.flush(w, 0)
}

// flush writes what was gathered where that is more than atLeast.
func (k *capture) flush(w io.Writer, atLeast int) error {
	k.mu.Lock()
	b := k.buf
	if len(b) <= atLeast {
		k.mu.Unlock()
		return nil
	}
	k.buf = nil
	k.mu.Unlock()
	_, err := w.Write(b)
	return err
}

// restoring is a state that is read from a snapshot.
type restoring struct {
	st      *state
	devices map[uint32]*device
	parts   map[byte]uint64 // how many there were of each kind
	end     bool
}

// readState reads a snapshot that was folded with that replay window.
func readState(in io.Reader, window int64) (*state, error) {
	r := &restoring{st: newState(window), devices: map[uint32]*device{}, parts: map[byte]uint64{}}
	from := bufio.NewReaderSize(in, captureBytes)
	c := codec{reading: true}
	var part []byte
	for !r.end {
		n, err := binary.ReadUvarint(from)
		if err != nil {
			return nil, unexpected(err)
		}
		if n > maxPart {
			return nil, fmt.Errorf("a part of %d bytes: %w", n, errCodec)
		}
		if part, err = readPart(from, part[:0], int(n)+1); err != nil {
			return nil, unexpected(err)
		}
		c.b = part[1:]
		if r.part(&c, part[0]); c.err == nil && len(c.b) > 0 {
			c.fail()
		}
		if c.err != nil {
			return nil, fmt.Errorf("part of kind %d: %w", part[0], c.err)
		}
	}
	if _, err := from.ReadByte(); err != io.EOF { // the end is good when the reader has said so
		if err == nil {
			err = errCodec
		}
		return nil, err
	}
	return r.st, r.whole()
}

// maxPart bounds one part; the longest are tenants with millions of dead letters.
const maxPart = 1 << 30

// readPart appends the next n bytes to b, taking no more memory than there are.
func readPart(from io.Reader, b []byte, n int) ([]byte, error) {
	for n > 0 {
		piece := min(n, captureBytes)
		b = slices.Grow(b, piece)
		if _, err := io.ReadFull(from, b[len(b):len(b)+piece]); err != nil {
			return nil, err
		}
		b, n = b[:len(b)+piece], n-piece
	}
	return b, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// part takes one part in.
func (r *restoring) part(c *codec, kind byte) {
	st := r.st
	if (kind == partBegin) != (len(r.parts) == 0) {
		c.fail()
		return
	}
	r.parts[kind]++
	switch kind {
	case partBegin:
		r.begin(c)
	case partGeneral:
		var g general
		c.general(&g)
		st.config, st.versions, st.refusals, st.drills, st.drillRuns = g.config, g.versions, g.refusals, g.drills, g.drillRuns
		st.grants, st.breaks, st.roleChanges = g.grants, g.breaks, g.roles
	case partTenant:
		t := &tenant{st: st}
		c.tenant(t)
		st.tenants[t.ID] = t
	case partOperator:
		o := &operator{}
		c.operator(o)
		st.enterOperator(o)
	case partRegistry:
		c.registry(r.device(c))
	case partTraffic:
		c.traffic(r.device(c))
	case partAlert:
		a := &AlertRecord{}
		c.alert(a)
		st.alerts[a.ID] = a
	case partExport:
		x := &ExportRecord{}
		c.export(x)
		st.exports[x.ID] = x
	case partPurge:
		x := &PurgeRecord{}
		c.purge(x)
		st.purges[x.ID] = x
	case partEnd:
		r.finish(c)
	default:
		c.fail()
	}
}

func (r *restoring) begin(c *codec) {
	var version uint64
	var window int64
	if c.uint(&version); c.err == nil && version != stateVersion {
		c.err = fmt.Errorf("it is of version %d, which this program does not read", version)
		return
	}
	if c.int64(&window); c.err == nil && window != r.st.window {
		c.err = fmt.Errorf("it was folded with replay.window %d, which now is %d", window, r.st.window)
	}
}

// device is the one under the number that comes next.
func (r *restoring) device(c *codec) *device {
	var n uint32
	c.uint32(&n)
	d := r.devices[n]
	if d == nil {
		d = &device{st: r.st, number: n}
		r.devices[n] = d
	}
	return d
}

// finish reads how much there must have been.
func (r *restoring) finish(c *codec) {
	var tenants, devices uint64
	c.uint(&tenants)
	c.uint(&devices)
	if tenants != r.parts[partTenant] || devices != r.parts[partRegistry] || devices != r.parts[partTraffic] || r.parts[partGeneral] != 1 {
		c.fail()
	}
	r.end = true
}

// whole enters the devices in the order of their numbers.
func (r *restoring) whole() error {
	st := r.st
	for n := range uint32(r.parts[partRegistry]) {
		d := r.devices[n]
		if d == nil || d.key.id == "" || st.devices[d.key] != nil || st.tenants[d.key.tenant] == nil {
			return fmt.Errorf("device %d: %w", n, errCodec)
		}
		st.order = append(st.order, d)
		st.devices[d.key], st.latest[d.key.deviceName] = d, d
		for _, c := range d.record.Credentials {
			st.enterCredential(d, c)
		}
	}
	return nil
}
