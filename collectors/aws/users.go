package aws

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// noLoginProfile is the code with which IAM says that a user has no password.
const noLoginProfile = "NoSuchEntity"

// readUsers lists every IAM user and the root user. The account's own count of
// users is compared with the list.
func readUsers(ctx context.Context, s *session) {
	client := iam.NewFromConfig(s.config(s.id.first))
	grants := s.grants(ctx, client)
	var found []types.User
	pages := iam.NewListUsersPaginator(client, &iam.ListUsersInput{})
	for s.rec.page = 1; pages.HasMorePages(); s.rec.page++ {
		out, err := pages.NextPage(ctx)
		if err != nil {
			s.gap(fmt.Sprintf("users, page %d", s.rec.page), err)
			break
		}
		found = append(found, out.Users...)
	}
	s.rec.page = 0
	for _, u := range found {
		s.user(ctx, client, u, grants)
	}
	s.root(ctx, client, len(found))
}

func (s *session) user(ctx context.Context, client *iam.Client, u types.User, grants *grants) {
	name := aws.ToString(u.UserName)
	what := "user " + name
	a := map[string]any{
		"account": s.id.account.Account, "name": name, "created_at": stamp(u.CreateDate), "root": false,
	}
	last := aws.ToTime(u.PasswordLastUsed)
	_, err := client.GetLoginProfile(ctx, &iam.GetLoginProfileInput{UserName: &name})
	if got := s.answered(what+": password", err, noLoginProfile); got != failed {
		a["password"] = got == read
	}
	if devices, ok := s.mfaDevices(ctx, client, name); ok {
		a["mfa"], a["mfa_devices"] = len(devices) > 0, devices
	}
	keys, used := s.accessKeys(ctx, client, name)
	if keys != nil {
		a["keys"] = keys
	}
	if used != nil {
		if used.After(last) {
			last = *used
		}
		a["last_used_at"] = stamp(&last)
	}
	if grants != nil {
		if err := grants.describe(name, a); err != nil {
			s.gap(what+": groups and policies", err)
		}
	}
	id := name
	if name == rootName { // IAM allows a user of that name
		id = "user/" + name
	}
	s.add(id, a)
}

func (s *session) mfaDevices(ctx context.Context, client *iam.Client, name string) ([]any, bool) {
	out := []any{}
	pages := iam.NewListMFADevicesPaginator(client, &iam.ListMFADevicesInput{UserName: &name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			s.gap("user "+name+": MFA devices", err)
			return nil, false
		}
		for _, d := range page.MFADevices {
			out = append(out, aws.ToString(d.SerialNumber))
		}
	}
	return out, true
}

// accessKeys lists a user's keys by the end of their IDs, and when any of them
// was last used; each is nil where it could not be read.
func (s *session) accessKeys(ctx context.Context, client *iam.Client, name string) (keys []any, last *time.Time) {
	keys, last = []any{}, new(time.Time)
	pages := iam.NewListAccessKeysPaginator(client, &iam.ListAccessKeysInput{UserName: &name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			s.gap("user "+name+": access keys", err)
			return nil, nil
		}
		for _, k := range page.AccessKeyMetadata {
			id := aws.ToString(k.AccessKeyId)
			suffix := id[max(len(id)-4, 0):]
			key := map[string]any{
				"id_suffix": suffix, "status": string(k.Status), "created_at": stamp(k.CreateDate),
				"age_days": days(s.at, aws.ToTime(k.CreateDate)),
			}
			if at, err := lastUse(ctx, client, id); err != nil {
				s.gap("user "+name+": last use of the access key that ends in "+suffix, err)
				last = nil
			} else {
				key["last_used_at"] = stamp(&at)
				if last != nil && at.After(*last) {
					last = &at
				}
			}
			keys = append(keys, key)
		}
	}
	return keys, last
}

// lastUse is when an access key was last used; zero is never.
func lastUse(ctx context.Context, client *iam.Client, key string) (time.Time, error) {
	out, err := client.GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: &key})
	if err != nil {
		return time.Time{}, err
	}
	if out.AccessKeyLastUsed == nil {
		return time.Time{}, errors.New("GetAccessKeyLastUsed says nothing of this key")
	}
	return aws.ToTime(out.AccessKeyLastUsed.LastUsedDate), nil
}

// days is the whole days from then to now.
func days(now, then time.Time) int { return int(now.Sub(then) / (24 * time.Hour)) }

