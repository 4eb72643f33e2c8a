package locker

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"trustpack/evidence"
)

// Evidence may cite replies that were kept before it: those that are there, and
// of their size. The record is the same as if it had brought them.
func TestPutOfRepliesThatWereKept(t *testing.T) {
	l := open(t, t.TempDir())
	brought := sample("a")
	_, _, want, err := evidence.RecordOf(brought)
	if err != nil {
		t.Fatal(err)
	}
	body := brought.Raw[0].Body
	cite := func(size int64) evidence.Evidence {
		e := brought
		e.Raw = []evidence.RawReply{{Name: brought.Raw[0].Name, Kept: &evidence.Kept{SHA256: evidence.SHA256Hex(body), Size: size}}}
		return e
	}
	if _, err := l.Put(t.Context(), cite(int64(len(body)))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a reply that nobody kept: %v", err)
	}
	digest, err := l.Keep(body)
	if err != nil || digest != evidence.SHA256Hex(body) {
		t.Fatal(digest, err)
	}
	if _, err := l.Put(t.Context(), cite(int64(len(body))+1)); err == nil {
		t.Error("a reply of another size was cited")
	}
	if err := os.Truncate(l.path(digest), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Put(t.Context(), cite(int64(len(body)))); err == nil {
		t.Error("a reply that was cut short was cited")
	}
	if index, _, err := l.Index(); err != nil || len(index) != 0 {
		t.Errorf("%d entries, %v", len(index), err)
	}
	if _, err := l.Keep(body); err != nil { // mends it
		t.Fatal(err)
	}
	got := put(t, l, cite(int64(len(body))))
	if got.ID != want {
		t.Errorf("the ID is %s, want %s", got.ID, want)
	}
	if err := l.Check(got.ID); err != nil {
		t.Error(err)
	}
}
