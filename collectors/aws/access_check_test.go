package aws

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// The documented table is the one that is asked for.
func TestPermissionTableIsDocumented(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.ReplaceAll(string(readme), "\r\n", "\n"), PermissionTable()) {
		t.Errorf("README.md does not hold this table:\n%s", PermissionTable())
	}
}

// actionOf is the action of IAM that allows an operation of the test's account.
func actionOf(op string) string {
	if action, of := map[string]string{
		"AssumeRole": "sts:AssumeRole", "GetCallerIdentity": "sts:GetCallerIdentity", "ListRegions": "account:ListRegions", "DescribeLogGroups": "logs:DescribeLogGroups",
		"DescribeTrails": "cloudtrail:DescribeTrails", "GetTrailStatus": "cloudtrail:GetTrailStatus",
		"S3 ListBuckets": "s3:ListAllMyBuckets", "S3 location": "s3:GetBucketLocation", "S3 lifecycle": "s3:GetLifecycleConfiguration",
		"S3 versioning": "s3:GetBucketVersioning", "S3 object-lock": "s3:GetBucketObjectLockConfiguration",
		"S3 encryption": "s3:GetEncryptionConfiguration", "S3 publicAccessBlock": "s3:GetBucketPublicAccessBlock", "S3 policy": "s3:GetBucketPolicy",
	}[op]; of {
		return action
	}
	return "iam:" + op
}

// estate is the example account, read with its own credential and as a role of
// a second one, with calls that are answered in another way.
type estate struct {
	account http.Handler
	other   func(w http.ResponseWriter, r *http.Request, action, body string) bool // true: it answered
	asked   map[string]int                                                         // by action; of the first account and of the second
	role    map[string]int
}

func newEstate(t *testing.T) *estate {
	return &estate{account: asRole(example(t))}
}

func (e *estate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	action := actionOf(operationOf(r, body))
	if isRole(r) {
		e.role[action]++
	} else {
		e.asked[action]++
	}
	if e.other != nil && e.other(w, r, action, string(body)) {
		return
	}
	form, _ := url.ParseQuery(string(body))
	switch {
	case action == "s3:GetBucketLocation":
		_, _ = io.WriteString(w, "<LocationConstraint>eu-west-1</LocationConstraint>")
	case form.Get("MaxItems") != "" || strings.Contains(string(body), `"limit":1`) || r.URL.Query().Get("max-buckets") == "1":
		e.onePage(w, r, form, action)
	default:
		e.account.ServeHTTP(w, r)
	}
}

// onePage asks the example account without the bound of the page, which it was
// not recorded with.
func (e *estate) onePage(w http.ResponseWriter, r *http.Request, form url.Values, action string) {
	switch action {
	case "logs:DescribeLogGroups":
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_, _ = io.WriteString(w, `{"logGroups":[]}`)
		return
	case "iam:ListUsers": // one without a key and one with
		_, _ = io.WriteString(w, "<ListUsersResponse><ListUsersResult><Users><member><UserName>anna.berg</UserName></member><member><UserName>svc-evidence-collector</UserName></member></Users><IsTruncated>true</IsTruncated><Marker>m</Marker></ListUsersResult></ListUsersResponse>")
		return
	case "s3:ListAllMyBuckets":
	default:
		form.Del("MaxItems")
		r.Body = io.NopCloser(strings.NewReader(form.Encode()))
	}
	e.account.ServeHTTP(w, r)
}

func isRole(r *http.Request) bool { return strings.Contains(r.Header.Get("Authorization"), roleKeyID) }

// denied refuses as each service refuses, in words that hold all that is secret.
func denied(w http.ResponseWriter, r *http.Request) {
	refusedWith(w, r, http.StatusForbidden, "AccessDenied")
}

