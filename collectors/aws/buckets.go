package aws

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// The codes with which S3 says that a bucket has no such setting.
const (
	noObjectLock        = "ObjectLockConfigurationNotFoundError"
	noEncryption        = "ServerSideEncryptionConfigurationNotFoundError"
	noPublicAccessBlock = "NoSuchPublicAccessBlockConfiguration"
	noBucketPolicy      = "NoSuchBucketPolicy"
	noLifecycle         = "NoSuchLifecycleConfiguration"
)

// readBuckets lists every bucket of the account, in whatever region, with its
// settings. A setting that could not be read is left out, and is a gap.
func readBuckets(ctx context.Context, s *session) {
	s.note = "public_access_blocked is the bucket's own setting; a block for the whole account is not read"
	client := s.s3(s.id.first)
	pages := s3.NewListBucketsPaginator(client, &s3.ListBucketsInput{MaxBuckets: aws.Int32(1000)})
	var found []types.Bucket
	for s.rec.page = 1; pages.HasMorePages(); s.rec.page++ {
		out, err := pages.NextPage(ctx)
		if err != nil {
			s.gap(fmt.Sprintf("buckets, page %d", s.rec.page), err)
			break
		}
		found = append(found, out.Buckets...)
	}
	s.rec.page = 0
	for _, b := range found {
		s.bucket(ctx, b)
	}
}

func (s *session) s3(region string) *s3.Client {
	return s3.NewFromConfig(s.config(region), func(o *s3.Options) { o.UsePathStyle = s.c.config.Endpoint != "" })
}

func (s *session) bucket(ctx context.Context, b types.Bucket) {
	name, region := aws.ToString(b.Name), aws.ToString(b.BucketRegion)
	what := "bucket " + name
	a := map[string]any{
		"account": s.id.account.Account, "name": name, "region": region, "created_at": stamp(b.CreationDate),
	}
	if region == "" {
		out, err := s.s3(s.id.first).GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: &name})
		if err != nil {
			s.gap(what+": region, and with it every setting", err)
			s.add(name, a)
			return
		}
		region = regionOf(out.LocationConstraint)
		a["region"] = region
	}
	client := s.s3(region)
	s.versioning(ctx, client, what, name, a)
	s.objectLock(ctx, client, what, name, a)
	s.encryption(ctx, client, what, name, a)
	s.publicAccess(ctx, client, what, name, a)
	s.tlsOnly(ctx, client, what, name, a)
	s.lifecycle(ctx, client, what, name, a)
	s.add(name, a)
}

// regionOf reads a location constraint, which is empty for the first region
// and "EU" for buckets of old.
func regionOf(c types.BucketLocationConstraint) string {
	switch c {
	case "":
		return "us-east-1"
	case types.BucketLocationConstraintEu:
		return "eu-west-1"
	}
	return string(c)
}

func (s *session) versioning(ctx context.Context, client *s3.Client, what, name string, a map[string]any) {
	out, err := client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &name})
	if s.answered(what+": versioning", err) == read {
		a["versioning"] = "Disabled" // a bucket that never had it says nothing
		if out.Status != "" {
			a["versioning"] = string(out.Status)
		}
	}
}

func (s *session) objectLock(ctx context.Context, client *s3.Client, what, name string, a map[string]any) {
	out, err := client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &name})
	got := s.answered(what+": Object Lock", err, noObjectLock)
	if got == failed {
		return
	}
	a["object_lock"], a["object_lock_mode"], a["object_lock_days"] = false, "", 0
	if got == none || out.ObjectLockConfiguration == nil {
		return
	}
	a["object_lock"] = out.ObjectLockConfiguration.ObjectLockEnabled == types.ObjectLockEnabledEnabled
	if rule := out.ObjectLockConfiguration.Rule; rule != nil && rule.DefaultRetention != nil {
		a["object_lock_mode"] = string(rule.DefaultRetention.Mode)
		a["object_lock_days"] = int(aws.ToInt32(rule.DefaultRetention.Days)) + 365*int(aws.ToInt32(rule.DefaultRetention.Years))
	}
}

