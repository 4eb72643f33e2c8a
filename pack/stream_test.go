package pack

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
)

// blobs are the bytes of collections by their SHA-256, as a store keeps them.
type blobs map[string][]byte

func (b blobs) open(digest string) (io.ReadCloser, error) {
	body, ok := b[digest]
	if !ok {
		return nil, errors.New("no such blob")
	}
	return io.NopCloser(bytes.NewReader(body)), nil
}

// storedContent moves the bytes of the content's collections into a store.
func storedContent(t testing.TB, c Content) (Content, blobs) {
	t.Helper()
	store := blobs{}
	c.Evidence = slices.Clone(c.Evidence)
	for i := range c.Evidence {
		e := &c.Evidence[i]
		_, canonical, id, err := evidence.RecordOf(e.Evidence)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := e.Population.Lines()
		if err != nil {
			t.Fatal(err)
		}
		store[id], store[evidence.SHA256Hex(lines)] = canonical, lines
		for _, r := range e.Raw {
			store[evidence.SHA256Hex(r.Body)] = r.Body
		}
		e.Raw = nil
		if i == 0 {
			e.Population.Items = nil
		}
	}
	c.Open = store.open
	return c, store
}

// TestBuildFromAStore: where the bytes come from makes no difference to the
// pack.
func TestBuildFromAStore(t *testing.T) {
	s := edSigner(t, 1)
	c, _ := storedContent(t, content(t))
	body := c.Extra[0].Body
	c.Extra[0].Body, c.Extra[0].Open = nil, inMemory(body)
	if !bytes.Equal(buildPack(t, c, s), buildPack(t, content(t), s)) {
		t.Error("the same content out of a store gave other bytes")
	}
}

func TestBuildRefusesAStoreThatDiffers(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Content, blobs)
		want   string
	}{
		"reply changed": {func(c *Content, b blobs) {
			b[evidence.SHA256Hex([]byte(`{"reply":"reply.json"}`))] = []byte("other")
		}, "changed since"},
		"reply gone":         {func(c *Content, b blobs) { delete(b, evidence.SHA256Hex([]byte(`{"reply":"reply.json"}`))) }, "no such blob"},
		"record of another":  {func(c *Content, b blobs) { b[c.Evidence[0].ID] = b[c.Evidence[1].ID] }, "not what its record says"},
		"record no JSON":     {func(c *Content, b blobs) { b[c.Evidence[0].ID] = []byte("x") }, "reading its record"},
		"header changed":     {func(c *Content, b blobs) { c.Evidence[1].Provenance.Principal = "another" }, "not what its record says"},
		"population changed": {func(c *Content, b blobs) { c.Evidence[1].Population.Items[0].Attributes["n"] = 99 }, "its population is not that of its record"},
	} {
		t.Run(name, func(t *testing.T) {
			c, store := storedContent(t, content(t))
			tc.change(&c, store)
			var out bytes.Buffer
			if _, err := Build(&out, c, edSigner(t, 1)); err == nil || !strings.Contains(err.Error(), tc.want) || out.Len() > 0 {
				t.Errorf("got %v with %d bytes written, want %q", err, out.Len(), tc.want)
			}
		})
	}
}

// TestContentThatChangesWhileItIsWritten: what is read the second time must be
// what was read the first time.
func TestContentThatChangesWhileItIsWritten(t *testing.T) {
	for name, second := range map[string]string{"other bytes": "<p>no</p>", "longer": "<p>yes</p>!", "shorter": "<p>ye"} {
		c, times := content(t), 0
		c.Extra[0].Open = func() (io.ReadCloser, error) {
			if times++; times == 1 {
				return io.NopCloser(strings.NewReader("<p>ye</p>")), nil
			}
			return io.NopCloser(strings.NewReader(second)), nil
		}
		if _, err := Build(io.Discard, c, edSigner(t, 1)); err == nil || !strings.Contains(err.Error(), "changed while the pack was built") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDraft(t *testing.T) {
	s := edSigner(t, 1)
	d, err := Prepare(content(t), s.Public())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for sequence, previous := range map[int]string{1: "", 2: strings.Repeat("a", 64)} {
		d.Number(sequence, previous)
		want, err := d.PackJSONSHA256()
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		built, err := d.Write(&out, s)
		if err != nil || built.PackJSONSHA256 != want {
			t.Errorf("pack %d: pack.json has the SHA-256 %s, the draft said %s (%v)", sequence, built.PackJSONSHA256, want, err)
		}
		if r := verifyBytes(out.Bytes(), options(t, s)); r.Exit != 0 || r.Sequence != sequence {
			t.Errorf("pack %d: %s", sequence, reportText(r))
		}
		seen[want] = true
	}
	if len(seen) != 2 {
		t.Errorf("the number changes nothing: %v", slices.Collect(maps.Keys(seen)))
	}
	if _, err := d.Write(io.Discard, edSigner(t, 2)); err == nil || !strings.Contains(err.Error(), "prepared for the key") {
		t.Errorf("signed by another: %v", err)
	}
	d.Number(2, "")
	if _, err := d.PackJSONSHA256(); err == nil {
		t.Error("a second pack without a previous one has a pack.json")
	}
}
