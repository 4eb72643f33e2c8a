package ingest

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestExternalCRLUnread: a list that is gone or damaged is said once, not with
// each look at it, and again after it could be read; what it said before stays
// in force meanwhile.
func TestExternalCRLUnread(t *testing.T) {
	clock, log := newClock(), &logged{}
	m := newMaker(t, clock.now)
	file := filepath.Join(t.TempDir(), "pki.crl")
	start := clock.now()
	gone, stays := m.certificate("", "urn:pki:m1"), m.certificate("", "urn:pki:m2")
	good := m.revoke(1, start, start.Add(day), gone.Leaf.SerialNumber)
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		clock.add(time.Second)
		at := clock.now() // another list is another file time, however fast this is
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write(good)
	r := newRig(t, func(c *Config) {
		c.ExternalCAs = []ExternalCA{{Name: "pki", File: m.file, Tenants: []string{"acme"}, URI: "urn:pki:{device}", CRL: file}}
	})
	r.stop()
	r.logger = slog.New(slog.NewJSONHandler(log, nil))
	r.start()
	r.tenant("acme")
	r.expect("acme", "m1")
	r.expect("acme", "m2")

	seq := 0
	look := func(what string, said int) {
		t.Helper()
		for range 3 {
			if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
				t.Fatal(err)
			}
		}
		if n := strings.Count(log.String(), "of an external CA cannot be read"); n != said {
			t.Fatalf("%s: said %d times so far, want %d", what, n, said)
		}
		seq++
		r.send(r.deviceClient(stays), r.line(seq, 1))
		_, err := r.deviceClient(gone).Send(t.Context(), []byte(r.line(seq, 1)))
		refusedWith(t, err, CodeRevoked)
	}
	look("a good list", 0)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	look("the file is gone", 1)
	write([]byte("no list"))
	look("the file is damaged", 2)
	write(good)
	look("it is there again", 2)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	look("gone once more", 3)
}
