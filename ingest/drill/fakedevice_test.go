package drill

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"trustpack/evidence"
)

// devicePort is what devices see.
func (f *fake) devicePort(w http.ResponseWriter, r *http.Request) {
	uses, _ := r.Context().Value(usesKey{}).(*int)
	*uses++
	if r.TLS == nil { // only where the fake is that weak
		reply(w, 202, receipt{Accepted: 1})
		return
	}
	if r.URL.Path == "/v1/enroll" {
		f.enrol(w, r)
		return
	}
	body, tooLarge, err := f.read(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	d, status, code := f.who(r, *uses)
	switch {
	case status != 0:
		f.problem(w, r, status, code, d, "")
	case err != nil:
		f.problem(w, r, 400, "body.malformed", d, "")
	case tooLarge:
		f.problem(w, r, 413, "body.too-large", d, "")
	case r.Header.Get("Content-Type") != "application/x-ndjson" && !f.off("TR-05.wrong-content-type"):
		f.problem(w, r, 415, "media.unsupported", d, "")
	case strings.HasPrefix(r.URL.Path, "/v1/tenants/") && !f.off("PR-01.tenant-in-path"):
		f.store(d, body, "403 but stored")
		f.problem(w, r, 403, "tenant.mismatch", d, strings.Split(r.URL.Path, "/")[3])
	case r.Header.Get("X-Tenant") != "" && !f.off("PR-01.tenant-in-header"):
		f.problem(w, r, 403, "tenant.mismatch", d, r.Header.Get("X-Tenant"))
	default:
		f.telemetry(w, r, d, body)
	}
}

// read takes the body within its limits.
func (f *fake) read(r *http.Request) (body []byte, tooLarge bool, err error) {
	limit := int64(fakeBody)
	if f.off("TR-03.oversized-body") {
		limit = 1 << 30
	}
	if f.off("TR-03.oversized-body, chunked") && r.ContentLength < 0 {
		limit = 1 << 30
	}
	body, err = io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil || int64(len(body)) > limit {
		return nil, true, err
	}
	if r.Header.Get("Content-Encoding") != "gzip" {
		return body, false, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, false, err
	}
	limit = fakeUnpack
	if f.off("TR-03.decompression-bomb") {
		limit = 1 << 30
	}
	body, err = io.ReadAll(io.LimitReader(z, limit+1))
	return body, int64(len(body)) > limit, err
}

// who finds the device by its credential.
func (f *fake) who(r *http.Request, uses int) (d *fakeDevice, status int, code string) {
	if len(r.TLS.PeerCertificates) == 0 {
		if f.off("ID-02.no-certificate") {
			return f.devices[TenantA+"/anybody"], 0, ""
		}
		return nil, 401, "auth.no-certificate"
	}
	if r.Header.Get("Authorization") != "" && !f.off("ID-02.another-devices-token") {
		return nil, 401, "auth.unknown-credential"
	}
	shown := r.TLS.PeerCertificates[0]
	selfSigned := bytes.Equal(shown.RawIssuer, shown.RawSubject)
	believe := f.off("ID-02.foreign-ca") && !selfSigned || f.off("ID-02.self-signed") && selfSigned
	for _, known := range f.devices {
		if known.fp == "sha256:"+evidence.SHA256Hex(shown.Raw) || believe && known.id == shown.Subject.CommonName {
			d = known
		}
	}
	switch {
	case d == nil:
		return nil, 401, "auth.unknown-credential"
	case f.off("ID-05." + d.state + "-device"), f.off("ID-05."+d.state+"-device, open connections") && uses > 1:
		return d, 0, ""
	case d.state == "revoked":
		return d, 403, "auth.revoked"
	case d.state == "quarantined":
		return d, 403, "auth.quarantined"
	}
	return d, 0, ""
}

func (f *fake) enrol(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var in struct{ Tenant, Device, Code, CSR, Method string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	d := f.devices[in.Tenant+"/"+in.Device]
	if in.Method == "token" {
		reply(w, 403, map[string]string{"code": "enrol.token-not-allowed"})
		return
	}
	block, _ := pem.Decode([]byte(in.CSR))
	if d == nil || d.code != in.Code || block == nil {
		reply(w, 403, map[string]string{"code": "enrol.bad-code"})
		return
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		reply(w, 422, map[string]string{"code": "enrol.bad-csr"})
		return
	}
	der := f.certify(d.id, d.tenant, csr.PublicKey, nil)
	d.fp, d.state = "sha256:"+evidence.SHA256Hex(der), "active"
	reply(w, 200, map[string]string{"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))})
}

var seqForm = regexp.MustCompile(`"seq":(\d+)`)

// store puts a request's events into the log although it is refused, where
// that is the fake's weakness.
func (f *fake) store(d *fakeDevice, body []byte, weakness string) {
	if !f.off(weakness) {
		return
	}
	for _, m := range seqForm.FindAllSubmatch(body, -1) {
		seq, _ := strconv.ParseInt(string(m[1]), 10, 64)
		f.append(d.tenant, map[string]any{"t": "event", "device": d.id, "seq": seq})
	}
}

// telemetry judges the lines of an admitted request.
func (f *fake) telemetry(w http.ResponseWriter, r *http.Request, d *fakeDevice, body []byte) {
	lines := bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
	if len(lines) > fakeLines && !f.off("TR-03.too-many-lines") {
		f.problem(w, r, 413, "body.too-many-lines", d, "")
		return
	}
	if bytes.Contains(body, []byte(`"tenant":"`+TenantB)) && !f.off("PR-01.tenant-in-payload") {
		f.problem(w, r, 403, "tenant.mismatch", d, TenantB)
		return
	}
	bucket := d.id
	if f.off("starves-neighbours") {
		bucket = "all"
	}
	if f.tokens[bucket]+len(lines) > fakeBurst && !f.off("TR-04.flood") {
		f.problem(w, r, 429, "rate.device", d, "")
		return
	}
	f.tokens[bucket] += len(lines)
	out := receipt{Log: "fake/" + d.tenant, Tenant: d.tenant}
	for i, line := range lines {
		status, code := f.line(d, line)
		switch status {
		case "accepted":
			out.Accepted++
		case "duplicate":
			out.Duplicate++
		case "dead-lettered":
			out.DeadLettered++
		case "refused":
			out.Refused++
		}
		if status != "accepted" {
			out.Lines = append(out.Lines, receiptLine{i + 1, status, code})
		}
	}
	if out.Duplicate+out.Refused > 0 && !f.off("records-nothing") {
		f.append(d.tenant, map[string]any{"t": "tally", "device": d.id, "duplicate": out.Duplicate, "refused": out.Refused})
	}
	reply(w, 202, out)
}

// line judges one event.
func (f *fake) line(d *fakeDevice, line []byte) (status, code string) {
	if code := f.fault(line); code != "" {
		if !f.off("keeps-no-dead-letters") {
			f.append(d.tenant, map[string]any{"t": "deadletter", "device": d.id, "reason": code, "bytes": base64.StdEncoding.EncodeToString(line)})
		}
		return "dead-lettered", code
	}
	var seq int64
	if m := seqForm.FindSubmatch(line); m != nil {
		seq, _ = strconv.ParseInt(string(m[1]), 10, 64)
	}
	store := func() { f.append(d.tenant, map[string]any{"t": "event", "device": d.id, "seq": seq}) }
	before, known := d.seen[seq]
	switch {
	case !known:
		d.seen[seq] = string(line)
		store()
		return "accepted", ""
	case before == string(line):
		if f.off("TR-02.replayed-batch") {
			store() // and says nothing of it
		}
		return "duplicate", ""
	case f.off("TR-02.replay-with-other-content"):
		store()
		return "accepted", ""
	}
	return "refused", "replay.conflict"
}

// fault finds what is wrong with a line, but for what the fake is weak in.
func (f *fake) fault(line []byte) string {
	depth, deepest := 0, 0
	for _, c := range line {
		switch c {
		case '{':
			depth++
		case '}':
			depth--
		}
		deepest = max(deepest, depth)
	}
	var e struct{ Seq json.Number }
	_, err := strconv.ParseInt(string(seqForm.FindSubmatch(append([]byte(`"seq":0`), line...))[1]), 10, 64)
	_ = json.Unmarshal(line, &e)
	_, big := strconv.ParseInt(e.Seq.String(), 10, 64)
	nan := bytes.Contains(line, []byte("NaN"))
	twice := bytes.Count(line, []byte(`"type":`)) > 1
	switch {
	case deepest > fakeDepth && !f.off("TR-03.too-deep"):
		return "event.too-deep"
	case !utf8.Valid(line) && !f.off("TR-05.bad-utf8"),
		twice && !f.off("TR-05.duplicate-keys"),
		nan && !f.off("TR-05.not-a-number"),
		!nan && !json.Valid(line) && !f.off("TR-05.truncated-json"),
		json.Valid(line) && (err != nil || big != nil) && !f.off("TR-05.huge-number"):
		return "event.malformed"
	}
	return ""
}
