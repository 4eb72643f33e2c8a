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

// readBody reads no more than the limits allow, compressed and not.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) (string, *Problem) {
	limits := s.cfg().Limits
	if r.ContentLength > limits.BodyBytes {
		return "", problem(CodeBodyTooLarge, fmt.Sprintf("%d bytes; the limit is %d", r.ContentLength, limits.BodyBytes))
	}
	src := io.Reader(http.MaxBytesReader(w, r.Body, limits.BodyBytes))
	coding := r.Header.Get("Content-Encoding")
	switch coding {
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
	body, err := s.readText(src, r.ContentLength)
	if err != nil {
		return "", bodyProblem(err, limits.BodyBytes)
	}
	if (coding == "gzip" || coding == "zstd") && int64(len(body)) > limits.DecompressedBytes {
		return "", problem(CodeBodyTooLarge, fmt.Sprintf("it decompresses to more than %d bytes", limits.DecompressedBytes))
	}
	return body, nil
}

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

// readText reads src, of about size bytes where that is known. Memory grows
// with what came, not with what was announced.
func (s *Server) readText(src io.Reader, size int64) (string, error) {
	piece, ok := s.pieces.Get().(*[]byte)
	if !ok {
		piece = new([]byte)
		*piece = make([]byte, pieceBytes)
	}
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
