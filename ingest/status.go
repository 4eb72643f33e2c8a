package ingest

import (
	"bytes"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// TenantStatus is what a customer may know of its own telemetry.
type TenantStatus struct {
	Tenant          string           `json:"tenant"`
	Name            string           `json:"name,omitempty"`
	AsOf            time.Time        `json:"as_of"`
	Clock           evidence.Clock   `json:"clock"` // whose time as_of tells
	Sample          bool             `json:"sample"`
	Silent          int              `json:"silent"` // devices that are silent now
	Devices         []DeviceStatus   `json:"devices"`
	Silences        []SilenceStatus  `json:"silences"`          // newest first
	Books           []evidence.Books `json:"books"`             // of the last 7 days that have any
	OpenDeadLetters int              `json:"open_dead_letters"` // events kept that could not be accepted
}

// DeviceStatus is the latest generation of a device.
type DeviceStatus struct {
	Device      string               `json:"device"`
	Type        string               `json:"type"`
	Site        string               `json:"site,omitempty"`
	Fleet       string               `json:"fleet,omitempty"`
	State       evidence.DeviceState `json:"state"`
	Firmware    string               `json:"firmware,omitempty"`
	LastSeen    *time.Time           `json:"last_seen,omitempty"`
	Accepted    int64                `json:"accepted"`
	IntervalS   float64              `json:"interval_s"` // expected between events
	SilentSince *time.Time           `json:"silent_since,omitempty"`
}

// SilenceStatus is an alert of a silence that is open or was in the last 7 days.
type SilenceStatus struct {
	Alert      string     `json:"alert"`
	Since      time.Time  `json:"since"`
	RaisedAt   time.Time  `json:"raised_at"`
	ResolvedAt *time.Time `json:"resolved_at,omitempty"`
	Devices    []string   `json:"devices"`
	Detail     string     `json:"detail"`
}

// statusDays is how far back the status looks.
const statusDays = 7

// statusOf gathers the status of t and of nothing else.
func (s *Server) statusOf(t *tenant) TenantStatus {
	now := s.now()
	from := now.AddDate(0, 0, 1-statusDays)
	out := TenantStatus{
		Tenant: t.ID, Name: t.Name, AsOf: now, Clock: s.o.Clock, Sample: s.o.Sample, Devices: []DeviceStatus{}, Silences: []SilenceStatus{},
		Books: t.listBooks(from.Format(time.DateOnly), ""),
	}
	t.mu.Lock()
	out.OpenDeadLetters = t.open()
	t.mu.Unlock()
	for _, d := range s.st.someDevices(func(d *device) bool { return d.key.tenant == t.ID && s.st.latest[d.key.deviceName] == d }) {
		out.Devices = append(out.Devices, s.deviceStatus(d, now))
		if out.Devices[len(out.Devices)-1].SilentSince != nil {
			out.Silent++
		}
	}
	for _, a := range s.listAlerts() {
		if a.Tenant != t.ID || a.Kind != AlertDeviceSilent && a.Kind != AlertFleetSilent || a.ResolvedAt != nil && a.ResolvedAt.Before(from) {
			continue
		}
		devices := []string{}
		for _, name := range a.Devices {
			devices = append(devices, strings.TrimPrefix(name, t.ID+"/"))
		}
		out.Silences = append(out.Silences, SilenceStatus{a.ID, a.Since, a.RaisedAt, a.ResolvedAt, devices, a.Detail})
	}
	return out
}

func (s *Server) deviceStatus(d *device, now time.Time) DeviceStatus {
	r := s.st.recordOf(d)
	out := DeviceStatus{
		Device: r.ID, Type: r.Type, Site: r.Site, Fleet: r.Fleet, State: r.State, Firmware: r.Firmware, LastSeen: r.LastSeen, Accepted: r.Accepted,
		IntervalS: s.cfg().Heartbeat.interval(deviceName{r.Tenant, r.ID}, r.Type).Seconds(),
	}
	if r.State != evidence.DeviceActive {
		return out
	}
	s.st.mu.RLock()
	p := s.pulseOf(d)
	s.st.mu.RUnlock()
	if p.silent(now, s.cfg().Heartbeat.Missed) {
		out.SilentSince = &p.last
	}
	return out
}

// publicStatus answers a device of the tenant itself, or an operator who may
// read. Another tenant's device is refused as any that reaches across tenants
// is, whether the tenant that it names exists or not.
func (s *Server) publicStatus(w http.ResponseWriter, r *http.Request) {
	c := s.begin(w, r)
	c.asksBearer(r)
	if p := s.mayReadStatus(c, r.PathValue("tenant")); p != nil {
		s.answer(w, c, p)
		return
	}
	if p := s.writeStatus(w, r); p != nil {
		s.answer(w, c, p)
	}
}

func (s *Server) mayReadStatus(c *call, tenantID string) *Problem {
	if c.sess != nil && c.sess.fingerprint != "" && !c.bearer.given() {
		if _, op := s.st.byFingerprint(c.sess.fingerprint); op != nil {
			now := s.now()
			if now.After(c.sess.notAfter) || now.Before(c.sess.notBefore) {
				return problem(CodeExpiredCredential, "")
			}
			if _, ok := allowed(op, "read"); !ok {
				return needsRole("read")
			}
			return nil
		}
	}
	if p := s.identify(c); p != nil {
		return p
	}
	if c.d.key.tenant != tenantID && !off(guardStatusTenant) {
		return mismatch(tenantID)
	}
	return nil
}

func (s *Server) adminStatus(a *adminCall) (any, *Problem) { return nil, s.writeStatus(a.w, a.r) }

// writeStatus answers with the page, or with JSON below /v1 and to whoever
// prefers it.
func (s *Server) writeStatus(w http.ResponseWriter, r *http.Request) *Problem {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return problem(CodeMethod, "use GET")
	}
	t := s.st.tenant(r.PathValue("tenant"))
	if t == nil {
		return problem(CodeNotFound, "there is no such tenant")
	}
	status := s.statusOf(t)
	if strings.HasPrefix(r.URL.Path, "/v1/") || slices.Contains(r.Header["Accept"], "application/json") {
		writeJSON(w, http.StatusOK, status)
		return nil
	}
	var page bytes.Buffer
	if err := statusPage.Execute(&page, status); err != nil {
		return s.failure(err)
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	writeBytes(w, "text/html; charset=utf-8", page.Bytes())
	return nil
}

// statusPage has no script, and needs nothing but itself.
var statusPage = template.Must(template.New("status").Funcs(template.FuncMap{
	"at": func(t any) string {
		switch t := t.(type) {
		case time.Time:
			return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
		case *time.Time:
			if t != nil {
				return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
			}
		}
		return "–"
	},
}).Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Telemetry of {{or .Name .Tenant}}</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1b1f24; background: #fff }
table { border-collapse: collapse; width: 100%; margin-bottom: 2rem }
caption { text-align: left; font-weight: 600; font-size: 1.2rem; padding: .5rem 0 }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #d0d7de; vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.silent { color: #a40e26; font-weight: 600 }
.well { color: #116329; font-weight: 600 }
.label { background: #fff3c4; padding: .3rem .6rem }
</style>
</head>
<body>
<h1>Telemetry of {{or .Name .Tenant}}</h1>
{{- if .Sample}}
<p class="label">Sample data{{if eq .Clock "simulated"}} on a simulated clock{{end}}.</p>
{{- end}}
<p>As of {{at .AsOf}}:
{{if .Silent}}<span class="silent">{{.Silent}} of {{len .Devices}} devices silent</span>{{else}}<span class="well">no device silent</span>{{end}},
{{.OpenDeadLetters}} events kept that could not be accepted.</p>
<table>
<caption>Silences</caption>
<thead><tr><th>Since</th><th>Alert raised</th><th>Ended</th><th>Devices</th><th>What</th></tr></thead>
<tbody>
{{- range .Silences}}
<tr><td>{{at .Since}}</td><td>{{at .RaisedAt}}</td><td>{{if .ResolvedAt}}{{at .ResolvedAt}}{{else}}<span class="silent">goes on</span>{{end}}</td><td>{{range .Devices}}{{.}} {{end}}</td><td>{{.Detail}}</td></tr>
{{- else}}
<tr><td colspan="5">none in the last 7 days</td></tr>
{{- end}}
</tbody>
</table>
<table>
<caption>Devices</caption>
<thead><tr><th>Device</th><th>Type</th><th>Site</th><th>State</th><th>Last seen</th><th>Reports</th><th class="n">Events accepted</th></tr></thead>
<tbody>
{{- range .Devices}}
<tr><td>{{.Device}}</td><td>{{.Type}}</td><td>{{.Site}}</td><td>{{.State}}</td><td>{{at .LastSeen}}</td><td>{{if .SilentSince}}<span class="silent">silent since {{at .SilentSince}}</span>{{else if eq .State "active"}}<span class="well">yes</span>{{else}}not expected{{end}}</td><td class="n">{{.Accepted}}</td></tr>
{{- else}}
<tr><td colspan="7">none</td></tr>
{{- end}}
</tbody>
</table>
<table>
<caption>Events by day (UTC)</caption>
<thead><tr><th>Day</th><th class="n">Received</th><th class="n">Accepted</th><th class="n">Duplicates</th><th class="n">Kept, not accepted</th><th class="n">Refused</th></tr></thead>
<tbody>
{{- range .Books}}
<tr><td>{{.Day}}</td><td class="n">{{.Received}}</td><td class="n">{{.Accepted}}</td><td class="n">{{.Duplicate}}</td><td class="n">{{.DeadLettered}}</td><td class="n">{{.Refused}}</td></tr>
{{- else}}
<tr><td colspan="6">none in the last 7 days</td></tr>
{{- end}}
</tbody>
</table>
</body>
</html>
`))
