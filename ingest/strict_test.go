package ingest

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// requests reads what net/http takes for requests, with their bodies, until it
// takes no more.
func requests(r io.Reader) (out []string) {
	in := bufio.NewReader(r)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return out
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return append(out, "broken")
		}
		out = append(out, req.Method+" "+req.RequestURI+" "+req.Proto+" "+string(body))
	}
}

// pieces gives a reader's bytes in reads of chance sizes.
type pieces struct {
	r   io.Reader
	rng *rand.Rand
}

func (p pieces) Read(b []byte) (int, error) {
	return p.r.Read(b[:min(len(b), 1+p.rng.IntN(20))])
}

func strictOver(b []byte, seed uint64) *strict {
	return &strict{from: pieces{bytes.NewReader(b), rand.New(rand.NewPCG(seed, 0))}, most: 32 << 10, state: (*strict).requestLine}
}

const (
	plainGet   = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
	plainPost  = "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
	chunkPost  = "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"
	doublePost = "POST /d HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
)

func TestStrictLetsPlainRequestsPass(t *testing.T) {
	all := plainGet + plainPost + chunkPost + strings.Replace(plainGet, "1.1", "1.0", 1) + chunkPost + plainGet
	want := []string{"GET /a HTTP/1.1 ", "POST /b HTTP/1.1 hello", "POST /c HTTP/1.1 hello!", "GET /a HTTP/1.0 ", "POST /c HTTP/1.1 hello!", "GET /a HTTP/1.1 "}
	for seed := range uint64(100) {
		c := strictOver([]byte(all), seed)
		through, err := io.ReadAll(iotest.OneByteReader(c))
		if string(through) != all || err != nil {
			t.Fatalf("seed %d: %q, %v", seed, through, err)
		}
		if got := requests(strictOver([]byte(all), seed)); !slices.Equal(got, want) {
			t.Fatalf("seed %d: %q", seed, got)
		}
	}
	// As a client that breaks off in the middle: what came goes on.
	for cut := range len(chunkPost) {
		if got := requests(strictOver([]byte(plainPost+chunkPost[:cut]), 1)); len(got) == 0 || got[0] != want[1] || len(got) == 2 && got[1] != "broken" {
			t.Errorf("cut at %d: %q", cut, got)
		}
	}
}

// ambiguous are requests of which each is refused, with whatever follows.
func ambiguous() []string {
	post := func(fields, body string) string {
		return "POST /b HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n" + body
	}
	chunked := func(body string) string { return post("Transfer-Encoding: chunked\r\n", body) }
	return []string{
		doublePost,
		post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
		post("Transfer-Encoding:chunked\r\ncontent-length:0\r\n", "0\r\n\r\n"),
		post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
		post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
		post("Content-Length: 5, 5\r\n", "hello"),
		post("Content-Length: +5\r\n", "hello"),
		post("Content-Length: -5\r\n", "hello"),
		post("Content-Length: 0x5\r\n", "hello"),
		post("Content-Length: 5 5\r\n", "hello"),
		post("Content-Length:\r\n", "hello"),
		post("Content-Length: 00000000000000000005\r\n", "hello"),
		post("Content-Length: 99999999999999999999999\r\n", "hello"),
		post("Content-Length: 18446744073709551621\r\n", "hello"),
		post("Content-Length : 5\r\n", "hello"),
		post(" Content-Length: 5\r\n", "hello"),
		post("X: y\r\n Content-Length: 5\r\n", "hello"),
		post("X: y\r\n\tfolded\r\nContent-Length: 5\r\n", "hello"),
		post("Content-Length: 5\nX: y\r\n", "hello"),
		post("Content-Length: 5\rX: y\r\n", "hello"),
		post("X: \x00\r\nContent-Length: 5\r\n", "hello"),
		post("X: a\rb\r\nContent-Length: 5\r\n", "hello"),
		post("no colon\r\nContent-Length: 5\r\n", "hello"),
		post(": no name\r\nContent-Length: 5\r\n", "hello"),
		post("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", "hello"),
		post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
		post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
		post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
		post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
		post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
		post("Transfer-Encoding:\x0bchunked\r\n", "0\r\n\r\n"),
		post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
		post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"),
		"POST /b HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"POST /b HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST /b HTTP/1.1\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
		"POST /b\rHTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
		"\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
		"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\n\r\nhello",
		chunked("g\r\nhello\r\n0\r\n\r\n"),
		chunked("\r\nhello\r\n0\r\n\r\n"),
		chunked("-5\r\nhello\r\n0\r\n\r\n"),
		chunked("+5\r\nhello\r\n0\r\n\r\n"),
		chunked("0x5\r\nhello\r\n0\r\n\r\n"),
		chunked(" 5\r\nhello\r\n0\r\n\r\n"),
		chunked("5 \r\nhello\r\n0\r\n\r\n"),
		chunked("5\nhello\r\n0\r\n\r\n"),
		chunked("5;a\nb\r\nhello\r\n0\r\n\r\n"),
		chunked("5;a\rb\r\nhello\r\n0\r\n\r\n"),
		chunked("5\r\nhello\n0\r\n\r\n"),
		chunked("5\r\nhello0\r\n\r\n"),
		chunked("4\r\nhello\r\n0\r\n\r\n"),
		chunked("6\r\nhello\r\n0\r\n\r\n"),
		chunked("5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n"),
		chunked("5\r\nhello\r\n0\r\nX: y\r\n\r\n"),
		chunked("5\r\nhello\r\n0\r\n\n"),
		chunked("5\r\nhello\r\n0\n\r\n"),
		chunked("100000005\r\nhello\r\n0\r\n\r\n"),
		chunked("ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
		chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"),
		chunked("0000000000000000000005\r\nhello\r\n0\r\n\r\n"),
		chunked("5;" + strings.Repeat("x", 300) + "\r\nhello\r\n0\r\n\r\n"),
	}
}

// TestStrictRefusesWhatCanBeReadInTwoWays, and nothing behind it is a request.
func TestStrictRefusesWhatCanBeReadInTwoWays(t *testing.T) {
	for _, bad := range ambiguous() {
		for seed := range uint64(10) {
			got := requests(strictOver([]byte(plainGet+bad+plainGet+plainPost), seed))
			if len(got) == 2 && got[1] == "broken" {
				got = got[:1]
			}
			if len(got) != 1 || got[0] != "GET /a HTTP/1.1 " {
				t.Fatalf("%q: %q", bad, got)
			}
		}
	}
}

// FuzzStrict holds what goes through to what net/http would have read: never
// another request, and never one with two ways to tell its end.
func FuzzStrict(f *testing.F) {
	for _, s := range append(ambiguous(), plainGet, plainPost, chunkPost, plainPost+chunkPost+plainGet, strings.Replace(plainPost, "1.1", "1.0", 1)) {
		f.Add([]byte(s), uint64(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		whole, _ := io.ReadAll(strictOver(b, seed)) // what it says against them is not asked
		same := 0
		for same < min(len(whole), len(b)) && whole[same] == b[same] {
			same++
		}
		if n := len(whole) - same; n > len(noRequestLine) {
			t.Fatalf("%d bytes went through that never came: %q", n, whole[same:])
		}
		got, plain := requests(strictOver(b, seed)), requests(bytes.NewReader(b))
		for i, r := range got {
			if r != "broken" && (i >= len(plain) || plain[i] != r) {
				t.Fatalf("request %d is %q, and net/http reads %q", i, r, plain)
			}
		}
	})
}
