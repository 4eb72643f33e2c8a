package ingest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// ClientOptions say how a client reaches an ingest.
type ClientOptions struct {
	URL         string           // https://host:port of the port that is meant
	CA          []byte           // PEM of the ingest's root
	Certificate *tls.Certificate // nil to show none
	Token       string           // shown with each request as a bearer token; empty: none
	Now         func() time.Time // judges the server's certificate; nil is time.Now
	HTTP1       bool             // do not offer HTTP/2
	Timeout     time.Duration    // of one request; 0 is 30 s
	Dial        func(ctx context.Context, network, addr string) (net.Conn, error)
}

// client is what both clients share.
type client struct {
	url  string
	http *http.Client
}

func newClient(o ClientOptions) (client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return client{}, fmt.Errorf("address of the ingest %q: want https://host:port", o.URL)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(o.CA) {
		return client{}, errors.New("the ingest's root certificate: no PEM certificate was given")
	}
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, Time: o.Now}
	if o.Certificate != nil {
		config.Certificates = []tls.Certificate{*o.Certificate}
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	t := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: !o.HTTP1, DialContext: o.Dial, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}
	return client{strings.TrimSuffix(o.URL, "/"), &http.Client{Transport: bearing(t, o.Token), Timeout: o.Timeout, CheckRedirect: noRedirect}}, nil
}

// noRedirect takes a redirect for the answer: an ingest gives none, and a
// token must not follow one.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// bearing shows token with each request that goes over t.
func bearing(t *http.Transport, token string) http.RoundTripper {
	if token == "" {
		return t
	}
	return bearerTransport{t, token}
}

type bearerTransport struct {
	*http.Transport
	token string
}

func (t bearerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+t.token)
	return t.Transport.RoundTrip(r)
}

// Close lets go of idle connections.
func (c client) Close() { c.http.CloseIdleConnections() }

// do makes one request and reads the whole answer. An answer that is no 2xx is
// a *Problem.
func (c client) do(ctx context.Context, method, path, contentType string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		p := &Problem{}
		if json.Unmarshal(reply, p) != nil || p.Code == "" {
			return nil, fmt.Errorf("%s %s: answered %s", method, path, res.Status)
		}
		if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil {
			p.retryAfter = n
		}
		return nil, p
	}
	return reply, nil
}

// repeat is do for a request that may be made twice: where the connection that it
// went over was kept from an earlier one and broke, as when the ingest has cut
// it meanwhile, it is made again on another.
func (c client) repeat(ctx context.Context, method, path, contentType string, body []byte) ([]byte, error) {
	for {
		kept := false
		traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { kept = i.Reused }})
		reply, err := c.do(traced, method, path, contentType, body)
		if p := new(Problem); err == nil || errors.As(err, &p) || !kept || ctx.Err() != nil {
			return reply, err
		}
		c.http.CloseIdleConnections()
	}
}

// RetryAfter is how long the ingest asked to wait; 0 where it did not.
func (p *Problem) RetryAfter() time.Duration { return time.Duration(p.retryAfter) * time.Second }

func (c client) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	contentType := ""
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
		contentType = "application/json"
	}
	reply, err := c.do(ctx, method, path, contentType, body)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(reply, out); err != nil {
		return fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
	}
	return nil
}
