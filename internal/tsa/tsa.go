// Package tsa asks a time stamp authority for a timestamp (RFC 3161, over
// HTTP as its section 3.4 has it).
package tsa

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"trustpack/pack"
)

const (
	maxReply = 64 << 10 // as much as a pack takes
	patience = 30 * time.Second
)

// Client asks one authority.
type Client struct {
	URL   string
	Roots []*x509.Certificate // that the reply must lead to; none: who signed it is not checked
	HTTP  *http.Client        // nil: one that gives up after 30 seconds
}

// Stamp asks for a timestamp of the signature, and gives the reply, a DER
// TimeStampResp that is checked as a pack's verifier checks it, and for its
// nonce.
func (c Client) Stamp(ctx context.Context, signature []byte) ([]byte, error) {
	reply, err := c.stamp(ctx, signature)
	if err != nil {
		return nil, fmt.Errorf("time stamp authority %s: %w", c.URL, err)
	}
	return reply, nil
}

func (c Client) stamp(ctx context.Context, signature []byte) ([]byte, error) {
	nonce, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("choosing a nonce: %w", err)
	}
	query, err := request(signature, nonce)
	if err != nil {
		return nil, err
	}
	reply, err := c.post(ctx, query)
	if err != nil {
		return nil, err
	}
	t, err := pack.CheckTimestamp(reply, signature, c.Roots)
	if err != nil {
		return nil, err
	}
	if t.Nonce == nil || t.Nonce.Cmp(nonce) != 0 {
		return nil, errors.New("its timestamp does not carry the nonce that it was sent: it answers something else")
	}
	return reply, nil
}

// request is a TimeStampReq, which asks for the certificates too.
func request(signature []byte, nonce *big.Int) ([]byte, error) {
	imprint := sha256.Sum256(signature)
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1})
				b.AddASN1NULL()
			})
			b.AddASN1OctetString(imprint[:])
		})
		b.AddASN1BigInt(nonce)
		b.AddASN1Boolean(true)
	})
	query, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("writing the query: %w", err)
	}
	return query, nil
}

func (c Client) post(ctx context.Context, query []byte) (reply []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(query))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/timestamp-query")
	req.Header.Set("Accept", "application/timestamp-reply")
	client := c.HTTP
	if client == nil {
		client = &http.Client{Timeout: patience}
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated {
		return nil, fmt.Errorf("it answers %s; is this the URL for timestamps?", resp.Status)
	}
	reply, err = io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return nil, fmt.Errorf("reading its reply: %w", err)
	}
	if len(reply) > maxReply {
		return nil, fmt.Errorf("its reply is longer than %d bytes", maxReply)
	}
	return reply, nil
}
