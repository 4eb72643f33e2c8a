package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	streamRoom  = 256 << 10 // what has come of a stream and is not yet taken
	streamPiece = 16 << 10  // is read at a time: a TLS record
)

// errDraining says that the ingest is about to end.
var errDraining = errors.New("the ingest drains")

// streamIn is what has come of a stream's body. One goroutine reads the body
// while another takes what has come; who is too fast waits.
type streamIn struct {
	mu      sync.Mutex
	pending []byte
	err     error // why no more will come
	stopped bool

	news chan struct{} // something has come, or no more will
	room chan struct{} // something was taken
	work []byte        // what next gave last
}

func newStreamIn() *streamIn {
	return &streamIn{news: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// ring wakes whoever waits at c, now or next.
func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// read reads the body to its end. A wait for more than idle is its end too.
func (in *streamIn) read(body io.Reader, deadline func(time.Time) error, idle time.Duration) {
	piece := make([]byte, streamPiece)
	var until limit
	for {
		in.mu.Lock()
		err, stopped := error(nil), in.stopped
		if !stopped {
			err = until.arm(time.Now(), idle, deadline)
		}
		in.mu.Unlock()
		if stopped {
			return
		}
		n := 0
		if err == nil {
			n, err = body.Read(piece)
		}
		if !in.add(piece[:n], err) {
			return
		}
	}
}

// add puts what came behind what waits, once there is room. It is false where
// no more is wanted.
func (in *streamIn) add(b []byte, err error) bool {
	in.mu.Lock()
	in.pending = append(in.pending, b...)
	in.err = err
	for !in.stopped && in.err == nil && len(in.pending) >= streamRoom {
		if bytes.IndexByte(in.pending, '\n') < 0 {
			in.err = problem(CodeBodyTooLarge, fmt.Sprintf("a line of a stream has more than %d bytes", streamRoom))
			break
		}
		in.mu.Unlock()
		ring(in.news)
		<-in.room
		in.mu.Lock()
	}
	more := !in.stopped && in.err == nil
	in.mu.Unlock()
	ring(in.news)
	return more
}

// stop ends read, also one that waits for the body.
func (in *streamIn) stop(deadline func(time.Time) error) {
	in.mu.Lock()
	in.stopped = true
	_ = deadline(time.Unix(1, 0)) // where it fails the connection has ended, and so has the body
	in.mu.Unlock()
	ring(in.room)
}

// next waits for whole lines and gives all that have come; the text is good
// until next is called again. The error says that, behind it, no more will
// come: io.EOF where the body has ended, and then the last line need not end
// in a newline.
func (in *streamIn) next(drains <-chan struct{}) (string, error) {
	for {
		text, err := in.take()
		if text != "" || err != nil {
			return text, err
		}
		select {
		case <-in.news:
		case <-drains:
			text, err := in.take()
			if err == nil {
				err = errDraining
			}
			return text, err
		}
	}
}

func (in *streamIn) take() (string, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	cut := bytes.LastIndexByte(in.pending, '\n') + 1
	if errors.Is(in.err, io.EOF) {
		cut = len(in.pending)
	}
	if cut == 0 {
		return "", in.err
	}
	rest := append(in.work[:0], in.pending[cut:]...)
	in.work, in.pending = in.pending[:cut], rest
	ring(in.room)
	return textOver(in.work), in.err
}

// firstLines cuts up to limit lines off text, behind those that it is given;
// blank ones are none.
func firstLines(lines []string, text string, limit int) (_ []string, rest string) {
	for n := 0; n < limit && text != ""; {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
			n++
		}
	}
	return lines, text
}
