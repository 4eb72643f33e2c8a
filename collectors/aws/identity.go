package aws

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"trustpack/evidence"
)

// The name and length of a role's sessions. AWS allows an hour for every role.
const (
	sessionName   = "trustpack"
	sessionLength = time.Hour
)

// base is the credential that is configured, with which roles are assumed.
type base struct {
	secrets     *secrets
	credentials aws.CredentialsProvider
	fault       string               // why there is none
	mayAsk      evidence.AccessState // lacking where there is none, unknown where one was waited for in vain
}

// identity is who asks in one account, found out once a run and shown in every
// kind.
type identity struct {
	account     Account
	first       string // the region in which the services for the whole account are asked
	rec         *recorder
	secrets     *secrets
	credentials aws.CredentialsProvider
	principal   string
	refused     string               // why nothing may be read with this credential
	mayAssume   evidence.AccessState // the account's role
	mayRead     evidence.AccessState // anything of the account; granted: nothing speaks against it
	doubt       string               // why not, where it is not granted
	gaps        []evidence.Gap
}

func (c *collector) base(ctx context.Context) *base {
	b := &base{secrets: &secrets{}}
	provider, err := c.provider(ctx)
	if err == nil {
		b.credentials = aws.NewCredentialsCache(&watched{provider, b.secrets})
		_, err = b.credentials.Retrieve(ctx)
	}
	if err != nil {
		b.fault, b.mayAsk = b.secrets.scrub(err.Error()), evidence.AccessLacking
		if ctx.Err() != nil {
			b.mayAsk = evidence.AccessUnknown
		}
	}
	return b
}

// identify finds out who asks in an account: the base credential, or the role
// of that account. A credential of another account must not be used: what it
// reads would be filed under the wrong name.
func (c *collector) identify(ctx context.Context, b *base, a Account) *identity {
	id := &identity{
		account: a, first: c.config.first(a), secrets: b.secrets, credentials: b.credentials,
		rec: c.recorder(b.secrets, "identity/"),
	}
	if b.fault != "" {
		id.mayAssume = b.mayAsk
		return id.refuse("no credential: "+b.fault, b.mayAsk)
	}
	s := &session{c: c, id: id, rec: id.rec}
	if a.RoleARN != "" {
		if err := s.assume(ctx, a); err != nil {
			return id.refuse("no credential: assuming the role "+a.RoleARN+": "+b.secrets.scrub(err.Error()), evidence.AccessUnknown)
		}
	}
	out, err := sts.NewFromConfig(s.config(id.first)).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	switch {
	case err != nil && a.RoleARN != "":
		return id.refuse("whose the role's credential is is not known, so nothing was read with it: "+b.secrets.scrub(reason(err)), ofCredential(err))
	case err != nil:
		id.principal = "unknown: " + b.secrets.scrub(reason(err))
		s.gap("sts:GetCallerIdentity", err)
		id.gaps, id.mayRead = s.gaps, ofCredential(err)
		id.doubt = "whose the credential is is not known: " + b.secrets.scrub(reason(err))
	case aws.ToString(out.Account) != a.Account:
		id.refuse("the credential belongs to account "+aws.ToString(out.Account)+"; nothing was read with it", evidence.AccessLacking)
		id.principal, id.mayAssume = aws.ToString(out.Arn), evidence.AccessLacking
	default:
		id.principal, id.mayRead = aws.ToString(out.Arn), evidence.AccessGranted
	}
	return id
}

func (id *identity) refuse(why string, mayRead evidence.AccessState) *identity {
	id.refused, id.principal, id.mayRead, id.doubt = why, "unknown: "+why, mayRead, why
	id.gaps = []evidence.Gap{{What: "account " + id.account.Account, Reason: why}}
	return id
}

// assume puts the credential of the account's role in the place of the base's.
// Its replies are never kept, since they hold that credential.
func (s *session) assume(ctx context.Context, a Account) error {
	external := ""
	if a.ExternalIDEnv != "" {
		if external = s.c.deps.Getenv(a.ExternalIDEnv); external == "" {
			s.id.mayAssume = evidence.AccessLacking
			return errors.New("the environment variable " + a.ExternalIDEnv + " is empty")
		}
	}
	set := func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName, o.Duration = sessionName, sessionLength
		if external != "" {
			o.ExternalID = aws.String(external)
		}
	}
	asker := sts.NewFromConfig(s.config(s.c.config.credentialRegion()))
	role := aws.NewCredentialsCache(&watched{stscreds.NewAssumeRoleProvider(asker, a.RoleARN, set), s.id.secrets})
	_, err := role.Retrieve(ctx)
	if s.id.mayAssume = accessOf(err); err != nil {
		why := reason(err)
		if external != "" {
			why = strings.ReplaceAll(why, external, "redacted")
		}
		return errors.New(why)
	}
	s.id.credentials = role
	return nil
}

func (c *collector) provider(ctx context.Context) (aws.CredentialsProvider, error) {
	names := c.config.Credentials
	if names.AccessKeyIDEnv == "" {
		// Only the credential is taken from there: an endpoint or a log setting
		// in the environment must not change what is asked or where.
		loaded, err := config.LoadDefaultConfig(ctx, config.WithRegion(c.config.first(c.config.all()[0])), config.WithLogger(logging.Nop{}))
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