func (s *session) encryption(ctx context.Context, client *s3.Client, what, name string, a map[string]any) {
	out, err := client.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: &name})
	got := s.answered(what+": encryption", err, noEncryption)
	if got == failed {
		return
	}
	a["encryption"] = "none"
	if got == none || out.ServerSideEncryptionConfiguration == nil {
		return
	}
	for _, rule := range out.ServerSideEncryptionConfiguration.Rules {
		if d := rule.ApplyServerSideEncryptionByDefault; d != nil {
			a["encryption"] = string(d.SSEAlgorithm)
		}
	}
}

func (s *session) publicAccess(ctx context.Context, client *s3.Client, what, name string, a map[string]any) {
	out, err := client.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: &name})
	got := s.answered(what+": public access block", err, noPublicAccessBlock)
	if got == failed {
		return
	}
	a["public_access_blocked"] = false
	if got == read && out.PublicAccessBlockConfiguration != nil {
		p := out.PublicAccessBlockConfiguration
		a["public_access_blocked"] = aws.ToBool(p.BlockPublicAcls) && aws.ToBool(p.BlockPublicPolicy) &&
			aws.ToBool(p.IgnorePublicAcls) && aws.ToBool(p.RestrictPublicBuckets)
	}
}

func (s *session) tlsOnly(ctx context.Context, client *s3.Client, what, name string, a map[string]any) {
	out, err := client.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &name})
	switch s.answered(what+": policy", err, noBucketPolicy) {
	case none:
		a["tls_only"] = false
	case read:
		p, err := parsePolicy(aws.ToString(out.Policy))
		if err != nil {
			s.gap(what+": policy", err)
			return
		}
		a["tls_only"] = p.deniesPlaintext(name)
	}
}

// lifecycle lists the rules. min_expire_days is the shortest time after which
// an enabled rule deletes any current object; null where none does. A rule with
// a date deletes on that day, and after it, whatever the age: that is 0 days.
func (s *session) lifecycle(ctx context.Context, client *s3.Client, what, name string, a map[string]any) {
	out, err := client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &name})
	got := s.answered(what+": lifecycle", err, noLifecycle)
	if got == failed {
		return
	}
	rules := []any{}
	var shortest any
	if got == read {
		for _, r := range out.Rules {
			rule := map[string]any{"id": aws.ToString(r.ID), "status": string(r.Status), "prefix": prefixOf(r), "expire_days": nil, "noncurrent_days": nil, "expire_date": ""}
			if r.Expiration != nil {
				rule["expire_date"] = stamp(r.Expiration.Date)
				days := int(aws.ToInt32(r.Expiration.Days))
				if days > 0 {
					rule["expire_days"] = days
				}
				deletes := days > 0 || r.Expiration.Date != nil // else it only takes away delete markers
				if before, some := shortest.(int); deletes && r.Status == types.ExpirationStatusEnabled && (!some || days < before) {
					shortest = days
				}
			}
			if r.NoncurrentVersionExpiration != nil && r.NoncurrentVersionExpiration.NoncurrentDays != nil {
				rule["noncurrent_days"] = int(*r.NoncurrentVersionExpiration.NoncurrentDays)
			}
			rules = append(rules, rule)
		}
	}
	a["lifecycle"], a["min_expire_days"] = rules, shortest
}

func prefixOf(r types.LifecycleRule) string {
	switch {
	case r.Filter == nil:
		//lint:ignore SA1019 rules that were made before filters carry their prefix here, and still act on it
		return aws.ToString(r.Prefix)
	case r.Filter.And != nil:
		return aws.ToString(r.Filter.And.Prefix)
	}
	return aws.ToString(r.Filter.Prefix)
}
