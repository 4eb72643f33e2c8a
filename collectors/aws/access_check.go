package aws

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"trustpack/evidence"
)

// CheckAccess asks, for each row of Permissions and each account, whether the
// credential, or the account's role, may read what it stands for: once, in each
// region that is read, or of the first thing of its sort. A target is an
// account, and the region where it is not asked for the whole of it. What
// allows one thing may deny another, and For names the thing.
func (c *collector) CheckAccess(ctx context.Context) ([]evidence.AccessCheck, error) {
	return c.checkAccess(ctx, 10*time.Second)
}

// checkAccess waits so long for each answer.
func (c *collector) checkAccess(ctx context.Context, each time.Duration) ([]evidence.AccessCheck, error) {
	once := *c
	once.config.Attempts = 1 // who asks waits for the answer
	once.patience = &patience{each: each, silent: map[string]bool{}}
	within, stop := context.WithTimeout(ctx, each)
	b := once.base(within)
	stop()
	asksAs := ""
	var out []evidence.AccessCheck
	for _, account := range c.config.all() {
		c.deps.Progress("asking what may be read of account " + account.Account)
		id := once.identify(ctx, b, account)
		if account.RoleARN == "" {
			asksAs = id.principal
		} else if asksAs == "" {
			asksAs = once.whoIs(ctx, b)
		}
		a := &asker{
			session: &session{c: &once, id: id, at: c.deps.Now().UTC(), rec: once.recorder(id.secrets, "")},
			known:   map[scope][]place{perAccount: {{region: id.first}}}, why: map[scope]string{},
		}
		for _, p := range Permissions() {
			switch {
			case p.of == perRole && account.RoleARN != "":
				out = append(out, a.said(p, asksAs, "", account.RoleARN, id.mayAssume, id.refused))
			case p.of == perRole:
			case id.mayRead != evidence.AccessGranted:
				out = append(out, a.said(p, id.principal, "", "", id.mayRead, "not asked: "+id.doubt))
			default:
				out = append(out, a.may(ctx, p)...)
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("asking AWS what may be read: %w", err)
	}
	return out, nil
}

// whoIs is the credential's principal, where its own account is not read.
func (c *collector) whoIs(ctx context.Context, b *base) string {
	if b.fault != "" {
		return "unknown: no credential"
	}
	id := &identity{secrets: b.secrets, credentials: b.credentials}
	s := &session{c: c, id: id, rec: c.recorder(b.secrets, "")}
	out, err := sts.NewFromConfig(s.config(c.config.credentialRegion())).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "unknown: " + b.secrets.scrub(reason(err))
	}
	return aws.ToString(out.Arn)
}

// asker asks for the permissions of one account, and keeps what it finds to ask
// the further ones about.
type asker struct {
	*session
	known map[scope][]place
	why   map[scope]string // why there is no place; empty: it could not be found out
	users []string         // the first ones
}

// place is where, and of which thing, a permission is asked for.
type place struct{ region, thing string }

// may asks for one permission, wherever it is needed.
func (a *asker) may(ctx context.Context, p Permission) []evidence.AccessCheck {
	places := a.known[p.of]
	if len(places) == 0 {
		why := a.why[p.of]
		if why == "" {
			why = "what to ask about could not be found out, see above"
		}
		return []evidence.AccessCheck{a.said(p, a.id.principal, "", "", evidence.AccessUnknown, "not asked: "+why)}
	}
	var out []evidence.AccessCheck
	for _, at := range places {
		region, thing := "", at.thing
		if p.of != perAccount {
			region = at.region
		}
		if p.of == perKey { // no more of its ID than its end
			thing = "the access key that ends in " + thing[max(len(thing)-4, 0):]
		}
		if region == "" && p.of == perBucket && p.Name != bucketLocation {
			out = append(out, a.said(p, a.id.principal, "", thing, evidence.AccessUnknown, "not asked: the bucket's region is not known"))
			continue
		}
		err := p.ask(ctx, a, at)
		what := ""
		if err != nil {
			what = reason(err)
		}
		out = append(out, a.said(p, a.id.principal, region, thing, accessOf(err, p.none...), what))
	}
	return out
}

func (a *asker) said(p Permission, principal, region, thing string, state evidence.AccessState, what string) evidence.AccessCheck {
	if state == evidence.AccessGranted {
		what = "" // such as why the role, once assumed, could not be used
	}
	if strings.HasPrefix(principal, "unknown: ") { // what follows is what is said
		principal = "unknown (account " + a.id.account.Account + ")"
	}
	check := evidence.AccessCheck{
		Source: a.c.Name(), Principal: a.id.secrets.scrub(principal), Target: a.id.account.Account,
		Permission: p.Name, For: p.For, Kinds: p.Kinds, State: state, Said: a.id.secrets.scrub(what),
	}
	if region != "" {
		check.Target += " " + region
	}
	if thing != "" {
		check.For += " (asked of " + a.id.secrets.scrub(thing) + ")"
	}
	return check
}

func (a *asker) iam(at place) *iam.Client { return iam.NewFromConfig(a.config(at.region)) }

func askRegions(ctx context.Context, a *asker, _ place) error {
	where := a.c.regionsOf(ctx, a.id)
	for _, region := range where.read {
		a.known[perRegion] = append(a.known[perRegion], place{region: region})
	}
	if where.fault == nil && len(where.read) == 0 {
		a.why[perRegion], a.why[perTrail] = where.note, where.note
	}
	return where.fault
}

// askTrails finds the first trail of each home region, by the region's name.
func askTrails(ctx context.Context, a *asker, at place) error {
	out, err := cloudtrail.NewFromConfig(a.config(at.region)).DescribeTrails(ctx, &cloudtrail.DescribeTrailsInput{IncludeShadowTrails: aws.Bool(true)})
	if err != nil {
		return err
	}
	homes := map[string]place{}
	for _, known := range a.known[perTrail] {
		homes[known.region] = known
	}
	for _, t := range out.TrailList {
		home := homeOf(a.session, t)
		if _, known := homes[home]; !known {
			homes[home] = place{home, aws.ToString(t.TrailARN)}
		}
	}
	a.known[perTrail] = nil
	for _, home := range slices.Sorted(maps.Keys(homes)) {
		a.known[perTrail] = append(a.known[perTrail], homes[home])
	}
	a.why[perTrail] = "no region that may be asked has a trail"
	return nil
}

const bucketLocation = "s3:GetBucketLocation"

func askBuckets(ctx context.Context, a *asker, at place) error {
	out, err := a.s3(at.region).ListBuckets(ctx, &s3.ListBucketsInput{MaxBuckets: aws.Int32(1)})
	if err != nil {
		return err
	}
	a.why[perBucket] = "the account has no bucket"
	for _, b := range out.Buckets[:min(1, len(out.Buckets))] {
		a.known[perBucket] = []place{{aws.ToString(b.BucketRegion), aws.ToString(b.Name)}}
	}
	return nil
}

// askLocation asks as collecting asks, and learns the region of a
// bucket where the list did not.
func askLocation(ctx context.Context, a *asker, at place) error {
	out, err := a.s3(a.id.first).GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: &at.thing})
	if err == nil && at.region == "" {
		a.known[perBucket] = []place{{regionOf(out.LocationConstraint), at.thing}}
	}
	return err
}

