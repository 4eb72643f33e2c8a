package ingest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// speaker is one connection of a device.
type speaker struct {
	r *rig
	h *hot
}

func (r *rig) speaker(pair *tls.Certificate, source string) *speaker {
	sess := &session{
		s: r.s, listener: "public", source: source, whence: placeOf(source), number: r.s.sessions.serial.Add(1), fingerprint: fingerprintOf(pair.Certificate[0]),
		notBefore: r.clock.now().Add(-day), notAfter: r.clock.now().Add(900 * day),
	}
	return &speaker{r: r, h: &hot{s: r.s, port: r.s.port, sess: sess}}
}

func (p *speaker) send(lines ...string) {
	p.r.t.Helper()
	h := p.h
	h.in = []byte(hotPost(strings.Join(lines, "\n"), "Content-Type: application/x-ndjson"))
	if !parseHotHead(h.in, &h.head) {
		p.r.t.Fatalf("not taken: %s", h.in)
	}
	b := h.judge()
	if h.to.status != 202 {
		p.r.t.Fatalf("%d %s", h.to.status, h.to.body)
	}
	b.release()
}

// shared are the alerts of shared credentials that are open.
func (r *rig) shared() (out []AlertRecord) {
	for _, a := range r.s.listAlerts() {
		if a.Kind == AlertCredentialShared && a.ResolvedAt == nil {
			out = append(out, a)
		}
	}
	return out
}

func quiet(c *Config) { c.Heartbeat.DefaultInterval, c.Time.Past = 9000*day, 9000*day }

// TestOneCredentialInTwoPlaces: two connections that are open together take
// turns, however slowly. The third return raises the alert, with what shows it,
// and no further one until that is resolved.
func TestOneCredentialInTwoPlaces(t *testing.T) {
	r := newRig(t, quiet)
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	a, b := r.speaker(pair, "192.0.2.1"), r.speaker(pair, "198.51.100.7")
	n := 0
	say := func(p *speaker) {
		n++
		p.send(r.line(n, 1))
		r.clock.add(20 * time.Minute)
	}
	say(a)
	say(a)
	began := r.clock.now().Add(-40 * time.Minute)
	for i, p := range []*speaker{b, a, b} {
		if say(p); len(r.shared()) != 0 {
			t.Fatalf("raised after turn %d", i+1)
		}
	}
	say(a)
	got := r.shared()
	if len(got) != 1 {
		t.Fatalf("%d alerts after the third return", len(got))
	}
	x := got[0]
	if x.Tenant != "nord" || len(x.Devices) != 1 || x.Devices[0] != "nord/m-1" || !x.Since.Equal(began) {
		t.Errorf("%+v", x)
	}
	for _, want := range []string{
		fingerprintOf(pair.Certificate[0]), "open together", "from 192.0.2.1 entries nord/0 to 1 (boot 0, seq 1 to 2) at 2026-07-01T10:00:00Z to 2026-07-01T10:20:00Z",
		"from 198.51.100.7 entries nord/2 to 2 (boot 0, seq 3 to 3)", "from 192.0.2.1 entries nord/5 to 5 (boot 0, seq 6 to 6)",
	} {
		if !strings.Contains(x.Detail, want) {
			t.Errorf("%q is not in %s", want, x.Detail)
		}
	}
	for range 8 {
		say(b)
		say(a)
	}
	if len(r.shared()) != 1 {
		t.Errorf("%d alerts for one device", len(r.shared()))
	}
	r.sameAsFold()
	if err := r.admin("carla").ResolveAlert(t.Context(), x.ID, "the key was copied to a spare", ""); err != nil {
		t.Fatal(err)
	}
	if len(r.shared()) != 0 {
		t.Error("resolved, and open")
	}
	for range 4 {
		say(b)
		say(a)
	}
	if len(r.shared()) != 1 {
		t.Errorf("%d alerts after it went on", len(r.shared()))
	}
}

// TestOneCredentialThatIsBackTooSoon: each batch comes on a connection of its
// own, from two places by turns, each return sooner than the policy's time; at
// that time exactly it is a device that moves.
func TestOneCredentialThatIsBackTooSoon(t *testing.T) {
	for _, c := range []struct {
		back time.Duration
		want int
	}{{time.Minute - 1, 1}, {time.Minute, 0}} {
		r := newRig(t, quiet)
		r.tenant("nord")
		pair := r.enrol("nord", "m-1")
		for n := range 12 {
			r.speaker(pair, []string{"192.0.2.1", "198.51.100.7"}[n%2]).send(r.line(n, 1))
			r.clock.add([]time.Duration{c.back / 2, c.back - c.back/2}[n%2])
			if n < 4 && len(r.shared()) != 0 {
				t.Fatalf("raised after batch %d", n+1)
			}
		}
		got := r.shared()
		if len(got) != c.want || c.want == 1 && !strings.Contains(got[0].Detail, "sooner than 1m0s") {
			t.Errorf("back after %v: %+v", c.back, got)
		}
	}
}

