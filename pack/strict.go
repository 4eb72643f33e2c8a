package pack

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"trustpack/evidence"
)

var errNotCanonical = errors.New("it is not canonical JSON of this format: a key is unknown, repeated, out of order or miswritten, or white space or other bytes stand outside the value")

// decodeStrict reads data into into and demands that encoding it again gives
// the same bytes. That one comparison refuses unknown, repeated and case-variant
// keys, keys out of order, white space, invalid UTF-8, odd number or string
// forms, and anything before or after the value.
func decodeStrict(data []byte, into any) error {
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("it is not JSON of this format: %w", err)
	}
	again, err := evidence.CanonicalJSON(into)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, data) {
		return errNotCanonical
	}
	return nil
}

// strictBase64 decodes standard, padded base64 and nothing else: no line
// breaks, no stray bits in the last character.
func strictBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || base64.StdEncoding.EncodeToString(b) != s {
		return nil, errors.New("not canonical base64")
	}
	return b, nil
}

// isHex reports whether s is n bytes in lower-case hex.
func isHex(s string, n int) bool {
	if len(s) != 2*n {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
