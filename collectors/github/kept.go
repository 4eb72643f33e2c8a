package github

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"trustpack/evidence"
	"trustpack/internal/durable"
)

// kept says which reply in the store answered which request, so that a reply
// that has not changed need not be sent again (RFC 9110, 13.1.2), and that a
// collection can go on where an earlier one was cut off.
//
// It is a file of lines of JSON, added to after each exchange: a line that a
// collection began, one for each reply, a line that it ended. What it names is
// checked against the store before use, so that losing it costs requests and
// nothing else. A process that dies while writing leaves half a line at the
// end, which the next one cuts off.
type kept struct {
	store evidence.Store
	path  string
	file  *os.File
	size  int64
	lines int
	last  map[uint64]int64 // where the newest line of a request begins, by its key
	cut   []begun          // collections since the last that ended: they were cut off
	now   begun
}

// begun is where a collection's lines begin, and who asked.
type begun struct {
	at        int64
	principal string // empty: not known
}

// keptLine is one line: a reply, or a mark.
type keptLine struct {
	Began     *time.Time       `json:"began,omitempty"`
	Principal string           `json:"principal,omitempty"`
	Ended     *time.Time       `json:"ended,omitempty"`
	URL       string           `json:"url,omitempty"`
	Accept    string           `json:"accept,omitempty"`
	ETag      string           `json:"etag,omitempty"`
	Link      string           `json:"link,omitempty"`
	Type      string           `json:"type,omitempty"` // of the content
	Date      time.Time        `json:"date,omitzero"`  // the source's own, of the answer
	Filled    bool             `json:"filled,omitempty"`
	Request   evidence.Request `json:"request,omitzero"`

	at int64
}

// openKept reads the index at path, making it where there is none, and enters
// that a collection of this principal begins.
func openKept(store evidence.Store, path, principal string, now time.Time) (_ *kept, err error) {
	if err := durable.MkdirIn(durable.Disk{}, filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("opening index of replies: %w", err)
	}
	k := &kept{store: store, path: path, last: map[uint64]int64{}}
	if err := k.open(); err != nil {
		return nil, err
	}
	k.now = begun{k.size, principal}
	if err := k.write(keptLine{Began: &now, Principal: principal}); err != nil {
		return nil, errors.Join(err, k.file.Close())
	}
	return k, nil
}

func (k *kept) open() (err error) {
	if k.file, err = os.OpenFile(k.path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return fmt.Errorf("opening index of replies: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("reading index of replies %s: %w", k.path, err), k.file.Close())
		}
	}()
	in := bufio.NewReader(k.file)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return k.file.Truncate(k.size)
		}
		if err != nil {
			return err
		}
		var l keptLine
		if json.Unmarshal(line, &l) == nil { // a damaged line names no reply
			k.enter(l)
		}
		k.size += int64(len(line))
		k.lines++
	}
}

// enter takes note of the line that begins at the end of what was read.
func (k *kept) enter(l keptLine) {
	switch {
	case l.Ended != nil:
		k.cut = nil
	case l.Began != nil:
		k.cut = append(k.cut, begun{k.size, l.Principal})
	case l.URL != "":
		k.last[keyOf(l.URL, l.Accept)] = k.size
	}
}

func (k *kept) write(l keptLine) error {
	b, err := evidence.CanonicalJSON(l)
	if err != nil {
		return fmt.Errorf("writing index of replies: %w", err)
	}
	b = append(b, '\n')
	if _, err := k.file.WriteAt(b, k.size); err != nil {
		return fmt.Errorf("writing index of replies: %w", err)
	}
	if l.URL != "" {
		k.last[keyOf(l.URL, l.Accept)] = k.size
	}
	k.size += int64(len(b))
	k.lines++
	return nil
}

func keyOf(url, accept string) uint64 {
	sum := sha256.Sum256([]byte(url + "\n" + accept))
	return binary.BigEndian.Uint64(sum[:8])
}

