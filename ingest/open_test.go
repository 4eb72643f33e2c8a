package ingest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trustpack/internal/durable"
)

func TestOpenRefuses(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	open := func() error {
		s, err := Open(Options{Dir: r.dir, Config: r.config, Now: r.clock.now})
		if err == nil {
			err = s.Listen()
			if cerr := s.Close(context.Background()); err == nil {
				err = cerr
			}
		}
		return err
	}
	var locked *durable.LockedError
	if err := open(); !errors.As(err, &locked) {
		t.Errorf("a second process: %v", err)
	}
	public, _ := r.s.Addrs()
	r.stop()
	busy, err := net.Listen("tcp", public)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	r.config.AdminListen = public
	if err := open(); err == nil || !strings.Contains(err.Error(), "ingest.admin_listen") || !strings.Contains(err.Error(), public) {
		t.Errorf("busy port: %v", err)
	}
	r.config.AdminListen = "127.0.0.1:0"
	if err := open(); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"log.seed": "log.seed", "ca/root.key": "root.key", "ca/root.crt": "root.crt", "ingest.json": "ingest.json",
	} {
		path := filepath.Join(r.dir, file)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("SECRET"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := open(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", file, err)
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	segments, err := filepath.Glob(filepath.Join(r.dir, "ledger", "logs", "control", "entries"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	b, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(segments[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(r.dir, "ledger", "snapshots")); err != nil { // with one, old entries are not read
		t.Fatal(err)
	}
	if err := open(); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("damaged log: %v", err)
	}
}

func TestInitNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	o := InitOptions{Instance: "a/b", Org: "Test", FirstAdmin: "a"}
	if err := Init(dir, o); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]fs.FileMode{"ca/root.key": 0o600, "log.seed": 0o600, "operators/a.key": 0o600} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	before, err := os.ReadFile(filepath.Join(dir, "ca", "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Init(dir, o); err == nil || !strings.Contains(err.Error(), "never overwritten") {
		t.Errorf("second init: %v", err)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "ca", "root.key")); err != nil || !bytes.Equal(before, after) {
		t.Error("the key was changed")
	}
	bad := t.TempDir()
	if err := Init(bad, InitOptions{Instance: "NO SPACES ALLOWED\n", Org: "x", FirstAdmin: "a"}); err == nil {
		t.Error("a bad instance name is taken")
	} else if left, _ := os.ReadDir(bad); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
