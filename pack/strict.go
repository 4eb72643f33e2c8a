package pack

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"trustpack/evidence"
)

var errNotCanonical = errors.New("it is not canonical JSON of this format: a key is unknown, repeated, out of order or miswritten, or white space or other bytes stand outside the value")

// decodeStrict reads data into into and demands that encoding it again gives
// the same bytes. That one comparison refuses unknown, repeated and case-variant
// keys, keys out of order, white space, invalid UTF-8, odd number or string
// forms, and anything before or after the value. What would come through it,
// numbers with a sign and times of another zone, is refused beside it.
func decodeStrict(data []byte, into any) error {
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("it is not JSON of this format: %w", err)
	}
	again, err := evidence.CanonicalJSON(into)
	if err != nil {
		return err
	}
	switch {
	case !bytes.Equal(again, data):
		return errNotCanonical
	case hasSign(data):
		return errors.New("a number has a sign")
	case !inUTC(reflect.ValueOf(into)):
		return errors.New("a time is not in UTC, with Z")
	}
	return nil
}

// decodeLineStrict is decodeStrict for a line with its newline.
func decodeLineStrict(line []byte, into any) error {
	data, ended := bytes.CutSuffix(line, []byte("\n"))
	if !ended {
		return errors.New("it does not end in a newline")
	}
	return decodeStrict(data, into)
}

// hasSign reports whether there is a minus in JSON but in a string.
func hasSign(data []byte) bool {
	inText := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			inText = !inText
		case c == '\\':
			i++ // stands in strings alone
		case c == '-' && !inText:
			return true
		}
	}
	return false
}

// inUTC reports whether each time in v, which holds no cycle, is in UTC.
func inUTC(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer:
		return v.IsNil() || inUTC(v.Elem())
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Struct {
			return true // texts and hashes
		}
		for i := range v.Len() {
			if !inUTC(v.Index(i)) {
				return false
			}
		}
	case reflect.Struct:
		if t, ok := v.Interface().(time.Time); ok {
			return isUTC(t)
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && !inUTC(v.Field(i)) {
				return false
			}
		}
	}
	return true
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
