package aws

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
	"trustpack/internal/httpreplay"
)

// The credential that the role's session gets, and what its trust policy asks.
const (
	roleKeyID  = "ASIASAMPLE000000R0LE"
	roleSecret = "wJalrRoleSecretKey/of+the+session"
	roleToken  = "FwoGRoleSessionToken/with+signs=="
	externalID = "gridpulse-evidence-7f3c"
	another    = "444455556666"
)

func anotherAccount() Account {
	return Account{Account: another, RoleARN: "arn:aws:iam::" + another + ":role/audit/evidence-reader", ExternalIDEnv: "EXTERNAL_ID"}
}

func twoAccounts(url string) (Config, Deps) {
	c, d := exampleConfig(url), deps()
	c.Accounts = []Account{anotherAccount()}
	return c, d
}

// asRole is the example account, read as a role of another account: whoever
// comes with the role's credential is of that account.
func asRole(account http.Handler) http.Handler {
	return asRoleOf(account, another)
}

func asRoleOf(account http.Handler, number string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		w.Header().Set("Content-Type", "text/xml")
		session := strings.Contains(r.Header.Get("Authorization"), roleKeyID) && r.Header.Get("X-Amz-Security-Token") == roleToken
		switch op := operationOf(r, body); {
		case op == "AssumeRole":
			asked, err := url.ParseQuery(string(body))
			if err != nil || asked.Get("ExternalId") != externalID || asked.Get("RoleArn") != anotherAccount().RoleARN || session {
				w.WriteHeader(http.StatusForbidden)
				_, _ = io.WriteString(w, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized to perform sts:AssumeRole with "+asked.Get("ExternalId")+"</Message></Error></ErrorResponse>")
				return
			}
			_, _ = fmt.Fprintf(w, "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"+
				"<AssumedRoleUser><Arn>arn:aws:sts::%s:assumed-role/evidence-reader/%s</Arn></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>", roleKeyID, roleSecret, roleToken, number, asked.Get("RoleSessionName"))
		case op == "GetCallerIdentity" && session:
			_, _ = fmt.Fprintf(w, "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:sts::%s:assumed-role/evidence-reader/trustpack</Arn><Account>%s</Account></GetCallerIdentityResult></GetCallerIdentityResponse>", number, number)
		default:
			account.ServeHTTP(w, r)
		}
	})
}

