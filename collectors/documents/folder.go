package documents

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"trustpack/evidence"
)

// maxFile bounds one document; a text that people wrote is far smaller.
const maxFile = 4 << 20

// trace is what one kind keeps of the reading.
type trace struct {
	requests []evidence.Request
	raw      []evidence.RawReply
	gaps     []evidence.Gap
}

func (t *trace) gap(what, reason string) {
	t.gaps = append(t.gaps, evidence.Gap{What: what, Reason: reason})
}

// reading is one pass over the folder.
type reading struct {
	c    *collector
	root *os.Root

	documents, reviews trace
	found              []document
	decisions          []decision
	decided            map[string]string // decision id → where it stands
}

func (c *collector) read(ctx context.Context) *reading {
	r := &reading{c: c, decided: map[string]string{}}
	both := func(what, reason string) {
		r.documents.gap(what, reason)
		r.reviews.gap(what, reason)
	}
	root, err := os.OpenRoot(c.config.Folder)
	if err != nil {
		both("folder "+baseName(c.config.Folder), "it cannot be opened: "+causeOf(err))
		return r
	}
	defer root.Close() // nothing was written through it
	r.root = root
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		hidden := name != "." && strings.HasPrefix(path.Base(name), ".")
		switch {
		case err != nil:
			both(name, "it cannot be listed: "+causeOf(err))
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
		case hidden && d.IsDir():
			return fs.SkipDir
		case hidden || d.IsDir():
		case d.Type()&fs.ModeSymlink != 0:
			both(name, "it is a symbolic link, which may lead out of the folder: put the file itself there")
		case path.Ext(name) != ".md":
		case !d.Type().IsRegular():
			both(name, "it is not a regular file")
		default:
			r.file(name)
		}
		return nil
	})
	if err != nil {
		both("folder "+baseName(c.config.Folder), "the reading was stopped: "+causeOf(err))
	}
	return r
}

// file reads one document and, where it is an access review, its decisions. A
// file that cannot be read as a document may have been a review, so that both
// kinds have the gap.
func (r *reading) file(name string) {
	body, req, err := r.bytes(name)
	r.documents.keep(name, body, req)
	if err != nil {
		r.documents.gap(name, err.Error())
		r.reviews.gap(name, err.Error())
		return
	}
	doc, err := parse(name, body)
	if err != nil {
		r.documents.gap(name, err.Error())
		r.reviews.gap(name, err.Error())
		return
	}
	r.found = append(r.found, doc)
	if doc.front.Review != nil {
		r.reviews.keep(name, body, req)
		r.review(doc)
	}
}

// bytes reads a file below the folder; links that lead out of it are refused
// by os.Root also where one is put there while we read.
func (r *reading) bytes(name string) ([]byte, evidence.Request, error) {
	req := evidence.Request{Method: "READ", Target: name, StartedAt: r.c.deps.Now().UTC()}
	body, err := readAtMost(r.root, name)
	req.EndedAt = r.c.deps.Now().UTC()
	if err != nil {
		req.Error = err.Error()
		return nil, req, err
	}
	req.ReplySHA256 = evidence.SHA256Hex(body)
	return body, req, nil
}

func readAtMost(root *os.Root, name string) ([]byte, error) {
	info, err := root.Lstat(name)
	switch {
	case err != nil:
		return nil, errors.New("it cannot be read: " + causeOf(err))
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, errors.New("it is a symbolic link, which may lead out of the folder: put the file itself there")
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, errors.New("it cannot be read: " + causeOf(err))
	}
	defer f.Close() // read only
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, errors.New("it cannot be read: " + causeOf(err))
	}
	if n > maxFile {
		return nil, fmt.Errorf("it is larger than %d MiB, the limit for a document", maxFile>>20)
	}
	return buf.Bytes(), nil
}

func (t *trace) keep(name string, body []byte, req evidence.Request) {
	t.requests = append(t.requests, req)
	if req.Error == "" {
		t.raw = append(t.raw, evidence.RawReply{Name: rawName(name), Body: body})
	}
}

// rawName is the path in ASCII, so that it can stand in any archive.
func rawName(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// causeOf leaves out the machine's paths, which are nobody's business in
// evidence.
func causeOf(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

func baseName(folder string) string { return filepath.Base(filepath.Clean(folder)) }