func refusedWith(w http.ResponseWriter, r *http.Request, status int, code string) {
	reply := s3Error(status, code)
	switch {
	case r.Header.Get("X-Amz-Target") != "":
		if code == "AccessDenied" { // JSON services say so with 400
			status, code = http.StatusBadRequest, "AccessDeniedException"
		}
		reply = jsonError(status, code)
	case r.URL.Path == "/listRegions":
		reply = jsonError(status, code)
	case r.Method == http.MethodPost:
		reply = iamError(status, code)
	}
	for k, v := range reply.Headers {
		w.Header().Set(k, v)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, reply.Body)
}

// check asks what may be read of both accounts.
func (e *estate) check(t *testing.T) []evidence.AccessCheck {
	t.Helper()
	return e.checkWith(t, func(*Config, *Deps) {})
}

func (e *estate) checkWith(t *testing.T, edit func(*Config, *Deps)) []evidence.AccessCheck {
	t.Helper()
	server := httptest.NewServer(e)
	defer server.Close()
	e.asked, e.role = map[string]int{}, map[string]int{}
	c, d := twoAccounts(server.URL)
	c.Accounts[0].Regions = []string{"eu-central-1"}
	edit(&c, &d)
	return checkAccess(t, c, d)
}

func checkAccess(t *testing.T, c Config, d Deps) []evidence.AccessCheck {
	t.Helper()
	d.Backoff = func(int) time.Duration { t.Error("something is tried again"); return 0 }
	col, err := New(c, d)
	if err != nil {
		t.Fatal(err)
	}
	asks, can := col.(evidence.AccessChecker)
	if !can {
		t.Fatal("it cannot be asked")
	}
	got, err := asks.CheckAccess(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for _, check := range got {
		row := check.Target + " " + check.Permission
		if rows[row] || check.Source != "aws" || check.Principal == "" || len(check.Kinds) == 0 || (check.State == evidence.AccessGranted) != (check.Said == "") {
			t.Errorf("%+v", check)
		}
		rows[row] = true
		for _, s := range []string{secret, token, keyID, roleSecret, roleToken, roleKeyID, externalID, "FwoG", "wJalr"} {
			if strings.Contains(fmt.Sprint(check), s) {
				t.Errorf("%q is told: %+v", s, check)
			}
		}
	}
	for _, a := range c.all() { // each permission is spoken of in each account
		for _, p := range Permissions() {
			if found := slices.ContainsFunc(got, func(check evidence.AccessCheck) bool {
				return check.Permission == p.Name && strings.HasPrefix(check.Target, a.Account)
			}); found != (p.of != perRole || a.RoleARN != "") {
				t.Errorf("account %s: of %s something is said: %v", a.Account, p.Name, found)
			}
		}
	}
	return got
}

// notGranted is what is said of each permission that is not granted, by state
// and then by account.
func notGranted(got []evidence.AccessCheck) map[evidence.AccessState]map[string][]string {
	out := map[evidence.AccessState]map[string][]string{}
	for _, c := range got {
		if c.State != evidence.AccessGranted {
			if out[c.State] == nil {
				out[c.State] = map[string][]string{}
			}
			number, _, _ := strings.Cut(c.Target, " ")
			if !slices.Contains(out[c.State][number], c.Permission) {
				out[c.State][number] = append(out[c.State][number], c.Permission)
			}
		}
	}
	return out
}

// What collecting asks the check asks too, in the same regions, and nothing
// else; and where all is granted it says so.
func TestCheckAccessAllGranted(t *testing.T) {
	e := newEstate(t)
	got := e.check(t)
	if not := notGranted(got); len(not) > 0 {
		t.Errorf("not granted: %v", not)
	}
	for _, c := range got {
		want := "arn:aws:iam::111122223333:user/svc-evidence-collector"
		if strings.HasPrefix(c.Target, another) && c.Permission != "sts:AssumeRole" {
			want = "arn:aws:sts::444455556666:assumed-role/evidence-reader/trustpack"
		}
		if c.Principal != want {
			t.Errorf("%s of %s was asked by %s", c.Permission, c.Target, c.Principal)
		}
	}
	asked, asRole := e.asked, e.role
	if asked["logs:DescribeLogGroups"] != 17 || asked["cloudtrail:DescribeTrails"] != 17 || asRole["logs:DescribeLogGroups"] != 1 {
		t.Errorf("regions asked: %v, %v", asked, asRole)
	}
	for action, n := range asked { // once each, but for regions and users without a key
		if n > 1 && !slices.Contains([]string{"logs:DescribeLogGroups", "cloudtrail:DescribeTrails", "iam:ListAccessKeys"}, action) {
			t.Errorf("%s was asked %d times", action, n)
		}
	}
	collecting := newEstate(t)
	server := httptest.NewServer(collecting)
	defer server.Close()
	collecting.asked, collecting.role = map[string]int{}, map[string]int{}
	c, d := twoAccounts(server.URL)
	collectAll(t, c, d)
	needs := slices.Sorted(maps.Keys(collecting.asked))
	needs = slices.Sorted(slices.Values(append(needs, "s3:GetBucketLocation"))) // the list named all regions
	if all := slices.Sorted(maps.Keys(asked)); !slices.Equal(all, needs) {
		t.Errorf("checked are\n%v, collecting asks\n%v", all, needs)
	}
}

// What lacks is named, and nothing else is called lacking.
func TestCheckAccessEachDeniedAlone(t *testing.T) {
	ofBuckets := []string{"s3:GetBucketLocation", "s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration", "s3:GetEncryptionConfiguration", "s3:GetBucketPublicAccessBlock", "s3:GetBucketPolicy", "s3:GetLifecycleConfiguration"}
	follows := map[string][]string{ // what cannot be asked without it
		"account:ListRegions":       {"logs:DescribeLogGroups", "cloudtrail:DescribeTrails", "cloudtrail:GetTrailStatus"},
		"cloudtrail:DescribeTrails": {"cloudtrail:GetTrailStatus"},
		"s3:ListAllMyBuckets":       ofBuckets,
		"iam:ListUsers":             {"iam:GetLoginProfile", "iam:ListMFADevices", "iam:ListAccessKeys", "iam:GetAccessKeyLastUsed"},
		"iam:ListAccessKeys":        {"iam:GetAccessKeyLastUsed"},
	}
	for _, p := range Permissions() {
		if p.of == perRole {
			continue // TestCheckAccessOfAnAccount
		}
		e := newEstate(t)
		e.other = func(w http.ResponseWriter, r *http.Request, action, _ string) bool {
			if action == p.Name && !isRole(r) {
				denied(w, r)
				return true
			}
			return false
		}
		got := e.check(t)
		not := notGranted(got)
		if lacking := not[evidence.AccessLacking]; len(lacking) != 1 || !slices.Equal(lacking["111122223333"], []string{p.Name}) {
			t.Errorf("%s denied: lacking are %v", p.Name, lacking)
		}
		if unknown := not[evidence.AccessUnknown]; !slices.Equal(unknown["111122223333"], follows[p.Name]) || len(unknown[another]) > 0 {
			t.Errorf("%s denied: unknown are %v", p.Name, unknown)
		}
		for _, c := range got {
			if c.State == evidence.AccessUnknown && c.Said != "not asked: what to ask about could not be found out, see above" {
				t.Errorf("%s denied: %+v", p.Name, c)
			}
			if c.State == evidence.AccessLacking && (!strings.Contains(c.Said, "AccessDenied") || !slices.Equal(c.Kinds, p.Kinds)) {
				t.Errorf("%+v", c)
			}
		}
	}
}

// A service control policy may deny one region alone, and a bucket's own
// policy one bucket.
func TestCheckAccessOneRegionDenied(t *testing.T) {
	e := newEstate(t)
	e.other = func(w http.ResponseWriter, r *http.Request, action, _ string) bool {
		if action == "logs:DescribeLogGroups" && strings.Contains(r.Header.Get("Authorization"), "/sa-east-1/") {
			denied(w, r)
			return true
		}
		return false
	}
	for _, c := range e.check(t) {
		if at := c.Target + " " + c.Permission; (c.State == evidence.AccessLacking) != (at == "111122223333 sa-east-1 logs:DescribeLogGroups") {
			t.Errorf("%+v", c)
		}
	}
}

// What AWS answers, but for a permission, tells nothing of the permission.
func TestCheckAccessAnswers(t *testing.T) {
	const lifecycle, report, regions = "s3:GetLifecycleConfiguration", "iam:GetCredentialReport", "logs:DescribeLogGroups"
	with := func(status int, code string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { refusedWith(w, r, status, code) }
	}
	page := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); _, _ = io.WriteString(w, body) }
	}
	for name, c := range map[string]struct {
		action string
		answer http.HandlerFunc
		want   evidence.AccessState
		said   string
	}{
		"no lifecycle":   {lifecycle, with(404, "NoSuchLifecycleConfiguration"), evidence.AccessGranted, ""},
		"no Object Lock": {"s3:GetBucketObjectLockConfiguration", with(404, "ObjectLockConfigurationNotFoundError"), evidence.AccessGranted, ""},
		"no encryption":  {"s3:GetEncryptionConfiguration", with(404, "ServerSideEncryptionConfigurationNotFoundError"), evidence.AccessGranted, ""},
		"no block":       {"s3:GetBucketPublicAccessBlock", with(404, "NoSuchPublicAccessBlockConfiguration"), evidence.AccessGranted, ""},
		"no policy":      {"s3:GetBucketPolicy", with(404, "NoSuchBucketPolicy"), evidence.AccessGranted, ""},
		"bucket gone":    {lifecycle, with(404, "NoSuchBucket"), evidence.AccessUnknown, "HTTP 404 NoSuchBucket"},
		"slow down":      {lifecycle, with(503, "SlowDown"), evidence.AccessUnknown, "HTTP 503 SlowDown"},
		"clock wrong":    {lifecycle, with(403, "RequestTimeTooSkewed"), evidence.AccessUnknown, "RequestTimeTooSkewed"},
		"clock slow": {report, page(403, "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>Signature expired: 20261001T060000Z is now earlier than 20261001T061500Z</Message></Error></ErrorResponse>"),
			evidence.AccessUnknown, "Signature expired"},
		"clock fast": {report, page(403, "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>Signature not yet current: 20261001T060000Z is still later than 20261001T054500Z</Message></Error></ErrorResponse>"),
			evidence.AccessUnknown, "Signature not yet current"},
		"refused by another": {lifecycle, page(403, ""), evidence.AccessUnknown, "HTTP 403"},
		"a page for people":  {lifecycle, page(200, "<html/>"), evidence.AccessUnknown, "not what the API describes"},
		"key wrong":          {lifecycle, with(403, "SignatureDoesNotMatch"), evidence.AccessLacking, "HTTP 403 SignatureDoesNotMatch"},
		"no report yet":      {report, with(404, "ReportNotPresent"), evidence.AccessGranted, ""},
		"report too old":     {report, with(410, "ReportExpired"), evidence.AccessGranted, ""},
		"report in making":   {report, with(404, "ReportInProgress"), evidence.AccessGranted, ""},
		"throttled":          {report, with(400, "Throttling"), evidence.AccessUnknown, "HTTP 400 Throttling"},
		"broken":             {report, with(500, "InternalFailure"), evidence.AccessUnknown, "HTTP 500"},
		"refused, busy":      {report, with(403, "RequestLimitExceeded"), evidence.AccessUnknown, "HTTP 403 RequestLimitExceeded"},
		"no password":        {"iam:GetLoginProfile", with(404, "NoSuchEntity"), evidence.AccessGranted, ""},
		"user gone":          {"iam:ListMFADevices", with(404, "NoSuchEntity"), evidence.AccessUnknown, "HTTP 404 NoSuchEntity"},
		"token expired":      {regions, with(400, "ExpiredTokenException"), evidence.AccessLacking, "HTTP 400 ExpiredTokenException"},
		"region not on":      {regions, with(400, "UnrecognizedClientException"), evidence.AccessLacking, "UnrecognizedClientException"},
		"busy":               {regions, with(429, "ThrottlingException"), evidence.AccessUnknown, "HTTP 429"},
	} {
		e := newEstate(t)
		e.other = func(w http.ResponseWriter, r *http.Request, action, _ string) bool {
			if action == c.action {
				c.answer(w, r)
			}
			return action == c.action
		}
		seen := 0
		for _, check := range e.check(t) {
			if check.Permission == c.action {
				seen++
				if check.State != c.want || !strings.Contains(check.Said, c.said) {
					t.Errorf("%s: %+v", name, check)
				}
			} else if check.State != evidence.AccessGranted {
				t.Errorf("%s: %+v", name, check)
			}
		}
		if seen < 2 {
			t.Errorf("%s: %d checks of %s", name, seen, c.action)
		}
	}
}