// TestADeviceThatMovesRaisesNothing, in whichever way.
func TestADeviceThatMovesRaisesNothing(t *testing.T) {
	for what, path := range map[string][]struct {
		source string
		stays  time.Duration
		old    bool // on the first connection from there, not a new one
	}{
		"ever on":                    {{"192.0.2.1", time.Second, false}, {"192.0.2.2", time.Second, false}, {"192.0.2.3", time.Second, false}, {"192.0.2.4", time.Second, false}, {"192.0.2.5", time.Second, false}, {"192.0.2.6", time.Second, false}, {"192.0.2.7", time.Second, false}, {"192.0.2.8", time.Second, false}},
		"home and back, each day":    {{"192.0.2.1", 8 * time.Hour, false}, {"198.51.100.7", 9 * time.Hour, false}, {"192.0.2.1", 8 * time.Hour, false}, {"198.51.100.7", 9 * time.Hour, false}, {"192.0.2.1", 8 * time.Hour, false}, {"198.51.100.7", 9 * time.Hour, false}, {"192.0.2.1", 8 * time.Hour, false}},
		"what was under way":         {{"192.0.2.1", time.Hour, true}, {"198.51.100.7", time.Second, true}, {"192.0.2.1", time.Second, true}, {"198.51.100.7", time.Hour, true}, {"203.0.113.9", time.Hour, true}, {"203.0.113.9", time.Hour, true}},
		"other addresses of a host":  {{"2001:db8::1", time.Second, true}, {"2001:db8::2:3:4", time.Second, true}, {"2001:db8::1", time.Second, true}, {"2001:db8::2:3:4", time.Second, true}, {"2001:db8::1", time.Second, true}, {"2001:db8::9", time.Second, true}, {"2001:db8::1", time.Second, true}},
		"IPv4 in IPv6":               {{"192.0.2.1", time.Second, true}, {"::ffff:192.0.2.1", time.Second, true}, {"192.0.2.1", time.Second, true}, {"::ffff:192.0.2.1", time.Second, true}, {"192.0.2.1", time.Second, true}, {"::ffff:192.0.2.1", time.Second, true}, {"192.0.2.1", time.Second, true}},
		"flapping, and then settled": {{"192.0.2.1", 10 * time.Second, false}, {"198.51.100.7", 10 * time.Second, false}, {"192.0.2.1", 10 * time.Second, false}, {"198.51.100.7", 10 * time.Second, false}, {"203.0.113.9", 10 * time.Second, false}, {"192.0.2.1", 10 * time.Second, false}, {"203.0.113.9", 10 * time.Minute, false}, {"192.0.2.1", 10 * time.Second, false}, {"203.0.113.9", 10 * time.Second, false}},
	} {
		r := newRig(t, quiet)
		r.tenant("nord")
		pair := r.enrol("nord", "m-1")
		first := map[string]*speaker{}
		for n, step := range path {
			p := first[step.source]
			if p == nil || !step.old {
				p = r.speaker(pair, step.source)
				first[step.source] = p
			}
			p.send(r.line(n, 1))
			r.clock.add(step.stays)
		}
		if got := r.shared(); len(got) != 0 {
			t.Errorf("%s: %s", what, got[0].Detail)
		}
	}
}

