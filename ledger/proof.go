package ledger

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// proofHeader is the first line of a proof (c2sp.org/tlog-proof).
const proofHeader = "c2sp.org/tlog-proof@v1"

// maxProofHashes bounds the proof lines read: a tree of 2^63 entries needs 63.
const maxProofHashes = 63

// Proof is a parsed c2sp.org/tlog-proof: that the entry at Index stands in
// the tree of the checkpoint. Nothing in it is verified; Extra never is.
type Proof struct {
	Index      int64
	Hashes     tlog.RecordProof // from the leaf's sibling up
	Checkpoint []byte           // signed note
	Extra      []byte           // opaque, unauthenticated
}

// MarshalProof writes the proof as c2sp.org/tlog-proof@v1 text.
func MarshalProof(index int64, p tlog.RecordProof, checkpointNote []byte) []byte {
	return Proof{Index: index, Hashes: p, Checkpoint: checkpointNote}.Marshal()
}

// Marshal writes the proof as c2sp.org/tlog-proof@v1 text.
func (p Proof) Marshal() []byte {
	var b bytes.Buffer
	b.WriteString(proofHeader + "\n")
	if len(p.Extra) > 0 {
		b.WriteString("extra " + base64.StdEncoding.EncodeToString(p.Extra) + "\n")
	}
	fmt.Fprintf(&b, "index %d\n", p.Index)
	for _, h := range p.Hashes {
		b.WriteString(hashText(h) + "\n")
	}
	b.WriteByte('\n')
	b.Write(p.Checkpoint)
	return b.Bytes()
}

// ParseProof reads c2sp.org/tlog-proof@v1 text. The checkpoint is taken as it
// stands, unread.
func ParseProof(text []byte) (Proof, error) {
	head, checkpoint, ok := bytes.Cut(text, []byte("\n\n"))
	if !ok {
		return Proof{}, errors.New("reading proof: no empty line between proof and checkpoint")
	}
	lines := strings.Split(string(head), "\n")
	if lines[0] != proofHeader {
		return Proof{}, fmt.Errorf("reading proof: its first line is not %q", proofHeader)
	}
	lines = lines[1:]
	p := Proof{Checkpoint: checkpoint}
	if len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		encoded := strings.TrimPrefix(lines[0], "extra ")
		extra, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if err != nil || len(extra) == 0 || base64.StdEncoding.EncodeToString(extra) != encoded {
			return Proof{}, errors.New("reading proof: its extra data is not base64")
		}
		p.Extra, lines = extra, lines[1:]
	}
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "index ") {
		return Proof{}, errors.New("reading proof: the index line is missing")
	}
	index, err := parseDecimal(strings.TrimPrefix(lines[0], "index "))
	if err != nil {
		return Proof{}, fmt.Errorf("reading proof: index: %w", err)
	}
	p.Index, lines = index, lines[1:]
	if len(lines) > maxProofHashes {
		return Proof{}, fmt.Errorf("reading proof: %d hashes, more than any tree needs", len(lines))
	}
	hashes, err := parseHashes(lines)
	if err != nil {
		return Proof{}, fmt.Errorf("reading proof: %w", err)
	}
	p.Hashes = hashes
	return p, nil
}

// VerifyProof checks that the log whose verifier key is vkey holds entry, and
// gives the checkpoint that says so and the entry's index.
func VerifyProof(proof []byte, vkey string, entry []byte) (Checkpoint, int64, error) {
	p, err := ParseProof(proof)
	if err != nil {
		return Checkpoint{}, 0, err
	}
	c, err := OpenCheckpoint(p.Checkpoint, vkey)
	if err != nil {
		return Checkpoint{}, 0, err
	}
	if err := checkInclusion(c, p, entry); err != nil {
		return Checkpoint{}, 0, err
	}
	return c, p.Index, nil
}

func checkInclusion(c Checkpoint, p Proof, entry []byte) error {
	if p.Index >= c.Size {
		return fmt.Errorf("verifying inclusion: index %d is beyond the checkpoint's %d entries", p.Index, c.Size)
	}
	if err := tlog.CheckRecord(p.Hashes, c.Size, c.Root, p.Index, LeafHash(entry)); err != nil {
		return fmt.Errorf("verifying inclusion of entry %d in %s at size %d: %w", p.Index, c.Origin, c.Size, err)
	}
	return nil
}

// LeafHash is the RFC 6962 (section 2.1) leaf hash of an entry:
// SHA-256(0x00 || entry).
func LeafHash(entry []byte) tlog.Hash { return tlog.RecordHash(entry) }

// emptyRoot is the root of a tree without entries: the SHA-256 of nothing.
func emptyRoot() tlog.Hash {
	h, _ := tlog.TreeHash(0, nil) // reads no hash for size 0, and so cannot fail
	return h
}