// Where there is nothing to ask about, nothing is called granted.
func TestCheckAccessOfNothing(t *testing.T) {
	empty := map[string]string{
		"cloudtrail:DescribeTrails": `{"trailList":[]}`,
		"s3:ListAllMyBuckets":       "<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>",
		"iam:ListUsers":             "<ListUsersResponse><ListUsersResult><Users/><IsTruncated>false</IsTruncated></ListUsersResult></ListUsersResponse>",
		"iam:ListAccessKeys":        "<ListAccessKeysResponse><ListAccessKeysResult><AccessKeyMetadata/><IsTruncated>false</IsTruncated></ListAccessKeysResult></ListAccessKeysResponse>",
	}
	for action, c := range map[string]struct {
		said string
		rows int // of both accounts
	}{
		"cloudtrail:DescribeTrails": {"not asked: no region that may be asked has a trail", 2},
		"s3:ListAllMyBuckets":       {"not asked: the account has no bucket", 14},
		"iam:ListUsers":             {"not asked: the account has no IAM user", 8},
		"iam:ListAccessKeys":        {"not asked: none of the first 2 users has an access key", 2},
	} {
		e := newEstate(t)
		e.other = func(w http.ResponseWriter, _ *http.Request, asked, _ string) bool {
			if asked == action {
				_, _ = io.WriteString(w, empty[action])
			}
			return asked == action
		}
		rows := 0
		for _, check := range e.check(t) {
			if check.State != evidence.AccessGranted {
				rows++
				if check.State != evidence.AccessUnknown || check.Said != c.said {
					t.Errorf("%s: %+v", action, check)
				}
			}
		}
		if rows != c.rows {
			t.Errorf("%s: %d rows are unknown, want %d", action, rows, c.rows)
		}
	}
}

