package github

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"testing"

	"trustpack/evidence"
)

// memory is a store that holds max replies.
type memory struct {
	max  int
	has  map[string][]byte
	full error
}

func (m *memory) Keep(body []byte) (string, error) {
	if len(m.has) >= m.max {
		return "", m.full
	}
	digest := evidence.SHA256Hex(body)
	m.has[digest] = bytes.Clone(body)
	return digest, nil
}

func (m *memory) Open(digest string) (io.ReadCloser, error) {
	b, ok := m.has[digest]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// With a store, the evidence is the same to the byte, and its replies are in
// the store and not in memory.
func TestRepliesGoToTheStore(t *testing.T) {
	want := newBench(t).collect()
	b := newBench(t)
	store := &memory{max: 1 << 20, has: map[string][]byte{}}
	b.deps.Store = store
	b.config.BaseURL = b.server.URL()
	got := b.collect()
	replies := 0
	for k, e := range got {
		if len(e.Raw) != len(want[k].Raw) {
			t.Fatalf("%s: %d replies, want %d", k, len(e.Raw), len(want[k].Raw))
		}
		for i, r := range e.Raw {
			replies++
			if r.Body != nil || r.Kept == nil || r.Name != want[k].Raw[i].Name {
				t.Fatalf("%s: %+v", k, r)
			}
			if body := store.has[r.Kept.SHA256]; !bytes.Equal(body, want[k].Raw[i].Body) || int64(len(body)) != r.Kept.Size {
				t.Errorf("%s: %s was kept as %q", k, r.Name, body)
			}
		}
		rec, _, _, err := evidence.RecordOf(e)
		if err != nil {
			t.Fatal(err)
		}
		other, _, _, err := evidence.RecordOf(want[k])
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range rec.RawFiles {
			if f != other.RawFiles[i] {
				t.Errorf("%s: the record names %+v, want %+v", k, f, other.RawFiles[i])
			}
		}
	}
	if replies == 0 {
		t.Fatal("no replies")
	}
}

// A reply that cannot be kept ends the collection: what cites it would be
// without its proof. Nothing is asked again or any further.
func TestAStoreThatIsFull(t *testing.T) {
	full := errors.New("no space left on device")
	for _, max := range []int{0, 3} {
		b := newBench(t)
		b.deps.Store = &memory{max: max, has: map[string][]byte{}, full: full}
		c, err := New(b.config, b.deps)
		if err != nil {
			t.Fatal(err)
		}
		before := len(b.server.Requests())
		got, err := c.Collect(t.Context(), quarter)
		if !errors.Is(err, full) || got != nil {
			t.Errorf("%d kinds and %v after %d replies", len(got), err, max)
		}
		if n := len(b.server.Requests()) - before; n != max+1 {
			t.Errorf("%d requests were made, want %d", n, max+1)
		}
		if len(b.slept) > 0 {
			t.Errorf("it was patient with its own store: %v", b.slept)
		}
	}
}
