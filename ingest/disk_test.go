package ingest

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"trustpack/evidence"
	"trustpack/internal/durable"
)

// brokenDisk is the disk, on which writes or syncs of the files whose path
// holds a word fail once that is wanted.
type brokenDisk struct {
	durable.Disk
	mu    sync.Mutex
	word  string // empty: nothing fails
	write error  // what writing says; nil: only syncs fail
	tried int    // writes and syncs of those files since
}

func (d *brokenDisk) fail(word string, write error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.word, d.write, d.tried = word, write, 0
}

func (d *brokenDisk) attempts() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tried
}

func (d *brokenDisk) OpenFile(path string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := d.Disk.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	return &brokenFile{f, path, d}, nil
}

type brokenFile struct {
	durable.File
	path string
	disk *brokenDisk
}

// hit counts an attempt on a file that is to fail.
func (f *brokenFile) hit() (bool, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.word == "" || !strings.Contains(f.path, f.disk.word) {
		return false, nil
	}
	f.disk.tried++
	return true, f.disk.write
}

func (f *brokenFile) WriteAt(b []byte, off int64) (int, error) {
	if hit, err := f.hit(); hit && err != nil {
		n, werr := f.File.WriteAt(b[:len(b)/2], off)
		return n, errors.Join(err, werr)
	}
	return f.File.WriteAt(b, off)
}

func (f *brokenFile) Sync() error {
	if hit, _ := f.hit(); hit {
		return syscall.EIO
	}
	return f.File.Sync()
}

// TestAFailedSyncEndsTheService: from the first durable write that fails on,
// every request that would need one is answered with 503, the ingest is not
// ready, and says loudly why; nothing is tried again, not even where the disk
// has recovered. A restart looks what is there.
func TestAFailedSyncEndsTheService(t *testing.T) {
	for name, c := range map[string]struct {
		word  string
		write error
		act   func(*rig, *DeviceClient) error
		cause string
	}{
		"sync of the journal": {"journal", nil, func(r *rig, c *DeviceClient) error {
			_, err := c.Send(r.t.Context(), []byte(r.line(2, 1)))
			return err
		}, "input/output error"},
		"half a write to the journal": {"journal", syscall.EIO, func(r *rig, c *DeviceClient) error {
			_, err := c.Send(r.t.Context(), []byte(r.line(2, 1)))
			return err
		}, "input/output error"},
		"no space for the journal": {"journal", syscall.ENOSPC, func(r *rig, c *DeviceClient) error {
			_, err := c.Send(r.t.Context(), []byte(r.line(2, 1)))
			return err
		}, "the disk is full; entries acknowledged before are safe; free space and start again"},
		"sync of the checkpoints": {"signed.jsonl", nil, func(r *rig, c *DeviceClient) error {
			if err := r.s.Tick(r.t.Context(), r.clock.now()); err == nil {
				r.t.Error("a checkpoint was published")
			}
			_, err := c.Send(r.t.Context(), []byte(r.line(2, 1)))
			return err
		}, "storing checkpoints"},
		"sync of the history": {"history.jsonl", nil, func(r *rig, c *DeviceClient) error {
			if _, p := r.s.checkpoint(controlLog); p == nil {
				r.t.Error("a checkpoint was made")
			}
			_, err := c.Send(r.t.Context(), []byte(r.line(2, 1)))
			return err
		}, "the history of checkpoints"},
	} {
		t.Run(name, func(t *testing.T) {
			disk, log := &brokenDisk{}, &logged{}
			r := newRig(t)
			r.stop()
			r.disk, r.logger = disk, slog.New(slog.NewJSONHandler(log, nil))
			r.start()
			r.tenant("nord")
			pair := r.enrol("nord", "m-1")
			client := r.deviceClient(pair)
			r.send(client, r.line(1, 1))
			if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
				t.Fatal(err)
			}
			r.tenant("sued") // so that there is news
			disk.fail(c.word, c.write)
			if p := refusedWith(t, c.act(r, client), CodeDurabilityLost); p.Status != http.StatusServiceUnavailable {
				t.Errorf("%+v", p)
			}
			tried := disk.attempts()
			if tried == 0 {
				t.Fatal("nothing was written")
			}
			disk.fail("/ledger/", nil) // to count what is tried from here on
			for range 3 {
				_, err := client.Send(t.Context(), []byte(r.line(3, 1)))
				refusedWith(t, err, CodeDurabilityLost)
				refusedWith(t, r.admin("root.admin").AddTenant(t.Context(), evidence.Tenant{ID: "west"}, ""), CodeDurabilityLost)
				if err := r.s.Tick(t.Context(), r.clock.now()); err == nil {
					t.Error("the periodic duties went on")
				}
			}
			if n := disk.attempts(); n != 0 {
				t.Errorf("%d writes or syncs after the failure", n)
			}
			disk.fail("", nil)
			if _, err := r.admin("erin").Get(t.Context(), "/readyz"); err == nil || !strings.Contains(err.Error(), "503") {
				t.Errorf("readyz: %v", err)
			}
			if _, err := r.admin("erin").Get(t.Context(), "/healthz"); err != nil {
				t.Error(err)
			}
			if b, err := r.admin("erin").Get(t.Context(), "/metrics"); err != nil || !strings.Contains(string(b), "\ntrustpack_ingest_durable 0\n") {
				t.Errorf("metrics: %v", err)
			}
			if n := strings.Count(log.String(), `"level":"ERROR","msg":"durability lost: nothing is taken any more until a restart"`); n != 1 || !strings.Contains(log.String(), c.cause) {
				t.Errorf("said %d times: %s", n, log.String())
			}
			r.endLost()
			r.start()
			if _, err := r.admin("erin").Get(t.Context(), "/readyz"); err != nil {
				t.Errorf("after a restart: %v", err)
			}
			again := r.send(r.deviceClient(pair), r.line(1, 1), r.line(4, 1))
			if again.Duplicate != 1 || again.Accepted != 1 {
				t.Errorf("what was acknowledged before is %+v", again)
			}
			r.sameAsFold()
		})
	}
}

// endLost ends an ingest that has lost durability, which Close says.
func (r *rig) endLost() {
	r.t.Helper()
	r.lost = true
	r.stop()
	r.lost = false
}
