package ingest

import (
	"net/netip"
	"time"
)

// SharingPolicy is when one credential counts as being in more than one pair of
// hands.
//
// Places. Where a credential speaks from one source address, then from another,
// and each comes back after the other spoke, three times in a row, that is no
// device on the move, if either the connections were open together and kept
// their addresses (a device that moves loses its old connection, and makes a new
// one where it is), or each return came sooner than Within, in which no device is
// back where it was. A device that changes its address, be it often, raises
// nothing; nor does one that comes home, unless it flaps between two networks
// faster than Within. An IPv6 address counts by its first 64 bits, since hosts
// change the others by themselves (RFC 8981). A device has as many connections
// from one address as it may, and devices and gateways that share one address
// behind a NAT have credentials of their own: nothing is compared between two
// credentials.
//
// Counters. Numbers rise with time within a boot, and boots rise too. So a batch
// with lower numbers than came before is late, and its device times lie before:
// parallel connections and backlogs look like that. One that has lower numbers
// and a later device time than anything accepted before comes from another
// counter. Where that happens three times, never more than a day apart and each
// time after the higher counter went on, and the lower one rises by itself, two
// counters take turns.
//
// Successors. Where a credential asks to be renewed though the one that took its
// place is in use, that is a finding too (see Server.renew), whatever is turned
// off here.
//
// Not seen by this are copies that are used one after the other and never by
// turns; two behind one address whose clocks differ by more than the time between
// their batches, or that send the very same numbers, which is a replay conflict
// and has an alert of its own; and what came before the last start, since where
// a batch came from is not in the log. A device that uses two uplinks at once,
// or one behind a NAT that gives each of its connections another address, looks
// like two places, and so does every device behind a proxy with several
// addresses: turn Places off there.
type SharingPolicy struct {
	Places   bool          `yaml:"places" json:"places"`
	Counters bool          `yaml:"counters" json:"counters"`
	Within   time.Duration `yaml:"within"`
}

// DefaultSharing looks for both.
func DefaultSharing() SharingPolicy {
	return SharingPolicy{Places: true, Counters: true, Within: time.Minute}
}

const (
	sharedTurns    = 3   // returns in a row that a finding takes
	keptStays      = 6   // of a credential, before the present one
	countersWithin = day // from one batch of the lower counter to the next
)

// watch is what is remembered of a device's last batches, to see whether its
// credentials are shared. The device's flow guards it. It is passing, like a
// rate: what is found is in the log, what was not yet found begins anew with
// the process.
type watch struct {
	places   []credentialPlace // one for each credential that was used
	counters counters
}

// stay is one or more batches in a row from one place, or of one counter.
type stay struct {
	place, source   string
	from, until     int64 // receipt of the first and last batch, nanoseconds since 1970
	first, last     int64 // entries in the tenant's log
	boot, low, high int64 // numbers; of the last boot
}

// credentialPlace is from where a credential spoke.
type credentialPlace struct {
	print       string
	number      uint64 // of the connection that spoke last
	youngest    uint64 // the last connection that there was when the present stay began
	open, quick int    // returns in a row: on connections that were there before, within the policy's time
	now         stay
	before      []stay // newest last
}

// counters are the two that may take turns.
type counters struct {
	seen       bool
	boot, high int64  // the highest number of all
	above      bool   // it went on since the last batch of the lower one
	upper      stay   // the last batch of the higher one
	lower      stay   // the last batch of the lower one
	turns      int    // how often that came after the higher one went on
	found      []stay // what shows them
}

// finding is what says that a credential is shared.
type finding struct {
	print string
	since time.Time
	how   string
	stays []stay
}

func found(print, how string, stays []stay) *finding {
	return &finding{print, time.Unix(0, stays[0].from).UTC(), how, stays}
}

