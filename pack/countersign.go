package pack

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"time"

	"trustpack/evidence"
)

// Countersigning is what somebody adds to a finished pack.
type Countersigning struct {
	Role       string // "reviewer" or "auditor"
	Identity   string // who signs: one line, 1 to 200 bytes
	Time       time.Time
	Properties []string      // further properties of the statement, each a line of at most 200 bytes
	Samples    []SampleFiles // that the signature cites

	// Timestamp asks a time stamp authority for a DER TimeStampResp over the
	// signature; nil: none is asked.
	Timestamp func(signature []byte) ([]byte, error)
}

// SampleFiles are a drawn sample (FORMAT.md section 9) and its worksheet, nil
// where there is none.
type SampleFiles struct {
	JSON, Worksheet []byte
}

// NotVerifiedError is Countersign's where the pack does not verify under the
// anchors given.
type NotVerifiedError struct {
	Report Report
}

func (e *NotVerifiedError) Error() string {
	return fmt.Sprintf("the pack is not signed: under the keys given its verdict is %q", e.Report.Verdict)
}

// Countersign writes to w the pack in r, of size bytes, with one more
// signature by s, and gives the name of that signature's file. It verifies
// the pack first under o and refuses any but a whole one with
// NotVerifiedError; signatures that the pack itself still waits for are no
// reason. Every file of the pack keeps its bytes. What a failing w has taken
// is no pack.
func Countersign(w io.Writer, r io.ReaderAt, size int64, o VerifyOptions, c Countersigning, s Signer) (string, error) {
	name, err := countersign(w, r, size, o, c, s)
	if err != nil {
		return "", fmt.Errorf("countersigning: %w", err)
	}
	return name, nil
}

func countersign(w io.Writer, r io.ReaderAt, size int64, o VerifyOptions, c Countersigning, s Signer) (string, error) {
	if c.Role != roleReviewer && c.Role != roleAuditor {
		return "", fmt.Errorf("role %q: want %s or %s", c.Role, roleReviewer, roleAuditor)
	}
	if err := checkText(c.Identity); err != nil {
		return "", fmt.Errorf("identity: %w", err)
	}
	v := newVerifier(r, size, o)
	v.unfinished = true
	if report := v.run(); report.Exit != 0 {
		return "", &NotVerifiedError{report}
	}
	if err := v.mayCountersign(c, s.Public()); err != nil {
		return "", err
	}
	added, cited, err := v.addSamples(c.Samples)
	if err != nil {
		return "", err
	}
	payload, err := verifierStatement(c.Role, v.packSHA256, c.Identity, c.Time, append(slices.Clone(c.Properties), cited...))
	if err != nil {
		return "", err
	}
	if _, err := checkStatement(payload, c.Role, v.packSHA256); err != nil {
		return "", err
	}
	name := bundleName(c.Role, len(v.c.bundleNumbers(c.Role))+1)
	if !isSignature(name) {
		return "", fmt.Errorf("the pack has as many signatures of role %s as it can", c.Role)
	}
	if added[name], err = signBundle(payload, s); err != nil {
		return "", err
	}
	if c.Timestamp != nil {
		reply, _, err := stampBundle(added[name], c.Timestamp, v.o.TSARoots, v.c.root.Period.To, v.lastCollected)
		if err != nil {
			return "", err
		}
		added[timestampOf(name)] = reply
	}
	return name, v.c.a.copyWith(w, added, nil)
}

// mayCountersign refuses a key or somebody that signed the pack already.
func (v *verifier) mayCountersign(c Countersigning, key PublicKey) error {
	for _, sig := range v.claims {
		switch {
		case sig.bundle.hint == key.Fingerprint():
			return fmt.Errorf("key %s has signed %s: each signature has a key of its own", key.Fingerprint(), sig.name)
		case sig.said.identity != "" && foldCase(sig.said.identity) == foldCase(c.Identity):
			return fmt.Errorf("%q has signed %s: each signature is by somebody else", sig.said.identity, sig.name)
		}
	}
	if slices.ContainsFunc(keysOf(v.o.anchors(roleVendor)), key.Equal) {
		return fmt.Errorf("key %s is the vendor's, who cannot be his own %s", key.Fingerprint(), c.Role)
	}
	return nil
}

