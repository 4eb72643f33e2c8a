package drill

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strconv"
)

// letters fills in the bytes of dead letters, which the ingest lists apart: the
// entry only commits to them. Bytes that are not what the entry commits to are
// left out, so that nothing the ingest says of them counts.
func (r *run) letters(ctx context.Context, log string, records []record) error {
	at := map[int64]int{}
	for i, rec := range records {
		if rec.tenant.T == "deadletter" && rec.tenant.Payload != "" {
			at[rec.index] = i
		}
	}
	for from := strconv.FormatInt(r.since[log], 10); len(at) > 0 && from != ""; {
		var page struct {
			DeadLetters []struct {
				Index int64  `json:"index"`
				Bytes []byte `json:"bytes"`
				Salt  string `json:"salt"`
			} `json:"deadletters"`
			Next string `json:"next"`
		}
		path := "/v1/admin/deadletters?limit=500&tenant=" + url.QueryEscape(log) + "&from=" + url.QueryEscape(from)
		if err := r.either(ctx, "GET", path, nil, &page); err != nil {
			return err
		}
		for _, l := range page.DeadLetters {
			salt, err := hex.DecodeString(l.Salt)
			i, wanted := at[l.Index]
			sum := sha256.Sum256(append(salt, l.Bytes...))
			if wanted && err == nil && hex.EncodeToString(sum[:]) == records[i].tenant.Payload {
				records[i].tenant.Bytes = l.Bytes
			}
		}
		from = page.Next
	}
	return nil
}