// The region of a bucket may be told by the list or by GetBucketLocation; where
// neither does nothing else is asked of it.
func TestCheckAccessRegionOfABucket(t *testing.T) {
	for _, refused := range []bool{false, true} {
		e, at := newEstate(t), ""
		e.other = func(w http.ResponseWriter, r *http.Request, action, _ string) bool {
			switch {
			case action == "s3:ListAllMyBuckets":
				_, _ = io.WriteString(w, "<ListAllMyBucketsResult><Buckets><Bucket><Name>lindenau-evidence</Name></Bucket></Buckets></ListAllMyBucketsResult>")
			case action == "s3:GetBucketLocation" && refused:
				denied(w, r)
			case action == "s3:GetBucketVersioning":
				at = r.Header.Get("Authorization")
				return false
			default:
				return false
			}
			return true
		}
		got := e.check(t)
		for _, check := range got {
			if check.State == evidence.AccessUnknown && check.Said != "not asked: the bucket's region is not known" {
				t.Errorf("%+v", check)
			}
		}
		not := notGranted(got)
		if !refused && (len(not) > 0 || !strings.Contains(at, "/eu-west-1/")) {
			t.Errorf("asked by %q; %v", at, not)
		}
		if refused && (len(not[evidence.AccessLacking]["111122223333"]) != 1 || len(not[evidence.AccessUnknown]["111122223333"]) != 6 || at != "") {
			t.Errorf("refused: asked by %q; %v", at, not)
		}
	}
}

