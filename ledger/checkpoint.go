package ledger

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint is the head of a log's tree (c2sp.org/tlog-checkpoint). Signed,
// it is a note whose key name is the origin.
type Checkpoint struct {
	Origin     string
	Size       int64 // entries
	Root       tlog.Hash
	Extensions []string // further signed lines, none of them empty
}

// Text is the note text of the checkpoint, which ends in a newline.
func (c Checkpoint) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%d\n%s\n", c.Origin, c.Size, hashText(c.Root))
	for _, line := range c.Extensions {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.String()
}

// ParseCheckpoint reads what Text writes and nothing that differs from it by
// a byte. It checks no signature: use OpenCheckpoint for a note.
func ParseCheckpoint(text string) (Checkpoint, error) {
	body, ok := strings.CutSuffix(text, "\n")
	if !ok {
		return Checkpoint{}, errors.New("reading checkpoint: it does not end in a newline")
	}
	lines := strings.Split(body, "\n")
	if len(lines) < 3 {
		return Checkpoint{}, fmt.Errorf("reading checkpoint: %d lines, want origin, size and root hash", len(lines))
	}
	for i, line := range lines {
		if line == "" {
			return Checkpoint{}, fmt.Errorf("reading checkpoint: line %d is empty", i+1)
		}
	}
	size, err := parseDecimal(lines[1])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("reading checkpoint: tree size: %w", err)
	}
	root, err := parseHash(lines[2])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("reading checkpoint: root hash: %w", err)
	}
	c := Checkpoint{Origin: lines[0], Size: size, Root: root}
	if len(lines) > 3 {
		c.Extensions = lines[3:]
	}
	if size == 0 && root != emptyRoot() {
		return Checkpoint{}, errors.New("reading checkpoint: size 0 with a root that is not the empty tree's")
	}
	return c, nil
}

// OpenCheckpoint verifies the note under vkey and reads the checkpoint in it.
// The origin must be the key's name; signatures by other keys are ignored.
func OpenCheckpoint(noteBytes []byte, vkey string) (Checkpoint, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("reading verifier key %q: %w", vkey, err)
	}
	n, err := note.Open(noteBytes, note.VerifierList(verifier))
	var unverified *note.UnverifiedNoteError
	if errors.As(err, &unverified) {
		names := make([]string, 0, len(unverified.Note.UnverifiedSigs))
		for _, sig := range unverified.Note.UnverifiedSigs {
			names = append(names, fmt.Sprintf("%s (%08x)", sig.Name, sig.Hash))
		}
		return Checkpoint{}, fmt.Errorf("verifying checkpoint: no signature by %s (%08x), but by %s", verifier.Name(), verifier.KeyHash(), strings.Join(names, ", "))
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("verifying checkpoint: %w", err)
	}
	c, err := ParseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != verifier.Name() {
		return Checkpoint{}, fmt.Errorf("verifying checkpoint: its origin is %q but its key is that of %q", c.Origin, verifier.Name())
	}
	return c, nil
}

// SignCheckpoint makes the signed note of c under seed.
func SignCheckpoint(c Checkpoint, seed []byte) ([]byte, error) {
	signer, err := SignerFor(seed, c.Origin)
	if err != nil {
		return nil, err
	}
	return signCheckpoint(c, signer)
}

func signCheckpoint(c Checkpoint, signer note.Signer) ([]byte, error) {
	if _, err := ParseCheckpoint(c.Text()); err != nil {
		return nil, fmt.Errorf("signing checkpoint: %w", err)
	}
	signed, err := note.Sign(&note.Note{Text: c.Text()}, signer)
	if err != nil {
		return nil, fmt.Errorf("signing checkpoint: %w", err)
	}
	return signed, nil
}

// CheckConsistency verifies that the tree of newer holds that of older as its
// prefix. The origins must be the same; from an empty tree no proof is needed.
func CheckConsistency(older, newer Checkpoint, proof tlog.TreeProof) error {
	switch {
	case older.Origin != newer.Origin:
		return fmt.Errorf("checking consistency: origins differ: %q and %q", older.Origin, newer.Origin)
	case newer.Size < older.Size:
		return fmt.Errorf("checking consistency: the tree shrank from %d entries to %d", older.Size, newer.Size)
	case older.Size == newer.Size && older.Root != newer.Root:
		return fmt.Errorf("checking consistency: two roots at size %d: %s and %s", older.Size, hashText(older.Root), hashText(newer.Root))
	case older.Size == 0 || older.Size == newer.Size:
		if len(proof) != 0 {
			return fmt.Errorf("checking consistency: a proof of %d hashes where none is needed", len(proof))
		}
		return nil
	}
	if err := tlog.CheckTree(proof, newer.Size, newer.Root, older.Size, older.Root); err != nil {
		return fmt.Errorf("checking consistency of size %d with size %d: %w", older.Size, newer.Size, err)
	}
	return nil
}

// hashText is a hash in standard base64.
func hashText(h tlog.Hash) string { return base64.StdEncoding.EncodeToString(h[:]) }

func parseHash(s string) (tlog.Hash, error) {
	var h tlog.Hash
	var text [44]byte
	var b [len(text) / 4 * 3]byte
	if copy(text[:], s) != len(s) {
		return h, fmt.Errorf("%q is not a SHA-256 hash in base64", s)
	}
	if n, err := base64.StdEncoding.Decode(b[:], text[:len(s)]); err != nil || n != len(h) {
		return h, fmt.Errorf("%q is not a SHA-256 hash in base64", s)
	}
	copy(h[:], b[:])
	if base64.StdEncoding.Encode(text[:], h[:]); string(text[:]) != s {
		return tlog.Hash{}, fmt.Errorf("%q is not canonical base64", s)
	}
	return h, nil
}

// parseDecimal reads a count without sign or leading zeros.
func parseDecimal(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("%q is not a decimal number without leading zeros", s)
	}
	return n, nil
}

func hashTexts(hashes []tlog.Hash) []string {
	out := make([]string, len(hashes))
	for i, h := range hashes {
		out[i] = hashText(h)
	}
	return out
}

func parseHashes(texts []string) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for i, s := range texts {
		h, err := parseHash(s)
		if err != nil {
			return nil, fmt.Errorf("hash %d: %w", i, err)
		}
		out = append(out, h)
	}
	return out, nil
}
