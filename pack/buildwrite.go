package pack

import (
	"bufio"
	"encoding/hex"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"time"

	"trustpack/evidence"
)

// derived is what follows from the files of the manifest.
type derived struct {
	manifest, payload          sums // of manifest.jsonl and manifest-sha256.txt
	tree                       Tree
	totals                     Totals
	payloadFiles, payloadBytes int64
	heads                      []LogHead
}

// derive reads the lines once.
func (b *builder) derive() (derived, error) {
	d := derived{totals: Totals{Files: int64(len(b.files)), Evidence: b.records, Controls: int64(len(b.c.Controls))}}
	var tree treeBuilder
	manifest, payload := newSummer(), newSummer()
	for i := range b.files {
		f := &b.files[i]
		raw, err := b.line(f).encode()
		if err != nil {
			return derived{}, err
		}
		tree.add(raw)
		manifest.Write(append(raw, '\n')) // a summer takes everything
		d.totals.Bytes += f.size
		if inPayload(f.path) {
			io.WriteString(payload, checksumLine(hex32(f.sha256), f.path))
			d.payloadFiles, d.payloadBytes = d.payloadFiles+1, d.payloadBytes+f.size
		}
	}
	root := tree.root()
	d.tree = Tree{treeAlgorithm, tree.size, hex.EncodeToString(root[:])}
	d.manifest, d.payload = manifest.sums(), payload.sums()
	var err error
	d.heads, err = b.c.logHeads()
	return d, err
}

// root is what pack.json says.
func (b *builder) root(d derived) Root {
	r := Root{
		Format: packFormat, Organisation: b.c.Organisation, System: b.c.System, Tool: b.c.Tool,
		Period: b.c.Period, Sequence: b.c.Sequence, Previous: b.c.Previous, Sample: b.c.Sample,
		Tree: d.tree, Totals: d.totals, Logs: d.heads,
		Catalog: CatalogRef{framework, b.c.CatalogSHA256}, RequiredRoles: sortedSet(append(slices.Clone(b.c.RequiredRoles), roleVendor)),
	}
	if b.c.Clock != evidence.ClockSystem {
		r.Clock = b.c.Clock
	}
	return r
}

// write signs pack.json and writes the archive.
func (b *builder) write(w io.Writer, s Signer, d derived) (Built, error) {
	root := b.root(d)
	packJSON, err := root.encode()
	if err != nil {
		return Built{}, err
	}
	packSHA256 := evidence.SHA256Hex(packJSON)
	small, err := sign(packJSON, packSHA256, b.c.Identity, s)
	if err != nil {
		return Built{}, err
	}
	var stamped time.Time
	if b.c.Timestamp != nil {
		if stamped, err = b.timestamp(small); err != nil {
			return Built{}, err
		}
	}
	tags := map[string]string{manifestName: hex32(d.manifest.sha256), payloadManifestName: hex32(d.payload.sha256)}
	for i := range b.files {
		if f := &b.files[i]; !inPayload(f.path) {
			tags[f.path] = hex32(f.sha256)
		}
	}
	for name, body := range map[string][]byte{
		packJSONName: packJSON, bagitName: []byte(bagitText), bagInfoName: bagInfo(root, d.payloadFiles, d.payloadBytes),
	} {
		small[name], tags[name] = body, evidence.SHA256Hex(body)
	}
	small[tagManifestName] = tagManifest(tags)

	out := bufio.NewWriterSize(w, copyBuffer)
	z := &zipWriter{w: out}
	if err := b.writeEntries(z, small, d); err != nil {
		return Built{}, err
	}
	if err := z.close(); err != nil {
		return Built{}, err
	}
	if err := out.Flush(); err != nil {
		return Built{}, err
	}
	return Built{packSHA256, root.Tree.Root, d.totals.Files, len(z.entries), z.offset, s.Public().Fingerprint(), stamped}, nil
}

// writeEntries writes every entry in the archive's order: the files, which
// stand in it, with the small ones and the two long lists in between.
func (b *builder) writeEntries(z *zipWriter, small map[string][]byte, d derived) error {
	rest := b.files
	filesBefore := func(name string) error {
		for len(rest) > 0 && (name == "" || compareNames(rest[0].path, name) < 0) {
			f := &rest[0]
			rest = rest[1:]
			err := z.addFrom(f.path, f.sums, func(w io.Writer) error {
				return b.copier.copy(w, func() (io.ReadCloser, error) { return b.open(f) })
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	names := append(slices.Collect(maps.Keys(small)), manifestName, payloadManifestName)
	slices.SortFunc(names, compareNames)
	for _, name := range names {
		err := filesBefore(name)
		switch {
		case err != nil:
		case name == manifestName:
			err = z.addFrom(name, d.manifest, b.writeManifest)
		case name == payloadManifestName:
			err = z.addFrom(name, d.payload, b.writePayloadManifest)
		default:
			err = z.add(name, crc32.ChecksumIEEE(small[name]), small[name])
		}
		if err != nil {
			return err
		}
	}
	return filesBefore("")
}

func (b *builder) writeManifest(w io.Writer) error {
	for i := range b.files {
		raw, err := b.line(&b.files[i]).encode()
		if err != nil {
			return err
		}
		if _, err := w.Write(append(raw, '\n')); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) writePayloadManifest(w io.Writer) error {
	for i := range b.files {
		f := &b.files[i]
		if !inPayload(f.path) {
			continue
		}
		if _, err := io.WriteString(w, checksumLine(hex32(f.sha256), f.path)); err != nil {
			return err
		}
	}
	return nil
}
