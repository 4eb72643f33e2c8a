package aws

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"trustpack/evidence"
	"trustpack/internal/httpreplay"
)

// operationOf names the API call of a request that reached the test's account.
func operationOf(r *http.Request, body []byte) string {
	if _, op, ok := strings.Cut(r.Header.Get("X-Amz-Target"), "."); ok {
		return op
	}
	if r.URL.Path == "/listRegions" {
		return "ListRegions"
	}
	if form, err := url.ParseQuery(string(body)); err == nil && form.Get("Action") != "" {
		return form.Get("Action")
	}
	for sub := range r.URL.Query() {
		if sub != "x-id" && r.URL.Path != "/" {
			return "S3 " + sub
		}
	}
	return "S3 ListBuckets"
}

// spoiling answers every request of one operation in another way, and all
// others as recorded.
type spoiling struct {
	account *httpreplay.Server
	is      string // the operation; empty: none
	answer  func(http.ResponseWriter, *http.Request)
	asked   map[string]int
	roles   bool // the account is read as a role, and by no other credential
}

func (s *spoiling) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	op := operationOf(r, body)
	s.asked[op]++
	if op == s.is {
		s.answer(w, r)
		return
	}
	if s.roles {
		asRole(s.account).ServeHTTP(w, r)
		return
	}
	s.account.ServeHTTP(w, r)
}

func (s *spoiling) collect(t *testing.T) map[evidence.Kind]evidence.Evidence {
	t.Helper()
	server := httptest.NewServer(s)
	defer server.Close()
	s.asked = map[string]int{}
	c := exampleConfig(server.URL)
	c.Attempts = 1
	if s.roles {
		c.Account, c.Accounts = "", []Account{anotherAccount()}
	}
	return collect(t, c, deps())
}

// says answers with a status and with words that hold all that is secret.
func says(status int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		reply := s3Error(status, "Spoiled")
		switch {
		case r.Header.Get("X-Amz-Target") != "" || r.URL.Path == "/listRegions":
			reply = jsonError(status, "Spoiled")
		case r.Method == http.MethodPost:
			reply = iamError(status, "Spoiled")
		}
		w.Header().Set("Content-Type", reply.Headers["Content-Type"])
		w.WriteHeader(status)
		_, _ = io.WriteString(w, reply.Body)
	}
}

