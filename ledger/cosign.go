package ledger

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// cosignatureKey is the algorithm byte of an Ed25519 cosigner's key
// (c2sp.org/tlog-cosignature).
const cosignatureKey = 4

// Cosignature is a witness's statement that at Time it had seen no larger tree
// of the log than the checkpoint's, and that all it saw agree.
type Cosignature struct {
	Witness string
	Time    time.Time
}

// witnessVerifier verifies cosignatures, as a note.Verifier, and remembers
// the time that the last good one gave.
type witnessVerifier struct {
	name string
	hash uint32
	key  ed25519.PublicKey
	time time.Time
}

// newWitnessVerifier reads a witness's verifier key,
// "<name>+<hash>+<base64 of 0x04 and the public key>".
func newWitnessVerifier(vkey string) (*witnessVerifier, error) {
	bad := func(why string) (*witnessVerifier, error) {
		return nil, fmt.Errorf("reading witness key %q: %s (want <name>+<hash>+<base64>, of a c2sp.org/tlog-cosignature v1 key)", vkey, why)
	}
	name, rest, _ := strings.Cut(vkey, "+")
	hash, encoded, ok := strings.Cut(rest, "+")
	if !ok || checkOrigin(name) != nil {
		return bad("it has no name or no hash")
	}
	material, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(material) != 1+ed25519.PublicKeySize || material[0] != cosignatureKey {
		return bad("its key is no Ed25519 cosignature key")
	}
	id := keyID(name, material)
	if fmt.Sprintf("%08x", id) != hash {
		return bad("its hash is not that of its name and key")
	}
	return &witnessVerifier{name: name, hash: id, key: material[1:]}, nil
}

// WitnessName is the name in a witness's verifier key, which must be one.
func WitnessName(vkey string) (string, error) {
	v, err := newWitnessVerifier(vkey)
	if err != nil {
		return "", err
	}
	return v.name, nil
}

// keyID is the hash that stands for a key in signature lines
// (c2sp.org/signed-note). material is the algorithm byte and the key.
func keyID(name string, material []byte) uint32 {
	sum := sha256.Sum256(append([]byte(name+"\n"), material...))
	return binary.BigEndian.Uint32(sum[:])
}

func (v *witnessVerifier) Name() string    { return v.name }
func (v *witnessVerifier) KeyHash() uint32 { return v.hash }

func (v *witnessVerifier) Verify(text, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(sig)
	if at > math.MaxInt64 || !ed25519.Verify(v.key, cosigned(at, text), sig[8:]) {
		return false
	}
	v.time = time.Unix(int64(at), 0).UTC()
	return true
}

// cosigned is the message that a cosignature signs.
func cosigned(at uint64, text []byte) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", at), text...)
}

// OpenCosigned is OpenCheckpoint that also verifies cosignatures by the
// witnesses of the given keys, as Cosignatures does.
func OpenCosigned(noteBytes []byte, vkey string, witnesses []string) (Checkpoint, []Cosignature, error) {
	c, err := OpenCheckpoint(noteBytes, vkey)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	out, err := Cosignatures(noteBytes, witnesses)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	return c, out, nil
}

// Cosignatures verifies the cosignatures of a signed checkpoint by the
// witnesses of the given keys, and not the log's own signature. Those by others
// are ignored, and a witness that did not cosign is left out of the list: it is
// for the caller to say how many he wants. A cosignature under a given key that
// does not verify is an error.
func Cosignatures(noteBytes []byte, witnesses []string) ([]Cosignature, error) {
	var out []Cosignature
	for _, key := range witnesses {
		v, err := newWitnessVerifier(key)
		if err != nil {
			return nil, err
		}
		_, err = note.Open(noteBytes, note.VerifierList(v))
		var unverified *note.UnverifiedNoteError
		if errors.As(err, &unverified) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("verifying the cosignature of %s: %w", v.name, err)
		}
		out = append(out, Cosignature{v.name, v.time})
	}
	return out, nil
}
