package ingest

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestACertificateThatCouldNotBeMadeIsMadeLater: the settings want another
// certificate, and its key cannot be written at first.
func TestACertificateThatCouldNotBeMadeIsMadeLater(t *testing.T) {
	for how, again := range map[string]func(r *rig) error{
		"by the periodic duties": func(r *rig) error { return r.s.Tick(t.Context(), r.clock.now()) },
		"by the next apply":      func(r *rig) error { return failed(r.admin("root.admin").ApplyConfig(t.Context(), nil, "again", "")) },
	} {
		t.Run(how, func(t *testing.T) {
			r := newRig(t)
			own := r.config
			r.readable(&own)
			own.Hostnames = []string{"ingest.example"}
			key := filepath.Join(r.dir, "ca", "server.key")
			if err := os.Remove(key); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(key, "in-the-way"), 0o700); err != nil {
				t.Fatal(err)
			}
			shows := func() bool {
				return slices.Contains(r.s.certificate.Load().Leaf.DNSNames, "ingest.example")
			}
			if _, err := r.admin("root.admin").ApplyConfig(t.Context(), nil, "another name", ""); err == nil || shows() {
				t.Fatalf("%v; it shows the name: %v", err, shows())
			}
			if err := os.RemoveAll(key); err != nil {
				t.Fatal(err)
			}
			if err := again(r); err != nil || !shows() {
				t.Errorf("%v; it shows the name: %v", err, shows())
			}
		})
	}
}
