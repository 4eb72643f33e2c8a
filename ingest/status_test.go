package ingest

import (
	"crypto/tls"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// page reads a path with a credential, from the public port or the admin's.
func (r *rig) page(pair *tls.Certificate, admin bool, path string) (int, http.Header, string) {
	r.t.Helper()
	public, adminAddr := r.s.Addrs()
	if admin {
		public = adminAddr
	}
	c, err := newClient(ClientOptions{URL: "https://" + public, CA: r.ca, Certificate: pair, Now: r.clock.now})
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	res, err := c.http.Get(c.url + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

func TestStatusIsTheTenantsOwnAndShowsSilences(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Heartbeat = HeartbeatPolicy{DefaultInterval: time.Hour, Missed: 3} })
	r.tenant("nord")
	r.tenant("sued")
	quiet, well, other := r.enrol("nord", "quiet"), r.enrol("nord", "well"), r.enrol("sued", "other")
	lost := r.enrol("nord", "lost")
	r.send(r.deviceClient(quiet), r.line(1, 1))
	since := r.clock.now()
	for n := range 4 {
		r.clock.add(time.Hour)
		r.send(r.deviceClient(well), r.line(n, 1), r.line(n+10, 9000))
		r.send(r.deviceClient(other), r.line(n, 1))
	}
	if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
		t.Fatal(err)
	}
	code, _, body := r.page(well, false, "/v1/status/nord")
	var got TenantStatus
	if code != 200 || unmarshal([]byte(body), &got) != nil {
		t.Fatalf("%d %s", code, body)
	}
	if got.Silent != 1 || len(got.Devices) != 3 || got.OpenDeadLetters != 4 || len(got.Books) != 1 || got.Books[0].DeadLettered != 4 || !got.Sample || strings.Contains(body, "other") {
		t.Errorf("%s", body)
	}
	at := slices.IndexFunc(got.Devices, func(d DeviceStatus) bool { return d.SilentSince != nil })
	if d := got.Devices[at]; d.Device != "quiet" || !d.SilentSince.Equal(since) || d.IntervalS != 3600 {
		t.Errorf("%+v", d)
	}
	if len(got.Silences) != 1 || got.Silences[0].ResolvedAt != nil || !slices.Equal(got.Silences[0].Devices, []string{"quiet"}) {
		t.Errorf("%+v", got.Silences)
	}
	code, h, body := r.page(well, false, "/status/nord")
	if code != 200 || !strings.HasPrefix(h.Get("Content-Type"), "text/html") || !strings.Contains(body, "1 of 3 devices silent") ||
		!strings.Contains(body, "silent since 2026-07-01 10:00:00 UTC") || !strings.Contains(body, "Sample data") || strings.Contains(body, "<script") ||
		!strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%d %v %s", code, h, body)
	}
	for name, x := range map[string]struct {
		pair  *tls.Certificate
		admin bool
		path  string
		want  int
	}{
		"another tenant's device":   {other, false, "/status/nord", 403},
		"tenant that is not there":  {well, false, "/status/nosuch", 403},
		"no credential":             {nil, false, "/status/nord", 401},
		"auditor, device port":      {r.pairs["erin"], false, "/status/nord", 200},
		"auditor, admin port":       {r.pairs["erin"], true, "/status/sued", 200},
		"auditor, no such tenant":   {r.pairs["erin"], true, "/v1/status/nosuch", 404},
		"exporter, device port":     {r.pairs["emil"], false, "/status/nord", 403},
		"exporter, admin port":      {r.pairs["emil"], true, "/status/nord", 403},
		"device at the admin port":  {well, true, "/status/nord", 403},
		"device that never reports": {lost, false, "/status/nord", 200},
	} {
		if code, _, body := r.page(x.pair, x.admin, x.path); code != x.want {
			t.Errorf("%s: %d, want %d: %s", name, code, x.want, body)
		}
	}
	crossed := 0
	for _, e := range r.control(evidence.EntryRefusal) {
		var f evidence.Refusal
		if unmarshal(e.Data, &f) == nil && f.Code == string(CodeTenantMismatch) && f.ClaimedTenant != "" {
			crossed++
		}
	}
	if crossed != 2 {
		t.Errorf("%d refusals name the tenant that was reached for, want 2", crossed)
	}
	if _, err := r.admin("carla").RevokeDevice(t.Context(), "nord", "well", "x", "T"); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := r.page(well, false, "/status/nord"); code != 403 {
		t.Errorf("a revoked device is answered %d", code)
	}
	if status, _, p := post(t, r.deviceClient(quiet).client, "/status/nord", nil); status != 405 || p.Code != CodeMethod {
		t.Errorf("%d %s", status, p.Code)
	}
}

func TestStatusPageEscapesWhatDevicesSay(t *testing.T) {
	r := newRig(t)
	if err := r.admin("root.admin").AddTenant(t.Context(), evidence.Tenant{ID: "nord", Name: "<script>alert(1)</script>"}, "test"); err != nil {
		t.Fatal(err)
	}
	pair := r.enrol("nord", "m-1", func(q *DeviceRequest) { q.Site = `"><img src=x>` })
	_, _, body := r.page(pair, false, "/status/nord")
	if strings.Contains(body, "<script") || strings.Contains(body, "<img") || !strings.Contains(body, "&lt;script&gt;") {
		t.Error(body)
	}
}
