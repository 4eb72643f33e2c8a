package drill

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// decompressionBomb sends a small body that grows beyond the limit.
func decompressionBomb(coding string) drill {
	id, zip := "TR-03.decompression-bomb", pack
	if coding == "zstd" {
		id, zip = "TR-03.zstd-bomb", packZstd
	}
	return drill{
		id: id, control: "TR-03",
		what:     "a small " + coding + " body that unpacks to more than the limit",
		expected: "413 body.too-large, or 415 media.unsupported where no compression is taken; nothing stored",
		attack: func(ctx context.Context, r *run) outcome {
			limit, err := r.config.limit("decompressed_bytes", r.config.Limits.DecompressedBytes, 4*mostBytes)
			if err != nil {
				return unable("", err)
			}
			c, err := r.canary(ctx, TenantA, "bombing-"+coding)
			if err != nil {
				return unable("", err)
			}
			q := r.batch(c, 1)
			size := int(limit) + 1<<20
			if q.body, err = zip(padded(q.body, size)); err != nil {
				return unable("", err)
			}
			q.header.Set("Content-Encoding", coding)
			a := r.public.once(ctx, r.public.with(c.certificate), q)
			o := outcome{
				sent: fmt.Sprintf("POST /v1/telemetry, %d bytes of %s that unpack to %d, by canary device %s", len(q.body), coding, size, c.device),
				got:  a.verbose(), latency: a.latency, verdict: a.refusal(413, "body.too-large"),
				traces: []trace{caused("body.too-large", c), caused("media.unsupported", c)},
				stored: []stored{{TenantA, c.device, c.seq, 0}},
			}
			if a.refusal(415, "media.unsupported") == Passed {
				o.verdict = Passed
			}
			return o
		},
	}
}

func pack(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func packZstd(b []byte) ([]byte, error) {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return w.EncodeAll(b, nil), w.Close()
}
