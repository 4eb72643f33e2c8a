package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/internal/durable/crashfs"
	"trustpack/ledger"
)

// TestBooksBalanceThroughCrashes has clients of several devices send at once,
// in order and not, new, again, wrong and refused, over midnights, on a disk
// that fails in a chance place in a chance way, and a machine that crashes;
// then again on what is left. After each start, and in the end: the books
// balance, say what the logs say and no less than the clients were told; what
// was accepted is there once; and a day that was closed stays as it was.
func TestBooksBalanceThroughCrashes(t *testing.T) {
	const seeds = 12
	first := uint64(time.Now().UnixNano())
	for i := range seeds {
		seed := first + uint64(i)
		m := newMachine(t, seed)
		for range 3 {
			m.round(1 + m.rnd.IntN(150))
		}
		m.round(0)
		m.settle()
		if t.Failed() {
			t.Fatalf("that was seed %d", seed)
		}
	}
	t.Logf("seeds %d and the %d after it", first, seeds-1)
}

// machine is an ingest on a disk that can fail, with clients.
type machine struct {
	*history
	disk    *crashfs.FS
	clients []*bookClient

	mu   sync.Mutex
	told map[string]counts // by tenant
	sent map[string]int64  // lines, by tenant
}

func newMachine(t *testing.T, seed uint64) *machine {
	h := &history{t: t, rnd: rand.New(rand.NewPCG(seed, 11)), clock: newClock(), dir: filepath.Join(t.TempDir(), "ingest"), config: testConfig(t)}
	h.config.Replay = ReplayPolicy{Window: 64, GapAfter: 20 * time.Hour}
	h.config.DeadLetters.PerTenant = 25
	if err := Init(h.dir, InitOptions{Instance: "test.example/ingest", Org: "Test", FirstAdmin: "root.admin", Now: h.clock.now}); err != nil {
		t.Fatal(err)
	}
	m := &machine{history: h, disk: crashfs.New(), told: map[string]counts{}, sent: map[string]int64{}}
	m.load(filepath.Join(h.dir, "ledger"))
	h.disk = m.disk
	h.open()
	for i, name := range []deviceName{{"nord", "a"}, {"nord", "b"}, {"sued", "a"}} {
		h.admin(h.s.addTenant, "root.admin", map[string]any{"id": name.tenant, "name": name.tenant})
		h.admin(h.s.requestDevice, "ben", map[string]string{"tenant": name.tenant, "device": name.id, "type": "meter", "fleet": "f", "reason": "r"})
		h.admin(h.s.approveDevice, "carla", nil, "tenant", name.tenant, "device", name.id)
		h.record(evidence.EntryDeviceIssued, evidence.AuditEntry{Tenant: name.tenant, Device: name.id, Generation: 1, Data: raw(evidence.Credential{Fingerprint: itoa(int64(i))})})
		for boot := range int64(2) {
			c := &bookClient{m: m, name: name, boot: boot, rnd: rand.New(rand.NewPCG(seed, uint64(100*i)+uint64(boot))), known: map[int64]string{}}
			m.clients = append(m.clients, c)
		}
	}
	return m
}

// load puts what Init made onto the disk that can fail.
func (m *machine) load(dir string) {
	if err := m.disk.MkdirAll(dir, 0o700); err != nil {
		m.t.Fatal(err)
	}
	for p := dir; p != filepath.Dir(p); p = filepath.Dir(p) {
		if err := m.disk.SyncDir(filepath.Dir(p)); err != nil {
			m.t.Fatal(err)
		}
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return errors.Join(m.disk.MkdirAll(path, 0o700), m.disk.SyncDir(filepath.Dir(path)))
		}
		content, err := os.ReadFile(path)
		m.disk.Put(path, content)
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
}

