package aws

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"trustpack/evidence"
)

// Permission is an action of IAM that one sort of request needs.
// https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
type Permission struct {
	Name  string          // as in a policy: service:Action
	For   string          // what is read with it
	Kinds []evidence.Kind // the kinds that are incomplete without it
	of    scope
	none  []string // codes with which AWS tells one who may look that there is none
	ask   func(ctx context.Context, a *asker, at place) error
}

// scope is what a permission is asked about. Its words are those of the table.
type scope string

const (
	perRole    scope = "of each role in `accounts`"
	perAccount scope = "once"
	perRegion  scope = "in each region that is read"
	perTrail   scope = "of a trail in each home region"
	perBucket  scope = "of the first bucket"
	perUser    scope = "of the first user"
	perKey     scope = "of the first access key"
)

// Permissions is the least that each kind needs, in the order in which
// CheckAccess asks. sts:GetCallerIdentity, which says who asks, needs none.
func Permissions() []Permission {
	var (
		every   = []evidence.Kind{KindLogGroups, KindTrails, KindBuckets, KindUsers}
		logs    = []evidence.Kind{KindLogGroups}
		trails  = []evidence.Kind{KindTrails}
		buckets = []evidence.Kind{KindBuckets}
		users   = []evidence.Kind{KindUsers}
	)
	return []Permission{
		{"sts:AssumeRole", "all of that account", every, perRole, nil, nil}, // by whoever finds out who asks
		{"account:ListRegions", "which regions are enabled", []evidence.Kind{KindLogGroups, KindTrails}, perAccount, nil, askRegions},
		{"logs:DescribeLogGroups", "log groups and their retention", logs, perRegion, nil,
			func(ctx context.Context, a *asker, at place) error {
				_, err := cloudwatchlogs.NewFromConfig(a.config(at.region)).DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{Limit: aws.Int32(1)})
				return err
			}},
		{"cloudtrail:DescribeTrails", "trails and their settings", trails, perRegion, nil, askTrails},
		{"cloudtrail:GetTrailStatus", "whether a trail logs, its last delivery", trails, perTrail, nil,
			func(ctx context.Context, a *asker, at place) error {
				_, err := cloudtrail.NewFromConfig(a.config(at.region)).GetTrailStatus(ctx, &cloudtrail.GetTrailStatusInput{Name: &at.thing})
				return err
			}},
		{"s3:ListAllMyBuckets", "which buckets there are", buckets, perAccount, nil, askBuckets},
		{"s3:GetBucketLocation", "the region of a bucket", buckets, perBucket, nil, askLocation},
		{"s3:GetBucketVersioning", "versioning", buckets, perBucket, nil,
			func(ctx context.Context, a *asker, at place) error {
				_, err := a.s3(at.region).GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &at.thing})
				return err
			}},
		{"s3:GetBucketObjectLockConfiguration", "Object Lock", buckets, perBucket, []string{noObjectLock},
			func(ctx context.Context, a *asker, at place) error {
				_, err := a.s3(at.region).GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &at.thing})
				return err
			}},
		{"s3:GetEncryptionConfiguration", "encryption", buckets, perBucket, []string{noEncryption},
			func(ctx context.Context, a *asker, at place) error {
				_, err := a.s3(at.region).GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: &at.thing})
				return err
			}},
		{"s3:GetBucketPublicAccessBlock", "public access block", buckets, perBucket, []string{noPublicAccessBlock},
			func(ctx context.Context, a *asker, at place) error {
				_, err := a.s3(at.region).GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: &at.thing})
				return err
			}},
		{"s3:GetBucketPolicy", "whether TLS is demanded", buckets, perBucket, []string{noBucketPolicy},
			func(ctx context.Context, a *asker, at place) error {
				_, err := a.s3(at.region).GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &at.thing})
				return err
			}},
		{"s3:GetLifecycleConfiguration", "lifecycle rules", buckets, perBucket, []string{noLifecycle},
			func(ctx context.Context, a *asker, at place) error {
				_, err := a.s3(at.region).GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &at.thing})
				return err
			}},
		{"iam:ListUsers", "which users there are", users, perAccount, nil, askUsers},
		{"iam:GetAccountAuthorizationDetails", "groups and policies", users, perAccount, nil,
			func(ctx context.Context, a *asker, at place) error {
				_, err := a.iam(at).GetAccountAuthorizationDetails(ctx, &iam.GetAccountAuthorizationDetailsInput{MaxItems: aws.Int32(1)})
				return err
			}},
		{"iam:GetLoginProfile", "who has a password", users, perUser, []string{noLoginProfile},
			func(ctx context.Context, a *asker, at place) error {
				_, err := a.iam(at).GetLoginProfile(ctx, &iam.GetLoginProfileInput{UserName: &at.thing})
				return err
			}},
		{"iam:ListMFADevices", "second factors", users, perUser, nil,
			func(ctx context.Context, a *asker, at place) error {
				_, err := a.iam(at).ListMFADevices(ctx, &iam.ListMFADevicesInput{UserName: &at.thing, MaxItems: aws.Int32(1)})
				return err
			}},
		{"iam:ListAccessKeys", "access keys and their age", users, perUser, nil, askKeys},
		{"iam:GetAccessKeyLastUsed", "when a key was last used", users, perKey, nil,
			func(ctx context.Context, a *asker, at place) error {
				_, err := lastUse(ctx, a.iam(at), at.thing)
				return err
			}},
		{"iam:GetAccountSummary", "how many users there are, the root user's second factor", users, perAccount, nil,
			func(ctx context.Context, a *asker, at place) error {
				_, err := a.iam(at).GetAccountSummary(ctx, &iam.GetAccountSummaryInput{})
				return err
			}},
		// AWS makes a report where the last is more than four hours old, as it does
		// for every collection; nobody can be asked whether it would.
		{"iam:GenerateCredentialReport", "the root user's keys and last use", users, perAccount, nil,
			func(ctx context.Context, a *asker, at place) error {
				_, err := a.iam(at).GenerateCredentialReport(ctx, &iam.GenerateCredentialReportInput{})
				return err
			}},
		{"iam:GetCredentialReport", "the root user's keys and last use", users, perAccount, []string{"ReportNotPresent", "ReportInProgress", "ReportExpired"},
			func(ctx context.Context, a *asker, at place) error {
				_, err := a.iam(at).GetCredentialReport(ctx, &iam.GetCredentialReportInput{})
				return err
			}},
	}
}

// PermissionTable is Permissions as a table in Markdown.
func PermissionTable() string {
	var b strings.Builder
	b.WriteString("| permission | asked | reads | for the kinds |\n|---|---|---|---|\n")
	for _, p := range Permissions() {
		kinds := make([]string, len(p.Kinds))
		for i, k := range p.Kinds {
			kinds[i] = "`" + strings.TrimPrefix(string(k), "aws.") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", p.Name, p.of, p.For, strings.Join(kinds, ", "))
	}
	return b.String()
}