// observe looks at a batch that is durable, before it is noted; first is its
// first entry. The caller holds the flow.
func (d *device) observe(b *batch, first int64) *finding {
	if b.sess == nil || !b.set.Sharing.Places && !b.set.Sharing.Counters {
		return nil
	}
	w := d.watch
	if w == nil {
		w = &watch{}
		d.watch = w
	}
	at := b.from.received.UnixNano()
	s := stay{b.sess.whence, b.sess.source, at, at, first, first + int64(len(b.ends)) - 1, b.claim.boot, b.claim.low, b.claim.high}
	var f *finding
	if b.set.Sharing.Places {
		f = w.place(b, s)
	}
	if b.set.Sharing.Counters && b.claim.simple && b.n.accepted == b.n.received {
		if g := w.counters.next(d, b, s); f == nil {
			f = g
		}
	}
	return f
}

// place notes from where the batch came.
func (w *watch) place(b *batch, s stay) *finding {
	var p *credentialPlace
	for i := range w.places {
		if w.places[i].print == b.print {
			p = &w.places[i]
		}
	}
	switch {
	case p == nil:
		if len(w.places) >= keptCredentials {
			w.places = append(w.places[:0], w.places[1:]...)
		}
		w.places = append(w.places, credentialPlace{print: b.print, number: b.sess.number, youngest: b.s.sessions.serial.Load(), now: s})
		return nil
	case p.number == b.sess.number || p.now.place == s.place:
		p.number = b.sess.number
		p.now.extend(s)
		return nil
	}
	return p.move(b, s)
}

// extend makes the stay last to the next batch.
func (s *stay) extend(next stay) {
	s.until, s.last = next.until, next.last
	if next.boot != s.boot {
		s.boot, s.low, s.high = next.boot, next.low, next.high
	}
	s.low, s.high = min(s.low, next.low), max(s.high, next.high)
}

// move notes that the credential speaks from another place than before.
func (p *credentialPlace) move(b *batch, s stay) *finding {
	left := int64(-1) // when it spoke last from where it speaks now
	for i := range p.before {
		if p.before[i].place == s.place {
			left = p.before[i].until
		}
	}
	again := func(n int, ok bool) int {
		if left >= 0 && ok {
			return n + 1
		}
		return 0
	}
	p.open = again(p.open, b.sess.number <= p.youngest)
	p.quick = again(p.quick, s.from-left < int64(b.set.Sharing.Within))
	if len(p.before) == keptStays {
		p.before = append(p.before[:0], p.before[1:]...)
	}
	p.before = append(p.before, p.now)
	p.now, p.number, p.youngest = s, b.sess.number, b.s.sessions.serial.Load()
	how := ""
	switch {
	case p.open >= sharedTurns:
		how = "it speaks by turns from places whose connections are open together"
	case p.quick >= sharedTurns:
		how = "it is back sooner than " + b.set.Sharing.Within.String() + " at a place that it left, time after time"
	default:
		return nil
	}
	p.open, p.quick = 0, 0
	n := min(len(p.before), sharedTurns+1)
	return found(p.print, how, append(append([]stay(nil), p.before[len(p.before)-n:]...), p.now))
}

// next notes the numbers of a batch, all of which were accepted.
func (c *counters) next(d *device, b *batch, s stay) *finding {
	switch {
	case !c.seen || s.boot > c.boot || s.boot == c.boot && s.low > c.high:
		c.seen, c.above, c.boot, c.high, c.upper = true, true, s.boot, s.high, s
		return nil
	case s.boot == c.boot && s.high > c.high: // it reaches around the other's
		c.high = s.high
		return nil
	case !b.events[len(b.events)-1].at.After(d.lastEvent):
		return nil // late, as its time says too
	}
	goesOn := c.turns > 0 && (s.boot > c.lower.boot || s.boot == c.lower.boot && s.low > c.lower.high) && s.from-c.lower.until < int64(countersWithin)
	if !goesOn {
		c.turns, c.found = 0, nil
	}
	above := c.above
	c.lower, c.above = s, false
	if !above {
		return nil
	}
	c.turns++
	if c.found = append(c.found, c.upper, s); c.turns < sharedTurns {
		return nil
	}
	f := found(b.print, "two counters take turns, each of which goes on by itself", c.found)
	c.turns, c.found = 0, nil
	return f
}

// placeOf is what counts of a source address.
func placeOf(source string) string {
	a, err := netip.ParseAddr(source)
	if err != nil {
		return source
	}
	if a = a.Unmap(); a.Is4() {
		return a.String()
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return source
	}
	return p.String()
}
