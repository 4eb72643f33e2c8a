package pack

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"trustpack/evidence"
)

const minSecret = 16

// builder gathers the files that the manifest lists. Of each it keeps what the
// manifest and the archive say of it; the content is read again when it is
// written.
type builder struct {
	c       Content
	files   []builtFile
	records int64
	logged  loggedEvidence
	sum     *summer
	copier  copier
}

// builtFile is a file of the manifest.
type builtFile struct {
	path  string
	media string
	about *Line // what else its line says; shared by the files of a collection
	sums
	open opener // nil: Content.Open, by its SHA-256
}

// Build writes the pack of c, signed by s. It refuses content that its own
// verifier would not accept: evidence whose ID is not that of its record, or
// that is not in the evidence log, findings over evidence that is not there,
// sample data without its label. Nothing is written before all of that has
// been checked; what a failing w has taken by then is no pack.
//
// Content is read twice, in a stream: memory grows with the number of files
// (names and digests), not with their bytes.
func Build(w io.Writer, c Content, s Signer) (Built, error) {
	d, err := Prepare(c, s.Public())
	if err != nil {
		return Built{}, err
	}
	return d.Write(w, s)
}

// Draft is a pack whose content has been read, checked and summed up, but not
// written.
type Draft struct {
	b       *builder
	key     PublicKey
	derived derived
}

// Prepare makes the draft of a pack that the owner of key will sign.
func Prepare(c Content, key PublicKey) (*Draft, error) {
	b, err := gather(c, key)
	if err != nil {
		return nil, fmt.Errorf("building pack: %w", err)
	}
	d, err := b.derive()
	if err != nil {
		return nil, fmt.Errorf("building pack: %w", err)
	}
	return &Draft{b, key, d}, nil
}

// Number gives the pack its place in the chain of packs, over that of its
// content.
func (d *Draft) Number(sequence int, previous string) {
	d.b.c.Sequence, d.b.c.Previous = sequence, previous
}

// PackJSONSHA256 is the hex SHA-256 of the pack.json that Write would write.
func (d *Draft) PackJSONSHA256() (string, error) {
	packJSON, err := d.b.root(d.derived).encode()
	if err != nil {
		return "", fmt.Errorf("building pack: %w", err)
	}
	return evidence.SHA256Hex(packJSON), nil
}

// Write writes the pack, signed by s, whose key must be that of Prepare.
func (d *Draft) Write(w io.Writer, s Signer) (Built, error) {
	if !s.Public().Equal(d.key) {
		return Built{}, fmt.Errorf("building pack: it was prepared for the key %s, and is to be signed by %s", d.key.Fingerprint(), s.Public().Fingerprint())
	}
	built, err := d.b.write(w, s, d.derived)
	if err != nil {
		return Built{}, fmt.Errorf("building pack: %w", err)
	}
	return built, nil
}