func example(t *testing.T) *httpreplay.Server {
	t.Helper()
	account, err := httpreplay.New(os.DirFS("../../examples/metering/aws"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return account
}

// served gives the address of a handler for the length of a test.
func served(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// ofAccount is the evidence of one account, by kind.
func ofAccount(all []evidence.Evidence, account string) map[evidence.Kind]evidence.Evidence {
	got := map[evidence.Kind]evidence.Evidence{}
	for _, e := range all {
		if e.Provenance.Account == account {
			got[e.Kind] = e
		}
	}
	return got
}

func TestEachAccountHasEvidenceOfItsOwn(t *testing.T) {
	account := example(t)
	c, d := twoAccounts(served(t, asRole(account)))
	all := collectAll(t, c, d)
	for number, principal := range map[string]string{
		"111122223333": "arn:aws:iam::111122223333:user/svc-evidence-collector",
		another:        "arn:aws:sts::444455556666:assumed-role/evidence-reader/trustpack",
	} {
		got := ofAccount(all, number)
		for kind, size := range map[evidence.Kind]int{KindLogGroups: 9, KindTrails: 1, KindBuckets: 5, KindUsers: 9} {
			e := got[kind]
			if e.Completeness.State != evidence.Complete || len(e.Population.Items) != size || e.Provenance.Principal != principal {
				t.Errorf("%s of %s: %d items, principal %s, %+v", kind, number, len(e.Population.Items), e.Provenance.Principal, e.Completeness)
			}
			for _, it := range e.Population.Items {
				if !strings.HasPrefix(it.ID, number+"/") || it.Attributes["account"] != number {
					t.Errorf("%s of %s holds %s of %v", kind, number, it.ID, it.Attributes["account"])
				}
			}
			assumed := slices.IndexFunc(e.Provenance.Requests, func(r evidence.Request) bool { return r.Method == "AssumeRole" })
			if (assumed >= 0) != (number == another) {
				t.Fatalf("%s of %s: AssumeRole is request %d", kind, number, assumed)
			}
			if assumed < 0 {
				continue
			}
			r := e.Provenance.Requests[assumed]
			if r.Parameters["RoleArn"] != anotherAccount().RoleARN || r.Parameters["RoleSessionName"] != "trustpack" || r.Parameters["ExternalId"] != "redacted" || r.Status != 200 || r.ReplySHA256 != "" || len(r.Redactions) != 1 {
				t.Errorf("%s: %+v", kind, r)
			}
			if slices.ContainsFunc(e.Raw, func(raw evidence.RawReply) bool { return strings.Contains(raw.Name, "AssumeRole") }) {
				t.Errorf("%s: the reply with the role's credential was kept", kind)
			}
		}
	}
	// Only what belongs to the second account was asked with its credential.
	own, others := 0, 0
	for _, r := range account.Requests() {
		if strings.Contains(r.Header.Get("Authorization"), roleKeyID) {
			others++
		} else {
			own++
		}
	}
	if own != others+1 || others < 60 { // who the role is, the account itself never saw
		t.Errorf("%d requests with the base credential and %d with the role's", own, others)
	}
}

func TestAnAccountReadByItsRoleAlone(t *testing.T) {
	c, d := twoAccounts(served(t, asRole(example(t))))
	c.Account = ""
	for _, e := range collectAll(t, c, d) {
		if e.Provenance.Account != another || e.Completeness.State != evidence.Complete {
			t.Errorf("%s of %s: %+v", e.Kind, e.Provenance.Account, e.Completeness)
		}
	}
}

// An account that could not be read is a gap of every kind, names itself, and
// leaves the others as they are.
func TestAnAccountThatCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		server http.Handler
		edit   func(*Config, *Deps)
		want   string
	}{
		"the role is refused": {nil, func(_ *Config, d *Deps) { d.Getenv = otherwise(d.Getenv, "EXTERNAL_ID", externalID+"-old") },
			"no credential: assuming the role arn:aws:iam::444455556666:role/audit/evidence-reader: HTTP 403 AccessDenied"},
		"no external ID": {nil, func(_ *Config, d *Deps) { d.Getenv = otherwise(d.Getenv, "EXTERNAL_ID", "") },
			"the environment variable EXTERNAL_ID is empty"},
		"the role is of a third account": {asRoleOf(example(t), "777788889999"), nil, "the credential belongs to account 777788889999; nothing was read with it"},
		"whose it is is not told": {&spoiling{account: example(t), roles: true, asked: map[string]int{}, is: "GetCallerIdentity", answer: echoes}, nil,
			"whose the role's credential is is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.server == nil {
				c.server = asRole(example(t))
			}
			config, d := twoAccounts(served(t, c.server))
			if c.edit != nil {
				c.edit(&config, &d)
			}
			all := collectAll(t, config, d)
			for kind, e := range ofAccount(all, another) {
				if gaps := gapsOf(e); e.Completeness.State != evidence.Incomplete || len(e.Population.Items) != 0 ||
					len(gaps) != 1 || !strings.HasPrefix(gaps[0], "account 444455556666: ") || !strings.Contains(gaps[0], c.want) {
					t.Errorf("%s: %d items, gaps %q, want %q", kind, len(e.Population.Items), gaps, c.want)
				}
				if slices.ContainsFunc(e.Provenance.Requests, func(r evidence.Request) bool { return r.Method != "AssumeRole" && r.Method != "GetCallerIdentity" }) {
					t.Errorf("%s: something was read: %+v", kind, e.Provenance.Requests)
				}
			}
			if got := ofAccount(all, another); len(got) != 4 {
				t.Errorf("%d kinds say so, want 4", len(got))
			}
			for kind, e := range ofAccount(all, "111122223333") {
				if len(e.Population.Items) == 0 || e.Completeness.State != evidence.Complete && !strings.Contains(name, "not told") {
					t.Errorf("%s of the other account: %d items, %+v", kind, len(e.Population.Items), e.Completeness)
				}
			}
		})
	}
}

// echoes fails, and tells whoever comes with the role's credential all of it.
func echoes(w http.ResponseWriter, r *http.Request) {
	said := "none"
	if strings.Contains(r.Header.Get("Authorization"), roleKeyID) {
		said = roleKeyID + " " + roleSecret + " " + roleToken
	}
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = io.WriteString(w, "<ErrorResponse><Error><Code>InternalFailure</Code><Message>"+said+"</Message></Error></ErrorResponse>")
}

func otherwise(getenv func(string) string, name, value string) func(string) string {
	return func(k string) string {
		if k == name {
			return value
		}
		return getenv(k)
	}
}