// round lets the clients work, until the disk fails at its operation failAt (0:
// it does not fail), and starts the ingest again on what is left.
func (m *machine) round(failAt int) {
	m.t.Helper()
	came := func() bool { return len(m.disk.Operations()) >= failAt }
	if failAt > 0 {
		m.disk.FailAt(failAt, []crashfs.Fault{crashfs.Before, crashfs.After, crashfs.Short, crashfs.NoSpace, crashfs.Crash, crashfs.CrashAfter}[m.rnd.IntN(6)])
	}
	var wg sync.WaitGroup
	for _, c := range m.clients {
		wg.Go(func() {
			for range 100 {
				if !c.work(10) || came() {
					return
				}
			}
		})
	}
	ticks := make([]time.Duration, 6)
	for i := range ticks {
		ticks[i] = time.Duration(m.rnd.Int64N(int64(5 * time.Hour)))
	}
	wg.Go(func() {
		for _, d := range ticks {
			m.clock.add(d)
			if err := m.s.Tick(context.Background(), m.clock.now()); err != nil && m.s.durable() == nil && !errors.Is(err, crashfs.ErrCrashed) {
				m.t.Error(err)
			}
		}
	})
	wg.Wait()
	if !came() {
		m.t.Errorf("the disk was asked for %d operations, and was to fail at the %dth", len(m.disk.Operations()), failAt)
	}
	if err := m.s.Close(context.Background()); err != nil && failAt == 0 {
		m.t.Error(err)
	}
	left := map[int]func() *crashfs.FS{0: m.disk.Restart, 1: func() *crashfs.FS { return m.disk.Reboot(0) }, 2: func() *crashfs.FS { return m.disk.Reboot(128) }, 3: func() *crashfs.FS { return m.disk.Reboot(256) }}
	m.disk = left[m.rnd.IntN(len(left))]()
	m.history.disk = m.disk
	m.open()
	m.check()
}

// settle has each client come to its end, and closes the last day.
func (m *machine) settle() {
	m.t.Helper()
	var wg sync.WaitGroup
	for _, c := range m.clients {
		wg.Go(func() { c.work(0) })
	}
	wg.Wait()
	m.clock.add(day)
	m.tick()
	m.check()
	for _, c := range m.clients {
		if c.pending != nil {
			m.t.Errorf("%v was never answered", c.pending)
		}
	}
	live := plainOf(m.s.st)
	if err := m.s.Close(context.Background()); err != nil {
		m.t.Fatal(err)
	}
	m.open()
	defer m.close()
	again := plainOf(m.s.st)
	for id := range live.Books {
		for key, b := range live.Books[id] {
			if a := again.Books[id][key]; a == nil || *a != *b {
				m.t.Errorf("the books were %+v, and after a start are %+v", b, a)
			}
		}
	}
	for key, d := range live.Devices {
		if fmt.Sprint(windowsOf(d)) != fmt.Sprint(windowsOf(again.Devices[key])) {
			m.t.Errorf("the windows of %v were %v, and after a start are %v", key, windowsOf(d), windowsOf(again.Devices[key]))
		}
	}
	copied := m.t.(*testing.T).TempDir()
	for path, content := range m.disk.Files() {
		rel, err := filepath.Rel(filepath.Join(m.dir, "ledger"), path)
		if err != nil {
			m.t.Fatal(err)
		}
		to := filepath.Join(copied, rel)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			m.t.Fatal(err)
		}
		if err := os.WriteFile(to, content, 0o600); err != nil {
			m.t.Fatal(err)
		}
	}
	report, err := ledger.Fsck(copied, ledger.FsckOptions{Instance: "test.example/ingest"})
	if err != nil || len(report.Problems) > 0 {
		m.t.Errorf("fsck: %v, %v", report.Problems, err)
	}
}

func windowsOf(d plainDevice) map[int64]window {
	out := map[int64]window{}
	for boot, w := range d.Windows {
		out[boot] = *w
	}
	return out
}

// entries reads a log of the running ingest.
func (m *machine) entries(log string, each func(data []byte)) {
	m.t.Helper()
	if m.s.led.Size(log) == 0 {
		return
	}
	for data, err := range m.s.led.Entries(log, 0, m.s.led.Size(log)) {
		if err != nil {
			m.t.Fatal(err)
		}
		each(data)
	}
}

