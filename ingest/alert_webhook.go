package ingest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"trustpack/internal/keyfile"
)

// Header fields of a webhook (Standard Webhooks 1.0.0).
const (
	webhookIDField        = "webhook-id"
	webhookTimestampField = "webhook-timestamp" // of the attempt, in Unix seconds
	webhookSignatureField = "webhook-signature"
)

// maxAnswer is how much of a receiver's answer is read.
const maxAnswer = 64 << 10

// attemptError is an attempt that did not tell what was to be told.
type attemptError struct {
	text  string
	final bool          // another attempt would be no other
	wait  time.Duration // that the target asks for, from everybody; 0: nothing
}

func (e *attemptError) Error() string { return e.text }

// webhookSignature signs a message with each secret: HMAC-SHA256 over
// "<id>.<timestamp>.<body>", as "v1,<base64>", separated by spaces (Standard
// Webhooks 1.0.0, "Signature scheme").
func webhookSignature(secrets [][]byte, id string, at time.Time, body []byte) string {
	var out []string
	for _, secret := range secrets {
		h := hmac.New(sha256.New, secret)
		fmt.Fprintf(h, "%s.%d.", id, at.Unix())
		h.Write(body)
		out = append(out, "v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil)))
	}
	return strings.Join(out, " ")
}

// maxSecretFile is more bytes than the secrets or the token of a receiver take.
const maxSecretFile = 4 << 10

// readSecrets reads the secrets of a webhook, one a line, whsec_ and 24 to 64
// bytes in base64. Errors hold nothing of them.
func readSecrets(file string) ([][]byte, error) {
	text, err := keyfile.Read(file, maxSecretFile)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(line, "whsec_"))
		if !strings.HasPrefix(line, "whsec_") || err != nil || len(secret) < 24 || len(secret) > 64 {
			return nil, fmt.Errorf("%s: line %d is no secret: want whsec_ and 24 to 64 bytes in base64", file, i+1)
		}
		out = append(out, secret)
	}
	if len(out) == 0 || len(out) > 4 {
		return nil, fmt.Errorf("%s: want 1 to 4 secrets, a line each", file)
	}
	return out, nil
}

// postWebhook makes one attempt. Only an answer of 2xx has been told; what else
// the receiver says is not read into.
func postWebhook(ctx context.Context, t *http.Transport, w WebhookPolicy, m alertMessage, at time.Time, timeout time.Duration) error {
	secrets, err := readSecrets(w.SecretFile)
	if err != nil {
		return &attemptError{text: "reading the secret: " + err.Error()}
	}
	body, err := m.body()
	if err != nil {
		return &attemptError{text: "encoding the message: " + err.Error(), final: true}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return &attemptError{text: withoutURL(err).Error(), final: true}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "trustpack")
	req.Header.Set(webhookIDField, m.ID)
	req.Header.Set(webhookTimestampField, strconv.FormatInt(at.Unix(), 10))
	req.Header.Set(webhookSignatureField, webhookSignature(secrets, m.ID, at, body))
	client := &http.Client{Transport: t, CheckRedirect: noRedirect}
	res, err := client.Do(req)
	if err != nil {
		return &attemptError{text: withoutURL(err).Error()}
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer)) // so that the connection can serve again; the answer is its status
	if res.StatusCode >= 200 && res.StatusCode <= 299 {
		return nil
	}
	// 410 says that the receiver wants nothing more (Standard Webhooks 1.0.0).
	return &attemptError{text: "the receiver answered " + strconv.Itoa(res.StatusCode), final: res.StatusCode == http.StatusGone, wait: retryAfter(res, at)}
}

// retryAfter is how long a 429 or 5xx asks to wait (RFC 9110, section 10.2.3).
func retryAfter(res *http.Response, now time.Time) time.Duration {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode < 500 {
		return 0
	}
	return waitOf(res.Header.Get("Retry-After"), now)
}

// waitOf reads a Retry-After field, in seconds or as a date; 0 where it says
// nothing.
func waitOf(field string, now time.Time) time.Duration {
	var wait time.Duration
	if n, err := strconv.ParseInt(field, 10, 32); err == nil {
		wait = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(field); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// withoutURL is err without the address that net/http puts before it.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