// What the base credential cannot do does not depend on what it is for: with
// none every account is a gap, and one that is wrong for its own account may
// still be good for a role.
func TestTheBaseCredential(t *testing.T) {
	c, d := twoAccounts(served(t, asRole(example(t))))
	d.Getenv = otherwise(d.Getenv, "SECRET", "")
	for _, e := range collectAll(t, c, d) {
		if !strings.Contains(fmt.Sprint(gapsOf(e)), "no credential: the environment variable SECRET is empty") || len(e.Provenance.Requests) > 0 {
			t.Errorf("%s of %s: %+v", e.Kind, e.Provenance.Account, e.Completeness)
		}
	}
	c, d = twoAccounts(c.Endpoint)
	c.Account = "999988887777"
	all := collectAll(t, c, d)
	for kind, e := range ofAccount(all, "999988887777") {
		if len(e.Population.Items) > 0 || !strings.Contains(fmt.Sprint(gapsOf(e)), "belongs to account 111122223333") {
			t.Errorf("%s: %+v", kind, e.Completeness)
		}
	}
	for kind, e := range ofAccount(all, another) {
		if e.Completeness.State != evidence.Complete {
			t.Errorf("%s: %+v", kind, e.Completeness)
		}
	}
}

// Each account has its own list of regions, and its own choice of them.
func TestTheRegionsOfEachAccount(t *testing.T) {
	c, d := twoAccounts(served(t, asRole(example(t))))
	c.Accounts[0].Regions = []string{"eu-west-1"}
	all := collectAll(t, c, d)
	// The base account need not have enabled the region of another.
	if at := asked(ofAccount(all, another)[KindUsers], "AssumeRole"); !slices.Equal(at, []string{"us-east-1"}) {
		t.Errorf("the role was assumed in %v", at)
	}
	if e := ofAccount(all, "111122223333")[KindLogGroups]; len(asked(e, "DescribeLogGroups")) != 17 || e.Completeness.State != evidence.Complete {
		t.Errorf("the first account: %+v", e.Completeness)
	}
	e := ofAccount(all, another)[KindLogGroups]
	if gaps := gapsOf(e); len(e.Population.Items) != 2 || len(gaps) != 16 || gaps[0] != "account 444455556666: region ap-northeast-1: enabled, but left out of regions: not read" {
		t.Errorf("%d items, gaps %q", len(e.Population.Items), gaps)
	}
}

func TestProgressTellsNoSecret(t *testing.T) {
	c, d := twoAccounts(served(t, asRole(example(t))))
	said := ""
	d.Progress = func(s string) { said += s + "\n" }
	collectAll(t, c, d)
	for _, s := range []string{secret, token, keyID, roleSecret, roleToken, roleKeyID, externalID} {
		if strings.Contains(said, s) {
			t.Errorf("progress tells %q", s)
		}
	}
	if !strings.Contains(said, "of account "+another) {
		t.Errorf("progress: %s", said)
	}
}

func TestAccountsAreChecked(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`account "12": want the twelve digits`:     func(c *Config) { c.Accounts[0].Account = "12" },
		"account 111122223333 stands twice":        func(c *Config) { c.Accounts[0].Account = c.Account },
		"accounts[1]: account 444455556666 stands": func(c *Config) { c.Accounts = append(c.Accounts, anotherAccount()) },
		`role_arn "": want the role`:               func(c *Config) { c.Accounts[0].RoleARN = "" },
		"want the role to read it as":              func(c *Config) { c.Accounts[0].RoleARN = "arn:aws:iam::444455556666:user/x" },
		"is a role of account 777788889999":        func(c *Config) { c.Accounts[0].RoleARN = "arn:aws:iam::777788889999:role/x" },
		"role_arn is in the partition aws-cn":      func(c *Config) { c.Accounts[0].RoleARN = "arn:aws-cn:iam::444455556666:role/x"; c.Partition = "aws" },
		"accounts[0]: regions: \"west\"":           func(c *Config) { c.Accounts[0].Regions = []string{"west"} },
		"us-gov-west-1 is in the partition":        func(c *Config) { c.Accounts[0].Regions, c.Partition = []string{"us-gov-west-1"}, "aws" },
		"each of accounts has its own":             func(c *Config) { c.Account, c.Regions = "", []string{"eu-west-1"} },
		`account "": want the twelve digits`:       func(c *Config) { c.Account, c.Accounts = "", nil },
	} {
		c, d := twoAccounts("http://127.0.0.1:1")
		change(&c)
		if _, err := New(c, d); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	c, d := twoAccounts("")
	c.Account, c.Accounts[0].RoleARN, c.Attempts = "", "arn:aws-us-gov:iam::444455556666:role/x", 1
	hosts := map[string]bool{}
	d.Transport = refusing{hosts: hosts}
	col, err := New(c, d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := col.Collect(context.Background(), evidence.Period{}); err != nil || !hosts["sts.us-gov-west-1.amazonaws.com"] || len(hosts) != 1 {
		t.Errorf("the partition of the role: asked were %v, %v", hosts, err)
	}
}