// Under a credential or a role that is refused, unknown or of another account
// nothing is asked, and the other account is checked as ever.
func TestCheckAccessOfAnAccount(t *testing.T) {
	const own = "111122223333"
	granted, lacking, unknown := evidence.AccessGranted, evidence.AccessLacking, evidence.AccessUnknown
	is := func(number string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::%s:user/x</Arn><Account>%s</Account></GetCallerIdentityResult></GetCallerIdentityResponse>", number, number)
		}
	}
	with := func(status int, code string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) { refusedWith(w, r, status, code) }
	}
	for name, c := range map[string]struct {
		action     string // of STS, answered otherwise
		answer     func(http.ResponseWriter, *http.Request)
		of         string // the account
		role, rest evidence.AccessState
		said       string
	}{
		"role refused":             {"sts:AssumeRole", denied, another, lacking, unknown, "assuming the role arn:aws:iam::444455556666:role/audit/evidence-reader: HTTP 403 AccessDenied"},
		"role busy":                {"sts:AssumeRole", with(400, "Throttling"), another, unknown, unknown, "HTTP 400 Throttling"},
		"role of a third account":  {"sts:GetCallerIdentity", is("777788889999"), another, lacking, lacking, "the credential belongs to account 777788889999"},
		"whose role is not told":   {"sts:GetCallerIdentity", with(500, "InternalFailure"), another, granted, unknown, "whose the role's credential is is not known"},
		"credential of another":    {"sts:GetCallerIdentity", is("777788889999"), own, "", lacking, "the credential belongs to account 777788889999"},
		"credential refused":       {"sts:GetCallerIdentity", with(403, "InvalidClientTokenId"), own, "", lacking, "HTTP 403 InvalidClientTokenId"},
		"STS denied on the way":    {"sts:GetCallerIdentity", denied, own, "", unknown, "whose the credential is is not known: HTTP 403 AccessDenied"},
		"whose it is is not known": {"sts:GetCallerIdentity", with(503, "ServiceUnavailable"), own, "", unknown, "whose the credential is is not known: HTTP 503"},
	} {
		e := newEstate(t)
		e.other = func(w http.ResponseWriter, r *http.Request, action, _ string) bool {
			if action != c.action || isRole(r) != (c.of == another && action != "sts:AssumeRole") {
				return false
			}
			c.answer(w, r)
			return true
		}
		for _, check := range e.check(t) {
			want, said := c.rest, c.said
			switch {
			case !strings.HasPrefix(check.Target, c.of):
				want, said = granted, ""
			case check.Permission == "sts:AssumeRole":
				want = c.role
			}
			if want == granted {
				said = ""
			}
			if check.State != want || !strings.Contains(check.Said, said) {
				t.Errorf("%s: %+v", name, check)
			}
		}
		asked := e.asked
		if c.of == another {
			asked = e.role
		}
		for action := range asked {
			if !strings.HasPrefix(action, "sts:") {
				t.Errorf("%s: %s was asked", name, action)
			}
		}
	}
}

