package github

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"trustpack/evidence"
)

const (
	attempts     = 5        // of a collection's request
	maxReply     = 64 << 20 // bytes; a listing of 100 is far below
	firstBackoff = time.Second
	// secondaryWait is the least wait after a secondary rate limit that names none.
	// https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api
	secondaryWait = time.Minute
)

// recorder is the transport of one collection. It adds the token, keeps every
// reply byte for byte with its provenance, and tries again where the source
// asks for patience. go-github never sees the rate-limit headers, since it
// would judge them by the real clock and keep requests back on its own.
type recorder struct {
	c       *Collector
	token   string
	note    func(evidence.Request, []byte) error // keeps an exchange
	tries   int                                  // how often a request is sent at most; at 1 no rate limit is waited for
	broken  error                                // why replies cannot be kept; nothing is asked after it
	resume  time.Time                            // when the primary rate limit lets go; zero while it does not hold
	login   *appLogin                            // how an App gets its token; nil: the token is given
	granted func([]byte) error                   // sees a reply that may hold a token, before redaction
	secrets []string                             // what must not stand in anything that is kept or said
	kept    *kept                                // replies of earlier collections; nil: none are known
	floor   time.Time                            // no reply from before stands for what is asked now
}

func newRecorder(c *Collector, token string, note func(evidence.Request, []byte) error) *recorder {
	t := &recorder{c: c, token: token, note: note, tries: attempts}
	if token != "" {
		t.secrets = append(t.secrets, token)
	}
	return t
}

// RoundTrip sends the request until it is answered for good.
func (t *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != t.c.base.Host || req.URL.Scheme != t.c.base.Scheme {
		// A redirect or link elsewhere must not get the token.
		return nil, fmt.Errorf("the source points to another host, %s", req.URL.Host)
	}
	if resp, err := t.fromCutOff(req); resp != nil || err != nil {
		return resp, err
	}
	backoff := firstBackoff
	for attempt := 1; ; attempt++ {
		if wait := t.resume.Sub(t.c.deps.Now()); wait > 0 && !t.resume.IsZero() {
			if t.tries == 1 {
				return nil, fmt.Errorf("the rate limit is used up until %s", t.resume.UTC().Format(time.RFC3339))
			}
			if err := t.pause(req, wait, "the rate limit is used up"); err != nil {
				return nil, err
			}
		}
		if t.broken != nil {
			return nil, t.broken
		}
		resp, body, err := t.once(req)
		wait, again := t.patience(resp, body, err, backoff)
		again = again && (t.login == nil || t.login.refused == nil)
		if !again || attempt == t.tries || t.broken != nil || req.Context().Err() != nil {
			if err != nil {
				return nil, err
			}
			return answer(resp, body), nil
		}
		why := "the reply did not come through"
		if err == nil {
			why = fmt.Sprintf("the reply was HTTP %d", resp.StatusCode)
		}
		if err := t.pause(req, wait, why); err != nil {
			return nil, err
		}
		backoff *= 2
	}
}

// once sends the request a single time and records what came of it.
func (t *recorder) once(req *http.Request) (*http.Response, []byte, error) {
	out := req.Clone(req.Context())
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, nil, err
		}
		out.Body = body
	}
	if out.Header.Get("Authorization") == "" {
		if t.login != nil {
			if err := t.renew(req.Context()); err != nil {
				return nil, nil, err
			}
		}
		out.Header.Set("Authorization", "Bearer "+t.token)
	}
	out.Header.Set("X-Github-Api-Version", "2022-11-28")
	// Asked for plainly, so that the bytes kept are the bytes sent.
	out.Header.Set("Accept-Encoding", "identity")
	rec := evidence.Request{Method: req.Method, Target: t.scrub(target(req)), StartedAt: t.c.deps.Now().UTC()}
	for k, vs := range req.URL.Query() {
		if rec.Parameters == nil {
			rec.Parameters = map[string]string{}
		}
		rec.Parameters[k] = t.scrub(strings.Join(vs, ","))
	}
	if rec.Parameters["per_page"] != "" {
		rec.Page = 1
	}
	if n, err := strconv.Atoi(rec.Parameters["page"]); err == nil {
		rec.Page = n
	}
	before := t.condition(out, &rec)
	resp, err := t.c.deps.Transport.RoundTrip(out)
	var body, kept []byte
	if err == nil {
		body, err = io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
		err = errors.Join(err, resp.Body.Close())
		if err != nil {
			err = fmt.Errorf("the reply was cut off after %d bytes: %w", len(body), err)
		} else if len(body) > maxReply {
			err = fmt.Errorf("the reply is longer than %d bytes", maxReply)
		}
		rec.Status, rec.RequestID = resp.StatusCode, resp.Header.Get("X-GitHub-Request-Id")
		if t.granted != nil && err == nil && resp.StatusCode == http.StatusCreated {
			err = t.granted(body)
		}
		kept, rec.Redactions = t.redact(body)
		if kept == nil {
			kept = []byte{}
		}
		t.watchLimit(resp)
		if before != nil && err == nil && resp.StatusCode == http.StatusNotModified {
			kept, rec.Redactions = before.body, before.line.Request.Redactions
			resp = before.line.standsFor(resp, kept)
		}
		rec.ReplySHA256 = evidence.SHA256Hex(kept)
	}
	if err != nil {
		err = errors.New(t.scrub(err.Error()))
		rec.Error = err.Error()
	}
	rec.EndedAt = t.c.deps.Now().UTC()
	if failed := t.note(rec, kept); failed != nil {
		t.broken = failed
		return nil, nil, failed
	}
	if err == nil && t.kept != nil && out.Method == http.MethodGet && resp.StatusCode == http.StatusOK && json.Valid(kept) {
		if werr := t.kept.answered(req, resp, kept, rec); werr != nil {
			t.c.deps.Progress(fmt.Sprintf("github: replies are no longer kept for later: %v", errors.Join(werr, t.kept.close())))
			t.kept = nil
		}
	}
	return resp, kept, err
}

