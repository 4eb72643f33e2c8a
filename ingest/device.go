package ingest

import (
	"slices"
	"strings"
	"sync"
	"time"

	"trustpack/evidence"
)

// device is one generation of a device. Lock order: Server.decide, flow,
// tenant.gate, state.mu, device.mu.
type device struct {
	st     *state
	key    deviceKey
	number uint32 // its place in state.order
	rate   gcra

	flow  flow
	watch *watch // guarded by flow; nil until the first batch

	// Registry fields: written with both state.mu and flow held, so that
	// either is enough to read them.
	record    evidence.Device // Firmware stays empty here
	requested provisionStep
	approvals []Approval
	rotation  []Approval // of an ordered rotation that wants more of them
	codeHash  string     // of the one-time code; empty when none can be used
	codeUntil time.Time
	issued    time.Time
	activated time.Time
	decision  *Decision
	released  evidence.DeviceState // state to return to after a quarantine
	letIn     time.Time            // when it was last released from one
	seenFrom  []contact
	life      life

	// registryRound is the last capture that holds these fields as they are, or
	// does not need them; trafficRound is the same of those below.
	registryRound uint32

	mu           sync.Mutex // guards what follows; never held while waiting for the disk
	windows      map[int64]*window
	lastSeen     time.Time // received time of the last entry of any kind
	lastAccepted time.Time // received time of the last accepted event
	lastEvent    time.Time // newest device time among accepted events
	accepted     int64
	firmware     string
	trafficRound uint32
}

// contact is the source addresses from which a credential was seen.
type contact struct {
	fingerprint string
	sources     []string
}

// sources are those of the credential.
func (d *device) sources(fingerprint string) []string {
	for i := range d.seenFrom {
		if d.seenFrom[i].fingerprint == fingerprint {
			return d.seenFrom[i].sources
		}
	}
	return nil
}

// addSource notes one more. Nearly all devices have one credential, which says
// its fingerprint already.
func (d *device) addSource(fingerprint, source string) {
	for i := range d.seenFrom {
		if c := &d.seenFrom[i]; c.fingerprint == fingerprint {
			if !slices.Contains(c.sources, source) {
				c.sources = append(c.sources, source)
			}
			return
		}
	}
	for _, c := range d.record.Credentials {
		if c.Fingerprint == fingerprint {
			fingerprint = c.Fingerprint
		}
	}
	d.seenFrom = append(d.seenFrom, contact{fingerprint, []string{source}})
}

// beforeTraffic lets a capture under way have what is about to change. The
// caller holds d.mu, or is alone.
func (d *device) beforeTraffic() {
	if k := d.st.capturing.Load(); k != nil {
		k.traffic(d)
	}
}

type provisionStep struct {
	actor  string
	at     time.Time
	reason string
}

// Approval is one operator's consent to a device.
type Approval struct {
	Actor string    `json:"actor"`
	Role  string    `json:"role"`
	Time  time.Time `json:"time"`
}

// Decision is one to shut a device out, in force.
type Decision struct {
	Action    string    `json:"action"` // "quarantine", "revoke", "retire" or "transfer"
	Actor     string    `json:"actor"`
	Reason    string    `json:"reason"`
	Ticket    string    `json:"ticket,omitempty"`
	DecidedAt time.Time `json:"decided_at"`
	Index     int64     `json:"index"` // in the control log
}

// applyEvent notes an accepted event and gives the gaps that it closed, each
// with its boot. The caller holds d.mu, or is alone.
func (d *device) applyEvent(boot, seq, index, window int64, received, at time.Time, fw string) []bootGap {
	d.beforeTraffic()
	out := d.applyNumber(boot, seq, index, window, received)
	d.applySeen(received)
	if received.After(d.lastAccepted) {
		d.lastAccepted = received
	}
	d.applyContent(at)
	if fw != "" && fw != d.firmware {
		d.firmware = strings.Clone(fw) // it may be a part of a whole request
	}
	return out
}

// applyReplay notes an accepted event that was a dead letter: it says nothing
// of whether the device lives now, nor of its firmware.
func (d *device) applyReplay(boot, seq, index, window int64, received, at time.Time) []bootGap {
	d.beforeTraffic()
	out := d.applyNumber(boot, seq, index, window, received)
	d.applyContent(at)
	return out
}

func (d *device) applyNumber(boot, seq, index, window int64, received time.Time) []bootGap {
	w, left, gone := d.window(boot)
	var out []bootGap
	for _, g := range gone {
		out = append(out, bootGap{left, g})
	}
	for _, g := range w.accept(seq, index, window, received) {
		out = append(out, bootGap{boot, g})
	}
	return out
}

func (d *device) applyContent(at time.Time) {
	if at.After(d.lastEvent) {
		d.lastEvent = at
	}
	d.accepted++
}

type bootGap struct {
	boot int64
	gap
}

// applyDeadLetter remembers the number of a dead letter, so that the same
// line sent again is known for a duplicate.
func (d *device) applyDeadLetter(boot, seq, index, window int64) {
	d.beforeTraffic()
	d.stray(boot).mark(seq, index, window)
	if d.windows[boot].high >= 0 {
		return
	}
	if lowest, n := d.lowestBoot(false, boot); n >= maxStrays {
		delete(d.windows, lowest)
	}
}

func (d *device) applySeen(received time.Time) {
	if received.After(d.lastSeen) {
		d.beforeTraffic()
		d.lastSeen = received
	}
}

// maxBoots is how many boots of one device have a window. Boots count
// upwards; one below all those kept is stale as a whole.
const maxBoots = 16

// maxStrays is how many boots are kept of which nothing but dead letters came.
// They are no windows yet: what a device says in a line that is not taken must
// not make its other boots stale.
const maxStrays = 8

// lowestBoot gives the lowest boot and the number of those from which events
// were accepted, or of those of which only dead letters came; but is left out.
func (d *device) lowestBoot(accepted bool, but int64) (lowest int64, n int) {
	for boot, w := range d.windows {
		if boot == but || (w.high >= 0) != accepted {
			continue
		}
		if n++; n == 1 || boot < lowest {
			lowest = boot
		}
	}
	return lowest, n
}

// staleBoot reports whether boot lies below all boots that are kept. The
// caller holds d.flow or d.mu.
func (d *device) staleBoot(boot int64) bool {
	if w := d.windows[boot]; len(d.windows) < maxBoots || w != nil && w.high >= 0 {
		return false
	}
	lowest, n := d.lowestBoot(true, boot)
	return n >= maxBoots && boot < lowest
}

// window gives the window of boot, from which an event is about to be
// accepted, new where there is none, and, where a window had to make room,
// that one's boot and open gaps.
func (d *device) window(boot int64) (w *window, leaves int64, gaps []gap) {
	if w = d.windows[boot]; w != nil && w.high >= 0 {
		return w, 0, nil
	}
	w = d.stray(boot)
	if lowest, n := d.lowestBoot(true, boot); n >= maxBoots {
		leaves = min(lowest, boot)
		gaps = d.windows[leaves].slide(d.windows[leaves].high + 1)
		delete(d.windows, leaves)
	}
	return w, leaves, gaps
}

// stray gives what is kept of boot, new where there is nothing.
func (d *device) stray(boot int64) *window {
	if d.windows == nil {
		d.windows = map[int64]*window{}
	}
	if d.windows[boot] == nil {
		d.windows[boot] = newWindow()
	}
	return d.windows[boot]
}
