package aws

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/internal/httpreplay"
)

// spoiled is the example account with some exchanges answered otherwise.
func spoiled(t *testing.T, is func(httpreplay.Request) bool, reply httpreplay.Reply) *httpreplay.Server {
	t.Helper()
	exchanges, err := httpreplay.Load(os.DirFS("../../examples/metering/aws"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i := range exchanges {
		if is(exchanges[i].Request) {
			exchanges[i].Reply = reply
			n++
		}
	}
	if n == 0 {
		t.Fatal("no exchange to spoil")
	}
	s, err := httpreplay.Of(exchanges, nil)
	if err != nil {
		t.Fatal(err)
	}
	return started(t, s)
}

func path(p, sub string) func(httpreplay.Request) bool {
	return func(r httpreplay.Request) bool {
		_, has := r.Query[sub]
		return r.Path == p && (sub == "" || has)
	}
}

func form(action, key, value string) func(httpreplay.Request) bool {
	return func(r httpreplay.Request) bool {
		return r.Form["Action"] == action && (key == "" || r.Form[key] == value)
	}
}

func target(op, region string) func(httpreplay.Request) bool {
	return func(r httpreplay.Request) bool {
		return strings.HasSuffix(r.Target, "."+op) && strings.Contains(r.Headers["Authorization"], region)
	}
}

func s3Error(status int, code string) httpreplay.Reply {
	return httpreplay.Reply{Status: status, Headers: map[string]string{"Content-Type": "application/xml"},
		Body: "<Error><Code>" + code + "</Code><Message>no " + secret + "</Message><AWSAccessKeyId>" + keyID + "</AWSAccessKeyId><CanonicalRequest>x-amz-security-token:" + token + "</CanonicalRequest></Error>"}
}

func iamError(status int, code string) httpreplay.Reply {
	return httpreplay.Reply{Status: status, Headers: map[string]string{"Content-Type": "text/xml"},
		Body: "<ErrorResponse><Error><Type>Sender</Type><Code>" + code + "</Code><Message>User: " + keyID + " is not authorized " + token + "</Message></Error><RequestId>r</RequestId></ErrorResponse>"}
}

func jsonError(status int, code string) httpreplay.Reply {
	return httpreplay.Reply{Status: status, Headers: map[string]string{"Content-Type": "application/x-amz-json-1.1"},
		Body: `{"__type":"` + code + `","message":"not with ` + keyID + ` and ` + strings.ReplaceAll(token, "/", `\/`) + `"}`}
}

func TestFaultsAreNamedGaps(t *testing.T) {
	bucket := "/lindenau-evidence"
	for name, c := range map[string]struct {
		is        func(httpreplay.Request) bool
		reply     httpreplay.Reply
		kind      evidence.Kind
		what, why string
		items     int
	}{
		"region denied":        {target("DescribeLogGroups", "eu-west-1"), jsonError(400, "AccessDeniedException"), KindLogGroups, "region eu-west-1: log groups, page 1", "may not call CloudWatch Logs DescribeLogGroups", 7},
		"region not signed in": {target("DescribeLogGroups", "eu-west-1"), jsonError(401, "UnrecognizedClientException"), KindLogGroups, "region eu-west-1", "HTTP 401 UnrecognizedClientException", 7},
		"region busy":          {target("DescribeLogGroups", "eu-west-1"), httpreplay.Reply{Status: 429}, KindLogGroups, "region eu-west-1", "HTTP 429", 7},
		"region down":          {target("DescribeLogGroups", "eu-central-1"), jsonError(500, "InternalFailure"), KindLogGroups, "region eu-central-1: log groups, page 1", "HTTP 500 InternalFailure", 2},
		"region not JSON":      {target("DescribeLogGroups", "eu-west-1"), httpreplay.Reply{Body: "<html>"}, KindLogGroups, "region eu-west-1", "not what the API describes", 7},
		"trails denied":        {target("DescribeTrails", "eu-west-1"), jsonError(400, "AccessDeniedException"), KindTrails, "region eu-west-1: trails", "AccessDeniedException", 1},
		"trail status gone":    {target("GetTrailStatus", ""), jsonError(404, "TrailNotFoundException"), KindTrails, "trail gridpulse-audit: status", "HTTP 404 TrailNotFoundException", 1},
		"buckets denied":       {path("/", "max-buckets"), s3Error(403, "AccessDenied"), KindBuckets, "buckets, page 1", "HTTP 403 AccessDenied", 0},
		"bucket key unknown":   {path(bucket, "policy"), s3Error(401, "InvalidAccessKeyId"), KindBuckets, "bucket lindenau-evidence: policy", "InvalidAccessKeyId", 5},
		"bucket gone":          {path(bucket, "lifecycle"), s3Error(404, "NoSuchBucket"), KindBuckets, "bucket lindenau-evidence: lifecycle", "HTTP 404 NoSuchBucket", 5},
		"broken policy":        {path(bucket, "policy"), httpreplay.Reply{Body: `{"Statement":`}, KindBuckets, "bucket lindenau-evidence: policy", "reading a policy", 5},
		"users denied":         {form("ListUsers", "Marker", ""), iamError(403, "AccessDenied"), KindUsers, "users, page 1", "HTTP 403 AccessDenied", 1},
		"second page of users": {func(r httpreplay.Request) bool { return r.Form["Action"] == "ListUsers" && r.Form["Marker"] != "" }, iamError(500, "ServiceFailure"), KindUsers, "users, page 2", "HTTP 500", 6},
		"login profile denied": {form("GetLoginProfile", "UserName", "anna.berg"), iamError(403, "AccessDenied"), KindUsers, "user anna.berg: password", "HTTP 403", 9},
		"mfa denied":           {form("ListMFADevices", "UserName", "anna.berg"), iamError(403, "AccessDenied"), KindUsers, "user anna.berg: MFA devices", "HTTP 403", 9},
		"keys denied":          {form("ListAccessKeys", "UserName", "svc-log-shipper"), iamError(403, "AccessDenied"), KindUsers, "user svc-log-shipper: access keys", "HTTP 403", 9},
		"last use busy":        {form("GetAccessKeyLastUsed", "", ""), iamError(429, "Throttling"), KindUsers, "access key that ends in", "Throttling", 9},
		"policies denied":      {form("GetAccountAuthorizationDetails", "", ""), iamError(403, "AccessDenied"), KindUsers, "groups and policies, page 1", "may not call IAM GetAccountAuthorizationDetails", 9},
		"summary denied":       {form("GetAccountSummary", "", ""), iamError(403, "AccessDenied"), KindUsers, "account summary", "HTTP 403", 9},
		"report denied":        {form("GetCredentialReport", "", ""), iamError(403, "AccessDenied"), KindUsers, "root user: credential report", "HTTP 403", 9},
		"report never ready":   {form("GenerateCredentialReport", "", ""), httpreplay.Reply{Body: "<GenerateCredentialReportResponse><GenerateCredentialReportResult><State>INPROGRESS</State></GenerateCredentialReportResult></GenerateCredentialReportResponse>"}, KindUsers, "root user: credential report", "not finished after 10 looks", 9},
		"user vanishes":        {func(r httpreplay.Request) bool { return r.Form["Action"] == "ListUsers" && r.Form["Marker"] != "" }, httpreplay.Reply{Body: "<ListUsersResponse><ListUsersResult><Users/><IsTruncated>false</IsTruncated></ListUsersResult></ListUsersResponse>"}, KindUsers, "users", "the account counts 8 IAM users, the list holds 5", 6},
	} {
		t.Run(name, func(t *testing.T) {
			s := spoiled(t, c.is, c.reply)
			got := collect(t, exampleConfig(s.URL()), deps())
			e := got[c.kind]
			if e.Completeness.State != evidence.Incomplete || len(e.Population.Items) != c.items {
				t.Fatalf("%d items, want %d, %+v", len(e.Population.Items), c.items, e.Completeness)
			}
			if !slices.ContainsFunc(e.Completeness.Gaps, func(g evidence.Gap) bool {
				return strings.Contains(g.What, c.what) && strings.Contains(g.Reason, c.why)
			}) {
				t.Errorf("gaps %+v, want %q: %q", e.Completeness.Gaps, c.what, c.why)
			}
			for kind, other := range got {
				if kind != c.kind && other.Completeness.State != evidence.Complete {
					t.Errorf("%s is incomplete too: %+v", kind, other.Completeness.Gaps)
				}
			}
		})
	}
}

// "There is none" and "you may not look" are told apart for every setting.
func TestNoneIsNotDenied(t *testing.T) {
	const name = "lindenau-evidence"
	for field, c := range map[string]struct {
		sub, none string
		value     any
	}{
		"lifecycle":             {"lifecycle", "NoSuchLifecycleConfiguration", nil},
		"object_lock":           {"object-lock", "ObjectLockConfigurationNotFoundError", false},
		"encryption":            {"encryption", "ServerSideEncryptionConfigurationNotFoundError", "none"},
		"public_access_blocked": {"publicAccessBlock", "NoSuchPublicAccessBlockConfiguration", false},
		"tls_only":              {"policy", "NoSuchBucketPolicy", false},
	} {
		t.Run(field, func(t *testing.T) {
			none := collect(t, exampleConfig(spoiled(t, path("/"+name, c.sub), s3Error(404, c.none)).URL()), deps())[KindBuckets]
			a := find(t, none, "111122223333/"+name)
			if none.Completeness.State != evidence.Complete || field != "lifecycle" && a[field] != c.value {
				t.Errorf("none: %v, %+v", a[field], none.Completeness)
			}
			if rules, ok := a["lifecycle"].([]any); field == "lifecycle" && (!ok || len(rules) != 0) {
				t.Errorf("none: %v", a["lifecycle"])
			}
			denied := collect(t, exampleConfig(spoiled(t, path("/"+name, c.sub), s3Error(403, "AccessDenied")).URL()), deps())[KindBuckets]
			value, known := find(t, denied, "111122223333/"+name)[field]
			if denied.Completeness.State != evidence.Incomplete || known {
				t.Errorf("denied: %v, %+v", value, denied.Completeness)
			}
		})
	}
}

// What could not be read of a user is left out, and what was read stands.
func TestUnreadIsLeftOut(t *testing.T) {
	for field, is := range map[string]func(httpreplay.Request) bool{
		"password": form("GetLoginProfile", "UserName", "svc-log-shipper"), "mfa": form("ListMFADevices", "UserName", "svc-log-shipper"),
		"keys": form("ListAccessKeys", "UserName", "svc-log-shipper"), "admin": form("GetAccountAuthorizationDetails", "", ""),
	} {
		e := collect(t, exampleConfig(spoiled(t, is, iamError(403, "AccessDenied")).URL()), deps())[KindUsers]
		user := find(t, e, "111122223333/svc-log-shipper")
		for _, f := range []string{"password", "mfa", "keys", "admin"} {
			if _, known := user[f]; known == (f == field) {
				t.Errorf("%s denied: %s is there: %v", field, f, known)
			}
		}
	}
	e := collect(t, exampleConfig(spoiled(t, target("GetTrailStatus", ""), jsonError(400, "AccessDeniedException")).URL()), deps())[KindTrails]
	if _, known := find(t, e, "111122223333/gridpulse-audit")["logging"]; known {
		t.Error("logging was not read and is there")
	}
}

func TestFaultsThatPass(t *testing.T) {
	for name, f := range map[string]httpreplay.Fault{
		"500 once":      {Times: 1, Status: 500},
		"503 twice":     {Times: 2, Status: 503},
		"429 once":      {Times: 1, Status: 429, Headers: map[string]string{"Retry-After": "0"}},
		"cut off once":  {Times: 1, Cut: true},
		"cut off later": {Times: 1, Cut: true, From: 30},
		"cut off in S3": {Times: 1, Cut: true, Path: "/lindenau-evidence"},
	} {
		t.Run(name, func(t *testing.T) {
			s := recorded(t)
			s.Inject(f)
			for kind, e := range collect(t, exampleConfig(s.URL()), deps()) {
				if e.Completeness.State != evidence.Complete {
					t.Errorf("%s: %+v", kind, e.Completeness)
				}
			}
		})
	}
}

func TestRetriesAreBoundedAndRecorded(t *testing.T) {
	s := recorded(t)
	s.Inject(httpreplay.Fault{Path: "/lindenau-evidence", Cut: true})
	d := deps()
	var waited []int
	d.Backoff = func(attempt int) time.Duration { waited = append(waited, attempt); return 0 }
	e := collect(t, exampleConfig(s.URL()), d)[KindBuckets]
	tries := 0
	for _, r := range e.Provenance.Requests {
		if r.Method == "GetBucketVersioning" && strings.HasSuffix(r.Target, "/lindenau-evidence") {
			tries++
			if !strings.Contains(r.Error, "cut off") || r.ReplySHA256 != "" {
				t.Errorf("a cut-off reply is recorded as %+v", r)
			}
		}
	}
	if tries != 3 || len(waited) != 12 || waited[0] != 2 || waited[1] != 3 {
		t.Errorf("%d tries, waits before attempts %v", tries, waited)
	}
	if len(e.Completeness.Gaps) != 6 || !strings.Contains(e.Completeness.Gaps[0].Reason, "cut off after") {
		t.Errorf("%+v", e.Completeness.Gaps)
	}
}

func TestWithoutAnyAnswer(t *testing.T) {
	c := exampleConfig("http://127.0.0.1:1")
	for kind, e := range collect(t, c, deps()) {
		if e.Completeness.State != evidence.Incomplete || len(e.Population.Items) > 1 || !strings.Contains(fmt.Sprint(e.Completeness.Gaps), "refused") {
			t.Errorf("%s: %+v", kind, e.Completeness)
		}
		if !strings.HasPrefix(e.Provenance.Principal, "unknown: ") {
			t.Errorf("%s: principal %q", kind, e.Provenance.Principal)
		}
	}
}

func TestIdentity(t *testing.T) {
	t.Run("denied", func(t *testing.T) {
		s := spoiled(t, form("GetCallerIdentity", "", ""), iamError(403, "InvalidClientTokenId"))
		for kind, e := range collect(t, exampleConfig(s.URL()), deps()) {
			if e.Completeness.State != evidence.Incomplete || !strings.Contains(e.Completeness.Gaps[0].What, "GetCallerIdentity") || len(e.Population.Items) == 0 {
				t.Errorf("%s: %d items, %+v", kind, len(e.Population.Items), e.Completeness)
			}
			if !strings.HasPrefix(e.Provenance.Principal, "unknown: HTTP 403 InvalidClientTokenId") {
				t.Errorf("principal %q", e.Provenance.Principal)
			}
		}
	})
	t.Run("of another account", func(t *testing.T) {
		s := recorded(t)
		c := exampleConfig(s.URL())
		c.Account = "999988887777"
		for kind, e := range collect(t, c, deps()) {
			if len(e.Completeness.Gaps) != 1 || !strings.Contains(e.Completeness.Gaps[0].Reason, "belongs to account 111122223333") || len(e.Population.Items) != 0 {
				t.Errorf("%s: %+v", kind, e.Completeness)
			}
		}
		if n := len(s.Requests()); n != 1 {
			t.Errorf("%d requests with a credential of another account", n)
		}
	})
	t.Run("none", func(t *testing.T) {
		s := recorded(t)
		d := deps()
		d.Getenv = nil
		for kind, e := range collect(t, exampleConfig(s.URL()), d) {
			if !strings.Contains(fmt.Sprint(e.Completeness.Gaps), "is empty") || e.Completeness.State != evidence.Incomplete {
				t.Errorf("%s: %+v", kind, e.Completeness)
			}
		}
		if len(s.Requests()) != 0 {
			t.Error("something was asked without a credential")
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	good := func() Config { return exampleConfig("http://127.0.0.1:1") }
	for want, change := range map[string]func(*Config){
		"twelve digits":     func(c *Config) { c.Account = "12" },
		"is none of aws":    func(c *Config) { c.Partition = "aws-gov" },
		"good for one part": func(c *Config) { c.Partition, c.Regions = "aws", []string{"us-gov-west-1"} },
		"us-gov-west-1 is in the partition aws-us-gov": func(c *Config) { c.Regions = []string{"eu-west-1", "us-gov-west-1"} },
		`"eu central"`:      func(c *Config) { c.Regions = []string{"eu central"} },
		"stands twice":      func(c *Config) { c.Regions = []string{"eu-west-1", "eu-west-1"} },
		"want an address":   func(c *Config) { c.Endpoint = "gateway" },
		"in the clear":      func(c *Config) { c.Endpoint = "http://gateway.example.com" },
		"carries a user":    func(c *Config) { c.Endpoint = "https://u:hunter2@gateway.example.com" },
		"go together":       func(c *Config) { c.Credentials.SecretAccessKeyEnv = "" },
		"session_token_env": func(c *Config) { c.Credentials = Credentials{SessionTokenEnv: "T"} },
		"attempts: want 1":  func(c *Config) { c.Attempts = 11 },
	} {
		c := good()
		change(&c)
		if _, err := New(c, Deps{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Error("the error prints the credential")
		}
	}
	if _, err := New(good(), Deps{}); err != nil {
		t.Error(err)
	}
}

// Whether the root user has a second factor is the summary's word, as the
// report may be four hours old; without the summary the report speaks.
func TestRootSecondFactor(t *testing.T) {
	off := httpreplay.Reply{Body: "<GetAccountSummaryResponse><GetAccountSummaryResult><SummaryMap><entry><key>Users</key><value>8</value></entry><entry><key>AccountMFAEnabled</key><value>0</value></entry></SummaryMap></GetAccountSummaryResult></GetAccountSummaryResponse>"}
	for want, reply := range map[bool]httpreplay.Reply{false: off, true: iamError(403, "AccessDenied")} {
		e := collect(t, exampleConfig(spoiled(t, form("GetAccountSummary", "", ""), reply).URL()), deps())[KindUsers]
		if got := find(t, e, "111122223333/root")["mfa"]; got != want {
			t.Errorf("mfa of root is %v, want %v", got, want)
		}
	}
}
