package pack

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"trustpack/evidence"
)

// maxRead bounds a record that is read whole to build a pack.
const maxRead = defaultMaxRead

// collection is one evidence.json of the manifest, with what stands beside it.
type collection struct {
	line       Line
	dir        string
	population bool
	raws       int
	read       bool // its record was
	logged     bool // an entry of an evidence log says when it was made
}

// Contents is an opened pack. From Open, nothing in it has been verified; the
// hooks of VerifyOptions get one whose files have been hashed against the
// manifest.
type Contents struct {
	a        *archive
	packJSON []byte
	root     Root

	collections []collection
	controls    []string // paths of control.json, sorted
	catalog     []string
	derived     []Line // files that the manifest calls derived
	stages      map[evidence.Stage]Totals
	redacted    []withheldLine // of the manifest, in its order
}

// Root is what pack.json says.
func (c *Contents) Root() Root { return c.root }

// PackJSON is pack.json as it stands in the archive.
func (c *Contents) PackJSON() []byte { return bytes.Clone(c.packJSON) }

// Paths lists the entries of the archive in order.
func (c *Contents) Paths() []string {
	out := make([]string, len(c.a.files))
	for i, f := range c.a.files {
		out[i] = f.name
	}
	return out
}

// Has reports whether the archive has an entry of that name.
func (c *Contents) Has(path string) bool {
	_, ok := c.a.find(path)
	return ok
}

// Read gives the content of a file of the manifest and demands that it has
// the digest that the manifest gives. The error of a file that was taken out
// by a redaction is a *WithheldError.
func (c *Contents) Read(path string) ([]byte, error) {
	if !c.Has(path) {
		if w := c.withheld(path); w != nil {
			return nil, fmt.Errorf("reading %s: %w", path, w)
		}
	}
	data, err := c.a.read(path, c.a.limits.MaxRead)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	i, _ := c.a.find(path)
	if f := &c.a.files[i]; !f.listed || sha256.Sum256(data) != f.want {
		return nil, fmt.Errorf("reading %s: it is not what the manifest says", path)
	}
	return data, nil
}

func (c *Contents) readJSON(path string, into any) error {
	data, err := c.Read(path)
	if err != nil {
		return err
	}
	if err := decodeStrict(data, into); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

// Catalog gives the files of the control catalog by their path in it.
func (c *Contents) Catalog() (map[string][]byte, error) {
	out := map[string][]byte{}
	if c.withholds(catalogDir) {
		return nil, fmt.Errorf("reading %s: %w", catalogDir, &WithheldError{catalogDir, ""})
	}
	for _, path := range c.catalog {
		data, err := c.Read(path)
		if err != nil {
			return nil, err
		}
		out[strings.TrimPrefix(path, catalogDir)] = data
	}
	return out, nil
}

// Controls gives the controls in the order of their folders.
func (c *Contents) Controls() ([]evidence.Control, error) {
	var out []evidence.Control
	for _, path := range c.controls {
		var control evidence.Control
		if err := c.readJSON(path, &control); err != nil {
			return nil, err
		}
		out = append(out, control)
	}
	return out, nil
}

// Findings gives the findings in the order of their controls' folders.
func (c *Contents) Findings() ([]evidence.Finding, error) {
	var out []evidence.Finding
	for _, path := range c.controls {
		var findings []evidence.Finding
		if err := c.readJSON(strings.TrimSuffix(path, controlFile)+findingsFile, &findings); err != nil {
			return nil, err
		}
		out = append(out, findings...)
	}
	return out, nil
}

// Logs gives the heads of the pack's logs.
func (c *Contents) Logs() ([]LogHead, error) {
	if !c.Has(logsName) {
		return nil, nil
	}
	data, err := c.Read(logsName)
	if err != nil {
		return nil, err
	}
	return parseLogHeads(data)
}

// Evidence gives the collections with their populations, without raw replies.
func (c *Contents) Evidence() ([]evidence.Collected, error) {
	var out []evidence.Collected
	for _, col := range c.collections {
		var rec evidence.Record
		if err := c.readJSON(col.line.Path, &rec); err != nil {
			return nil, err
		}
		lines, err := c.Read(col.dir + populationFile)
		if err != nil {
			return nil, err
		}
		e := rec.Evidence
		if e.Population, err = evidence.ParsePopulation(lines); err != nil {
			return nil, fmt.Errorf("%s: %w", col.dir+populationFile, err)
		}
		out = append(out, evidence.Collected{ID: col.line.SHA256, Evidence: e})
	}
	return out, nil
}

// Open reads the structure of a pack, to look into it. It refuses an archive
// that is not in the one form, but verifies no signature and no file: that is
// Verify's work.
func Open(r io.ReaderAt, size int64, limits Limits) (*Contents, error) {
	v := newVerifier(r, size, VerifyOptions{Limits: limits})
	if err := v.open(); err != nil {
		return nil, fmt.Errorf("opening pack: %w", err)
	}
	return &v.c, nil
}

func (v *verifier) open() error {
	if v.scan() {
		v.checkHeaders()
		if v.readRoot() {
			v.readManifest()
		}
	}
	return v.firstFailure()
}

// firstFailure is the first of what was found wrong; nil where nothing was.
func (v *verifier) firstFailure() error {
	if v.ioErr.err != nil {
		return v.ioErr.err
	}
	for _, id := range CheckIDs() {
		if failures := v.res.failures[id]; len(failures) > 0 {
			f := failures[0]
			return errors.New(joinNonEmpty(": ", f.ID, f.Path, f.Actual))
		}
	}
	return nil
}
