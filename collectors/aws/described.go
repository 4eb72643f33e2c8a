package aws

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
)

// cutOff is a reply that ended before its end. The SDK tries again, since it
// wraps the fault of the connection.
type cutOff struct {
	got   int
	cause error
}

func (c *cutOff) Error() string {
	return fmt.Sprintf("the reply was cut off after %d bytes: %v", c.got, c.cause)
}
func (c *cutOff) Unwrap() error { return c.cause }

// strange is a reply of status 200 that is not one of the operation's.
type strange struct{ why string }

func (s *strange) Error() string { return "the reply is not what the API describes: " + s.why }

// described holds the reply of a call to what the API describes of it. Of an
// empty body, or a document of another kind, the SDK makes an empty answer,
// which would read as "there is none".
func described(op string, body []byte) error {
	want := op + "Response" // of IAM and STS
	switch op {
	case "ListRegions":
		return member(body, "Regions")
	case "DescribeLogGroups":
		return member(body, "logGroups")
	case "DescribeTrails":
		return member(body, "trailList")
	case "GetTrailStatus":
		return member(body, "IsLogging")
	case "GetBucketPolicy":
		return nil // the policy itself, which is read where it is judged
	case "ListBuckets":
		want = "ListAllMyBucketsResult"
	case "GetBucketLocation":
		want = "LocationConstraint"
	case "GetBucketVersioning":
		want = "VersioningConfiguration"
	case "GetObjectLockConfiguration":
		want = "ObjectLockConfiguration"
	case "GetBucketEncryption":
		want = "ServerSideEncryptionConfiguration"
	case "GetPublicAccessBlock":
		want = "PublicAccessBlockConfiguration"
	case "GetBucketLifecycleConfiguration":
		want = "LifecycleConfiguration"
	}
	if got, err := rootOf(body); err != nil {
		return &strange{err.Error()}
	} else if got != want {
		return &strange{fmt.Sprintf("it is a document %q, not %q", got, want)}
	}
	return nil
}

// member holds that a JSON object has the member, and not null in it.
func member(body []byte, name string) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return &strange{err.Error()}
	}
	if value, there := fields[name]; !there || string(value) == "null" {
		return &strange{fmt.Sprintf("it has no member %q", name)}
	}
	return nil
}

// rootOf is the name of an XML document's root element.
func rootOf(body []byte) (string, error) {
	tokens := xml.NewDecoder(bytes.NewReader(body))
	for {
		t, err := tokens.Token()
		if err != nil {
			return "", errors.New("it is no XML document")
		}
		if start, is := t.(xml.StartElement); is {
			return start.Name.Local, nil
		}
	}
}
