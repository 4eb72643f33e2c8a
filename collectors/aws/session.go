package aws

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"trustpack/evidence"
)

// maxWait bounds a Retry-After that is waited for.
const maxWait = 30 * time.Second

// identity is who asks, found out once a run and shown in every kind.
type identity struct {
	rec         *recorder
	secrets     *secrets
	credentials aws.CredentialsProvider
	principal   string
	refused     string // why nothing may be read with this credential
	gaps        []evidence.Gap
}

// identify asks STS who the credential is. A credential of another account
// must not be used: what it reads would be filed under the wrong name.
func (c *collector) identify(ctx context.Context) *identity {
	known := &secrets{}
	id := &identity{secrets: known, rec: c.recorder(known, "identity/")}
	provider, err := c.provider(ctx)
	if err == nil {
		id.credentials = aws.NewCredentialsCache(&watched{provider, known})
		_, err = id.credentials.Retrieve(ctx)
	}
	if err != nil {
		id.refused = "no credential: " + known.scrub(err.Error())
		id.principal = "unknown: " + id.refused
		id.gaps = []evidence.Gap{{What: "account " + c.config.Account, Reason: id.refused}}
		return id
	}
	s := &session{c: c, id: id, rec: id.rec}
	out, err := sts.NewFromConfig(s.config(c.config.first())).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	switch {
	case err != nil:
		id.principal = "unknown: " + known.scrub(reason(err))
		s.gap("sts:GetCallerIdentity", err)
		id.gaps = s.gaps
	case aws.ToString(out.Account) != c.config.Account:
		id.principal = aws.ToString(out.Arn)
		id.refused = "the credential belongs to account " + aws.ToString(out.Account) + "; nothing was read with it"
		id.gaps = []evidence.Gap{{What: "account " + c.config.Account, Reason: id.refused}}
	default:
		id.principal = aws.ToString(out.Arn)
	}
	return id
}

func (c *collector) provider(ctx context.Context) (aws.CredentialsProvider, error) {
	names := c.config.Credentials
	if names.AccessKeyIDEnv == "" {
		// Only the credential is taken from there: an endpoint or a log setting
		// in the environment must not change what is asked or where.
		loaded, err := config.LoadDefaultConfig(ctx, config.WithRegion(c.config.first()), config.WithLogger(logging.Nop{}))
		if err != nil {
			return nil, err
		}
		return loaded.Credentials, nil
	}
	key, secret := c.deps.Getenv(names.AccessKeyIDEnv), c.deps.Getenv(names.SecretAccessKeyEnv)
	token := ""
	for name, value := range map[string]string{names.AccessKeyIDEnv: key, names.SecretAccessKeyEnv: secret} {
		if value == "" {
			return nil, errors.New("the environment variable " + name + " is empty")
		}
	}
	if names.SessionTokenEnv != "" {
		if token = c.deps.Getenv(names.SessionTokenEnv); token == "" {
			return nil, errors.New("the environment variable " + names.SessionTokenEnv + " is empty")
		}
	}
	return credentials.NewStaticCredentialsProvider(key, secret, token), nil
}

// watched tells the secrets of each credential that it hands out, so that they
// can be kept out of everything that is written.
type watched struct {
	aws.CredentialsProvider
	known *secrets
}

func (w *watched) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := w.CredentialsProvider.Retrieve(ctx)
	w.known.add(c.SecretAccessKey, c.SessionToken)
	return c, err
}

// session is the reading of one kind.
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
	cfg := aws.Config{
		Region:      region,
		Credentials: s.id.credentials,
		Logger:      logging.Nop{},
		HTTPClient: &http.Client{
			Transport:     s.rec,
			Timeout:       2 * time.Minute,
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
	what = "account " + s.c.config.Account + ": " + what
	s.gaps = append(s.gaps, evidence.Gap{What: s.id.secrets.scrub(what), Reason: s.id.secrets.scrub(why)})
}

func (s *session) add(id string, attributes map[string]any) {
	s.items = append(s.items, evidence.Item{ID: s.c.config.Account + "/" + id, Attributes: attributes})
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
		requests, raw = append(requests, r.requests...), append(raw, r.raw...)
	}
	e := evidence.Evidence{
		Kind: kind, Collector: s.c.Name(), CollectedAt: s.at, Window: p, Snapshot: true,
		Provenance: evidence.Provenance{
			System: "aws", Account: s.c.config.Account, Principal: s.id.principal,
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