// Without a credential, or what the role's trust policy asks for, nothing is
// asked; a credential that only assumes roles says who it is.
func TestCheckAccessWithoutACredential(t *testing.T) {
	e := newEstate(t)
	for _, c := range e.checkWith(t, func(_ *Config, d *Deps) { d.Getenv = otherwise(d.Getenv, "SECRET", "") }) {
		if c.State != evidence.AccessLacking || !strings.Contains(c.Said, "the environment variable SECRET is empty") {
			t.Errorf("%+v", c)
		}
	}
	if len(e.asked)+len(e.role) > 0 {
		t.Errorf("asked were %v, %v", e.asked, e.role)
	}
	for _, c := range e.checkWith(t, func(c *Config, d *Deps) { c.Account, d.Getenv = "", otherwise(d.Getenv, "EXTERNAL_ID", "") }) {
		want := evidence.AccessUnknown
		if c.Permission == "sts:AssumeRole" {
			want = evidence.AccessLacking
			if c.Principal != "arn:aws:iam::111122223333:user/svc-evidence-collector" {
				t.Errorf("the role is assumed by %s", c.Principal)
			}
		}
		if c.State != want || !strings.Contains(c.Said, "EXTERNAL_ID is empty") {
			t.Errorf("%+v", c)
		}
	}
}

