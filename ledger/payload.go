package ledger

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// A payload is what an entry commits to without holding it: the leaf is the
// entry's Data, a JSON object, with one more last member,
//
//	"payload":"<lower-case hex of SHA-256(salt || payload)>"
//
// where salt is 16 bytes, AES-256(key, index), the entry's index as the 128-bit
// big-endian block (so salt n is block n of the keystream of AES-256-CTR from a
// counter of zero, NIST SP 800-38A), and key 32 random bytes of the log and the
// UTC day in which the entry was made durable by the ledger's clock, which
// within a log never goes back. The salt of entry 300, hex 12c, is what
//
//	head -c 16 /dev/zero | openssl enc -aes-256-ctr \
//	    -K $(xxd -p -c 32 DAY.key) -iv 0000000000000000000000000000012c
//
// writes. Payload and salt show the commitment to anybody; once the key and the
// payload are gone nothing leads from the leaf to the payload, nor confirms a
// guess at it, and each proof about the leaf is what it was.
const (
	payloadMember = `"payload":"`
	payloadKeyLen = 32
	saltLen       = aes.BlockSize

	// maxWithPayload is how long the Data of an entry with a payload may be,
	// so that its leaf is an entry's.
	maxWithPayload = maxEntry - len(`,`+payloadMember+`"`) - 2*sha256.Size
)

// ErrPurged is what reading answers for a payload that was erased by a purge.
var ErrPurged = errors.New("the payload was purged")

// ErrNoPayload is what reading answers for an entry that was made without a
// payload.
var ErrNoPayload = errors.New("the entry has no payload")

// commitment is SHA-256(salt || payload); zeros stand for none.
type commitment [sha256.Size]byte

// utcDay counts days since 1970-01-01.
type utcDay int32

const maxDay = 2932896 // 9999-12-31

func dayOf(t time.Time) utcDay {
	return utcDay(min(max(t.Unix(), 0)/86400, maxDay))
}

func (d utcDay) begin() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }
func (d utcDay) String() string   { return d.begin().Format(time.DateOnly) }

func parseDay(s string) (utcDay, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil || t.Unix() < 0 {
		return 0, fmt.Errorf("%q is no day such as 2026-07-01", s)
	}
	return dayOf(t), nil
}

// payloadKey is the key of a log and day. It may be used by many goroutines.
type payloadKey struct {
	day   utcDay
	salts sync.Pool // of *salter
}

// salter is a cipher whose key is set, and the room to use it in.
type salter struct {
	cipher cipher.Block
	index  [saltLen]byte
	text   []byte // salt and payload; leaf prefix and leaf
}

// newPayloadKey takes a secret of payloadKeyLen bytes.
func newPayloadKey(day utcDay, secret []byte) (*payloadKey, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fmt.Errorf("using the payload key of %s: %w", day, err)
	}
	k := &payloadKey{day: day}
	k.salts.New = func() any { return &salter{cipher: block} }
	return k, nil
}

// salt appends the salt of index to b.
func (s *salter) salt(b []byte, index int64) []byte {
	binary.BigEndian.PutUint64(s.index[saltLen-8:], uint64(index))
	b = append(b, s.index[:]...)
	last := b[len(b)-saltLen:]
	s.cipher.Encrypt(last, last)
	return b
}

func (s *salter) commit(index int64, payload []byte) commitment {
	s.text = append(s.salt(s.text[:0], index), payload...)
	return sha256.Sum256(s.text)
}

// leafHash is the leaf hash of data with the commitment.
func (s *salter) leafHash(data []byte, c *commitment) tlog.Hash {
	s.text = appendLeaf(append(s.text[:0], 0), data, c)
	return sha256.Sum256(s.text)
}

// commit is the salt of index and the commitment to payload.
func (k *payloadKey) commit(index int64, payload []byte) (salt []byte, c commitment) {
	s := k.salts.Get().(*salter)
	defer k.salts.Put(s)
	return s.salt(nil, index), s.commit(index, payload)
}

// derive fills in the commitments and leaf hashes of those entries of a run,
// whose first has index first, that have a payload. entries and payloads are
// bundles; an empty payload is none.
func (k *payloadKey) derive(first int64, entries, payloads []byte, leaves []tlog.Hash, commitments []commitment) {
	s := k.salts.Get().(*salter)
	defer k.salts.Put(s)
	for i := range leaves {
		var data, payload []byte
		data, entries = nextEntry(entries)
		payload, payloads = nextEntry(payloads)
		if len(payload) > 0 {
			commitments[i] = s.commit(first+int64(i), payload)
			leaves[i] = s.leafHash(data, &commitments[i])
		}
	}
}

// nextEntry is cutEntry for a bundle that is known to be whole.
func nextEntry(bundle []byte) (entry, rest []byte) {
	size := 2 + int(binary.BigEndian.Uint16(bundle))
	return bundle[2:size:size], bundle[size:]
}

// appendLeaf appends what the tree hashes of data and the commitment: data
// itself where that is none.
func appendLeaf(b, data []byte, c *commitment) []byte {
	if *c == (commitment{}) {
		return append(b, data...)
	}
	b = append(b, data[:len(data)-1]...)
	if len(data) > 2 {
		b = append(b, ',')
	}
	b = append(b, payloadMember...)
	b = hex.AppendEncode(b, c[:])
	return append(b, `"}`...)
}

// checkPayload holds an entry with a payload to what one can be.
func checkPayload(data, payload []byte) error {
	switch n := len(data); {
	case n < 2 || n > maxWithPayload || data[0] != '{' || data[n-1] != '}':
		return fmt.Errorf("its data (%d bytes) must be a JSON object of at most %d bytes, since it has a payload", n, maxWithPayload)
	case len(payload) > maxEntry:
		return fmt.Errorf("its payload has %d bytes, want at most %d", len(payload), maxEntry)
	}
	return nil
}
