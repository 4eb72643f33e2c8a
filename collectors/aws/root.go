package aws

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// rootName is the item of the account's root user, which is no IAM user.
const rootName = "root"

// reportPolls bounds the wait for a credential report.
const reportPolls = 10

// root adds the root user and compares the number of users with the account's
// own count.
func (s *session) root(ctx context.Context, client *iam.Client, listed int) {
	a := map[string]any{
		"account": s.id.account.Account, "name": rootName, "root": true, "admin": true, "password": true,
		"mfa_devices": []any{}, "groups": []any{}, "policies": []any{},
	}
	summary, err := client.GetAccountSummary(ctx, &iam.GetAccountSummaryInput{})
	if err != nil {
		s.gap("account summary", err)
	} else {
		a["mfa"] = summary.SummaryMap["AccountMFAEnabled"] == 1
		total := int(summary.SummaryMap["Users"]) + 1
		s.basis, s.expected = "source-total", &total
		if total != listed+1 {
			s.noteGap("users", fmt.Sprintf("the account counts %d IAM users, the list holds %d", total-1, listed))
		}
	}
	row, err := s.rootRow(ctx, client)
	if err != nil {
		s.gap("root user: credential report", err)
	} else if err := s.fillRoot(a, row); err != nil {
		s.gap("root user: credential report", err)
	}
	s.add(rootName, a)
}

// rootRow is the root user's line of the credential report, by column.
func (s *session) rootRow(ctx context.Context, client *iam.Client) (map[string]string, error) {
	for poll := 1; ; poll++ {
		out, err := client.GenerateCredentialReport(ctx, &iam.GenerateCredentialReportInput{})
		if err != nil {
			return nil, err
		}
		if out.State == types.ReportStateTypeComplete {
			break
		}
		if poll == reportPolls {
			return nil, fmt.Errorf("the report was not finished after %d looks", poll)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(s.c.deps.Backoff(poll + 1)):
		}
	}
	out, err := client.GetCredentialReport(ctx, &iam.GetCredentialReportInput{})
	if err != nil {
		return nil, err
	}
	rows, err := csv.NewReader(bytes.NewReader(out.Content)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("reading the report: %w", err)
	}
	for _, row := range rows[min(1, len(rows)):] {
		if row[0] != "<root_account>" {
			continue
		}
		byColumn := map[string]string{}
		for i, column := range rows[0] {
			byColumn[column] = row[i]
		}
		return byColumn, nil
	}
	return nil, errors.New("the report has no line for the root user")
}

// fillRoot takes times and keys from the report. In it a value that does not
// apply is "N/A", "no_information" or "not_supported".
func (s *session) fillRoot(a map[string]any, row map[string]string) error {
	var fault error
	at := func(column string) time.Time {
		switch v := row[column]; v {
		case "", "N/A", "no_information", "not_supported":
			return time.Time{}
		default:
			t, err := time.Parse(time.RFC3339, v)
			if err != nil {
				fault = errors.Join(fault, fmt.Errorf("column %s: %q is not a time", column, v))
			}
			return t
		}
	}
	last := at("password_last_used")
	keys := []any{}
	for _, n := range []string{"1", "2"} {
		if active := row["access_key_"+n+"_active"]; active == "false" {
			continue
		} else if active != "true" {
			return errors.Join(fault, fmt.Errorf("column access_key_%s_active: %q is neither true nor false", n, active))
		}
		created, used := at("access_key_"+n+"_last_rotated"), at("access_key_"+n+"_last_used_date")
		keys = append(keys, map[string]any{
			"id_suffix": "", "status": "Active", "created_at": stamp(&created),
			"age_days": days(s.at, created), "last_used_at": stamp(&used),
		})
		if used.After(last) {
			last = used
		}
	}
	created := at("user_creation_time")
	a["created_at"], a["last_used_at"], a["keys"] = stamp(&created), stamp(aws.Time(last)), keys
	if _, known := a["mfa"]; !known {
		a["mfa"] = row["mfa_active"] == "true"
	}
	return fault
}
