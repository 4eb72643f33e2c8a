package ingest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
)

// strict is an HTTP/1 connection from which net/http reads nothing whose
// framing could be understood in two ways. net/http follows RFC 9112 where that
// lets a server choose to be lenient: it takes Transfer-Encoding together with
// Content-Length, repeated lengths, folded fields and bare line feeds. What
// stands between it and a client may choose otherwise, and take for a request
// what is the body of one here. So strict reads along, and on the first such
// thing gives net/http, in the place where it stands, what it answers with 400
// and ends the connection for. No byte that follows is read.
type strict struct {
	*begunConn
	from io.Reader // the same, or a test's bytes
	most int       // of a head that is looked at; net/http refuses shorter ones

	in    []byte // was read and not yet looked at
	room  []byte // where in lies
	out   []byte // may go to net/http
	gone  int    // of out
	err   error  // behind in
	state func(*strict) (bad, more bool)

	line    int    // bytes of the request line that went on
	tail    []byte // the last of them
	seen    int    // of in, where it is looked for the end of the head
	old     bool   // HTTP/1.0
	left    int64  // of a body or chunk
	chunked bool
	direct  bool // in a body or chunk
}

// errAmbiguous ends what is read after something that could be read in two ways.
var errAmbiguous = errors.New("the request's framing is not plain")

func newStrict(conn *begunConn, headerBytes int) *strict {
	return &strict{begunConn: conn, from: conn, most: headerBytes + 16<<10, state: (*strict).requestLine}
}

// Read gives net/http what has been looked at.
func (c *strict) Read(b []byte) (int, error) {
	if c.gone == len(c.out) {
		c.out, c.gone = c.out[:0], 0
	}
	for len(c.out) == 0 || len(c.in) > 0 && len(c.out)-c.gone < len(b) {
		if c.direct && len(c.in) == 0 && c.err == nil && c.left > 0 {
			n, err := c.from.Read(b[:min(int64(len(b)), c.left)])
			c.left -= int64(n)
			return n, err
		}
		bad, more := c.state(c)
		if more && !bad && len(c.out) > 0 {
			break
		}
		switch {
		case bad:
			c.in, c.err, c.direct, c.state = nil, errAmbiguous, false, (*strict).passed
		case !more:
		case c.err != nil && isTimeout(c.err):
			// net/http may go on with another deadline, so what is unfinished waits.
			err := c.err
			c.err = nil
			return 0, err
		case c.err != nil && len(c.in) == 0:
			return 0, c.err
		case c.err != nil:
			c.pass(len(c.in)) // it is answered as what it is: cut short
			c.state = (*strict).passed
		default:
			c.fill()
		}
	}
	n := copy(b, c.out[c.gone:])
	c.gone += n
	return n, nil
}