// grants is who is in which group and what each group and policy allows, from
// GetAccountAuthorizationDetails.
type grants struct {
	users  map[string]types.UserDetail
	groups map[string]types.GroupDetail
	admin  map[string]bool // by ARN of a managed policy of the account's own that was read
}

// ofAWS is in the ARN of each of AWS's managed policies, of which the listing
// holds none; administratorAccess is the one that allows everything.
const (
	ofAWS               = ":iam::aws:policy/"
	administratorAccess = ofAWS + "AdministratorAccess"
)

func (s *session) grants(ctx context.Context, client *iam.Client) *grants {
	g := &grants{map[string]types.UserDetail{}, map[string]types.GroupDetail{}, map[string]bool{}}
	pages := iam.NewGetAccountAuthorizationDetailsPaginator(client, &iam.GetAccountAuthorizationDetailsInput{
		Filter: []types.EntityType{types.EntityTypeUser, types.EntityTypeGroup, types.EntityTypeLocalManagedPolicy},
	})
	for s.rec.page = 1; pages.HasMorePages(); s.rec.page++ {
		out, err := pages.NextPage(ctx)
		if err != nil {
			s.gap(fmt.Sprintf("groups and policies, page %d", s.rec.page), err)
			s.rec.page = 0
			return nil
		}
		for _, u := range out.UserDetailList {
			g.users[aws.ToString(u.UserName)] = u
		}
		for _, group := range out.GroupDetailList {
			g.groups[aws.ToString(group.GroupName)] = group
		}
		for _, p := range out.Policies {
			for _, v := range p.PolicyVersionList {
				if !v.IsDefaultVersion {
					continue
				}
				everything, err := documentAllowsEverything(aws.ToString(v.Document))
				if err != nil {
					s.gap("policy "+aws.ToString(p.PolicyName), err)
					continue
				}
				g.admin[aws.ToString(p.Arn)] = everything
			}
		}
	}
	s.rec.page = 0
	return g
}

// describe fills in groups, policies and admin. Policies that come by a group
// are named "group:GROUP:POLICY", those in line with "inline:" before them.
func (g *grants) describe(user string, a map[string]any) error {
	u, known := g.users[user]
	if !known {
		return errors.New("GetAccountAuthorizationDetails does not list this user")
	}
	policies, groups := []any{}, []any{}
	admin := false
	var fault error
	take := func(prefix string, attached []types.AttachedPolicy, inline []types.PolicyDetail) {
		for _, p := range attached {
			policies = append(policies, prefix+aws.ToString(p.PolicyName))
			arn := aws.ToString(p.PolicyArn)
			everything, known := g.admin[arn]
			if !known && !strings.Contains(arn, ofAWS) {
				fault = errors.Join(fault, fmt.Errorf("what policy %s allows could not be read", aws.ToString(p.PolicyName)))
			}
			admin = admin || everything || isAdministratorAccess(arn)
		}
		for _, p := range inline {
			policies = append(policies, prefix+"inline:"+aws.ToString(p.PolicyName))
			everything, err := documentAllowsEverything(aws.ToString(p.PolicyDocument))
			fault = errors.Join(fault, err)
			admin = admin || everything
		}
	}
	take("", u.AttachedManagedPolicies, u.UserPolicyList)
	for _, name := range slices.Sorted(slices.Values(u.GroupList)) {
		groups = append(groups, name)
		group, known := g.groups[name]
		if !known {
			fault = errors.Join(fault, fmt.Errorf("GetAccountAuthorizationDetails does not list group %s", name))
			continue
		}
		take("group:"+name+":", group.AttachedManagedPolicies, group.GroupPolicyList)
	}
	a["groups"], a["policies"] = groups, policies
	if fault == nil || admin {
		a["admin"] = admin
	}
	return fault
}

func isAdministratorAccess(arn string) bool {
	return strings.HasSuffix(arn, administratorAccess)
}

// documentAllowsEverything reads a policy document, which IAM gives
// percent-encoded (RFC 3986).
func documentAllowsEverything(encoded string) (bool, error) {
	text, err := url.PathUnescape(encoded)
	if err != nil {
		return false, fmt.Errorf("reading a policy: %w", err)
	}
	p, err := parsePolicy(text)
	if err != nil {
		return false, err
	}
	return p.allowsEverything(), nil
}
