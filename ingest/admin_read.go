package ingest

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// listenerInfo is a port as the configuration snapshot tells it.
type listenerInfo struct {
	Name       string `json:"name"`
	Addr       string `json:"addr"`
	Scheme     string `json:"scheme"`
	TLSMin     string `json:"tls_min"`
	ClientAuth string `json:"client_auth"`
	Loopback   bool   `json:"loopback"`
}

func (s *Server) listeners() []listenerInfo {
	public, admin := s.Addrs()
	info := func(name, addr, auth string) listenerInfo {
		host, _, _ := net.SplitHostPort(addr) // of a listener that is open
		ip := net.ParseIP(host)
		return listenerInfo{name, addr, "https", strings.TrimPrefix(tls.VersionName(minTLS), "TLS "), auth, ip != nil && ip.IsLoopback()}
	}
	return []listenerInfo{
		info("public", public, "required for telemetry; enrolment and health need none"),
		info("admin", admin, "required but for health"),
	}
}

func (s *Server) showConfig(a *adminCall) (any, *Problem) {
	kept, why := s.kept()
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	return map[string]any{
		"kept": kept, "kept_unknown": why, // whether the file that it starts from says the same
		"instance": s.identity.Instance, "operator": a.op.Name, "program": s.o.Version,
		"version": s.st.config.Version, "sha256": s.st.config.SHA256, "config": s.st.config.Config,
		"permissions": Permissions(), "listeners": s.listeners(), "schemas": s.rules().infos(), "rules": s.rules().hash, "clock": s.o.Clock, "sample": s.o.Sample,
	}, nil
}

func (s *Server) listTenants(a *adminCall) (any, *Problem) {
	only, p := a.onlyTenant("")
	if p != nil {
		return nil, p
	}
	out := []evidence.Tenant{}
	for _, t := range s.st.sortedTenants() {
		if only == "" || t.ID == only {
			out = append(out, t.Tenant)
		}
	}
	return map[string]any{"tenants": out}, nil
}

func (s *Server) showDeadLetters(a *adminCall) (any, *Problem) {
	q := a.r.URL.Query()
	tenant, p := a.onlyTenant(q.Get("tenant"))
	if p != nil {
		return nil, p
	}
	limit := 500
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return nil, problem(CodeInvalid, "limit: want 1 to 1000")
		}
		limit = n
	}
	list, next, err := a.s.deadLetters(tenant, q.Get("from"), limit)
	if err != nil {
		return nil, s.failure(err)
	}
	return map[string]any{"deadletters": list, "next": next}, nil
}

func (s *Server) showBooks(a *adminCall) (any, *Problem) {
	q := a.r.URL.Query()
	tenant, p := a.onlyTenant(q.Get("tenant"))
	if p != nil {
		return nil, p
	}
	for _, key := range []string{"from", "to"} {
		if d := q.Get(key); d != "" {
			if _, err := time.Parse(time.DateOnly, d); err != nil {
				return nil, problem(CodeInvalid, key+": want a day such as 2026-07-01")
			}
		}
	}
	out := []evidence.Books{}
	for _, t := range s.st.sortedTenants() {
		if tenant == "" || tenant == t.ID {
			out = append(out, t.listBooks(q.Get("from"), q.Get("to"))...)
		}
	}
	return map[string]any{"books": out}, nil
}

// LogInfo is a log as the admin API lists it.
type LogInfo struct {
	Name        string `json:"name"`
	Origin      string `json:"origin"`
	Size        int64  `json:"size"`
	VerifierKey string `json:"verifier_key"`
	Checkpoint  int64  `json:"checkpoint"` // entries under the last one
	// Kept is how many entries the last checkpoint has that is kept apart, by
	// the name of who keeps it. It cannot be larger than Checkpoint.
	Kept map[string]int64 `json:"kept,omitempty"`
	// Folders of the ledger that hold what was appended to it; the journal is
	// every log's.
	Folders []string `json:"folders"`
}

// Keeper is one with whom the last checkpoints are kept apart, as the admin
// API lists it: a witness, or the copy.
type Keeper struct {
	Name     string     `json:"name"`
	State    string     `json:"state"` // as in evidence.HeldTo
	Detail   string     `json:"detail,omitempty"`
	LastGood *time.Time `json:"last_good,omitempty"` // on the system's clock
}

func (s *Server) listLogs(*adminCall) (any, *Problem) {
	out := []LogInfo{}
	for _, name := range s.led.Logs() {
		key, err := s.led.VerifierKey(name)
		if err != nil {
			return nil, s.failure(err)
		}
		_, size, err := s.apart.last(name)
		if err != nil {
			return nil, s.failure(err)
		}
		folders, err := s.led.Folders(name)
		if err != nil {
			return nil, s.failure(err)
		}
		out = append(out, LogInfo{name, s.led.Origin(name), s.led.Size(name), key, size, s.apart.kept(name), folders})
	}
	return map[string]any{"logs": out, "keepers": s.apart.list()}, nil
}

// checkpoint makes a checkpoint of a log that exists, kept for good: whoever
// got it may come back later and ask what followed.
func (s *Server) checkpoint(name string) ([]byte, *Problem) {
	if s.led.Size(name) == 0 {
		return nil, problem(CodeNotFound, "there is no such log")
	}
	note, err := s.led.Checkpoint(name)
	if err != nil {
		return nil, s.failure(err)
	}
	return note, nil
}

func (s *Server) makeCheckpoint(a *adminCall) (any, *Problem) {
	note, p := s.checkpoint(a.r.PathValue("log"))
	if p != nil {
		return nil, p
	}
	writeBytes(a.w, "text/plain; charset=utf-8", note)
	return nil, nil
}

// showExcerpt cuts an excerpt up to a checkpoint of now.
func (s *Server) showExcerpt(a *adminCall) (any, *Problem) {
	q := a.r.URL.Query()
	numbers := func(key string) ([]int64, *Problem) {
		var out []int64
		for _, text := range q[key] {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < 0 {
				return nil, problem(CodeInvalid, key+": want whole numbers from 0")
			}
			out = append(out, n)
		}
		return out, nil
	}
	since, p := numbers("since")
	if p != nil {
		return nil, p
	}
	if len(since) > 1 {
		return nil, problem(CodeInvalid, "since: give it once")
	}
	records, p := numbers("record")
	if p != nil {
		return nil, p
	}
	name := a.r.PathValue("log")
	if _, p := s.checkpoint(name); p != nil {
		return nil, p
	}
	excerpt, err := s.led.Excerpt(name, append(since, 0)[0], records)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, problem(CodeNotFound, clip(err.Error()))
	}
	if err != nil {
		return nil, s.failure(err)
	}
	return excerpt, nil
}

// serveTile serves a log in the C2SP tlog-tiles layout.
func (s *Server) serveTile(a *adminCall) (any, *Problem) {
	path := a.r.PathValue("path")
	b, err := s.led.ReadTile(a.r.PathValue("log"), path)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, problem(CodeNotFound, "")
	}
	if err != nil {
		return nil, s.failure(err)
	}
	kind := "application/octet-stream"
	if path == "checkpoint" {
		kind = "text/plain; charset=utf-8"
	} else if !strings.Contains(path, ".p/") {
		a.w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	writeBytes(a.w, kind, b)
	return nil, nil
}

func writeBytes(w http.ResponseWriter, kind string, b []byte) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(b) // a client that is gone is no fault of ours
}
