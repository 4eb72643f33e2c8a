package ingest

import (
	"bytes"
	"unsafe"
)

// hotHead is the head of a request that is read without net/http: one for
// telemetry, of the narrow grammar below.
type hotHead struct {
	size          int // bytes, the blank line included
	length        int // of the body
	all           bool
	media, coding string // parts of the bytes that were read
	bearer        string // as they are: the token of the Authorization field
}

const (
	maxHotHead = 4 << 10
	maxHotBody = 192 << 10 // below what net/http reads of a body to keep a connection
)

// parseHotHead reads a head of this grammar, which is a small part of RFC 9112:
//
//	POST /v1/telemetry[?lines=all] HTTP/1.1 CRLF
//	1*( name ":" [ SP ] value CRLF )
//	CRLF
//
// A name is one of those in hotField, in any case, at most once. A value is 1 or more
// bytes from 0x20 to 0x7e, the first and last of which are no space. Host must be there,
// of letters, digits, "-", ".", ":", "[" and "]"; Content-Length must be there, 1 to 6
// digits of which the first is not 0; Connection, where it is there, says keep-alive;
// Authorization, where it is there, is "Bearer", one space and a device's token.
//
// ok is false for all else, be it wrong, ambiguous, incomplete or just another request:
// what is not plainly this is net/http's to read. FuzzHotHead holds it to
// what net/http reads of the same bytes.
func parseHotHead(b []byte, h *hotHead) (ok bool) {
	*h = hotHead{}
	rest, ok := bytes.CutPrefix(b[:min(len(b), maxHotHead)], []byte("POST /v1/telemetry"))
	if !ok {
		return false
	}
	if after, ok := bytes.CutPrefix(rest, []byte("?lines=all")); ok {
		rest, h.all = after, true
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(" HTTP/1.1\r\n")); !ok {
		return false
	}
	have := hotField(0)
	for {
		// The line up to CR; whatever byte is not allowed in it ends it too.
		colon := bytes.IndexByte(rest, ':')
		if len(rest) >= 2 && rest[0] == '\r' && rest[1] == '\n' {
			h.size = len(b[:min(len(b), maxHotHead)]) - len(rest) + 2
			return have&hotWanted == hotWanted
		}
		if colon < 0 {
			return false
		}
		field := hotFieldOf(rest[:colon])
		if field == 0 || have&field != 0 {
			return false
		}
		have |= field
		rest = rest[colon+1:]
		if len(rest) > 0 && rest[0] == ' ' {
			rest = rest[1:]
		}
		end := 0
		for end < len(rest) && rest[end] >= 0x20 && rest[end] <= 0x7e {
			end++
		}
		if end == 0 || end+1 >= len(rest) || rest[end] != '\r' || rest[end+1] != '\n' || rest[0] == ' ' || rest[end-1] == ' ' {
			return false
		}
		if !h.take(field, rest[:end]) {
			return false
		}
		rest = rest[end+2:]
	}
}

// hotField is a header field that a hot request may have, as a bit.
type hotField uint16

const (
	hotHost hotField = 1 << iota
	hotLength
	hotMedia
	hotCoding
	hotConnection
	hotAuthorization
	hotIgnored // the first of those that decide nothing
)

const hotWanted = hotHost | hotLength

// hotFields are the names, those that decide nothing from hotIgnored on.
var hotFields = [...]string{
	"host", "content-length", "content-type", "content-encoding", "connection", "authorization",
	"user-agent", "accept", "accept-encoding", "accept-language", "date", "traceparent", "tracestate",
}

// hotFieldOf gives 0 for any other name.
func hotFieldOf(name []byte) hotField {
next:
	for i, want := range &hotFields {
		if len(want) != len(name) {
			continue
		}
		for k := range len(want) {
			c := name[k]
			if c >= 'A' && c <= 'Z' {
				c |= 0x20
			}
			if c != want[k] {
				continue next
			}
		}
		return 1 << i
	}
	return 0
}

// take notes the value of a field and says whether it is a plain one.
func (h *hotHead) take(f hotField, v []byte) bool {
	switch f {
	case hotHost:
		for _, c := range v {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == ':' || c == '[' || c == ']') {
				return false
			}
		}
	case hotLength:
		if len(v) > 6 || v[0] == '0' {
			return false
		}
		for _, c := range v {
			if c < '0' || c > '9' {
				return false
			}
			h.length = h.length*10 + int(c-'0')
		}
		return h.length <= maxHotBody
	case hotMedia:
		h.media = textOver(v)
	case hotCoding:
		h.coding = textOver(v)
	case hotAuthorization:
		token, ok := bytes.CutPrefix(v, []byte("Bearer "))
		h.bearer = textOver(token)
		return ok && plainDeviceToken(h.bearer)
	case hotConnection:
		return string(v) == "keep-alive" || string(v) == "Keep-Alive"
	}
	return true
}

// textOver is b as a string that shares its bytes: good until they change.
func textOver(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}

// unfinished reports whether b may be the beginning of a hot request's head.
func unfinished(b []byte) bool {
	const begin = "POST /v1/telemetry"
	if n := min(len(b), len(begin)); len(b) >= maxHotHead || string(b[:n]) != begin[:n] {
		return false
	}
	return !bytes.Contains(b, []byte("\r\n\r\n"))
}