// usersForAKey is how many users are looked at for an access key.
const usersForAKey = 50

func askUsers(ctx context.Context, a *asker, at place) error {
	out, err := a.iam(at).ListUsers(ctx, &iam.ListUsersInput{MaxItems: aws.Int32(usersForAKey)})
	if err != nil {
		return err
	}
	a.why[perUser], a.why[perKey] = "the account has no IAM user", "the account has no IAM user"
	a.users = nil
	for _, u := range out.Users {
		a.users = append(a.users, aws.ToString(u.UserName))
	}
	if len(a.users) > 0 {
		a.known[perUser], a.why[perKey] = []place{{at.region, a.users[0]}}, ""
	}
	return nil
}

// askKeys asks for the keys of the first user, and goes on to the next ones until
// somebody has one to be asked about. Only the first answer counts.
func askKeys(ctx context.Context, a *asker, at place) error {
	for i, user := range a.users {
		out, err := a.iam(at).ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &user, MaxItems: aws.Int32(1)})
		if err != nil && i == 0 {
			return err
		}
		if err != nil {
			a.why[perKey] = "looking for an access key: " + reason(err)
			return nil
		}
		for _, k := range out.AccessKeyMetadata {
			a.known[perKey] = []place{{at.region, aws.ToString(k.AccessKeyId)}}
			return nil
		}
	}
	a.why[perKey] = fmt.Sprintf("none of the first %d users has an access key", len(a.users))
	return nil
}
