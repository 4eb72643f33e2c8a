package aws

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"

	"trustpack/evidence"
)

// maxReply bounds one reply; the largest that AWS sends here is a page of
// GetAccountAuthorizationDetails, of a few MiB.
const maxReply = 64 << 20

// recorder is the transport under the SDK. It keeps every reply before the
// SDK makes anything of it. It never keeps request headers, where the
// signature and the session token are.
type recorder struct {
	c       *collector
	secrets *secrets
	prefix  string // of the names of raw replies
	page    int    // of the listing under way, from 1; set by the reader

	mu       sync.Mutex // a role's credential is renewed from a goroutine of the SDK
	requests []evidence.Request
	raw      []evidence.RawReply
}

func (c *collector) recorder(known *secrets, prefix string) *recorder {
	return &recorder{c: c, secrets: known, prefix: prefix}
}

// kept gives what was recorded so far.
func (r *recorder) kept() ([]evidence.Request, []evidence.RawReply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests), slices.Clone(r.raw)
}

// RoundTrip sends the request and keeps the exchange.
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	op, region := awsmiddleware.GetOperationName(ctx), awsmiddleware.GetRegion(ctx)
	params, err := parametersOf(req)
	if err != nil {
		return nil, err
	}
	if region != "" {
		params["region"] = region
	}
	for k, v := range params {
		params[k] = r.secrets.scrub(v)
	}
	if _, there := params["ExternalId"]; there {
		params["ExternalId"] = "redacted"
	}
	rec := evidence.Request{
		Method: op, Target: req.URL.Scheme + "://" + req.URL.Host + req.URL.EscapedPath(),
		Parameters: params, Page: r.page, StartedAt: r.c.deps.Now().UTC(),
	}
	resp, err := r.c.deps.Transport.RoundTrip(req)
	if err == nil {
		err = r.keep(&rec, resp, op, region)
	}
	rec.EndedAt = r.c.deps.Now().UTC()
	if err != nil {
		rec.Error = r.secrets.scrub(err.Error())
		resp = nil // net/http complains of both
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, rec)
	return resp, err
}

// keep reads the whole reply, puts a copy away and hands the SDK the original.
func (r *recorder) keep(rec *evidence.Request, resp *http.Response, op, region string) error {
	defer resp.Body.Close() // read to its end here, or given up
	rec.Status, rec.RequestID = resp.StatusCode, requestID(resp.Header)
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return &cutOff{len(body), err}
	}
	if len(body) > maxReply {
		return fmt.Errorf("the reply is larger than %d MiB", maxReply>>20)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if op == "AssumeRole" {
		rec.Redactions = []string{"the whole reply, which holds the role's credential"}
		return r.judge(resp, op, body)
	}
	kept, redactions := r.secrets.redact(body)
	rec.Redactions, rec.ReplySHA256 = redactions, evidence.SHA256Hex(kept)
	ext := ".json"
	if bytes.HasPrefix(bytes.TrimLeft(body, " \r\n\t\ufeff"), []byte("<")) {
		ext = ".xml"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	name := fmt.Sprintf("%s%04d-%s", r.prefix, len(r.requests)+1, op)
	if region != "" {
		name += "-" + region
	}
	r.raw = append(r.raw, evidence.RawReply{Name: name + ext, Body: kept})
	return r.judge(resp, op, body)
}

// judge holds a good reply to what the API describes.
func (r *recorder) judge(resp *http.Response, op string, body []byte) error {
	if resp.StatusCode == http.StatusOK {
		return described(op, body)
	}
	return nil
}

func requestID(h http.Header) string {
	for _, name := range []string{"X-Amzn-Requestid", "X-Amz-Request-Id"} {
		if id := h.Get(name); id != "" {
			return id
		}
	}
	return ""
}

// parametersOf says what was asked, in the words of the service's API: fields
// of a JSON or form body, and the query without signing parameters.
func parametersOf(req *http.Request) (map[string]string, error) {
	params := map[string]string{}
	addValues := func(vs url.Values) {
		for k := range vs {
			if k != "Action" && k != "Version" && k != "x-id" && !strings.HasPrefix(k, "X-Amz-") {
				params[k] = vs.Get(k)
			}
		}
	}
	addValues(req.URL.Query())
	if req.Body == nil || req.Body == http.NoBody {
		return params, nil
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	if err := req.Body.Close(); err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) == nil {
		for k, v := range fields {
			params[k] = strings.Trim(string(v), `"`)
		}
	} else if form, err := url.ParseQuery(string(body)); err == nil {
		addValues(form)
	}
	return params, nil
}

// secrets knows what must not be written anywhere: the secret key and session
// token in use, and all but the end of every access key ID.
type secrets struct {
	mu     sync.Mutex
	values []string
}

var accessKeyID = regexp.MustCompile(`\b(A[KS]IA)[A-Z0-9]{4,}([A-Z0-9]{4})\b`)

func (s *secrets) add(values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range values {
		if v == "" {
			continue
		}
		for _, form := range []string{v, url.QueryEscape(v), strings.ReplaceAll(v, "/", `\/`)} {
			if !slices.Contains(s.values, form) {
				s.values = append(s.values, form)
			}
		}
	}
}

// redact takes the secrets out of a reply and says what it took.
func (s *secrets) redact(body []byte) (kept []byte, redactions []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept = body
	for _, v := range s.values {
		if bytes.Contains(kept, []byte(v)) {
			kept = bytes.ReplaceAll(kept, []byte(v), []byte("redacted"))
			redactions = []string{"the collector's own credential"}
		}
	}
	if accessKeyID.Match(kept) {
		kept = accessKeyID.ReplaceAll(kept, []byte("${1}-redacted-${2}"))
		redactions = append(redactions, "access key IDs, all but the last four characters")
	}
	return kept, redactions
}

func (s *secrets) scrub(text string) string {
	kept, _ := s.redact([]byte(text))
	return string(kept)
}
