package httpreplay

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const exchanges = `
exchanges:
  - request: {path: /list, query: {per_page: "*"}}
    reply:
      headers: {Link: '<{{url}}/list?page=2>; rel="next"'}
      json: [{sha: '{{sha "first"}}', n: 1}]
  - request: {path: /list, query: {per_page: "*", page: "2"}}
    reply: {json: []}
  - request: {path: '/commits/{{sha "first"}}'}
    reply: {body_file: bodies/commit.json}
  - request: {method: POST, target: Logs.Describe, headers: {Authorization: "*/eu-central-1/logs/*"}, json: {nextToken: null}}
    reply: {json: {region: central, page: 1}}
  - request: {method: POST, target: Logs.Describe, headers: {Authorization: "*/eu-central-1/logs/*"}, json: {nextToken: t2, limit: 50}}
    reply: {json: {region: central, page: 2}}
  - request: {method: POST, form: {Action: ListUsers, Marker: ""}}
    reply: {headers: {Content-Type: text/xml}, body: "<Users/>"}
  - request: {path: /bucket, query: {versioning: ""}}
    reply: {status: 404, body: gone}
`

func start(t *testing.T, files fstest.MapFS) *Server {
	t.Helper()
	s, err := New(files, Values{"first": "abc123"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func folder() fstest.MapFS {
	return fstest.MapFS{
		"api.yaml":           {Data: []byte(exchanges)},
		"bodies/commit.json": {Data: []byte(`{"sha":"{{sha "first"}}"}`)},
	}
}

func ask(t *testing.T, method, url, body string, headers ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, resp.Header, "cut: " + err.Error()
	}
	return resp.StatusCode, resp.Header, string(b)
}

func TestReplies(t *testing.T) {
	s := start(t, folder())
	logs := []string{"X-Amz-Target", "Logs.Describe", "Authorization", "AWS4-HMAC-SHA256 Credential=A/2026/eu-central-1/logs/aws4_request"}
	for _, c := range []struct {
		method, path, body string
		headers            []string
		status             int
		want               string
	}{
		{"GET", "/list?per_page=100", "", nil, 200, `[{"n":1,"sha":"abc123"}]`},
		{"GET", "/list?page=2&per_page=100", "", nil, 200, `[]`},
		{"GET", "/commits/abc123", "", nil, 200, `{"sha":"abc123"}`},
		{"POST", "/", `{"limit":50}`, logs, 200, `{"page":1,"region":"central"}`},
		{"POST", "/", `{"limit":50,"nextToken":"t2"}`, logs, 200, `{"page":2,"region":"central"}`},
		{"POST", "/", "Action=ListUsers&Version=2010-05-08", nil, 200, "<Users/>"},
		{"GET", "/bucket?versioning", "", nil, 404, "gone"},
	} {
		status, header, body := ask(t, c.method, s.URL()+c.path, c.body, c.headers...)
		if status != c.status || body != c.want {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, status, body, c.status, c.want)
		}
		if header.Get(SampleHeader) != "recorded" {
			t.Errorf("%s %s: no %s header", c.method, c.path, SampleHeader)
		}
	}
	_, header, _ := ask(t, "GET", s.URL()+"/list", "")
	if want := "<" + s.URL() + `/list?page=2>; rel="next"`; header.Get("Link") != want {
		t.Errorf("Link = %s, want %s", header.Get("Link"), want)
	}
	if u := s.Unmatched(); len(u) != 0 {
		t.Errorf("unmatched: %v", u)
	}
	if n := len(s.Requests()); n != 8 {
		t.Errorf("%d requests seen, want 8", n)
	}
}

func TestWhatWasNotRecordedIsRemembered(t *testing.T) {
	s := start(t, folder())
	asked := []struct{ method, path, body, want string }{
		{"GET", "/other", "", "GET /other"},
		{"GET", "/list?page=3", "", "GET /list?page=3"},
		{"GET", "/bucket?versioning&policy", "", "GET /bucket?versioning&policy"},
		{"POST", "/", "Action=ListUsers&Marker=m", "POST / Action=ListUsers"},
	}
	var want []string
	for _, c := range asked {
		status, header, _ := ask(t, c.method, s.URL()+c.path, c.body)
		if status != http.StatusNotImplemented || header.Get(SampleHeader) != "recorded" {
			t.Errorf("%s: %d, want 501 with the sample header", c.path, status)
		}
		want = append(want, c.want)
	}
	if got := s.Unmatched(); !slices.Equal(got, want) {
		t.Errorf("Unmatched = %q, want %q", got, want)
	}
}

func TestFaults(t *testing.T) {
	s := start(t, folder())
	s.Inject(Fault{Path: "/list*", From: 2, Times: 1, Status: 429, Headers: map[string]string{"Retry-After": "3"}, Body: "slow down"})
	s.Inject(Fault{Path: "/commits/*", Cut: true})
	var statuses []int
	for range 3 {
		status, header, _ := ask(t, "GET", s.URL()+"/list", "")
		statuses = append(statuses, status)
		if status == 429 && header.Get("Retry-After") != "3" {
			t.Error("no Retry-After")
		}
	}
	if !slices.Equal(statuses, []int{200, 429, 200}) {
		t.Errorf("statuses %v, want the second to be 429", statuses)
	}
	if status, _, body := ask(t, "GET", s.URL()+"/commits/abc123", ""); status != 200 || !strings.HasPrefix(body, "cut: unexpected EOF") {
		t.Errorf("%d %q, want a body cut off", status, body)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"empty":         {"exchanges: []", "no exchange in the folder"},
		"unknown key":   {"exchanges:\n  - request: {pth: /x}", "pth"},
		"unknown label": {"exchanges:\n  - request: {path: /x}\n    reply: {body: '{{sha \"nope\"}}'}", `api.yaml: exchange 1: template: reply:1:2: executing "reply" at <sha "nope">: error calling sha: no value is known for label "nope"`},
		"twice":         {"exchanges:\n  - request: {path: /x}\n  - request: {method: GET, path: /x}", "api.yaml: exchange 2 asks for the same request as api.yaml: exchange 1"},
		"two bodies":    {"exchanges:\n  - request: {path: /x}\n    reply: {body: a, json: {}}", "more than one of body"},
		"no body file":  {"exchanges:\n  - request: {path: /x}\n    reply: {body_file: gone}", "api.yaml: exchange 1: open gone"},
	} {
		_, err := New(fstest.MapFS{"api.yaml": {Data: []byte(c.file)}}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, c.want)
		}
	}
}
