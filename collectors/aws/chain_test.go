package aws

import (
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"trustpack/evidence"
)

// defaultChain is an environment in which the SDK's default chain finds the
// sample credential, and settings that must not be obeyed.
func defaultChain(t *testing.T) {
	t.Helper()
	none := filepath.Join(t.TempDir(), "none")
	for k, v := range map[string]string{
		"AWS_ACCESS_KEY_ID": keyID, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token,
		"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_PROFILE": "", "AWS_REGION": "us-west-2",
	} {
		t.Setenv(k, v)
	}
}

func TestDefaultChainGivesTheCredentialAlone(t *testing.T) {
	defaultChain(t)
	s := recorded(t)
	c := exampleConfig(s.URL())
	c.Credentials = Credentials{}
	for kind, e := range collect(t, c, deps()) {
		if e.Completeness.State != evidence.Complete {
			t.Errorf("%s: %+v", kind, e.Completeness)
		}
	}
	for _, r := range s.Requests() {
		if !strings.Contains(r.Header.Get("Authorization"), keyID) || r.Header.Get("X-Amz-Security-Token") != token {
			t.Fatalf("%s %s was asked with another credential", r.Method, r.URI)
		}
	}
}

type refusing struct {
	hosts map[string]bool
	saw   func(*http.Request) // may be nil
}

func (r refusing) RoundTrip(req *http.Request) (*http.Response, error) {
	r.hosts[req.URL.Host] = true
	if r.saw != nil {
		r.saw(req)
	}
	return nil, errors.New("connection refused")
}

func TestWithoutAnEndpointAWSItselfIsAsked(t *testing.T) {
	defaultChain(t)
	c := exampleConfig("")
	c.Regions = []string{"eu-central-1", "eu-west-1"}
	c.Credentials, c.Attempts = Credentials{}, 1
	d := deps()
	hosts := map[string]bool{}
	d.Transport = refusing{hosts: hosts}
	collect(t, c, d)
	for _, want := range []string{"sts.eu-central-1.amazonaws.com", "logs.eu-central-1.amazonaws.com", "logs.eu-west-1.amazonaws.com", "cloudtrail.eu-west-1.amazonaws.com", "s3.eu-central-1.amazonaws.com", "iam.amazonaws.com", "account.us-east-1.amazonaws.com"} {
		if !hosts[want] {
			t.Errorf("%s was not asked; asked were %v", want, hosts)
		}
	}
	for h := range hosts {
		if !strings.HasSuffix(h, ".amazonaws.com") {
			t.Errorf("%s was asked", h)
		}
	}
}
