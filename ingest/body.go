package ingest

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// body is where a request's body comes from.
type body interface {
	// text gives the body, unpacked, and reads no more than the limits allow.
	// It is good until the request is answered.
	text(s *Server, c *call) (string, *Problem)
}

// httpBody is that of a request through net/http.
type httpBody struct {
	w http.ResponseWriter
	r *http.Request
}

func (h *httpBody) text(s *Server, c *call) (string, *Problem) {
	limit := c.set.Limits.BodyBytes
	if off(guardBodySize) {
		limit = 1 << 40
	}
	if h.r.ContentLength > limit {
		return "", problem(CodeBodyTooLarge, fmt.Sprintf("%d bytes; the limit is %d", h.r.ContentLength, limit))
	}
	return s.unpack(c, http.MaxBytesReader(h.w, h.r.Body, limit), h.r.ContentLength)
}

// unpack reads src, of about size bytes where that is known, and undoes its
// coding.
func (s *Server) unpack(c *call, src io.Reader, size int64) (string, *Problem) {
	limits := c.set.Limits
	if off(guardUnpackedSize) {
		limits.DecompressedBytes = 1 << 40
	}
	switch c.coding {
	case "gzip":
		z, err := gzip.NewReader(src)
		if err != nil {
			return "", bodyProblem(err, limits.BodyBytes)
		}
		src = io.LimitReader(z, limits.DecompressedBytes+1)
	case "zstd":
		z, err := s.zstdReader(src)
		if err != nil {
			return "", bodyProblem(err, limits.BodyBytes)
		}
		defer s.keepZstd(z)
		src = io.LimitReader(z, limits.DecompressedBytes+1)
	}
	body, err := s.readText(src, size)
	if err != nil {
		return "", bodyProblem(err, limits.BodyBytes)
	}
	if c.packed() && int64(len(body)) > limits.DecompressedBytes {
		return "", problem(CodeBodyTooLarge, fmt.Sprintf("it decompresses to more than %d bytes", limits.DecompressedBytes))
	}
	return body, nil
}

// packed reports whether the body is compressed.
func (c *call) packed() bool { return c.coding == "gzip" || c.coding == "zstd" }

// zstdWindow is the largest window that a sender may count on (RFC 9659).
const zstdWindow = 8 << 20

// zstdReader gives a decoder that works in the caller's goroutine alone.
func (s *Server) zstdReader(src io.Reader) (*zstd.Decoder, error) {
	if z, ok := s.decoders.Get().(*zstd.Decoder); ok {
		return z, z.Reset(src)
	}
	return zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
}

// keepZstd keeps the decoder for another body.
func (s *Server) keepZstd(z *zstd.Decoder) {
	if z.Reset(strings.NewReader("")) == nil { // it lets go of this body
		s.decoders.Put(z)
	}
}

// pieceBytes is how much of a body is read at a time.
const pieceBytes = 64 << 10

// piece gives room for pieceBytes.
func (s *Server) piece() *[]byte {
	if p, ok := s.pieces.Get().(*[]byte); ok {
		return p
	}
	b := make([]byte, pieceBytes)
	return &b
}

// readText reads src, of about size bytes where that is known. Memory grows
// with what came, not with what was announced.
func (s *Server) readText(src io.Reader, size int64) (string, error) {
	piece := s.piece()
	defer s.pieces.Put(piece)
	var text strings.Builder
	text.Grow(int(min(max(size, 0), pieceBytes)))
	for {
		n, err := src.Read(*piece)
		text.Write((*piece)[:n])
		if err == io.EOF {
			return text.String(), nil
		}
		if err != nil {
			return "", err
		}
	}
}

func bodyProblem(err error, limit int64) *Problem {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return problem(CodeBodyTooLarge, fmt.Sprintf("more than %d bytes", limit))
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return problem(CodeBodyTooLarge, fmt.Sprintf("unpacking it takes a window of more than %d bytes", zstdWindow))
	}
	return problem(CodeBodyMalformed, "the body was cut short, came too slowly or is not valid in its Content-Encoding")
}