// addSamples gives the files of samples that the pack does not have yet, and
// the properties that cite all of them.
func (v *verifier) addSamples(samples []SampleFiles) (map[string][]byte, []string, error) {
	added := map[string][]byte{}
	there := map[string]bool{}
	numbers := numbersOf(v.c.Paths(), samplePath)
	for _, n := range numbers {
		data, err := v.c.a.read(sampleName(n), maxRead)
		if err != nil {
			return nil, nil, fmt.Errorf("reading %s: %w", sampleName(n), err)
		}
		there[evidence.SHA256Hex(data)] = true
	}
	var cited []string
	next := len(numbers) + 1
	for _, s := range samples {
		if err := v.fitsPack(s); err != nil {
			return nil, nil, fmt.Errorf("sample: %w", err)
		}
		digest := evidence.SHA256Hex(s.JSON)
		cited = append(cited, sampleProperty+digest)
		if there[digest] {
			continue
		}
		there[digest] = true
		if next > maxNumber {
			return nil, nil, errors.New("the pack has as many samples as it can")
		}
		added[sampleName(next)] = s.JSON
		if s.Worksheet != nil {
			added[worksheetName(next)] = s.Worksheet
		}
		next++
	}
	return added, cited, nil
}

// fitsPack demands that the sample is the one that its digits draw from this
// pack, and that the worksheet is the one that it names.
func (v *verifier) fitsPack(s SampleFiles) error {
	sample, err := ParseSample(s.JSON)
	if err != nil {
		return err
	}
	if err := v.c.Redraw(sample); err != nil {
		return fmt.Errorf("drawing it again: %w", err)
	}
	switch {
	case s.Worksheet == nil && sample.Worksheet != "":
		return errors.New("its worksheet is missing")
	case s.Worksheet != nil && evidence.SHA256Hex(s.Worksheet) != sample.Worksheet:
		return errors.New("the worksheet is not the one that it names")
	}
	return nil
}

// copyWith writes the archive with further files, or others in the place of
// some, and without those that are dropped. The bodies are copied as they are
// and held to their CRC-32, in case the medium gives others than were verified.
func (a *archive) copyWith(w io.Writer, added map[string][]byte, dropped map[string]bool) error {
	z := &zipWriter{w: w}
	names := slices.SortedFunc(maps.Keys(added), compareNames)
	before := func(name string) error {
		for len(names) > 0 && (name == "" || compareNames(names[0], name) < 0) {
			body := added[names[0]]
			if err := z.add(names[0], crc32.ChecksumIEEE(body), body); err != nil {
				return err
			}
			names = names[1:]
		}
		return nil
	}
	for i := range a.files {
		f := &a.files[i]
		if err := before(f.name); err != nil {
			return err
		}
		if len(names) > 0 && names[0] == f.name {
			if err := z.add(f.name, crc32.ChecksumIEEE(added[f.name]), added[f.name]); err != nil {
				return err
			}
			names = names[1:]
			continue
		}
		if dropped[f.name] {
			continue
		}
		if err := z.copyFile(a, f); err != nil {
			return fmt.Errorf("writing %s: %w", f.name, err)
		}
	}
	if err := before(""); err != nil {
		return err
	}
	return z.close()
}

func (z *zipWriter) copyFile(a *archive, f *file) error {
	in, err := a.body(f)
	if err != nil {
		return err
	}
	e := f.entry
	e.offset = z.offset
	if err := z.write(e.localHeader()); err != nil {
		return err
	}
	crc := crc32.NewIEEE()
	n, err := io.Copy(io.MultiWriter(z.w, crc), in)
	z.offset += n
	if err != nil {
		return err
	}
	if n != f.size || crc.Sum32() != f.crc {
		return errors.New("it changed while it was copied")
	}
	z.entries = append(z.entries, e)
	return nil
}
