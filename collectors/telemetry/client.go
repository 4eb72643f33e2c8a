package telemetry

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"trustpack/evidence"
)

const (
	maxReply = 64 << 20 // bytes of one reply of the ingest
	attempts = 4
	maxWait  = 30 * time.Second // the longest Retry-After that is waited for
)

// readVerifierKeys reads note verifier keys ("<origin>+<hash>+<key>"), one a
// line, by origin.
// A file may be a pattern, such as "*.vkey".
func readVerifierKeys(patterns []string) (map[string]string, error) {
	keys := map[string]string{}
	var files []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("reading log key %s: %w", pattern, err)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("reading log key: there is no file %s", pattern)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading log key: %w", err)
		}
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			origin, _, ok := strings.Cut(line, "+")
			if !ok {
				return nil, fmt.Errorf("reading log key %s: a line is no verifier key (name+hash+key)", file)
			}
			keys[origin] = line
		}
	}
	return keys, nil
}

func mutualTLS(cfg Config, now func() time.Time) (http.RoundTripper, error) {
	pair, err := tls.LoadX509KeyPair(cfg.Cert, cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("reading operator certificate (cert, key): %w", err)
	}
	ca, err := os.ReadFile(cfg.CA)
	if err != nil {
		return nil, fmt.Errorf("reading the ingest's root certificate (ca): %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("reading the ingest's root certificate (ca): %s holds no PEM certificate", cfg.CA)
	}
	return &http.Transport{
		TLSClientConfig:     &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, Time: now, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 4,
	}, nil
}

// reply is one answer of the ingest and the record of asking for it.
type reply struct {
	tried   []evidence.Request // before, in vain
	request evidence.Request
	body    []byte
	date    string // the ingest's, as HTTP tells it
	err     error  // why body is not usable
}

func (rep reply) requests() []evidence.Request { return append(slices.Clone(rep.tried), rep.request) }

// get asks for path (with query) below the admin address. It tries again, with
// bounded waits, where the ingest is busy, failed or was cut off; where no try
// had any answer, the calls after it are made once.
func (r *run) get(path string) reply {
	var tried []evidence.Request
	for attempt := 1; ; attempt++ {
		rep, passes, wait := r.once(path)
		rep.tried = tried
		if rep.err == nil || !passes || r.away {
			return rep
		}
		if attempt == attempts {
			r.away = rep.request.Status == 0
			return rep
		}
		tried = append(tried, rep.request)
		r.deps.Progress(fmt.Sprintf("asking the ingest again: %v", rep.err))
		select {
		case <-r.ctx.Done():
			return rep
		case <-time.After(r.pause(attempt, wait)):
		}
	}
}

// pause is how long to wait after an attempt: as long as the ingest wants to be
// left alone, within bounds, or where it does not say, longer each time.
func (r *run) pause(attempt int, wanted time.Duration) time.Duration {
	if wanted == 0 {
		wanted = r.deps.Backoff(attempt + 1)
	}
	return min(wanted, maxWait)
}

// once asks a single time. passes tells of a fault that may pass, wait how long
// the ingest wants to be left alone.
func (r *run) once(path string) (rep reply, passes bool, wait time.Duration) {
	rep.request = evidence.Request{Method: http.MethodGet, Target: r.cfg.URL + path, StartedAt: r.deps.Now().UTC()}
	rep.body, passes, wait, rep.err = r.fetch(path, &rep)
	rep.request.EndedAt = r.deps.Now().UTC()
	if rep.err != nil {
		rep.request.Error = rep.err.Error()
		return rep, passes && r.ctx.Err() == nil, wait
	}
	rep.request.ReplySHA256 = evidence.SHA256Hex(rep.body)
	return rep, false, 0
}

func (r *run) fetch(path string, rep *reply) (body []byte, passes bool, wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(r.ctx, http.MethodGet, r.cfg.URL+path, nil)
	if err != nil {
		return nil, false, 0, err
	}
	res, err := r.http.Do(req)
	if err != nil {
		var untrusted *tls.CertificateVerificationError
		return nil, !errors.As(err, &untrusted), 0, err
	}
	defer res.Body.Close() // read to its end below, or given up
	rep.request.Status, rep.request.RequestID, rep.date = res.StatusCode, res.Header.Get("X-Request-Id"), res.Header.Get("Date")
	body, err = io.ReadAll(io.LimitReader(res.Body, maxReply+1))
	switch {
	case err != nil:
		return nil, true, 0, fmt.Errorf("reply cut off after %d bytes: %w", len(body), err)
	case len(body) > maxReply:
		return nil, false, 0, fmt.Errorf("reply larger than %d bytes", maxReply)
	case res.StatusCode != http.StatusOK:
		if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
			wait = time.Duration(min(seconds, 3600)) * time.Second
		}
		return nil, res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500, wait, fmt.Errorf("%s%s", res.Status, problemOf(body))
	}
	return body, false, 0, nil
}

// problemOf gives the code, title and detail of an RFC 9457 problem, if it is
// one.
func problemOf(body []byte) string {
	var p struct {
		Code   string `json:"code"`
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	if json.Unmarshal(body, &p) != nil || p.Code == "" {
		return ""
	}
	if p.Detail != "" {
		p.Title += " " + p.Detail
	}
	return fmt.Sprintf(" (%s: %s)", p.Code, p.Title)
}

// decodeList reads a reply that lists something under a member. One without it,
// or with null there, lists nothing, and is no empty list.
func (rep reply) decodeList(member string, into any) error {
	var fields map[string]json.RawMessage
	if err := rep.decode(&fields); err != nil {
		return err
	}
	if list, there := fields[member]; !there || string(list) == "null" {
		return fmt.Errorf("reply is not the JSON that was expected: it has no member %q", member)
	}
	return rep.decode(into)
}

// eachOnce refuses a list that has something twice: which of the two to go by
// is not known.
func eachOnce[T any](list []T, name func(T) string) error {
	seen := map[string]bool{}
	for _, v := range list {
		n := name(v)
		if seen[n] {
			return fmt.Errorf("the ingest lists %q twice", n)
		}
		seen[n] = true
	}
	return nil
}

// decode reads the reply's JSON. A field that is not known is let be: the raw
// reply is kept, and the ingest may be newer.
func (rep reply) decode(into any) error {
	if rep.err != nil {
		return rep.err
	}
	dec := json.NewDecoder(bytes.NewReader(rep.body))
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("reply is not the JSON that was expected: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("reply holds more than one JSON value")
	}
	return nil
}
