package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"trustpack/ledger"
)

// TestWhatALedgerGivesOutIsWrittenWhole: a file that is there stays as it was
// until the new one is whole, so that a disk that runs full leaves no half of
// a proof. A second name of the old file shows that it was not written over.
func TestWhatALedgerGivesOutIsWrittenWhole(t *testing.T) {
	dir, out := filepath.Join(t.TempDir(), "ledger"), t.TempDir()
	seed, err := ledger.NewSeed()
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(dir, ledger.Options{Instance: "ingest.example.com", Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), ledger.Entry{Log: "a", Data: []byte(`{"n":1}`), Payload: []byte("payload")}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Checkpoint("a"); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(out, name) }
	names := []string{"x.tlog-proof", "x.entry", "x.salt", "x.payload", "x.vkey"}
	for _, name := range names {
		if err := os.WriteFile(at(name), []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(at(name), at(name+".old")); err != nil {
			t.Skipf("this file system has no second names: %v", err)
		}
	}
	for _, args := range [][]string{
		{"ledger", "prove", dir, "--log", "a", "--out", at("x")},
		{"ledger", "payload", dir, "--log", "a", "--index", "0", "--out", at("x")},
		{"ledger", "export", dir, at("tiles"), "--log", "a", "--vkey", at("x.vkey")},
	} {
		var said bytes.Buffer
		if code := run(t.Context(), args, nil, &said, &said); code != exitOK {
			t.Fatalf("%v: exit %d, %s", args, code, said.String())
		}
	}
	for _, name := range names {
		if b, err := os.ReadFile(at(name + ".old")); err != nil || string(b) != "old" {
			t.Errorf("%s was written over: %q, %v", name, b, err)
		}
		if b, err := os.ReadFile(at(name)); err != nil || string(b) == "old" {
			t.Errorf("%s is %q, %v", name, b, err)
		}
	}
}
