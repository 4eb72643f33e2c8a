package aws

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"trustpack/evidence"
)

// maxWait bounds a Retry-After that is waited for.
const maxWait = 30 * time.Second

// session is the reading of one kind in one account.
type session struct {
	c   *collector
	id  *identity
	at  time.Time
	rec *recorder

	where    *regions // of the kinds that are per region
	items    []evidence.Item
	gaps     []evidence.Gap
	basis    string
	expected *int
	note     string
}

// config is the SDK's configuration for one region. Every exchange goes
// through the session's recorder.
func (s *session) config(region string) aws.Config {
	transport, timeout := http.RoundTripper(s.rec), 2*time.Minute
	if p := s.c.patience; p != nil {
		transport, timeout = patient{p, s.rec}, p.each
	}
	cfg := aws.Config{
		Region:      region,
		Credentials: s.id.credentials,
		Logger:      logging.Nop{},
		HTTPClient: &http.Client{
			Transport:     transport,
			Timeout:       timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Retryer: s.retryer,
	}
	if s.c.config.Endpoint != "" {
		cfg.BaseEndpoint = aws.String(s.c.config.Endpoint)
	}
	return cfg
}

// retryer tries again where the service is busy, failed, or was cut off, a
// bounded number of times, and waits as long as it is asked to.
func (s *session) retryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = s.c.config.Attempts
		o.RateLimiter = ratelimit.None
		o.Retryables = append([]retry.IsErrorRetryable{
			retry.RetryableHTTPStatusCode{Codes: map[int]struct{}{http.StatusTooManyRequests: {}}},
		}, o.Retryables...)
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, err error) (time.Duration, error) {
			var answered *smithyhttp.ResponseError
			if errors.As(err, &answered) && answered.Response != nil {
				if n, convErr := strconv.Atoi(answered.Response.Header.Get("Retry-After")); convErr == nil && n > 0 {
					return min(time.Duration(n)*time.Second, maxWait), nil
				}
			}
			return s.c.deps.Backoff(attempt + 1), nil
		})
	})
}

func (s *session) gap(what string, err error) { s.noteGap(what, reason(err)) }

func (s *session) noteGap(what, why string) {
	what = "account " + s.id.account.Account + ": " + what
	s.gaps = append(s.gaps, evidence.Gap{What: s.id.secrets.scrub(what), Reason: s.id.secrets.scrub(why)})
}

func (s *session) add(id string, attributes map[string]any) {
	s.items = append(s.items, evidence.Item{ID: s.id.account.Account + "/" + id, Attributes: attributes})
}

func (s *session) evidence(kind evidence.Kind, p evidence.Period) evidence.Evidence {
	slices.SortStableFunc(s.items, func(a, b evidence.Item) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	asked, gaps := []*recorder{s.id.rec}, s.id.gaps
	if s.where != nil {
		asked, gaps = append(asked, s.where.rec), slices.Concat(gaps, s.where.gaps)
	}
	var requests []evidence.Request
	var raw []evidence.RawReply
	for _, r := range append(asked, s.rec) {
		asked, replies := r.kept()
		requests, raw = append(requests, asked...), append(raw, replies...)
	}
	e := evidence.Evidence{
		Kind: kind, Collector: s.c.Name(), CollectedAt: s.at, Window: p, Snapshot: true,
		Provenance: evidence.Provenance{
			System: "aws", Account: s.id.account.Account, Principal: s.id.principal,
			Tool: s.c.deps.Tool, Origin: evidence.OriginLive, Clock: s.c.deps.Clock,
			Requests: requests,
		},
		Completeness: evidence.Completeness{
			State: evidence.Complete, Basis: s.basis, Expected: s.expected, Got: len(s.items),
			Gaps: slices.Concat(gaps, s.gaps), Note: s.note,
		},
		Population: evidence.Population{Items: s.items},
		Raw:        raw,
	}
	if s.c.config.Sample {
		e.Provenance.Origin = evidence.OriginSample
	}
	if len(e.Completeness.Gaps) > 0 {
		e.Completeness.State = evidence.Incomplete
	}
	return e
}