// A credential that does not come in time is not called lacking.
func TestCheckAccessWaitsForNoCredential(t *testing.T) {
	defaultChain(t)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	defer server.CloseClientConnections()
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.URL)
	c, d := twoAccounts("http://127.0.0.1:1")
	c.Credentials = Credentials{}
	col, err := New(c, d)
	if err != nil {
		t.Fatal(err)
	}
	got, err := col.(*collector).checkAccess(t.Context(), 20*time.Millisecond)
	if err != nil || len(got) != 2*len(Permissions())-1 {
		t.Fatalf("%d checks: %v", len(got), err)
	}
	for _, check := range got {
		if check.State != evidence.AccessUnknown || !strings.Contains(check.Said, "no credential: ") {
			t.Errorf("%+v", check)
		}
	}
}

// Where nobody answers nothing is tried again, and after a few silent addresses
// nothing more is asked of any.
func TestCheckAccessWaitsForNothing(t *testing.T) {
	c, d := twoAccounts("")
	tried := map[string]int{}
	d.Transport = transport(func(r *http.Request) (*http.Response, error) {
		tried[r.URL.Host]++
		<-r.Context().Done() // whoever waits gives up
		return nil, r.Context().Err()
	})
	col, err := New(c, d)
	if err != nil {
		t.Fatal(err)
	}
	got, err := col.(*collector).checkAccess(t.Context(), time.Second)
	if err != nil || len(got) != 2*len(Permissions())-1 || len(tried) != 1 || tried["sts.us-east-1.amazonaws.com"] != 1 {
		t.Errorf("%d checks, tried were %v: %v", len(got), tried, err)
	}
	for _, check := range got {
		if check.State != evidence.AccessUnknown {
			t.Errorf("%+v", check)
		}
	}
	// STS answers, and no other.
	clear(tried)
	sts := http.Handler(asRole(example(t)))
	d.Transport = transport(func(r *http.Request) (*http.Response, error) {
		if strings.HasPrefix(r.URL.Host, "sts.") {
			w := httptest.NewRecorder()
			sts.ServeHTTP(w, r)
			return w.Result(), nil
		}
		tried[r.URL.Host]++
		return nil, errors.New("connection refused")
	})
	c.Regions = []string{"eu-central-1", "eu-west-1", "eu-north-1"}
	silent := 0
	for _, check := range checkAccess(t, c, d) {
		if check.Permission != "sts:AssumeRole" && check.State != evidence.AccessUnknown {
			t.Errorf("%+v", check)
		}
		if strings.Contains(check.Said, "addresses gave no answer before") {
			silent++
		}
	}
	if len(tried) != mostSilent || silent == 0 {
		t.Errorf("tried were %v, %d checks were left", tried, silent)
	}
	for host, n := range tried {
		if n != 1 {
			t.Errorf("%s was tried %d times", host, n)
		}
	}
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
