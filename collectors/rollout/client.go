package rollout

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"trustpack/evidence"
)

const (
	attempts = 4
	maxReply = 64 << 20
	maxWait  = 30 * time.Second // the longest Retry-After that is waited for
	pageSize = 100
)

// server is one hawkBit during one collection.
type server struct {
	base    string
	auth    string // the Authorization header; never kept
	secrets []string
	client  *http.Client
	deps    Deps
	trace   *trace
	user    string // the environment variable, for messages
	tries   int    // of each page
}

func (c *collector) server(t *trace) *server {
	h := c.config.HawkBit
	s := &server{
		base: strings.TrimRight(h.URL, "/"), deps: c.deps, trace: t, tries: attempts,
		user: cmp.Or(h.TokenEnv, h.PasswordEnv),
		client: &http.Client{
			Transport: c.deps.Transport,
			Timeout:   2 * time.Minute,
			// A credential is for the server that was named, not for where it points.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if h.TokenEnv != "" {
		token := c.deps.Getenv(h.TokenEnv)
		s.secrets = []string{token}
		if token != "" {
			s.auth = "Bearer " + token
		}
		return s
	}
	user, password := c.deps.Getenv(h.UserEnv), c.deps.Getenv(h.PasswordEnv)
	basic := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	s.secrets = []string{basic, password}
	if password != "" {
		s.auth = "Basic " + basic
	}
	return s
}

// get asks for one page and decodes it. It tries again, with bounded waits,
// where the server is busy or the reply was cut off; each try is recorded.
func (s *server) get(ctx context.Context, path string, query url.Values, page int, into any) error {
	if s.auth == "" {
		return fmt.Errorf("the environment variable %s is empty: it must hold the credential", s.user)
	}
	for attempt := 1; ; attempt++ {
		body, wait, err := s.once(ctx, path, query, page)
		if err == nil {
			if err := json.Unmarshal(body, into); err != nil {
				return fmt.Errorf("the reply is not the JSON that the API describes: %w", err)
			}
			return nil
		}
		var again *retryable
		if !errors.As(err, &again) || attempt == s.tries {
			return err
		}
		if wait == 0 {
			wait = s.deps.Backoff(attempt + 1)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; %w", err, ctx.Err())
		case <-time.After(min(wait, maxWait)):
		}
	}
}

// retryable is a fault that may pass.
type retryable struct{ error }

func (s *server) once(ctx context.Context, path string, query url.Values, page int) (body []byte, wait time.Duration, err error) {
	rec := evidence.Request{Method: http.MethodGet, Target: s.base + path, Page: page, Parameters: map[string]string{}, StartedAt: s.deps.Now().UTC()}
	for k := range query {
		rec.Parameters[k] = query.Get(k)
	}
	defer func() {
		rec.EndedAt = s.deps.Now().UTC()
		if err != nil {
			rec.Error = err.Error()
		}
		s.trace.requests = append(s.trace.requests, rec)
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.address(path, query), nil)
	if err != nil {
		return nil, 0, fmt.Errorf("making the request: %s", s.scrub(err.Error()))
	}
	req.Header.Set("Authorization", s.auth)
	req.Header.Set("Accept", "application/hal+json, application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, 0, &retryable{errors.New("no answer: " + s.scrub(err.Error()))}
	}
	defer resp.Body.Close() // read to its end below, or given up
	rec.Status, rec.RequestID = resp.StatusCode, resp.Header.Get("X-Request-Id")
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return nil, 0, &retryable{fmt.Errorf("the reply was cut off after %d bytes: %s", len(body), s.scrub(err.Error()))}
	}
	if len(body) > maxReply {
		return nil, 0, fmt.Errorf("the reply is larger than %d MiB", maxReply>>20)
	}
	s.keep(&rec, body)
	return body, retryAfter(resp), statusError(resp.StatusCode)
}

// keep stores the reply; a credential that the server echoes is taken out.
func (s *server) keep(rec *evidence.Request, body []byte) {
	for _, secret := range s.secrets {
		if secret != "" && bytes.Contains(body, []byte(secret)) {
			body = bytes.ReplaceAll(body, []byte(secret), []byte("redacted"))
			rec.Redactions = []string{"the collector's own credential"}
		}
	}
	rec.ReplySHA256 = evidence.SHA256Hex(body)
	name := fmt.Sprintf("hawkbit/%05d.json", len(s.trace.requests)+1)
	s.trace.raw = append(s.trace.raw, evidence.RawReply{Name: name, Body: body})
}

func (s *server) scrub(text string) string {
	for _, secret := range s.secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "redacted")
		}
	}
	return text
}

// The faults that whoever runs hawkBit must mend.
var (
	errCredential = errors.New("HTTP 401: the server does not accept the credential")
	errPermission = errors.New("HTTP 403: the user lacks a permission; it needs READ_ROLLOUT, READ_TARGET and READ_REPOSITORY")
)

func statusError(status int) error {
	switch {
	case status == http.StatusOK:
		return nil
	case status == http.StatusUnauthorized:
		return errCredential
	case status == http.StatusForbidden:
		return errPermission
	case status == http.StatusNotFound:
		return errors.New("HTTP 404: the server does not know this resource")
	case status == http.StatusTooManyRequests || status >= 500:
		return &retryable{fmt.Errorf("HTTP %d: the server is busy or failed", status)}
	}
	return fmt.Errorf("HTTP %d, where 200 was expected", status)
}

func retryAfter(resp *http.Response) time.Duration {
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// list reads all pages of a collection. What it could not read is the error;
// what it read before is returned beside it.
func list[T any](ctx context.Context, s *server, path string, query url.Values) ([]T, error) {
	var all []T
	for page := 1; ; page++ {
		q := url.Values{"offset": {strconv.Itoa(len(all))}, "limit": {strconv.Itoa(pageSize)}, "sort": {"id:ASC"}}
		for k, v := range query {
			q[k] = v
		}
		var reply struct {
			Content []T  `json:"content"`
			Total   *int `json:"total"`
		}
		if err := s.get(ctx, path, q, page, &reply); err != nil {
			return all, fmt.Errorf("page %d of %s: %w", page, path, err)
		}
		if reply.Total == nil {
			return all, fmt.Errorf("page %d of %s: the reply is not the JSON that the API describes: it has no total", page, path)
		}
		all = append(all, reply.Content...)
		if len(all) >= *reply.Total {
			return all, nil
		}
		if len(reply.Content) == 0 {
			return all, fmt.Errorf("page %d of %s is empty, though %d of %d were given", page, path, len(all), *reply.Total)
		}
	}
}

func (s *server) address(path string, query url.Values) string {
	if len(query) == 0 {
		return s.base + path
	}
	return s.base + path + "?" + query.Encode()
}