// watchLimit notes when asking may go on once the primary limit is used up.
func (t *recorder) watchLimit(resp *http.Response) {
	t.resume = time.Time{}
	if resp.Header.Get("X-RateLimit-Remaining") != "0" {
		return
	}
	if sec, err := strconv.ParseInt(resp.Header.Get("X-RateLimit-Reset"), 10, 64); err == nil {
		t.resume = time.Unix(sec, 0)
	}
}

// patience says whether to try again, and after how long.
func (t *recorder) patience(resp *http.Response, body []byte, err error, backoff time.Duration) (time.Duration, bool) {
	if err != nil {
		return backoff, true
	}
	secondary := false
	switch resp.StatusCode {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	case http.StatusForbidden, http.StatusTooManyRequests:
		secondary = bytes.Contains(bytes.ToLower(body), []byte("secondary rate limit"))
		limited := resp.StatusCode == http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "" || !t.resume.IsZero() || secondary
		if !limited {
			return 0, false
		}
	default:
		return 0, false
	}
	if sec, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && sec >= 0 {
		return time.Duration(sec) * time.Second, true
	}
	if when, err := http.ParseTime(resp.Header.Get("Retry-After")); err == nil {
		return max(when.Sub(t.c.deps.Now()), 0), true
	}
	if !t.resume.IsZero() {
		return max(t.resume.Sub(t.c.deps.Now()), 0), true
	}
	if secondary {
		return backoff * time.Duration(secondaryWait/firstBackoff), true
	}
	return backoff, true
}

func (t *recorder) pause(req *http.Request, d time.Duration, why string) error {
	if d > t.c.config.MaxWait {
		return fmt.Errorf("%s: asking again may only be in %s, which is longer than max_wait", why, d.Round(time.Second))
	}
	t.c.deps.Progress(fmt.Sprintf("github: waiting %s: %s", d.Round(time.Second), why))
	return t.c.deps.Sleep(req.Context(), d)
}

// answer gives the reply to go-github, without what it would wait for itself.
func answer(resp *http.Response, body []byte) *http.Response {
	out := *resp
	out.Header = resp.Header.Clone()
	for _, h := range []string{"Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Used"} {
		out.Header.Del(h)
	}
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.ContentLength = int64(len(body))
	return &out
}

const redacted = "redacted"

var cloneToken = regexp.MustCompile(`("temp_clone_token"\s*:\s*)"[^"]+"`)

// redact takes secrets out of a reply: the clone token of a repository, and
// the token itself wherever a proxy or an error page echoes it.
func (t *recorder) redact(body []byte) (kept []byte, what []string) {
	kept = body
	if cloneToken.Match(kept) {
		kept = cloneToken.ReplaceAll(kept, []byte(`${1}"`+redacted+`"`))
		what = append(what, "temp_clone_token")
	}
	for _, secret := range t.secrets {
		if bytes.Contains(kept, []byte(secret)) {
			kept = bytes.ReplaceAll(kept, []byte(secret), []byte(redacted))
			what = append(what, "the token of the request")
		}
	}
	return kept, what
}

func (t *recorder) scrub(s string) string {
	for _, secret := range t.secrets {
		s = strings.ReplaceAll(s, secret, redacted)
	}
	return s
}

// target is the URL without its query, which stands in Parameters.
func target(req *http.Request) string {
	u := *req.URL
	u.RawQuery, u.User, u.Fragment = "", nil, ""
	return u.String()
}

var noFileName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

func slug(target string) string {
	if _, rest, ok := strings.Cut(target, "://"); ok {
		_, target, _ = strings.Cut(rest, "/")
	}
	target = strings.Trim(noFileName.ReplaceAllString(target, "-"), "-.")
	return target[:min(len(target), 80)]
}
