package aws

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
)

// readTrails lists the trails that act on the regions that are read. A trail of
// several regions shows in each of them, at home or as a shadow: by its ARN it
// counts once, also where its home is not read, and is asked for its state at
// home.
func readTrails(ctx context.Context, s *session) {
	trails := map[string]types.Trail{}
	names := map[string]int{}
	for _, region := range s.where.read {
		out, err := cloudtrail.NewFromConfig(s.config(region)).DescribeTrails(ctx, &cloudtrail.DescribeTrailsInput{IncludeShadowTrails: aws.Bool(true)})
		if err != nil {
			s.gap("region "+region+": trails", err)
			continue
		}
		for _, t := range out.TrailList {
			arn := aws.ToString(t.TrailARN)
			if _, seen := trails[arn]; !seen {
				trails[arn] = t
				names[aws.ToString(t.Name)]++
			}
		}
	}
	for _, arn := range slices.Sorted(maps.Keys(trails)) {
		t := trails[arn]
		id := aws.ToString(t.Name)
		if names[id] > 1 { // trails of two regions may share a name
			id = aws.ToString(t.HomeRegion) + "/" + id
		}
		s.trail(ctx, id, arn, t)
	}
}

func (s *session) trail(ctx context.Context, id, arn string, t types.Trail) {
	a := map[string]any{
		"account": s.id.account.Account, "name": aws.ToString(t.Name), "arn": arn,
		"home_region": aws.ToString(t.HomeRegion), "multi_region": aws.ToBool(t.IsMultiRegionTrail),
		"global_events": aws.ToBool(t.IncludeGlobalServiceEvents), "validation": aws.ToBool(t.LogFileValidationEnabled),
		"kms": aws.ToString(t.KmsKeyId) != "", "bucket": aws.ToString(t.S3BucketName), "organization": aws.ToBool(t.IsOrganizationTrail),
	}
	status, err := cloudtrail.NewFromConfig(s.config(homeOf(s, t))).GetTrailStatus(ctx, &cloudtrail.GetTrailStatusInput{Name: aws.String(arn)})
	if err != nil {
		s.gap("trail "+id+": status", err)
	} else {
		a["logging"] = aws.ToBool(status.IsLogging)
		a["latest_delivery_at"] = stamp(status.LatestDeliveryTime)
		a["latest_delivery_error"] = strings.TrimSpace(aws.ToString(status.LatestDeliveryError))
		a["latest_digest_at"] = stamp(status.LatestDigestDeliveryTime)
	}
	s.add(id, a)
}

// homeOf is the region in which a trail is asked for its state.
func homeOf(s *session, t types.Trail) string {
	if home := aws.ToString(t.HomeRegion); home != "" {
		return home
	}
	return s.id.first
}
