package github

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// spool is a temporary file of JSON values: what a collection of a hundred
// thousand pull requests has too much of for memory. Its first error stays, and
// ends the collection.
type spool struct {
	f    *os.File
	size int64
	err  error
}

// ref is where a value stands in a spool.
type ref struct {
	at int64
	n  int32
}

func newSpool() (*spool, error) {
	f, err := os.CreateTemp("", "trustpack-github-*.spool")
	if err != nil {
		return nil, fmt.Errorf("making a temporary file: %w", err)
	}
	return &spool{f: f}, nil
}

// close removes the file.
func (s *spool) close() error { return errors.Join(s.f.Close(), os.Remove(s.f.Name())) }

func (s *spool) write(b []byte) ref {
	r := ref{s.size, int32(len(b))}
	if s.err != nil {
		return r
	}
	if _, err := s.f.WriteAt(b, s.size); err != nil {
		s.err = fmt.Errorf("writing a temporary file: %w", err)
	}
	s.size += int64(len(b))
	return r
}

func (s *spool) put(v any) ref {
	b, err := json.Marshal(v)
	if err != nil && s.err == nil {
		s.err = fmt.Errorf("writing a temporary file: %w", err)
	}
	return s.write(b)
}

func (s *spool) read(r ref) []byte {
	b := make([]byte, r.n)
	if s.err != nil {
		return b
	}
	if _, err := s.f.ReadAt(b, r.at); err != nil {
		s.err = fmt.Errorf("reading a temporary file: %w", err)
	}
	return b
}

// get leaves v as it is where the value cannot be read.
func (s *spool) get(r ref, v any) {
	b := s.read(r)
	if s.err != nil {
		return
	}
	if err := json.Unmarshal(b, v); err != nil {
		s.err = fmt.Errorf("reading a temporary file: %w", err)
	}
}

// attributes are an item's, which come back as they went: whole numbers as int.
type attributes map[string]any

func (a *attributes) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return err
	}
	for k, v := range m {
		m[k] = counted(v)
	}
	*a = m
	return nil
}

func counted(v any) any {
	switch x := v.(type) {
	case json.Number:
		if n, err := strconv.Atoi(x.String()); err == nil {
			return n
		}
		f, _ := x.Float64() // the decoder has read it as a number
		return f
	case []any:
		for i := range x {
			x[i] = counted(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = counted(x[k])
		}
	}
	return v
}