// find gives the newest reply to a request with its bytes, where there is one
// and the store still has it as it was.
func (k *kept) find(req *http.Request) (keptLine, []byte, bool) {
	url, accept := req.URL.String(), req.Header.Get("Accept")
	at, known := k.last[keyOf(url, accept)]
	if !known {
		return keptLine{}, nil, false
	}
	line, err := bufio.NewReader(io.NewSectionReader(k.file, at, k.size-at)).ReadBytes('\n')
	var l keptLine
	if err != nil || json.Unmarshal(line, &l) != nil || l.URL != url || l.Accept != accept {
		return keptLine{}, nil, false
	}
	in, err := k.store.Open(l.Request.ReplySHA256)
	if err != nil {
		return keptLine{}, nil, false
	}
	body, err := io.ReadAll(io.LimitReader(in, maxReply+1))
	if errors.Join(err, in.Close()) != nil || evidence.SHA256Hex(body) != l.Request.ReplySHA256 {
		return keptLine{}, nil, false
	}
	l.at = at
	return l, body, true
}

// ofCutOff reports whether the line is of a collection that was cut off, and
// that the same principal made as this one.
func (k *kept) ofCutOff(l keptLine) bool {
	for i := len(k.cut) - 1; i >= 0; i-- {
		if l.at >= k.cut[i].at {
			return l.at < k.now.at && k.now.principal != "" && k.cut[i].principal == k.now.principal
		}
	}
	return false
}

// answered enters a reply that the store has.
func (k *kept) answered(req *http.Request, resp *http.Response, body []byte, rec evidence.Request) error {
	l := keptLine{URL: req.URL.String(), Accept: req.Header.Get("Accept"), ETag: resp.Header.Get("ETag"), Link: resp.Header.Get("Link"),
		Type: resp.Header.Get("Content-Type"), Request: rec}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		l.Date = date.UTC()
	}
	// A last page that is full may get a successor while its own bytes, and so
	// its ETag, stay: it is always asked for anew.
	l.Filled = rec.Page > 0 && l.Link == "" && bytes.HasPrefix(bytes.TrimSpace(body), []byte("["))
	if l.Filled {
		var entries []json.RawMessage
		size := 30
		if n := rec.Parameters["per_page"]; n != "" {
			if _, err := fmt.Sscan(n, &size); err != nil {
				size = 0
			}
		}
		l.Filled = json.Unmarshal(body, &entries) != nil || len(entries) >= size
	}
	return k.write(l)
}

// end enters that the collection came to its end, and lets the file go. Where
// most lines have newer ones, it writes the file anew without them.
func (k *kept) end(now time.Time) error {
	if err := k.write(keptLine{Ended: &now}); err != nil {
		return errors.Join(err, k.close())
	}
	if k.lines < 2*len(k.last)+1000 {
		return k.close()
	}
	return errors.Join(k.thin(), k.close())
}

func (k *kept) close() error {
	if err := k.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("closing index of replies: %w", err)
	}
	return nil
}

// thin keeps the newest line of each request.
func (k *kept) thin() (err error) {
	newer := k.path + ".new"
	out, err := os.OpenFile(newer, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("thinning index of replies: %w", err)
	}
	w := bufio.NewWriter(out)
	in := bufio.NewReader(io.NewSectionReader(k.file, 0, k.size))
	for at := int64(0); at < k.size; {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return errors.Join(fmt.Errorf("thinning index of replies: %w", err), out.Close(), os.Remove(newer))
		}
		var l keptLine
		if json.Unmarshal(line, &l) == nil && l.URL != "" && k.last[keyOf(l.URL, l.Accept)] == at {
			if _, err := w.Write(line); err != nil {
				return errors.Join(fmt.Errorf("thinning index of replies: %w", err), out.Close(), os.Remove(newer))
			}
		}
		at += int64(len(line))
	}
	if err := errors.Join(w.Flush(), out.Sync(), out.Close(), k.close()); err != nil {
		return errors.Join(fmt.Errorf("thinning index of replies: %w", err), os.Remove(newer))
	}
	if err := (durable.Disk{}).Rename(newer, k.path); err != nil {
		return fmt.Errorf("thinning index of replies: %w", err)
	}
	return nil
}
