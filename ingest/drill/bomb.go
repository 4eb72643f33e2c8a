package drill

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
)

// decompressionBomb sends a small body that grows beyond the limit.
func decompressionBomb() drill {
	return drill{
		id: "TR-03.decompression-bomb", control: "TR-03",
		what:     "a small gzip body that unpacks to more than the limit",
		expected: "413 body.too-large, or 415 media.unsupported where no compression is taken; nothing stored",
		attack: func(ctx context.Context, r *run) outcome {
			limit, err := r.config.limit("decompressed_bytes", r.config.Limits.DecompressedBytes, 4*mostBytes)
			if err != nil {
				return unable("", err)
			}
			c, err := r.canary(ctx, TenantA, "bombing")
			if err != nil {
				return unable("", err)
			}
			q := r.batch(c, 1)
			size := int(limit) + 1<<20
			if q.body, err = pack(padded(q.body, size)); err != nil {
				return unable("", err)
			}
			q.header.Set("Content-Encoding", "gzip")
			a := r.public.once(ctx, r.public.with(c.certificate), q)
			o := outcome{
				sent: fmt.Sprintf("POST /v1/telemetry, %d bytes of gzip that unpack to %d, by canary device %s", len(q.body), size, c.device),
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
