package pack

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strings"

	"trustpack/evidence"
)

const minSecret = 16

// builder gathers the files that the manifest lists.
type builder struct {
	c       Content
	files   []builtFile
	names   nameSet
	records int64
}

type builtFile struct {
	line Line
	body []byte
}

// Build writes the pack of c, signed by s. It refuses content that its own
// verifier would not accept: evidence whose ID is not that of its record, or
// that is not in the evidence log, findings over evidence that is not there,
// sample data without its label. Nothing is written before all of that has
// been checked; what a failing w has taken by then is no pack.
func Build(w io.Writer, c Content, s Signer) (Built, error) {
	built, err := build(w, c, s)
	if err != nil {
		return Built{}, fmt.Errorf("building pack: %w", err)
	}
	return built, nil
}

func build(w io.Writer, c Content, s Signer) (Built, error) {
	b, err := gather(c, s.Public())
	if err != nil {
		return Built{}, err
	}
	return b.write(w, s)
}

// gather collects every file that the manifest lists.
func gather(c Content, key PublicKey) (*builder, error) {
	if len(c.Secret) < minSecret {
		return nil, fmt.Errorf("the secret has %d bytes, want at least %d", len(c.Secret), minSecret)
	}
	b := &builder{c: c, names: newNameSet()}
	for _, step := range []func() error{
		b.addControls, b.addEvidence, b.addExceptions, b.addCatalog, b.addExtra, b.addLogs,
		func() error { return b.addTrust(key) },
		func() error {
			return b.add(Line{Path: readmeName, MediaType: typeText, Kind: kindReadme}, readme(c, key))
		},
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(b.files, func(x, y builtFile) int { return strings.Compare(x.line.Path, y.line.Path) })
	return b, nil
}

// add takes in a file; its line lacks size and salt, and the digest unless
// that is known already.
func (b *builder) add(l Line, body []byte) error {
	if err := checkName(l.Path); err != nil {
		return fmt.Errorf("%s: %w", l.Path, err)
	}
	if err := b.names.add(l.Path); err != nil {
		return fmt.Errorf("%s: %w", l.Path, err)
	}
	l.Controls, l.DerivedFrom = sortedSet(l.Controls), sortedSet(l.DerivedFrom)
	if l.MediaType == "" {
		l.MediaType = typeBinary
	}
	if l.SHA256 == "" {
		l.SHA256 = evidence.SHA256Hex(body)
	}
	l.Size, l.Salt = int64(len(body)), salt(b.c.Secret, l.Path)
	b.files = append(b.files, builtFile{l, body})
	return nil
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
		if err := b.add(Line{Path: f.Path, MediaType: f.MediaType, Stage: f.Stage, Controls: f.Controls, Kind: f.Kind, DerivedFrom: f.DerivedFrom}, f.Body); err != nil {
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

// write derives manifest, pack.json, signatures and BagIt files and writes
// the archive.
func (b *builder) write(w io.Writer, s Signer) (Built, error) {
	var manifest, payload []byte
	var tree treeBuilder
	tags := map[string]string{}
	totals := Totals{Files: int64(len(b.files)), Evidence: b.records, Controls: int64(len(b.c.Controls))}
	var payloadFiles, payloadBytes int64
	bodies := map[string][]byte{}
	for _, f := range b.files {
		raw, err := f.line.encode()
		if err != nil {
			return Built{}, err
		}
		tree.add(raw)
		manifest = append(append(manifest, raw...), '\n')
		totals.Bytes += f.line.Size
		if inPayload(f.line.Path) {
			payload = append(payload, checksumLine(f.line.SHA256, f.line.Path)...)
			payloadFiles, payloadBytes = payloadFiles+1, payloadBytes+f.line.Size
		} else {
			tags[f.line.Path] = f.line.SHA256
		}
		bodies[f.line.Path] = f.body
	}
	heads, err := b.c.logHeads()
	if err != nil {
		return Built{}, err
	}
	treeRoot := tree.root()
	root := Root{
		Format: packFormat, Organisation: b.c.Organisation, System: b.c.System, Tool: b.c.Tool,
		Period: b.c.Period, Sequence: b.c.Sequence, Previous: b.c.Previous, Sample: b.c.Sample,
		Tree: Tree{treeAlgorithm, tree.size, hex.EncodeToString(treeRoot[:])}, Totals: totals, Logs: heads,
		Catalog: CatalogRef{framework, b.c.CatalogSHA256}, RequiredRoles: sortedSet(append(slices.Clone(b.c.RequiredRoles), roleVendor)),
	}
	if b.c.Clock != evidence.ClockSystem {
		root.Clock = b.c.Clock
	}
	packJSON, err := root.encode()
	if err != nil {
		return Built{}, err
	}
	packSHA256 := evidence.SHA256Hex(packJSON)
	signatures, err := sign(packJSON, packSHA256, b.c.Identity, s)
	if err != nil {
		return Built{}, err
	}
	maps.Copy(bodies, signatures)
	for name, body := range map[string][]byte{
		packJSONName: packJSON, manifestName: manifest, bagitName: []byte(bagitText),
		bagInfoName: bagInfo(root, payloadFiles, payloadBytes), payloadManifestName: payload,
	} {
		bodies[name], tags[name] = body, evidence.SHA256Hex(body)
	}
	bodies[tagManifestName] = tagManifest(tags)

	z := &zipWriter{w: w}
	for _, name := range slices.SortedFunc(maps.Keys(bodies), compareNames) {
		if err := z.add(name, crc32.ChecksumIEEE(bodies[name]), bodies[name]); err != nil {
			return Built{}, err
		}
	}
	if err := z.close(); err != nil {
		return Built{}, err
	}
	return Built{packSHA256, root.Tree.Root, totals.Files, len(z.entries), z.offset, s.Public().Fingerprint()}, nil
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

func checkID(id string) error {
	if !isHex(id, sha256.Size) {
		return errNoID
	}
	return nil
}