// Whatever call fails, in whatever way: the kinds that need it say so, no
// other does, no value that was not read is there, and nothing secret is told.
func TestEveryCallInEveryWay(t *testing.T) {
	account, err := httpreplay.New(os.DirFS("../../examples/metering/aws"), nil)
	if err != nil {
		t.Fatal(err)
	}
	server := &spoiling{account: account}
	whole := server.collect(t)
	operations := slices.Collect(maps.Keys(server.asked))
	server.roles = true
	wholeAsRole := server.collect(t)
	for op := range server.asked {
		if !slices.Contains(operations, op) {
			operations = append(operations, op)
		}
	}
	if len(operations) < 20 {
		t.Fatalf("only %d operations are called: %v", len(operations), operations)
	}
	slices.Sort(operations)
	ways := map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		want   string
	}{
		"401": {says(401), "HTTP 401"}, "403": {says(403), "HTTP 403"}, "404": {says(404), "HTTP 404"}, "429": {says(429), "HTTP 429"}, "500": {says(500), "HTTP 500"},
		"cut off": {func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			account.ServeHTTP(rec, r)
			w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()+1))
			_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		}, "cut off"},
		"a page for people": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<html><body>sign in first</body></html>")
		}, "not what the API describes"},
		"nothing": {func(http.ResponseWriter, *http.Request) {}, "not what the API describes"},
		"an empty object": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "{}")
		}, "not what the API describes"},
		"an object of nulls": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"logGroups":null,"trailList":null,"IsLogging":null,"Regions":null}`)
		}, "not what the API describes"},
	}
	for _, op := range operations {
		for way, c := range ways {
			whole := whole
			if server.roles = op == "AssumeRole"; server.roles {
				whole = wholeAsRole
			}
			server.is, server.answer = op, c.answer
			got := server.collect(t)
			incomplete := 0
			for kind, e := range got {
				if e.Completeness.State == evidence.Incomplete {
					incomplete++
					said := fmt.Sprint(e.Completeness.Gaps)
					if op == "S3 policy" { // which is itself the reply
						said = strings.ReplaceAll(said, "reading a policy", "not what the API describes")
					}
					if !strings.Contains(said, c.want) {
						t.Errorf("%s of %s: %s has the gaps %s, want one that says %q", way, op, kind, said, c.want)
					}
				}
				for _, it := range e.Population.Items {
					same(t, way+" of "+op+": "+it.ID, it.Attributes, find(t, whole[kind], it.ID))
				}
			}
			want := map[string]int{"GetCallerIdentity": 4, "AssumeRole": 4, "ListRegions": 2}[op]
			if incomplete != max(want, 1) {
				t.Errorf("%s of %s: %d kinds are incomplete, want %d", way, op, incomplete, max(want, 1))
			}
		}
	}
}

// same holds that what was read says of each thing what it says where all
// calls are answered, or does not say it.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	switch got := got.(type) {
	case map[string]any:
		for k, v := range got {
			same(t, what+"."+k, v, want.(map[string]any)[k])
		}
	case []any:
		all, is := want.([]any)
		if !is || len(all) != len(got) {
			t.Errorf("%s is %v, and %v where all is answered", what, got, want)
			return
		}
		for i, v := range got {
			same(t, what, v, all[i])
		}
	default:
		if got != want {
			t.Errorf("%s is %v, and %v where all is answered", what, got, want)
		}
	}
}

// What a user may do is not known where a policy of theirs could not be read.
func TestAPolicyThatCannotBeRead(t *testing.T) {
	const user = "111122223333/carla.ruiz"
	for name, edit := range map[string][2]string{
		"no document": {"%7B%22Version", "%7C%22Version"},
		"not listed":  {"111122223333:policy/gridpulse-operations</Arn>", "111122223333:policy/another</Arn>"},
	} {
		exchanges, err := httpreplay.Load(os.DirFS("../../examples/metering/aws"))
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range exchanges {
			if form("GetAccountAuthorizationDetails", "", "")(e.Request) {
				exchanges[i].Reply.Body = strings.ReplaceAll(e.Reply.Body, edit[0], edit[1])
			}
		}
		account, err := httpreplay.Of(exchanges, nil)
		if err != nil {
			t.Fatal(err)
		}
		e := collect(t, exampleConfig(started(t, account).URL()), deps())[KindUsers]
		if admin, known := find(t, e, user)["admin"]; known || e.Completeness.State != evidence.Incomplete {
			t.Errorf("%s: admin is %v, %+v", name, admin, e.Completeness)
		}
	}
}

// A rule that deletes on a date, whatever the age, keeps nothing for any time.
func TestALifecycleWithADate(t *testing.T) {
	rule := "<LifecycleConfiguration><Rule><ID>x</ID><Filter/><Status>%s</Status><Expiration>%s</Expiration></Rule></LifecycleConfiguration>"
	for _, c := range []struct {
		status, expiration string
		want               any
	}{
		{"Enabled", "<Date>2027-01-01T00:00:00.000Z</Date>", 0},
		{"Disabled", "<Date>2027-01-01T00:00:00.000Z</Date>", nil},
		{"Enabled", "<Days>400</Days>", 400},
		{"Enabled", "<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>", nil},
	} {
		s := spoiled(t, path("/lindenau-cloudtrail", "lifecycle"), httpreplay.Reply{Body: fmt.Sprintf(rule, c.status, c.expiration)})
		e := collect(t, exampleConfig(s.URL()), deps())[KindBuckets]
		if got := find(t, e, "111122223333/lindenau-cloudtrail")["min_expire_days"]; got != c.want || e.Completeness.State != evidence.Complete {
			t.Errorf("%s %s: %v, want %v", c.status, c.expiration, got, c.want)
		}
	}
}

// A report that does not say whether the root user has a key does not say that
// there is none.
func TestRootKeysThatAreNotTold(t *testing.T) {
	for _, active := range []string{"", "TRUE", "N/A"} {
		a := map[string]any{}
		err := (&session{at: collectedAt}).fillRoot(a, map[string]string{"access_key_1_active": active, "access_key_2_active": "false"})
		if _, known := a["keys"]; err == nil || known {
			t.Errorf("%q: %v, %v", active, a["keys"], err)
		}
	}
}
