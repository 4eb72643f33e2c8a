package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"trustpack/evidence"
)

// What a run needs of this machine: the key is opened without asking anybody,
// and the state folder is left as it was.
func TestDoctorHere(t *testing.T) {
	dir := t.TempDir()
	_, private, err := ed25519.GenerateKey(bytes.NewReader(make([]byte, 64)))
	if err != nil {
		t.Fatal(err)
	}
	open, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("word-of-the-test"))
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string][]byte{"open.key": pem.EncodeToMemory(open), "locked.key": pem.EncodeToMemory(locked), "torn.key": []byte("-----BEGIN")} {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key, state, word string
		keyState         evidence.AccessState
		keySaid          string
		rows             []evidence.AccessState // folder, fsync, room
		folderSaid       string
	}{
		"well":       {"open.key", "state", "", evidence.AccessGranted, "SHA256:", []evidence.AccessState{"granted", "granted", "granted"}, ""},
		"new":        {"open.key", "new/er", "", evidence.AccessGranted, "SHA256:", []evidence.AccessState{"granted", "granted", "granted"}, "can be made"},
		"file":       {"open.key", "torn.key", "", evidence.AccessGranted, "SHA256:", []evidence.AccessState{"lacking", "granted"}, "writing there"},
		"locked":     {"locked.key", "state", "", evidence.AccessUnknown, "asks for no passphrase", []evidence.AccessState{"granted", "granted", "granted"}, ""},
		"unlocked":   {"locked.key", "state", "word-of-the-test", evidence.AccessGranted, "SHA256:", []evidence.AccessState{"granted", "granted", "granted"}, ""},
		"wrong word": {"locked.key", "state", "not-the-word", evidence.AccessLacking, "wrong passphrase", []evidence.AccessState{"granted", "granted", "granted"}, ""},
		"torn":       {"torn.key", "state", "", evidence.AccessLacking, "reading private key", []evidence.AccessState{"granted", "granted", "granted"}, ""},
		"missing":    {"no.key", "state", "", evidence.AccessLacking, "no.key", []evidence.AccessState{"granted", "granted", "granted"}, ""},
		"no command": {"exec:/nowhere/at-all secret-word", "state", "", evidence.AccessUnknown, "", []evidence.AccessState{"granted", "granted", "granted"}, ""},
		"no key":     {"", "state", "", "", "", []evidence.AccessState{"granted", "granted", "granted"}, ""},
	} {
		a := &app{getenv: func(k string) string { return map[string]string{"TRUSTPACK_KEY_PASSPHRASE": c.word}[k] }}
		got := a.checkHere(t.Context(), &Config{State: c.state, dir: dir, Pack: PackConfig{Key: c.key}})
		if c.key != "" {
			key := got[0]
			if got = got[1:]; key.State != c.keyState || !strings.Contains(key.Said, c.keySaid) {
				t.Errorf("%s: %+v, want %s, %q", name, key, c.keyState, c.keySaid)
			}
			if strings.Contains(key.Said, "secret-word") || c.word != "" && strings.Contains(key.Said, c.word) {
				t.Errorf("%s: a secret is told: %+v", name, key)
			}
		}
		if len(got) != len(c.rows) || !strings.Contains(got[0].Said, c.folderSaid) {
			t.Fatalf("%s: %+v", name, got)
		}
		for i, want := range c.rows {
			if got[i].State != want || got[i].Source != here || got[i].Kinds == nil {
				t.Errorf("%s: %+v, want %s", name, got[i], want)
			}
		}
	}
	left, err := os.ReadDir(dir)
	inState, err2 := os.ReadDir(filepath.Join(dir, "state"))
	if err != nil || err2 != nil || len(left) != 4 || len(inState) != 0 {
		t.Errorf("%v and %v are left, %v, %v", left, inState, err, err2)
	}
}