// check holds the books to the logs, and both to what the clients know.
func (m *machine) check() {
	m.t.Helper()
	type place struct {
		name deviceName
		boot int64
		seq  int64
	}
	logged, events, letters := map[string]map[string]counts{"nord": {}, "sued": {}}, map[place]int{}, map[place]int{}
	add := func(tenant string, at time.Time, n counts) {
		day := at.UTC().Format(time.DateOnly)
		logged[tenant][day] = sumOf(logged[tenant][day], n)
	}
	for tenant := range logged {
		m.entries(tenant, func(data []byte) {
			var e tenantEntry
			if err := unmarshal(data, &e); err != nil {
				m.t.Fatal(err)
			}
			switch e.T {
			case "event":
				add(tenant, e.Received, counts{received: 1, accepted: 1})
				events[place{deviceName{tenant, e.Device}, e.Boot, *e.Seq}]++
			case "deadletter":
				add(tenant, e.Received, counts{received: 1, deadLettered: 1})
				letters[place{deviceName{tenant, e.Device}, e.Boot, *e.Seq}]++
			case "tally":
				add(tenant, e.Received, counts{received: e.ReceivedLines - e.Accepted - e.DeadLettered, duplicate: e.Duplicate, refused: e.Refused})
			}
		})
	}
	closed := map[string]evidence.Books{}
	m.entries(controlLog, func(data []byte) {
		var e evidence.AuditEntry
		if err := unmarshal(data, &e); err != nil {
			m.t.Fatal(err)
		}
		var r evidence.Refusal
		var b evidence.Books
		switch {
		case e.Type == evidence.EntryRefusal && unmarshal(e.Data, &r) == nil && r.Events > 0:
			add(e.Tenant, r.Last, counts{received: r.Events, refused: r.Events})
		case e.Type == evidence.EntryBooksClosed && unmarshal(e.Data, &b) == nil:
			closed[b.Tenant+b.Day] = b
		}
	})
	for tenant, days := range logged {
		var sum counts
		for _, b := range m.s.st.tenant(tenant).listBooks("", "") {
			n := counts{received: b.Received, accepted: b.Accepted, duplicate: b.Duplicate, deadLettered: b.DeadLettered, refused: b.Refused}
			if !n.balanced() || n != days[b.Day] {
				m.t.Errorf("the books are %+v, and the logs make %+v", b, days[b.Day])
			}
			if then, is := closed[tenant+b.Day]; is && then != b {
				m.t.Errorf("the day was closed as %+v, and is %+v", then, b)
			}
			sum = sumOf(sum, n)
			delete(days, b.Day)
		}
		if len(days) > 0 {
			m.t.Errorf("of %s there are no books of %v", tenant, days)
		}
		told := m.told[tenant]
		if sum.accepted < told.accepted || sum.duplicate < told.duplicate || sum.deadLettered < told.deadLettered || sum.refused < told.refused || sum.received > m.sent[tenant] {
			m.t.Errorf("%s: the clients were told %+v of %d lines, and the books have %+v", tenant, told, m.sent[tenant], sum)
		}
	}
	for _, c := range m.clients {
		for seq, what := range c.known {
			at := place{c.name, c.boot, seq}
			want := [2]int{}
			switch what {
			case lineAccepted:
				want[0] = 1
			case lineDeadLettered:
				want[1] = 1
			}
			if got := [2]int{events[at], letters[at]}; got != want {
				m.t.Errorf("%v was answered as %s and stands as %d events and %d dead letters", at, what, got[0], got[1])
			}
		}
	}
	for at, n := range events {
		if n+letters[at] != 1 {
			m.t.Errorf("%v stands as %d events and %d dead letters", at, n, letters[at])
		}
	}
}

func sumOf(a, b counts) counts {
	return counts{
		received: a.received + b.received, accepted: a.accepted + b.accepted, duplicate: a.duplicate + b.duplicate,
		deadLettered: a.deadLettered + b.deadLettered, refused: a.refused + b.refused, replayed: a.replayed + b.replayed,
	}
}

// bookClient is a boot of a device, of which others run at once.
type bookClient struct {
	m     *machine
	name  deviceName
	boot  int64
	rnd   *rand.Rand
	next  int64
	ahead []int64 // numbers that are due, in no order

	known   map[int64]string // what became of a number, as it was answered
	good    map[int64]string // lines that were accepted
	pending []bookLine       // was sent and not answered
}

type bookLine struct {
	text string
	seq  int64
	kind string // as the answer to a new line says, or lineDuplicate or lineRefused
}

// work sends n requests, after what was not answered before. False: one was
// not answered, for nothing can be made durable any more.
func (c *bookClient) work(n int) bool {
	if c.pending != nil && !c.send(c.pending) {
		return false
	}
	for range n {
		if c.rnd.IntN(8) == 0 {
			if !c.refuse() {
				return false
			}
			continue
		}
		if !c.send(c.lines()) {
			return false
		}
	}
	return true
}

