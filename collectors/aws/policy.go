package aws

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// policy is an IAM or bucket policy, as far as it is judged here.
type policy struct {
	Statement many[statement]
}

type statement struct {
	Effect      string
	Principal   principals
	Action      many[string]
	NotAction   many[string]
	Resource    many[string]
	NotResource many[string]
	Condition   map[string]map[string]many[any]
}

// many is a JSON value that stands alone or in a list.
type many[T any] []T

// UnmarshalJSON reads both forms.
func (m *many[T]) UnmarshalJSON(b []byte) error {
	if strings.HasPrefix(strings.TrimSpace(string(b)), "[") {
		return json.Unmarshal(b, (*[]T)(m))
	}
	var one T
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	*m = many[T]{one}
	return nil
}

// principals is everyone, or lists by kind.
type principals struct{ everyone bool }

// UnmarshalJSON reads "*" and {"AWS": "*"} as everyone.
func (p *principals) UnmarshalJSON(b []byte) error {
	var all string
	if json.Unmarshal(b, &all) == nil {
		p.everyone = all == "*"
		return nil
	}
	var byKind map[string]many[string]
	if err := json.Unmarshal(b, &byKind); err != nil {
		return err
	}
	p.everyone = slices.Contains(byKind["AWS"], "*")
	return nil
}

func parsePolicy(text string) (policy, error) {
	var p policy
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return policy{}, fmt.Errorf("reading a policy: %w", err)
	}
	if len(p.Statement) == 0 {
		return policy{}, errors.New("reading a policy: it has no statement")
	}
	return p, nil
}

// deniesPlaintext says whether a bucket's policy refuses everyone every action
// on the bucket and its objects where the request did not come over TLS. A
// narrower statement does not count.
func (p policy) deniesPlaintext(bucket string) bool {
	bucketDenied, objectsDenied := false, false
	for _, s := range p.Statement {
		if s.Effect != "Deny" || !s.Principal.everyone || !s.allActions() || !s.onlyCondition("aws:SecureTransport", "false") {
			continue
		}
		for _, r := range s.Resource {
			arn, _ := strings.CutPrefix(r, "arn:aws")
			_, path, _ := strings.Cut(arn, ":s3:::")
			bucketDenied = bucketDenied || path == bucket || path == bucket+"*" || r == "*"
			objectsDenied = objectsDenied || path == bucket+"/*" || path == bucket+"*" || r == "*"
		}
	}
	return bucketDenied && objectsDenied
}

func (s statement) allActions() bool {
	return slices.ContainsFunc(s.Action, func(a string) bool { return a == "*" || strings.EqualFold(a, "s3:*") })
}

// onlyCondition says whether the statement has exactly this condition.
func (s statement) onlyCondition(key, value string) bool {
	if len(s.Condition) != 1 {
		return false
	}
	for operator, keys := range s.Condition {
		if operator != "Bool" && operator != "BoolIfExists" || len(keys) != 1 {
			return false
		}
		for k, values := range keys {
			return strings.EqualFold(k, key) && len(values) == 1 && strings.EqualFold(fmt.Sprint(values[0]), value)
		}
	}
	return false
}

// allowsEverything says whether a policy makes an administrator: every action
// on every resource. A condition, such as one that asks for MFA, does not make
// it less.
func (p policy) allowsEverything() bool {
	return slices.ContainsFunc(p.Statement, func(s statement) bool {
		if s.Effect != "Allow" || !slices.Contains(s.Resource, "*") {
			return false
		}
		return slices.Contains(s.Action, "*") || slices.Contains(s.Action, "*:*")
	})
}
