package ingest

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"sync"
	"time"

	"trustpack/evidence"
)

// enrolRate bounds attempts per source address; the codes themselves have 160
// bits.
func enrolRate() Rate { return Rate{PerSecond: 100, Burst: 2000} }

// sourceLimits are limiters by source address.
type sourceLimits struct {
	mu sync.Mutex
	by map[string]*gcra
}

func (l *sourceLimits) of(source string) *gcra {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil {
		l.by = map[string]*gcra{}
	}
	g := l.by[source]
	if g == nil {
		g = &gcra{}
		l.by[source] = g
	}
	return g
}

// forget drops the limiters that are full again.
func (l *sourceLimits) forget(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for source, g := range l.by {
		if g.idle(now) {
			delete(l.by, source)
		}
	}
}

// enroll turns a one-time code and a certificate request into the device's
// certificate: POST {"tenant","device","code","csr"}, or, with "method":"token" in
// place of "csr", into a token where the policy lets the device have one.
func (s *Server) enroll(w http.ResponseWriter, r *http.Request) {
	c := s.begin(w, r)
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		s.answer(w, c, problem(CodeMethod, "use POST"))
		return
	}
	if p := s.enrolPace(c); p != nil {
		s.answer(w, c, p)
		return
	}
	issued, p := s.issue(w, r, c.id())
	if p != nil {
		s.answer(w, c, p)
		return
	}
	writeJSON(w, http.StatusOK, issued)
}

// issue checks code and request and issues the certificate. The code is spent
// by the same entry that names the certificate.
func (s *Server) issue(w http.ResponseWriter, r *http.Request, id string) (any, *Problem) {
	var in struct {
		Tenant string `json:"tenant"`
		Device string `json:"device"`
		Code   string `json:"code"`
		Method string `json:"method"` // "x509", which it is where left out, or "token"
		CSR    string `json:"csr"`
		// LifetimeS is how many seconds the credential shall live, where that
		// is shorter than what the ingest gives.
		LifetimeS int64 `json:"lifetime_s"`
	}
	if p := decodeJSON(w, r, &in); p != nil {
		return nil, p
	}
	want, p := wantedOf(in.Method, in.CSR)
	if want.seconds = in.LifetimeS; p == nil && in.LifetimeS < 0 {
		p = problem(CodeInvalid, "lifetime_s: want a number of seconds above 0")
	}
	if p != nil {
		return nil, named(p, in.Tenant, in.Device)
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	d, p := s.byCode(in.Tenant, in.Device, in.Code)
	if p != nil {
		return nil, p
	}
	return s.issueTo(d, want, id, "")
}

// byCode finds the device that may enrol with the code. The caller holds
// s.decide.
func (s *Server) byCode(tenant, id, code string) (*device, *Problem) {
	d := s.st.device(tenant, id)
	hash := ""
	if d != nil {
		hash = d.codeHash
	}
	got := evidence.SHA256Hex([]byte(code))
	same := subtle.ConstantTimeCompare([]byte(got), []byte(hash)) == 1
	if d == nil || hash == "" || !same || !d.enrols() || !s.now().Before(d.codeUntil) {
		// One answer for all of these: nobody learns which devices there are.
		return nil, named(problem(CodeEnrolBadCode, ""), tenant, id)
	}
	return d, nil
}

// issueTo gives an approved device the credential. The caller holds s.decide
// and has made sure who asks, which how says where it was not by code.
func (s *Server) issueTo(d *device, want wanted, id, how string) (any, *Problem) {
	d.flow.Lock()
	defer d.flow.Unlock()
	if d.record.State != evidence.DeviceApproved {
		return s.rotate(rotation{d: d, id: id}, want)
	}
	fresh, answer, p := s.newCredential(d, want)
	if p != nil {
		return nil, named(p, d.key.tenant, d.key.id)
	}
	entry := evidence.EntryDeviceIssued
	if want.method == MethodToken {
		entry = evidence.EntryTokenIssued
	}
	_, err := s.record(s.entry(entry, evidence.AuditEntry{
		Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation, RequestID: id, Result: "done", Reason: how,
		Data: raw(fresh),
	}))
	if err != nil {
		return nil, s.failure(err)
	}
	return answer, nil
}

// enrols reports whether the device may spend a one-time code: to get its first
// credential, or, where a rotation was ordered, the next.
func (d *device) enrols() bool {
	switch d.record.State {
	case evidence.DeviceApproved, evidence.DeviceIssued, evidence.DeviceActive:
		return true
	}
	return false
}

// shorter is life, or so many seconds where those are fewer and more than 0.
func shorter(seconds int64, life time.Duration) time.Duration {
	if seconds <= 0 || seconds >= int64(life/time.Second) {
		return life
	}
	return time.Duration(seconds) * time.Second
}

// named adds to a refusal what the caller claimed to be, where that has the
// form of a name.
func named(p *Problem, tenant, device string) *Problem {
	if tenantForm.MatchString(tenant) && deviceForm.MatchString(device) {
		p.claimed, p.Detail = tenant, joinDetail(p.Detail, "device "+device)
	}
	return p
}

func joinDetail(a, b string) string {
	if a == "" {
		return b
	}
	return b + ": " + a
}

// maxControlBody bounds the JSON of enrolment and the admin API.
const maxControlBody = 256 << 10

// decodeJSON reads one JSON object strictly: no unknown key, nothing after it.
func decodeJSON(w http.ResponseWriter, r *http.Request, into any) *Problem {
	return decodeJSONUpTo(w, r, into, maxControlBody)
}

// decodeJSONUpTo is decodeJSON of a body of at most limit bytes.
func decodeJSONUpTo(w http.ResponseWriter, r *http.Request, into any, limit int64) *Problem {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return problem(CodeMediaUnsupported, "Content-Type must be application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return bodyProblem(err, limit)
	}
	s := &scanner{b: string(body), max: 32}
	err = s.value() // finds keys that stand twice, which encoding/json lets pass
	if s.space(); err == nil && s.i != len(body) {
		err = s.errorf("something follows the JSON value")
	}
	if err != nil {
		return problem(CodeBodyMalformed, err.Error())
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		var typ *json.UnmarshalTypeError
		if errors.As(err, &typ) {
			return problem(CodeBodyMalformed, "key "+clip(typ.Field)+" has the wrong type")
		}
		return problem(CodeBodyMalformed, clip(err.Error()))
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw(v), '\n')) // a client that is gone is no fault of ours
}