// lines are some new numbers in no order, and some old ones.
func (c *bookClient) lines() (out []bookLine) {
	for range 1 + c.rnd.IntN(6) {
		if len(c.ahead) == 0 {
			for range 12 {
				c.ahead = append(c.ahead, c.next)
				c.next++
			}
			c.rnd.Shuffle(len(c.ahead), func(i, j int) { c.ahead[i], c.ahead[j] = c.ahead[j], c.ahead[i] })
		}
		l := bookLine{seq: c.ahead[0], kind: lineAccepted}
		switch n := c.rnd.IntN(10); {
		case n < 2 && len(c.good) > 0:
			for l.seq, l.text = range c.good {
				break
			}
			l.kind = lineDuplicate
			if n == 0 {
				l.kind, l.text = lineRefused, strings.Replace(l.text, `"kw":`, `"kw":1`, 1)
			}
			out = append(out, l)
			continue
		case n == 2:
			l.kind = lineDeadLettered
		}
		c.ahead = c.ahead[1:]
		kw := 1 + l.seq%40
		if l.kind == lineDeadLettered {
			kw = 9000
		}
		l.text = fmt.Sprintf(`{"boot":%d,"seq":%d,"time":%q,"type":"power.v1","data":{"kw":%d}}`, c.boot, l.seq, c.m.clock.now().Format(time.RFC3339), kw)
		out = append(out, l)
	}
	return out
}

// send has the lines taken, and holds what is answered to what the client
// knows. False: it was not answered.
func (c *bookClient) send(lines []bookLine) bool {
	again, s := c.pending != nil, c.m.s
	c.pending = lines
	d := s.st.device(c.name.tenant, c.name.id)
	b := s.batch(&call{set: s.set.Load(), d: d, t: s.st.tenant(c.name.tenant)})
	for _, l := range lines {
		b.texts = append(b.texts, l.text)
	}
	c.m.count(c.name.tenant, int64(len(lines)), counts{})
	if p := s.scan(&call{set: b.set, d: d, t: b.t}, b); p != nil {
		c.m.t.Error(p)
		return false
	}
	if err := s.take(b); err != nil {
		if s.durable() == nil && !errors.Is(err, crashfs.ErrCrashed) {
			c.m.t.Errorf("%v: %v", c.name, err)
		}
		return false
	}
	c.pending = nil
	if c.good == nil || c.rnd.IntN(4) == 0 {
		c.good = map[int64]string{} // only what is fresh can still be compared
	}
	for i, l := range lines {
		got := b.lines[i]
		switch {
		case got.Status == lineRefused && got.Code == CodeReplayStale && (l.kind == lineAccepted || l.kind == lineDeadLettered), got.Code == CodeLetterQuota && l.kind == lineDeadLettered:
			c.know(l.seq, lineRefused) // it came too late, or once too often
		case got.Status == lineDuplicate && (l.kind == lineDuplicate || again):
			if l.kind != lineDuplicate && l.kind != lineRefused {
				c.know(l.seq, l.kind)
			}
		case got.Status == l.kind && l.kind != lineDuplicate:
			if l.kind != lineRefused {
				c.know(l.seq, l.kind)
			}
		case l.kind == lineRefused && got.Status == lineDuplicate, l.kind == lineDuplicate && got.Code == CodeReplayStale, l.kind == lineRefused && got.Code == CodeReplayStale:
			// so old that its place is forgotten
		default:
			c.m.t.Errorf("%v boot %d: %s line %s, sent again %v: %+v", c.name, c.boot, l.kind, l.text, again, got)
		}
		if got.Status == lineAccepted {
			c.good[l.seq] = l.text
		}
	}
	c.m.count(c.name.tenant, 0, b.n)
	b.release()
	return true
}

// know enters what became of a number; once and for all.
func (c *bookClient) know(seq int64, what string) {
	if before, is := c.known[seq]; is && before != what {
		c.m.t.Errorf("%v boot %d seq %d was answered as %s, and now as %s", c.name, c.boot, seq, before, what)
	}
	c.known[seq] = what
}

// refuse has a whole request refused after its events were counted.
func (c *bookClient) refuse() bool {
	n := 1 + c.rnd.Int64N(5)
	c.m.count(c.name.tenant, n, counts{})
	r := refused{code: CodeTooManyLines, tenant: c.name.tenant, device: c.name.id, events: n}
	if err := c.m.s.refusals.add(r); err != nil {
		return false
	}
	c.m.count(c.name.tenant, 0, counts{received: n, refused: n})
	return true
}

func (m *machine) count(tenant string, sent int64, told counts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent[tenant] += sent
	m.told[tenant] = sumOf(m.told[tenant], told)
}
