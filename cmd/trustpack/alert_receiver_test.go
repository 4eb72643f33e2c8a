package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// hookSecret and issueToken are what a receiver of alerts and the fake of
// GitHub share with the ingest.
const (
	hookSecret = "fMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw3kC8yqgeN0="
	issueToken = "ghp_Zk3sT9aQm1LdYx7WvB2nR5cJ8hGpUe0fKoi4"
)

// told is one request of a webhook, as it came.
type told struct {
	id, stamp, signatures string
	body                  []byte
	at                    time.Time
	message               struct {
		Type string
		Data struct {
			ID, Kind, Ticket, Text, Log string
			Index                       int64
		}
	}
}

func (m told) event() string { return strings.TrimPrefix(m.message.Type, "alert.") }

// alertReceiver receives webhooks at an address of its own, where at first
// nobody listens.
type alertReceiver struct {
	t    *testing.T
	addr string

	mu     sync.Mutex
	got    []told
	answer func(w http.ResponseWriter, r *http.Request, m told) // nil: 204
}

func newAlertReceiver(t *testing.T) *alertReceiver {
	return &alertReceiver{t: t, addr: quietPort(t)}
}

// open begins to listen, without TLS.
func (v *alertReceiver) open() { v.openTLS(nil) }

// answers says how requests are answered from now on.
func (v *alertReceiver) answers(how func(http.ResponseWriter, *http.Request, told)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.answer = how
}

func (v *alertReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // killed while it told
	}
	m := told{id: r.Header.Get("webhook-id"), stamp: r.Header.Get("webhook-timestamp"), signatures: r.Header.Get("webhook-signature"), body: body, at: time.Now()}
	if err := json.Unmarshal(body, &m.message); err != nil {
		v.t.Errorf("a webhook's body: %v", err)
	}
	v.mu.Lock()
	v.got = append(v.got, m)
	answer := v.answer
	v.mu.Unlock()
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answer(w, r, m)
}

func (v *alertReceiver) requests() []told {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.got)
}

// opensslSigns computes the signature of a message with openssl, and so
// without any code of ours: HMAC-SHA256 over "id.timestamp.body".
func opensslSigns(t *testing.T, m told, stamp string) string {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(hookSecret)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", "hexkey:"+hex.EncodeToString(key), "-binary")
	cmd.Stdin = strings.NewReader(m.id + "." + stamp + "." + string(m.body))
	sum, err := cmd.Output()
	if err != nil || len(sum) != 32 {
		t.Fatalf("openssl: %d bytes, %v", len(sum), err)
	}
	return "v1," + base64.StdEncoding.EncodeToString(sum)
}

// signed wants each message signed, over the time of the attempt too, and that
// time to be no further off than the five minutes that receivers allow.
func signed(t *testing.T, messages []told) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Log("signatures are not checked: openssl is not installed")
		return
	}
	for _, m := range messages {
		if want := opensslSigns(t, m, m.stamp); m.signatures != want {
			t.Errorf("message %s has signature %q, openssl makes %q", m.id, m.signatures, want)
		}
		seconds, err := strconv.ParseInt(m.stamp, 10, 64)
		if err != nil || m.at.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
			t.Errorf("message %s came at %v with timestamp %q", m.id, m.at, m.stamp)
		}
	}
	m := messages[0]
	for what, other := range map[string]string{
		"another timestamp": opensslSigns(t, m, m.stamp+"0"),
		"another ID":        opensslSigns(t, told{id: m.id + "0", body: m.body}, m.stamp),
		"another body":      opensslSigns(t, told{id: m.id, body: append(slices.Clone(m.body), ' ')}, m.stamp),
	} {
		if other == m.signatures {
			t.Errorf("%s has the same signature", what)
		}
	}
}

// hub is as much of GitHub as issues of the repository acme/ops need.
type hub struct {
	t    *testing.T
	base string

	mu     sync.Mutex
	issues []*hubIssue
}

type hubIssue struct {
	Number   int    `json:"number"`
	Title    string `json:"title"`
	Body     string `json:"body"`
	State    string `json:"state"`
	Comments int    `json:"comments"`
	URL      string `json:"html_url"`
	comments []map[string]string
}

func newHub(t *testing.T) *hub {
	h := &hub{t: t}
	mux := http.NewServeMux()
	const issues = "/api/v3/repos/acme/ops/issues"
	mux.HandleFunc("GET "+issues, h.on(func(*hubIssue, hubIssue) any { return append([]*hubIssue{}, h.issues...) }))
	mux.HandleFunc("POST "+issues, h.on(func(_ *hubIssue, in hubIssue) any {
		n := len(h.issues) + 1
		i := &hubIssue{Number: n, Title: in.Title, Body: in.Body, State: "open", URL: fmt.Sprintf("%s/acme/ops/issues/%d", h.base, n)}
		h.issues = append(h.issues, i)
		return i
	}))
	mux.HandleFunc("GET "+issues+"/{n}", h.on(func(i *hubIssue, _ hubIssue) any { return i }))
	mux.HandleFunc("PATCH "+issues+"/{n}", h.on(func(i *hubIssue, in hubIssue) any { i.State = in.State; return i }))
	mux.HandleFunc("GET "+issues+"/{n}/comments", h.on(func(i *hubIssue, _ hubIssue) any { return append([]map[string]string{}, i.comments...) }))
	mux.HandleFunc("POST "+issues+"/{n}/comments", h.on(func(i *hubIssue, in hubIssue) any {
		i.Comments++
		i.comments = append(i.comments, map[string]string{"body": in.Body})
		return i.comments[i.Comments-1]
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.base = "http://" + l.Addr().String()
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	ended := make(chan struct{})
	go func() { _ = server.Serve(l); close(ended) }()
	t.Cleanup(func() { _ = server.Close(); <-ended })
	return h
}

// on answers with what act makes of the issue of the path, where it names one.
func (h *hub) on(act func(issue *hubIssue, in hubIssue) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if got := r.Header.Get("Authorization"); got != "Bearer "+issueToken {
			h.t.Errorf("authorization %q", got)
		}
		var in hubIssue
		if r.Method != http.MethodGet {
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
				h.t.Error(err)
			}
		}
		var issue *hubIssue
		if text := r.PathValue("n"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > len(h.issues) {
				http.NotFound(w, r)
				return
			}
			issue = h.issues[n-1]
		}
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusCreated)
		}
		if err := json.NewEncoder(w).Encode(act(issue, in)); err != nil {
			h.t.Error(err)
		}
	}
}

func (h *hub) all() (out []hubIssue) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, i := range h.issues {
		out = append(out, *i)
	}
	return out
}

// alertSecrets writes the files in which the secrets stand.
func (s *served) alertSecrets() {
	s.t.Helper()
	writeFile(s.t, filepath.Join(s.dir, "secrets", "pager"), "whsec_"+hookSecret+"\n")
	writeFile(s.t, filepath.Join(s.dir, "secrets", "github"), issueToken+"\n")
}
