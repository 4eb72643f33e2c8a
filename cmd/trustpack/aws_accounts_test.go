package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/examples/metering"
	"trustpack/internal/httpreplay"
)

// TestTwoAWSAccounts: what holds in one account says nothing of another, and
// one that could not be read cannot hide behind one that was.
func TestTwoAWSAccounts(t *testing.T) {
	const second, session = "444455556666", "ASIASAMPLE000000R0LE"
	exchanges, err := httpreplay.Load(metering.AWSReplies())
	if err != nil {
		t.Fatal(err)
	}
	exchanges = append(exchanges, httpreplay.Exchange{
		Request: httpreplay.Request{Method: "POST", Path: "/", Form: map[string]string{"Action": "AssumeRole", "ExternalId": "agreed"}},
		Reply: httpreplay.Reply{Body: "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>" + session + "</AccessKeyId><SecretAccessKey>s3cr3t-of-the-role</SecretAccessKey>" +
			"<SessionToken>t0ken-of-the-role</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"},
	}, httpreplay.Exchange{
		Request: httpreplay.Request{Method: "POST", Path: "/", Form: map[string]string{"Action": "GetCallerIdentity"}, Headers: map[string]string{"Authorization": "*" + session + "*"}},
		Reply: httpreplay.Reply{Body: "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:sts::" + second + ":assumed-role/reader/trustpack</Arn><Account>" + second +
			"</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"},
	}, httpreplay.Exchange{ // no trail in the second account, in any region
		Request: httpreplay.Request{Method: "POST", Path: "/", Target: "CloudTrail_20131101.DescribeTrails", Headers: map[string]string{"Authorization": "*" + session + "*", "X-Amz-Date": "*", "X-Amz-Target": "*"}},
		Reply:   httpreplay.Reply{Body: `{"trailList":[]}`},
	})
	server, err := httpreplay.Of(exchanges, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	t.Setenv("KEY_ID", "AKIASAMPLE000000K4ZD")
	t.Setenv("SECRET", "s3cr3t-of-the-base")
	dir := t.TempDir()
	config := filepath.Join(dir, "trustpack.yaml")
	yaml := fmt.Sprintf(`organisation: Acme
system: meters
instance: acme.example/meters
collectors:
  aws:
    account: "111122223333"
    endpoint: %s
    attempts: 1
    credentials: {access_key_id_env: KEY_ID, secret_access_key_env: SECRET}
    accounts:
      - {account: %s, role_arn: "arn:aws:iam::%s:role/reader", external_id_env: EXTERNAL_ID}
`, server.URL(), second, second)
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	period := fmt.Sprintf("%d-Q%d", now.Year(), (int(now.Month())+2)/3)
	call := func(want int, args ...string) string {
		t.Helper()
		var out, errOut bytes.Buffer
		if code := run(t.Context(), append(args, "--period", period, "--config", config), nil, &out, &errOut); code != want {
			t.Fatalf("%v: exit %d: %s%s", args, code, out.String(), errOut.String())
		}
		return out.String()
	}
	// outcome of a control, its exceptions and what is said of it.
	judged := func(id string) (outcome evidence.Outcome, exceptions []string, said string) {
		t.Helper()
		var got struct {
			Controls []struct {
				ID         string           `json:"id"`
				Outcome    evidence.Outcome `json:"outcome"`
				Reason     string           `json:"reason"`
				Exceptions []struct {
					Attribute string `json:"attribute"`
					Item      string `json:"item"`
				} `json:"exceptions"`
			} `json:"controls"`
		}
		text := call(exitOK, "assess", "--json")
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		for _, c := range got.Controls {
			if c.ID == id {
				for _, e := range c.Exceptions {
					exceptions = append(exceptions, e.Attribute+" "+e.Item)
				}
				return c.Outcome, exceptions, c.Reason
			}
		}
		t.Fatalf("%s is not judged: %s", id, text)
		return "", nil, ""
	}

	t.Setenv("EXTERNAL_ID", "agreed")
	table := call(exitOK, "collect", "aws", "--fail-on", "incomplete")
	for _, want := range []string{"aws.users of 111122223333 ", "aws.users of " + second + " ", "aws.trails of " + second + "  "} {
		if !strings.Contains(table, want) {
			t.Errorf("the table does not name %q:\n%s", want, table)
		}
	}
	_, exceptions, _ := judged("ST-03")
	if !slices.Contains(exceptions, "trail-in-each-account "+second+"/root") || slices.Contains(exceptions, "trail-in-each-account 111122223333/root") {
		t.Errorf("the account without a trail is not found: %v", exceptions)
	}
	if _, exceptions, _ = judged("ST-08"); !slices.Contains(exceptions, "tls-only "+second+"/lindenau-firmware-releases") || !slices.Contains(exceptions, "tls-only 111122223333/lindenau-firmware-releases") {
		t.Errorf("the buckets of both accounts: %v", exceptions)
	}

	// The role is refused: the later snapshot of the other account does not stand for it.
	t.Setenv("EXTERNAL_ID", "another")
	table = call(exitWrong, "collect", "aws", "--fail-on", "incomplete")
	if want := "gap in aws.log-groups: account " + second + ": no credential: assuming the role"; strings.Count(table, want) != 1 || !strings.Contains(table, "(and in aws.trails, aws.buckets, aws.users)") {
		t.Errorf("want once %q in\n%s", want, table)
	}
	outcome, _, said := judged("ST-08")
	if outcome != evidence.OutcomeNotAvailable && outcome != evidence.OutcomeException || !strings.Contains(said, "account "+second) {
		t.Errorf("ST-08 is %s: %s", outcome, said)
	}
	read := 0
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		read += bytes.Count(b, []byte("assumed-role/reader/trustpack"))
		for _, s := range []string{"s3cr3t-of-the", "t0ken-of-the-role", session} {
			if bytes.Contains(b, []byte(s)) {
				t.Errorf("%s holds %s", path, s)
			}
		}
		return err
	})
	if err != nil || read < 2 { // in the reply and in the provenance
		t.Fatalf("the role's name stands in %d places: %v", read, err)
	}
}
