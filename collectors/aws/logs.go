package aws

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
)

// readLogGroups lists every log group of every region that is read.
func readLogGroups(ctx context.Context, s *session) {
	for _, region := range s.where.read {
		client := cloudwatchlogs.NewFromConfig(s.config(region))
		pages := cloudwatchlogs.NewDescribeLogGroupsPaginator(client, &cloudwatchlogs.DescribeLogGroupsInput{Limit: aws.Int32(50)})
		for s.rec.page = 1; pages.HasMorePages(); s.rec.page++ {
			out, err := pages.NextPage(ctx)
			if err != nil {
				s.gap(fmt.Sprintf("region %s: log groups, page %d", region, s.rec.page), err)
				break
			}
			for _, g := range out.LogGroups {
				var days any // null: never expires
				if g.RetentionInDays != nil {
					days = int(*g.RetentionInDays)
				}
				class := string(g.LogGroupClass)
				if class == "" {
					class = "STANDARD" // older replies leave the default out
				}
				name := aws.ToString(g.LogGroupName)
				s.add(region+"/"+name, map[string]any{
					"account": s.id.account.Account, "region": region, "name": name,
					"retention_days": days, "stored_bytes": aws.ToInt64(g.StoredBytes),
					"created_at": millis(g.CreationTime), "kms": aws.ToString(g.KmsKeyId) != "", "class": class,
				})
			}
		}
		s.rec.page = 0
	}
}

// millis turns milliseconds since 1970 into RFC 3339; "" where there are none.
func millis(ms *int64) string {
	if ms == nil {
		return ""
	}
	return time.UnixMilli(*ms).UTC().Format(time.RFC3339)
}

func stamp(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
