package ledger

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// A log has folders of its own once its files are written; the journal is
// everybody's.
func TestFoldersOfALog(t *testing.T) {
	at := time.Date(2026, 7, 1, 10, 0, 0, 0, time.UTC)
	dir, o := t.TempDir(), Options{Instance: "example.com/test", Seed: make([]byte, 32), Now: func() time.Time { return at }}
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(context.Background(), Entry{Log: "nord", Data: []byte(`{}`), Payload: []byte("p")}, Entry{Log: "control", Data: []byte(`{}`)}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(dir, o); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	for log, want := range map[string][]string{"nord": {"logs/nord", "payloads/nord", "journal"}, "control": {"logs/control", "journal"}} {
		if got, err := l.Folders(log); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s is kept in %q (%v), want %q", log, got, err, want)
		}
	}
	if _, err := l.Folders("none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a log that is not there: %v", err)
	}
}
