package ingest

import (
	"testing"
	"time"
)

func TestRefusalsAreAnsweredAtARate(t *testing.T) {
	var p pacing
	for i := range refusalBurst {
		if wait := p.turn(t0); wait != 0 {
			t.Fatalf("refusal %d waits %v", i, wait)
		}
	}
	for i := range 50 {
		if wait, want := p.turn(t0), time.Duration(i+1)*refusalEvery; wait != want {
			t.Fatalf("refusal %d beyond the burst waits %v, want %v", i, wait, want)
		}
	}
	for range 10_000 {
		if wait := p.turn(t0); wait > refusalWait {
			t.Fatalf("a refusal waits %v", wait)
		}
	}
	if wait := p.turn(t0.Add(refusalWait)); wait != refusalEvery {
		t.Errorf("a second later one waits %v: time that nobody waited counts", wait)
	}
	if wait := p.turn(t0.Add(time.Hour)); wait != 0 {
		t.Errorf("after an hour one waits %v", wait)
	}
}

// TestAFloodOfRefusalsWaits sends more than the burst over one connection:
// what is beyond it takes its time, by both ways of reading, and stands in the
// log like any refusal.
func TestAFloodOfRefusalsWaits(t *testing.T) {
	for name, post := range map[string]func(string, ...string) string{"hot": hotPost, "net/http": coldPost} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.Rates.Tenant = Rate{0.001, 1} })
			r.tenant("nord")
			c := r.dial(r.enrol("nord", "m-1"))
			if status, answer := c.exchange(t, post(r.line(1, 1))); status != 202 {
				t.Fatal(answer)
			}
			const beyond = 30
			began := time.Now()
			for i := range refusalBurst + beyond {
				if status, answer := c.exchange(t, post(r.line(2+i, 1))); status != 429 {
					t.Fatal(answer)
				}
			}
			if took := time.Since(began); took < beyond*refusalEvery {
				t.Errorf("%d refusals took %v, less than they must", refusalBurst+beyond, took)
			}
		})
	}
}
