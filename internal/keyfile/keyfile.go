// Package keyfile reads the files of keys, certificates and secrets that users
// name. Such files are small: what is given for one by mistake, a pack or a
// device without an end, is not read whole.
package keyfile

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Max is more bytes than any file of keys or certificates has.
const Max = 4 << 20

// Read reads the file at path, of which no more than limit bytes are taken: a
// longer one is an error. Errors name the file and hold nothing of it.
func Read(path string, limit int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(data) > limit {
		return nil, fmt.Errorf("%s is longer than %d bytes, which no such file is", path, limit)
	}
	return data, nil
}
