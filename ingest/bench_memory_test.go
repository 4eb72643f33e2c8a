package ingest

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// BenchmarkDevices gives the memory of a process that serves 100,000 devices,
// each with a full history: more requests than a window keeps the places of,
// and two holes. heap-MB is what is in use after a collection, RSS-MB what is
// resident then, and busy-RSS-MB what is while all of them send again.
func BenchmarkDevices(b *testing.B) {
	for b.Loop() {
		r, all, history := fullRig(b)
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/1e6, "heap-MB")
		b.ReportMetric(float64(m.HeapAlloc)/float64(len(all)), "heap-B/device")
		b.ReportMetric(resident(b)/1e6, "RSS-MB")
		b.ReportMetric(sendAgain(b, r.s, all, history)/1e6, "busy-RSS-MB")
		r.stop()
	}
}

// registerDevices enters devices from..to as their provisioning does, with
// entries of the control log.
func registerDevices(b *testing.B, s *Server, from, to, tenants int) (out []*device) {
	b.Helper()
	var entries []evidence.AuditEntry
	add := func(typ, id, tenant string, data any) {
		entries = append(entries, s.entry(typ, evidence.AuditEntry{
			Tenant: tenant, Device: id, Generation: 1, Actor: &evidence.Actor{Name: "ben", Role: RoleProvisioner}, Reason: "rollout", Data: raw(data),
		}))
	}
	name := func(i int) (id, tenant string) {
		return fmt.Sprintf("meter-%06d", i), fmt.Sprintf("tenant-%d", i%tenants)
	}
	for i := from; i < to; i++ {
		id, tenant := name(i)
		print := evidence.SHA256Hex([]byte(id))
		add(evidence.EntryDeviceRequested, id, tenant, evidence.Device{Tenant: tenant, ID: id, Generation: 1, Type: "meter", Site: "here", Fleet: "f1", State: evidence.DeviceRequested})
		add(evidence.EntryDeviceApproved, id, tenant, map[string]any{"enrolment_code_sha256": print, "expires": s.now().Add(day)})
		add(evidence.EntryDeviceIssued, id, tenant, evidence.Credential{Fingerprint: print, Method: "x509", KeyType: "ECDSA-P256", Key: "sha256:" + print, Serial: print[:32], NotBefore: s.now(), NotAfter: s.now().Add(365 * day)})
		add(evidence.EntryDeviceActivated, id, tenant, sourceData{print, "192.0.2.1"})
	}
	// As after a start, the entries are those read from the log.
	for i := range entries {
		text, err := evidence.CanonicalJSON(&entries[i])
		if err != nil {
			b.Fatal(err)
		}
		entries[i] = evidence.AuditEntry{}
		if err := json.Unmarshal(text, &entries[i]); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := s.record(entries...); err != nil {
		b.Fatal(err)
	}
	for i := from; i < to; i++ {
		id, tenant := name(i)
		out = append(out, s.st.device(tenant, id))
	}
	return out
}

// noteNumber enters one accepted event of a device, as the fold does; one that
// never follows the device's event before in the tenant's log.
func noteNumber(s *Server, d *device, n int, index int64) {
	seq := int64(n)
	if n > 50 {
		seq++ // a hole
	}
	if n > 100 {
		seq += 3
	}
	now := s.now()
	d.mu.Lock()
	d.applyEvent(1, seq, index, s.st.window, now, now, "1.4.2")
	d.mu.Unlock()
}

// sendAgain has each device send one more event and gives the most memory that
// was resident meanwhile.
func sendAgain(b *testing.B, s *Server, all []*device, n int) (most float64) {
	b.Helper()
	for i, d := range all {
		sendOne(b, s, d, n+4)
		if i%1000 == 0 {
			most = max(most, resident(b))
		}
	}
	return most
}

// sendOne sends one event of the device, which is taken.
func sendOne(b *testing.B, s *Server, d *device, seq int) {
	b.Helper()
	c := &call{d: d, t: s.st.tenant(d.key.tenant), set: s.set.Load()}
	batch := s.batch(c)
	batch.texts = append(batch.texts, fmt.Sprintf(`{"boot":1,"seq":%d,"time":%q,"type":"power.v1","fw":"1.4.2","data":{"kw":7.25}}`, seq, s.now().Format(time.RFC3339)))
	if p := s.scan(c, batch); p != nil {
		b.Fatal(p)
	}
	if err := s.take(batch); err != nil || batch.n.accepted != 1 {
		b.Fatal(err, batch.n)
	}
	batch.release()
}

// resident is how many bytes of the process are in memory.
func resident(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if os.IsNotExist(err) {
		b.Skip("the system does not tell in /proc how much memory is in use")
	}
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.ParseFloat(strings.Fields(string(text))[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * float64(os.Getpagesize())
}

// fullRig has 100,000 devices with full histories.
func fullRig(b *testing.B) (r *rig, all []*device, history int) {
	const devices, tenants = 100_000, 20
	r = newRig(b)
	for i := range tenants {
		r.tenant(fmt.Sprintf("tenant-%d", i))
	}
	for i := 0; i < devices; i += 1000 {
		all = append(all, registerDevices(b, r.s, i, i+1000, tenants)...)
	}
	if len(r.s.st.devices) != devices {
		b.Fatal("not all of them are registered")
	}
	history = maxRuns + 44
	for n := range history {
		for i, d := range all {
			noteNumber(r.s, d, n, int64(n*devices+i)/tenants)
		}
	}
	return r, all, history
}

// BenchmarkCapture makes snapshots of 100,000 devices with full histories, to
// nowhere: ms/moment is how long nothing can change.
func BenchmarkCapture(b *testing.B) {
	r, _, _ := fullRig(b)
	var moment time.Duration
	var out nowhere
	for b.Loop() {
		began := time.Now()
		k := r.s.st.capture()
		moment += time.Since(began)
		if err := k.write(&out); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(moment.Microseconds())/1e3/float64(b.N), "ms/moment")
	b.ReportMetric(float64(out)/1e6/float64(b.N), "MB")
}

// BenchmarkAckBesideSnapshot sends single events of those devices, one after
// the other: while nothing else is done, and while snapshots are made. It
// gives the 99th percentile of the time that each took, and the longest.
func BenchmarkAckBesideSnapshot(b *testing.B) {
	r, all, n := fullRig(b)
	i := 0
	send := func() time.Duration {
		began := time.Now()
		sendOne(b, r.s, all[i%len(all)], n+4+i/len(all))
		i += 7919 // a prime, so that all have their turn
		return time.Since(began)
	}
	report := func(what string, took []time.Duration) {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "ms-p99-"+what)
		b.ReportMetric(float64(took[len(took)-1].Microseconds())/1e3, "ms-max-"+what)
	}
	for b.Loop() {
		var quiet, beside []time.Duration
		for range 3000 {
			quiet = append(quiet, send())
		}
		ended := make(chan struct{})
		began := time.Now()
		go func() {
			for range 3 {
				r.s.saveSnapshot()
			}
			close(ended)
		}()
		for done := false; !done; {
			beside = append(beside, send())
			select {
			case <-ended:
				done = true
			default:
			}
		}
		b.ReportMetric(time.Since(began).Seconds()/3, "s/snapshot")
		report("quiet", quiet)
		report("beside", beside)
	}
}

// nowhere counts what is written to it.
type nowhere int64

func (n *nowhere) Write(b []byte) (int, error) {
	*n += nowhere(len(b))
	return len(b), nil
}
