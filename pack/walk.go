package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// windowSize is how much of the archive is read at a time. It is little enough
// to stay in a core's cache until it has been summed up.
const windowSize = 256 << 10

// window reads the archive from its beginning, once, and shows pieces of it.
type window struct {
	r    io.ReaderAt
	end  int64 // where what is read ends
	at   int64 // of buf in the archive
	buf  []byte
	full int // bytes of buf that were read
}

func newWindow(r io.ReaderAt, end int64) *window {
	return &window{r: r, end: end, buf: make([]byte, min(windowSize, end))}
}

// view shows n bytes, at most the window's size, at off, which never goes
// back. They are there until the next call.
func (w *window) view(off int64, n int) ([]byte, error) {
	if off < w.at || off+int64(n) > w.end || n > len(w.buf) {
		return nil, errors.New("the archive is cut off")
	}
	if off+int64(n) > w.at+int64(w.full) {
		kept := 0
		if off < w.at+int64(w.full) {
			kept = copy(w.buf, w.buf[off-w.at:w.full])
		}
		w.at, w.full = off, kept
		more := w.buf[kept:min(int64(len(w.buf)), w.end-off)]
		got, err := w.r.ReadAt(more, off+int64(kept))
		w.full += got
		if w.full < n {
			return nil, cutOff(err)
		}
	}
	return w.buf[off-w.at:][:n], nil
}

// walker reads every header and body of an archive once, in order.
type walker struct {
	a      *archive
	w      *window
	sum    *summer
	header []byte
	whole  []byte // a body that does not fit into the window
}

func (a *archive) walk() *walker {
	return &walker{a: a, w: newWindow(a.r, a.dirOffset), sum: newSummer()}
}

// checkHeader demands that the header before f's body is the one that the
// directory's entry gives.
func (k *walker) checkHeader(f *file, problem func(scanProblem)) {
	k.header = f.appendLocal(k.header[:0])
	got, err := k.bytes(f.offset, len(k.header))
	if err != nil {
		problem(scanProblem{checkLayout, f.name, "a header that says what the directory says", err.Error()})
	} else if !bytes.Equal(k.header, got) {
		problem(scanProblem{checkLayout, f.name, "a header that says what the directory says", describeHeader("header", localFields(), k.header, got)})
	}
}

// bytes shows a piece of the archive, out of turn where it has to be.
func (k *walker) bytes(off int64, n int) ([]byte, error) {
	if off >= k.w.at && n <= len(k.w.buf) {
		return k.w.view(off, n)
	}
	b := make([]byte, n)
	if got, err := k.a.r.ReadAt(b, off); got < n {
		return nil, cutOff(err)
	}
	return b, nil
}

// body sums up the body of f. Where keep is set and the body is not longer
// than limit it is shown as well, until the next call.
func (k *walker) body(f *file, keep bool, limit int64) (sums, []byte, error) {
	k.sum.Reset()
	if f.method != 0 || f.packed != f.size || f.at < k.w.at {
		return k.oddBody(f)
	}
	if f.size <= int64(len(k.w.buf)) {
		b, err := k.w.view(f.at, int(f.size))
		if err != nil {
			return sums{}, nil, fmt.Errorf("reading it: %w", err)
		}
		k.sum.Write(b) // a summer takes everything
		return k.sum.sums(), b, nil
	}
	keep = keep && f.size <= limit
	k.whole = k.whole[:0]
	for off := f.at; off < f.at+f.size; {
		n := min(int64(len(k.w.buf)), f.at+f.size-off)
		if off < k.w.at+int64(k.w.full) { // what the window holds already
			n = min(n, k.w.at+int64(k.w.full)-off)
		}
		b, err := k.w.view(off, int(n))
		if err != nil {
			return sums{}, nil, fmt.Errorf("reading it: %w", err)
		}
		k.sum.Write(b)
		if keep {
			k.whole = append(k.whole, b...)
		}
		off += n
	}
	if !keep {
		return k.sum.sums(), nil, nil
	}
	return k.sum.sums(), k.whole, nil
}

// oddBody is for a body that is not stored as it must be: it is read to say
// whether the content was changed as well.
func (k *walker) oddBody(f *file) (sums, []byte, error) {
	in, err := k.a.body(f)
	if err == nil {
		_, err = io.Copy(k.sum, in)
	}
	return k.sum.sums(), nil, err
}
