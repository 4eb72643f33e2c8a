package ingest

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"trustpack/evidence"
	"trustpack/ledger"
)

// TestKilledUnderLoad kills the process while devices send, again and again,
// and looks whether each acknowledged event is in the log exactly once.
func TestKilledUnderLoad(t *testing.T) {
	if os.Getenv("TRUSTPACK_INGEST_CHILD") != "" {
		serveAsChild(t)
		return
	}
	rounds := 5
	if testing.Short() {
		rounds = 1
	}
	r := newRig(t, func(c *Config) { c.Rates = Rates{Rate{1e6, 1e6}, Rate{1e6, 1e6}} })
	r.tenant("nord")
	pairs := []string{"a", "b", "c"}
	creds := map[string]*DeviceClient{}
	for _, d := range pairs {
		creds[d] = r.deviceClient(r.enrol("nord", d))
	}
	r.stop()
	acked := map[string]int{}
	var mu sync.Mutex
	for range rounds {
		addr, kill := r.child(t)
		var wg sync.WaitGroup
		enough := make(chan struct{}, 1000)
		for _, d := range pairs {
			c := &DeviceClient{client: client{url: "https://" + addr, http: creds[d].http}}
			wg.Go(func() {
				mu.Lock()
				n := acked[d]
				mu.Unlock()
				for ; ; n += 3 {
					lines := r.line(n, 1) + "\n" + r.line(n+1, 1) + "\n" + r.line(n+2, 1)
					if _, err := c.Send(context.Background(), []byte(lines)); err != nil {
						return // killed; what was not acknowledged is sent again in the next round
					}
					mu.Lock()
					acked[d] = n + 3
					mu.Unlock()
					select {
					case enough <- struct{}{}:
					default:
					}
				}
			})
		}
		for range 60 {
			<-enough
		}
		kill()
		wg.Wait()
	}
	seen := map[string]int{}
	r.eventsOf(t, "nord", func(e tenantEntry) { seen[e.Device+"/"+itoa(*e.Seq)]++ })
	for d, n := range acked {
		for seq := range n {
			if got := seen[d+"/"+itoa(int64(seq))]; got != 1 {
				t.Errorf("event %d of %s stands %d times", seq, d, got)
			}
		}
	}
	for k, n := range seen {
		if n != 1 {
			t.Errorf("%s stands %d times", k, n)
		}
	}
	t.Logf("%d kills, %d events acknowledged", rounds, acked["a"]+acked["b"]+acked["c"])
	r.start()
	r.sameAsFold()
}

// child runs the ingest in a process of its own.
func (r *rig) child(t *testing.T) (addr string, kill func()) {
	t.Helper()
	settings, err := json.Marshal(r.config)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledUnderLoad$", "-test.v")
	cmd.Env = append(os.Environ(), "TRUSTPACK_INGEST_CHILD="+r.dir, "TRUSTPACK_INGEST_CONFIG="+string(settings))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	text := ""
	for !strings.Contains(text, "\n!") {
		n, err := out.Read(buf)
		if err != nil {
			t.Fatalf("child said %q: %v", text, err)
		}
		text += string(buf[:n])
	}
	_, rest, _ := strings.Cut(text, "listening ")
	addr, _, _ = strings.Cut(rest, "\n")
	return addr, func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // killed
	}
}

func serveAsChild(t *testing.T) {
	var cfg Config
	if err := json.Unmarshal([]byte(os.Getenv("TRUSTPACK_INGEST_CONFIG")), &cfg); err != nil {
		t.Fatal(err)
	}
	clock := newClock()
	s, err := Open(Options{Dir: os.Getenv("TRUSTPACK_INGEST_CHILD"), Config: cfg, Now: clock.now, Clock: evidence.ClockSimulated, Sample: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	public, _ := s.Addrs()
	if _, err := os.Stdout.WriteString("listening " + public + "\n!\n"); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// eventsOf reads the events in the log of an ingest that does not run.
func (r *rig) eventsOf(t *testing.T, tenant string, event func(tenantEntry)) {
	t.Helper()
	led, err := ledger.OpenReadOnly(filepath.Join(r.dir, "ledger"), ledger.Options{Instance: "test.example/ingest"})
	if err != nil {
		t.Fatal(err)
	}
	for data, err := range led.Entries(tenant, 0, 1<<62) {
		if err != nil {
			t.Fatal(err)
		}
		var e tenantEntry
		if err := unmarshal(data, &e); err != nil {
			t.Fatal(err)
		}
		if e.T == "event" {
			event(e)
		}
	}
	if err := led.Close(); err != nil {
		t.Fatal(err)
	}
}