func (c *strict) fill() {
	const room = 4 << 10
	switch at := len(c.in); {
	case at == 0 && c.room != nil:
		c.in = c.room[:0]
	case cap(c.in)-at < room/4:
		c.room = append(make([]byte, 0, at+room), c.in...)
		c.in = c.room
	}
	n, err := c.from.Read(c.in[len(c.in):cap(c.in)])
	c.in, c.err = c.in[:len(c.in)+n], err
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// pass lets n bytes go on.
func (c *strict) pass(n int) {
	c.out = append(c.out, c.in[:n]...)
	c.in = c.in[n:]
}

// passed lets all go on that comes.
func (c *strict) passed() (bad, more bool) {
	c.pass(len(c.in))
	return false, true
}

// refuse gives net/http what it cannot take instead of what stands there.
func (c *strict) refuse(instead string) (bad, more bool) {
	c.out = append(c.out, instead...)
	return true, true
}

// In the request line, the fields and before a chunk, net/http cannot take these.
const (
	noRequestLine = "\x00\r\n\r\n"
	noField       = ":\r\n\r\n"
	noChunkSize   = "!\r\n"
	noChunkEnd    = "!!"
)

// requestLine lets the first line go on as it comes, since net/http waits for
// its first bytes under another deadline than for the rest.
func (c *strict) requestLine() (bad, more bool) {
	c.direct = false
	if c.line == 0 && len(c.in) > 0 && (c.in[0] == '\r' || c.in[0] == '\n') {
		return c.refuse(noRequestLine) // net/http would skip it behind a POST
	}
	end := bytes.IndexByte(c.in, '\n')
	n := end + 1
	if end < 0 {
		if n = len(c.in); n > 0 && c.in[n-1] == '\r' {
			n-- // its line feed is to be looked at
		}
	}
	if c.line += n; c.line > c.most {
		c.state = (*strict).passed // net/http says that it is too long
		return false, false
	}
	line := c.in[:n]
	c.tail = append(c.tail, line[max(0, n-len("HTTP/1.0\r\n")):]...)
	c.tail = c.tail[max(0, len(c.tail)-len("HTTP/1.0\r\n")):]
	if bytes.IndexByte(bytes.TrimSuffix(line, []byte("\r\n")), '\r') >= 0 || end >= 0 && !bytes.HasSuffix(line, []byte("\r\n")) {
		return c.refuse(noRequestLine)
	}
	c.pass(n)
	if end < 0 {
		return false, true
	}
	c.old = string(c.tail) == "HTTP/1.0\r\n"
	c.tail, c.line, c.seen = c.tail[:0], 0, 0
	c.state = (*strict).fields
	return false, false
}

// fields looks at the whole of the header fields before any goes on.
func (c *strict) fields() (bad, more bool) {
	for {
		at := bytes.IndexByte(c.in[c.seen:], '\n')
		if at < 0 {
			if len(c.in) > c.most {
				c.state = (*strict).passed // as above
				return false, false
			}
			return false, true
		}
		line := c.in[c.seen : c.seen+at]
		c.seen += at + 1
		if len(line) == 0 || line[len(line)-1] != '\r' {
			return c.refuse(noField)
		}
		if len(line) == 1 {
			break
		}
	}
	length, ok := c.framing(c.in[:c.seen])
	if !ok {
		return c.refuse(noField)
	}
	c.pass(c.seen)
	c.left, c.state = length, (*strict).body
	if c.chunked {
		c.state = (*strict).chunkLine
	}
	return false, false
}

// framing reads the fields that say where the body ends (RFC 9112, section 6.3).
func (c *strict) framing(head []byte) (length int64, ok bool) {
	lengths, codings := 0, 0
	for text := string(head); ; {
		line, rest, whole := strings.Cut(text, "\n")
		if !whole {
			break
		}
		text = rest
		line, whole = strings.CutSuffix(line, "\r")
		if !whole || strings.ContainsAny(line, "\r\x00") {
			return 0, false
		}
		if line == "" {
			break
		}
		name, value, colon := strings.Cut(line, ":")
		if !colon || name == "" || strings.ContainsAny(name, " \t") {
			return 0, false // folded, too, or with a blank before the colon
		}
		value = strings.Trim(value, " \t")
		switch strings.ToLower(name) {
		case "content-length":
			if length, ok = plainNumber(value); !ok {
				return 0, false
			}
			lengths++
		case "transfer-encoding":
			if !strings.EqualFold(value, "chunked") || c.old {
				return 0, false
			}
			codings++
		}
	}
	c.chunked = codings == 1
	return length, lengths+codings <= 1
}

// plainNumber reads 1 to 18 digits.
func plainNumber(text string) (n int64, ok bool) {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(text[i]-'0')
	}
	return n, len(text) > 0 && len(text) <= 18
}

// within lets what is left of a body or chunk go on, and says whether that was all.
func (c *strict) within() bool {
	n := min(c.left, int64(len(c.in)))
	c.pass(int(n))
	c.left -= n
	c.direct = c.left > 0
	return c.left == 0
}

func (c *strict) body() (bad, more bool) {
	if !c.within() {
		return false, true
	}
	c.state = (*strict).requestLine
	return false, false
}

// mostChunkLine is how long the line before a chunk may be.
const mostChunkLine = 256

// chunkLine takes the size of a chunk in 1 to 8 hexadecimal digits; an
// extension behind it goes on, and means nothing (RFC 9112, section 7.1.1).
func (c *strict) chunkLine() (bad, more bool) {
	end := bytes.IndexByte(c.in, '\n')
	if end < 0 && len(c.in) <= mostChunkLine {
		return false, true
	}
	if end < 2 || end > mostChunkLine || c.in[end-1] != '\r' {
		return c.refuse(noChunkSize)
	}
	size, extension, has := strings.Cut(string(c.in[:end-1]), ";")
	if has && strings.ContainsAny(extension, "\r\x00") || len(size) == 0 || len(size) > 8 {
		return c.refuse(noChunkSize)
	}
	c.left = 0
	for _, digit := range []byte(strings.ToLower(size)) {
		at := strings.IndexByte("0123456789abcdef", digit)
		if at < 0 {
			return c.refuse(noChunkSize)
		}
		c.left = c.left<<4 | int64(at)
	}
	c.pass(end + 1)
	c.state = (*strict).chunk
	if c.left == 0 {
		c.state = (*strict).trailer
	}
	return false, false
}

func (c *strict) chunk() (bad, more bool) {
	if !c.within() {
		return false, true
	}
	c.state = (*strict).chunkEnd
	return false, false
}

func (c *strict) chunkEnd() (bad, more bool) { return c.blank((*strict).chunkLine) }

// trailer takes none: nothing here has a use for one.
func (c *strict) trailer() (bad, more bool) { return c.blank((*strict).requestLine) }

// blank takes the CRLF behind a chunk.
func (c *strict) blank(next func(*strict) (bad, more bool)) (bad, more bool) {
	c.direct = false
	switch {
	case len(c.in) >= 2 && c.in[0] == '\r' && c.in[1] == '\n':
		c.pass(2)
		c.state = next
		return false, false
	case len(c.in) >= 2 || len(c.in) == 1 && c.in[0] != '\r':
		return c.refuse(noChunkEnd)
	}
	return false, true
}
