package ingest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/ledger"
)

// smallWitness is a witness (c2sp.org/tlog-witness) of one ingest's logs. It
// remembers the last checkpoint of each.
type smallWitness struct {
	*httptest.Server
	key     string // verifier key
	private ed25519.PrivateKey
	vkey    func(origin string) (string, error)

	mu   sync.Mutex
	seen map[string]ledger.Checkpoint
	down bool // answers 500
}

const witnessName = "witness.example/w1"

// newWitness makes a witness for the logs that the seed in dir signs.
func newWitness(t testing.TB, dir string) *smallWitness {
	t.Helper()
	w := &smallWitness{private: ed25519.NewKeyFromSeed([]byte(strings.Repeat("w", ed25519.SeedSize))), seen: map[string]ledger.Checkpoint{}}
	w.key = witnessKey(witnessName, w.private)
	w.vkey = func(origin string) (string, error) {
		text, err := os.ReadFile(filepath.Join(dir, "log.seed"))
		if err != nil {
			return "", err
		}
		seed, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			return "", err
		}
		return ledger.VerifierKey(seed, origin)
	}
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

func witnessKey(name string, private ed25519.PrivateKey) string {
	material := append([]byte{4}, private.Public().(ed25519.PublicKey)...)
	return fmt.Sprintf("%s+%08x+%s", name, witnessKeyID(name, material), base64.StdEncoding.EncodeToString(material))
}

func witnessKeyID(name string, material []byte) uint32 {
	sum := sha256.Sum256(append([]byte(name+"\n"), material...))
	return binary.BigEndian.Uint32(sum[:])
}

func (w *smallWitness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/add-checkpoint" {
		http.Error(rw, "", http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		http.Error(rw, "down", http.StatusInternalServerError)
		return
	}
	reply, status := w.add(body)
	rw.WriteHeader(status)
	_, _ = io.WriteString(rw, reply)
}

func (w *smallWitness) add(body []byte) (string, int) {
	head, note, _ := bytes.Cut(body, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	old, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "old "), 10, 64)
	if err != nil {
		return "", 400
	}
	var proof tlog.TreeProof
	for _, line := range lines[1:] {
		var h tlog.Hash
		b, err := base64.StdEncoding.DecodeString(line)
		if err != nil || copy(h[:], b) != len(h) {
			return "", 400
		}
		proof = append(proof, h)
	}
	text, _, _ := bytes.Cut(note, []byte("\n\n"))
	origin, _, _ := strings.Cut(string(text), "\n")
	vkey, err := w.vkey(origin)
	if err != nil {
		return "", 404
	}
	c, err := ledger.OpenCheckpoint(note, vkey)
	if err != nil {
		return "", 403
	}
	before, known := w.seen[origin]
	if old != before.Size || known && old == c.Size && before.Root != c.Root {
		return fmt.Sprintf("%d\n", before.Size), 409
	}
	if known && ledger.CheckConsistency(before, c, proof) != nil {
		return "", 422
	}
	w.seen[origin] = c
	const at = 1782864000
	sig := ed25519.Sign(w.private, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s\n", at, text))
	material := append([]byte{4}, w.private.Public().(ed25519.PublicKey)...)
	line := binary.BigEndian.AppendUint32(nil, witnessKeyID(witnessName, material))
	line = binary.BigEndian.AppendUint64(line, at)
	return fmt.Sprintf("— %s %s\n", witnessName, base64.StdEncoding.EncodeToString(append(line, sig...))), 200
}

// size is how many entries of a log it has seen.
func (w *smallWitness) size(log string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen["test.example/ingest/"+log].Size
}

func (w *smallWitness) fail(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}