// TestNothingIsComparedBetweenCredentials: many devices behind one address, one
// device with many connections from there, and a device that switches over from
// its old credential to the new one raise nothing.
func TestNothingIsComparedBetweenCredentials(t *testing.T) {
	r := newRig(t, quiet)
	r.tenant("nord")
	one, two := r.enrol("nord", "gateway-1"), r.enrol("nord", "gateway-2")
	var all []*speaker
	for _, pair := range []*tls.Certificate{one, two, one, two, one} {
		all = append(all, r.speaker(pair, "192.0.2.1"))
	}
	n := 0
	for range 10 {
		for _, p := range all {
			n++
			p.send(r.line(n, 1))
			r.clock.add(time.Second)
		}
	}
	fresh, _ := r.renew(one, "gateway-1")
	old, next := r.speaker(one, "192.0.2.1"), r.speaker(fresh, "198.51.100.7")
	for range 10 {
		for _, p := range []*speaker{old, next} {
			n++
			p.send(r.line(n, 1))
			r.clock.add(time.Second)
		}
	}
	if got := r.shared(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	// The same two connections with one credential do.
	also := r.speaker(fresh, "192.0.2.1")
	for range 3 {
		for _, p := range []*speaker{next, also} {
			n++
			p.send(r.line(n, 1))
		}
	}
	if got := r.shared(); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

// TestTwoCountersThatTakeTurns: from one address, so that nothing but their
// numbers tells them apart.
func TestTwoCountersThatTakeTurns(t *testing.T) {
	type batch struct {
		boot, low, high int
		ago             time.Duration // of its times
	}
	live := func(boot, n int) batch { return batch{boot, n, n, 0} }
	for what, c := range map[string]struct {
		batches []batch
		want    int // the batch with which it is raised, from 1; 0: none
	}{
		"two runs":                     {[]batch{live(0, 10), live(0, 500), live(0, 11), live(0, 501), live(0, 12), live(0, 502), live(0, 13)}, 7},
		"two boots":                    {[]batch{live(3, 10), live(4, 1), live(3, 11), live(4, 2), live(3, 12), live(4, 3), live(3, 13)}, 7},
		"the lower one more often":     {[]batch{live(4, 1), live(3, 11), live(3, 12), live(4, 2), live(3, 13), live(3, 14), live(4, 3), live(3, 15)}, 8},
		"the higher one more often":    {[]batch{live(4, 1), live(4, 2), live(3, 11), live(4, 3), live(4, 4), live(3, 12), live(4, 5), live(3, 13)}, 8},
		"a backlog beside what is new": {[]batch{live(0, 10), live(0, 500), {0, 11, 20, time.Hour}, live(0, 501), {0, 21, 30, 50 * time.Minute}, live(0, 502), {0, 31, 40, 40 * time.Minute}, live(0, 503), {0, 41, 50, 30 * time.Minute}}, 0},
		"the end of the boot before":   {[]batch{live(3, 10), live(4, 1), {3, 11, 20, time.Hour}, live(4, 2), {3, 21, 30, time.Hour}, live(4, 3), {3, 31, 40, time.Hour}, live(4, 4)}, 0},
		"batches that overtook":        {[]batch{live(0, 10), {0, 21, 30, 0}, {0, 11, 20, 61 * time.Second}, {0, 41, 50, 0}, {0, 31, 40, 61 * time.Second}, {0, 61, 70, 0}, {0, 51, 60, 61 * time.Second}, {0, 81, 90, 0}, {0, 71, 80, 61 * time.Second}}, 0},
		"a counter that began anew":    {[]batch{live(0, 900), live(0, 1), live(0, 2), live(0, 3), live(0, 4), live(0, 5), live(0, 6), live(0, 7)}, 0},
		"reboots":                      {[]batch{live(1, 1), live(2, 1), live(3, 1), live(4, 1), live(5, 1)}, 0},
		"a clock that was set back":    {[]batch{live(0, 10), live(0, 20), {0, 30, 30, time.Hour}, {0, 21, 21, 58 * time.Minute}, {0, 31, 31, 56 * time.Minute}, {0, 22, 22, 54 * time.Minute}, {0, 32, 32, 52 * time.Minute}, {0, 23, 23, 50 * time.Minute}, {0, 33, 33, 48 * time.Minute}, {0, 24, 24, 46 * time.Minute}}, 0},
		"two turns":                    {[]batch{live(3, 10), live(4, 1), live(3, 11), live(4, 2), live(3, 12), live(4, 3), live(4, 4)}, 0},
	} {
		r := newRig(t, quiet)
		r.tenant("nord")
		p := r.speaker(r.enrol("nord", "m-1"), "192.0.2.1")
		raised := 0
		for i, x := range c.batches {
			var lines []string
			for n := x.low; n <= x.high; n++ {
				at := r.clock.now().Add(-x.ago)
				if x.low < x.high {
					at = at.Add(time.Duration(n-x.high) * time.Millisecond)
				}
				lines = append(lines, fmt.Sprintf(`{"boot":%d,"seq":%d,"time":%q,"type":"power.v1","data":{"kw":1}}`, x.boot, n, at.Format(time.RFC3339Nano)))
			}
			p.send(lines...)
			r.clock.add(time.Minute)
			if raised == 0 && len(r.shared()) > 0 {
				raised = i + 1
			}
		}
		if raised != c.want {
			t.Errorf("%s: raised with batch %d, want %d", what, raised, c.want)
			for _, a := range r.shared() {
				t.Log(a.Detail)
			}
		}
		if what == "two boots" && len(r.shared()) == 1 {
			for _, want := range []string{"two counters take turns", "entries nord/1 to 1 (boot 4, seq 1 to 1)", "entries nord/2 to 2 (boot 3, seq 11 to 11)", "entries nord/6 to 6 (boot 3, seq 13 to 13)", "from 192.0.2.1"} {
				if d := r.shared()[0].Detail; !strings.Contains(d, want) {
					t.Errorf("%q is not in %s", want, d)
				}
			}
		}
	}
}

// TestTurnsADayApartAreNoTurns.
func TestTurnsADayApartAreNoTurns(t *testing.T) {
	for _, c := range []struct {
		apart time.Duration
		want  int
	}{{day - 2, 1}, {day, 0}} {
		r := newRig(t, quiet, func(c *Config) { c.Replay.GapAfter = 100 * day })
		r.tenant("nord")
		p := r.speaker(r.enrol("nord", "m-1"), "192.0.2.1")
		p.send(r.line(10, 1))
		for n := range 4 {
			p.send(r.line(500+n, 1))
			r.clock.add(1)
			p.send(eventLine(11+n, r.clock.now().Add(time.Duration(n+1)*time.Second), 1))
			r.clock.add(c.apart - 1)
		}
		if got := r.shared(); len(got) != c.want {
			t.Errorf("%v apart: %+v", c.apart, got)
		}
	}
}

// TestSharingCanBeTurnedOff, each half of it.
func TestSharingCanBeTurnedOff(t *testing.T) {
	for _, places := range []bool{true, false} {
		for _, counters := range []bool{true, false} {
			r := newRig(t, quiet, func(c *Config) { c.Sharing.Places, c.Sharing.Counters = places, counters })
			r.tenant("nord")
			one, two := r.enrol("nord", "m-1"), r.enrol("nord", "m-2")
			a, b, c := r.speaker(one, "192.0.2.1"), r.speaker(one, "192.0.2.2"), r.speaker(two, "192.0.2.3")
			for n := range 8 {
				a.send(r.line(2*n, 1))
				b.send(r.line(2*n+1, 1))
				c.send(r.line(500+n, 1))
				r.clock.add(time.Second)
				c.send(r.line(1+n, 1))
				r.clock.add(time.Second)
			}
			want := 0
			for _, on := range []bool{places, counters} {
				if on {
					want++
				}
			}
			if got := r.shared(); len(got) != want {
				t.Errorf("places %v, counters %v: %d alerts", places, counters, len(got))
			}
		}
	}
}

// TestSharedOverRealConnections sends from two loopback addresses.
func TestSharedOverRealConnections(t *testing.T) {
	r := newRig(t, quiet, allowTokens)
	r.tenant("nord")
	tok := r.tokenDevice("nord", "m-1")
	from := func(ip string) *DeviceClient {
		return r.withToken(tok.Token, nil, func(o *ClientOptions) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
			o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				return d.DialContext(ctx, network, addr)
			}
		})
	}
	a, b := from("127.0.0.1"), from("127.0.0.2")
	r.send(a, r.line(0, 1))
	if _, err := b.Send(t.Context(), []byte(r.line(1, 1))); err != nil {
		t.Skipf("this machine has no second loopback address: %v", err)
	}
	for n := range 4 {
		r.send([]*DeviceClient{a, b}[n%2], r.line(2+n, 1))
	}
	got := r.shared()
	if len(got) != 1 || !strings.Contains(got[0].Detail, "from 127.0.0.2") || !strings.Contains(got[0].Detail, tokenPrint(tok.Token)) {
		t.Errorf("%+v", got)
	}
	if n := len(r.control(evidence.EntryAlertRaised)); n != 1 {
		t.Errorf("%d alerts", n)
	}
	r.restart()
	if len(r.shared()) != 1 {
		t.Error("a restart forgot the alert")
	}
}

// BenchmarkObserve is what looking for shared credentials adds to a batch.
func BenchmarkObserve(b *testing.B) {
	r := newRig(b)
	d := &device{}
	batch := &batch{s: r.s, set: r.s.set.Load(), d: d, sess: &session{whence: "192.0.2.1", number: 1}, print: strings.Repeat("f", 71), ends: make([]entryEnd, 1), events: make([]event, 1)}
	batch.claim.simple = true
	batch.n = counts{received: 1, accepted: 1}
	b.ReportAllocs()
	for b.Loop() {
		batch.claim.low++
		batch.claim.high++
		if d.observe(batch, batch.claim.low) != nil {
			b.Fatal("found")
		}
	}
}