// gather collects every file that the manifest lists.
func gather(c Content, key PublicKey) (*builder, error) {
	if len(c.Secret) < minSecret {
		return nil, fmt.Errorf("the secret has %d bytes, want at least %d", len(c.Secret), minSecret)
	}
	b := &builder{c: c, sum: newSummer(), logged: loggedEvidence{logged: map[[32]byte]bool{}}}
	for _, e := range c.Evidence {
		if err := checkID(e.ID); err != nil {
			return nil, fmt.Errorf("evidence %s (%s): %w", e.ID, e.Kind, err)
		}
		b.logged.logged[idBytes(e.ID)] = false
	}
	for _, step := range []func() error{
		b.addLogs, b.addControls, b.addEvidence, b.addExceptions, b.addCatalog, b.addExtra,
		func() error { return b.addTrust(key) },
		func() error {
			return b.add(Line{Path: readmeName, MediaType: typeText, Kind: kindReadme}, readme(c, key))
		},
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(b.files, func(x, y builtFile) int { return strings.Compare(x.path, y.path) })
	names := newNameSet()
	for _, f := range b.files {
		if err := names.add(f.path); err != nil {
			return nil, fmt.Errorf("%s: %w", f.path, err)
		}
	}
	return b, nil
}

// add takes in a file of which the line says what is not known from body.
func (b *builder) add(l Line, body []byte) error {
	return b.addOpen(l.Path, l.MediaType, &l, inMemory(body))
}

// addOpen takes in a file that open opens; about is not changed any more.
func (b *builder) addOpen(path, media string, about *Line, open opener) error {
	b.sum.Reset()
	if err := b.copier.copy(b.sum, open); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return b.addSummed(builtFile{path, media, about, b.sum.sums(), open})
}

func (b *builder) addSummed(f builtFile) error {
	if err := checkName(f.path); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if f.size > maxFileSize {
		return fmt.Errorf("%s: %d bytes, more than a pack's file may have", f.path, f.size)
	}
	if f.media == "" {
		f.media = typeBinary
	}
	b.files = append(b.files, f)
	return nil
}

// open opens the content of a file.
func (b *builder) open(f *builtFile) (io.ReadCloser, error) {
	if f.open != nil {
		return f.open()
	}
	return b.c.Open(hex32(f.sha256))
}

// line is the file's line in the manifest.
func (b *builder) line(f *builtFile) Line {
	l := *f.about
	l.Path, l.MediaType, l.Size, l.SHA256, l.Salt = f.path, f.media, f.size, hex32(f.sha256), salt(b.c.Secret, f.path)
	l.Controls, l.DerivedFrom = sortedSet(l.Controls), sortedSet(l.DerivedFrom)
	return l
}

func (b *builder) addJSON(l Line, v any) error {
	body, err := evidence.CanonicalJSON(v)
	if err != nil {
		return fmt.Errorf("%s: %w", l.Path, err)
	}
	l.MediaType = typeJSON
	return b.add(l, body)
}

func sortedSet(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(s)))
}

func (b *builder) addCatalog() error {
	for _, name := range slices.Sorted(maps.Keys(b.c.CatalogFiles)) {
		media := typeBinary
		if strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
			media = typeYAML
		}
		if err := b.add(Line{Path: catalogDir + name, MediaType: media, Kind: kindCatalog}, b.c.CatalogFiles[name]); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) addExtra() error {
	for _, f := range b.c.Extra {
		if !inPayload(f.Path) || ownFolder(f.Path) {
			return fmt.Errorf("%s: an extra file belongs under %s, outside the folders of stages, logs, catalog and evidence", f.Path, dataDir)
		}
		open := opener(f.Open)
		if open == nil {
			open = inMemory(f.Body)
		}
		if err := b.addOpen(f.Path, f.MediaType, &Line{Stage: f.Stage, Controls: f.Controls, Kind: f.Kind, DerivedFrom: f.DerivedFrom}, open); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) addTrust(key PublicKey) error {
	pem, err := key.PEM()
	if err != nil {
		return err
	}
	line := key.Line()
	files := []struct{ name, body string }{
		{"vendor.pub", line + "\n"},
		{"vendor.pem", string(pem)},
		{"allowed_signers", fmt.Sprintf("%s namespaces=%q %s\n", SSHIdentity, SSHNamespace, line)},
	}
	for _, e := range b.c.Logs {
		files = append(files, struct{ name, body string }{"logs/" + escapePath(e.Origin) + ".vkey", e.VerifierKey + "\n"})
	}
	for _, f := range files {
		if err := b.add(Line{Path: trustDir + f.name, MediaType: typeText, Kind: kindTrust}, []byte(f.body)); err != nil {
			return err
		}
	}
	return nil
}

// sign makes the vendor's two signatures over pack.json.
func sign(packJSON []byte, packSHA256, identity string, s Signer) (map[string][]byte, error) {
	payload, err := vendorStatement(packSHA256, identity)
	if err != nil {
		return nil, err
	}
	dsse, err := signBundle(payload, s)
	if err != nil {
		return nil, err
	}
	sshsig, err := signSSH(packJSON, s)
	if err != nil {
		return nil, err
	}
	if err := verifySSH(packJSON, sshsig, s.Public()); err != nil {
		return nil, fmt.Errorf("signing: checking the new SSH signature: %w", err)
	}
	return map[string][]byte{bundleName(roleVendor, 1): dsse, sshsigName: sshsig}, nil
}

var errNoID = errors.New("its ID is not 64 lower-case hex digits")

// idBytes is an ID that checkID let through.
func idBytes(id string) (out [32]byte) {
	hex.Decode(out[:], []byte(id))
	return out
}

func checkID(id string) error {
	if !isHex(id, sha256.Size) {
		return errNoID
	}
	return nil
}
