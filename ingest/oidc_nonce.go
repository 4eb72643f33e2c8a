package ingest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"trustpack/evidence"
)

// logins gives out the nonces that logins begin with, and sees to it that each
// ID token lets in once. It keeps nothing of logins that were never finished:
// a nonce carries its end and a MAC under a key that lives as long as the
// process, so that nobody can use up memory by beginning logins.
type logins struct {
	key [32]byte

	mu   sync.Mutex
	used map[string]time.Time // SHA-256 of nonces and ID tokens: until when they need to be known
}

func newLogins() (*logins, error) {
	l := &logins{used: map[string]time.Time{}}
	if _, err := rand.Read(l.key[:]); err != nil {
		return nil, fmt.Errorf("making the key of nonces: %w", err)
	}
	return l, nil
}

// nonce begins a login.
func (l *logins) nonce(now time.Time) (string, error) {
	b := make([]byte, 24, 56)
	if _, err := rand.Read(b[:16]); err != nil {
		return "", fmt.Errorf("making a nonce: %w", err)
	}
	binary.BigEndian.PutUint64(b[16:], uint64(now.Add(oidcFresh).Unix()))
	return base64.RawURLEncoding.EncodeToString(append(b, l.mac(b)...)), nil
}

func (l *logins) mac(b []byte) []byte {
	m := hmac.New(sha256.New, l.key[:])
	m.Write(b)
	return m.Sum(nil)
}

// ours reports whether nonce was given out by this process and can still be
// used.
func (l *logins) ours(nonce string, now time.Time) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(b) != 56 || !hmac.Equal(b[24:], l.mac(b[:24])) {
		return false
	}
	return now.Unix() < int64(binary.BigEndian.Uint64(b[16:24]))
}

// once reports whether what was not used before, and uses it up.
func (l *logins) once(what string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, until := range l.used {
		if !now.Before(until) {
			delete(l.used, key)
		}
	}
	key := evidence.SHA256Hex([]byte(what))
	if _, ok := l.used[key]; ok {
		return false
	}
	l.used[key] = now.Add(2 * oidcFresh)
	return true
}
