package ingest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// TestTargetsWantWhatTheyName: kinds and events of the configuration that was
// in force when it happened; drills' canaries are left out unless they are
// wanted.
func TestTargetsWantWhatTheyName(t *testing.T) {
	v := newReceiver(t, 8)
	hook := v.policy("pager")
	hook.Kinds, hook.Events = []string{AlertReplayConflict}, []string{AlertEventResolved}
	r := newRig(t, toWebhooks(hook))
	resolved := func(kind, tenant string) []string {
		t.Helper()
		id := r.raise(kind, tenant, "x")
		if err := r.admin("root.admin").ResolveAlert(t.Context(), id, "done", ""); err != nil {
			t.Fatal(err)
		}
		return r.told(id)
	}
	if got := resolved(AlertReplayConflict, "nord"); !slices.Equal(got, []string{"resolved>pager:delivered"}) {
		t.Errorf("%v", got)
	}
	if got := resolved(AlertDeviceSilent, "nord"); len(got) != 0 {
		t.Errorf("a kind that it does not name: %v", got)
	}
	if got := resolved(AlertReplayConflict, "canary-a"); len(got) != 0 {
		t.Errorf("a canary: %v", got)
	}
	early := r.raise(AlertDeviceSilent, "nord", "early")
	more := newReceiver(t, 9)
	r.tellBy(func(p *AlertPolicy) {
		p.Canaries = true
		p.Webhooks[0].Kinds, p.Webhooks[0].Events = nil, nil
		p.Webhooks = append(p.Webhooks, more.policy("more"))
	})
	if got := resolved(AlertDeviceSilent, "canary-a"); len(got) != 4 {
		t.Errorf("a canary that is wanted: %v", got)
	}
	if got := r.told(early); len(got) != 0 {
		t.Errorf("raised before anybody wanted it: %v", got)
	}
	r.tellBy(func(p *AlertPolicy) { p.Webhooks = p.Webhooks[1:] })
	if got := resolved(AlertDeviceSilent, "nord"); !slices.Equal(got, []string{"raised>more:delivered", "resolved>more:delivered"}) {
		t.Errorf("%v", got)
	}
	r.sameAsFold()
}

// TestAlertsAreEscalatedOnce: where nobody acknowledged in the time of its
// severity.
func TestAlertsAreEscalatedOnce(t *testing.T) {
	v := newReceiver(t, 10)
	r := newRig(t, toWebhooks(v.policy("pager")), func(c *Config) {
		c.Alerts.AcknowledgeWithin = map[string]time.Duration{SeverityCritical: 15 * time.Minute, SeverityWarning: 4 * time.Hour}
	})
	critical, warning, seen, gone := r.raise(AlertReplayConflict, "nord", "a"), r.raise(AlertLetterQuota, "nord", "b"), r.raise(AlertReplayConflict, "nord", "c"), r.raise(AlertReplayConflict, "nord", "d")
	if err := r.admin("ben").AcknowledgeAlert(t.Context(), seen, "", ""); err != nil {
		t.Fatal(err)
	}
	if err := r.admin("ben").ResolveAlert(t.Context(), gone, "done", ""); err != nil {
		t.Fatal(err)
	}
	escalated := func(pass time.Duration) (out []string) {
		t.Helper()
		r.clock.add(pass)
		for range 2 {
			if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range r.control(evidence.EntryAlertEscalated) {
			out = append(out, e.Target)
		}
		return out
	}
	if got := escalated(14 * time.Minute); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if got := escalated(2 * time.Minute); !slices.Equal(got, []string{critical}) {
		t.Errorf("%v", got)
	}
	if got := escalated(4 * time.Hour); !slices.Equal(got, []string{critical, warning}) {
		t.Errorf("%v", got)
	}
	if got := r.told(critical); !slices.Equal(got, []string{"raised>pager:delivered", "escalated>pager:delivered"}) {
		t.Errorf("%v", got)
	}
	if a := r.alert(critical); a.EscalatedAt == nil || a.Chain[1].Text != "nobody acknowledged it within 15m0s" || a.State != AlertOpen {
		t.Errorf("%+v", a)
	}
	r.sameAsFold()
}

// TestAlertsAreFound: each filter, and pages.
func TestAlertsAreFound(t *testing.T) {
	r := newRig(t)
	start := r.clock.now()
	var ids []string
	for i := range 7 {
		kind, tenant := AlertDeviceSilent, "nord"
		if i%2 == 1 {
			kind = AlertReplayConflict
		}
		if i >= 5 {
			tenant = "sued"
		}
		ids = append(ids, r.raise(kind, tenant, "x"))
	}
	ctx, admin := t.Context(), r.admin("root.admin")
	if err := admin.AcknowledgeAlert(ctx, ids[1], "", ""); err != nil {
		t.Fatal(err)
	}
	if err := admin.ResolveAlert(ctx, ids[2], "done", ""); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		q    AlertQuery
		want []int
	}{
		{AlertQuery{}, []int{6, 5, 4, 3, 2, 1, 0}},
		{AlertQuery{Kind: AlertReplayConflict}, []int{5, 3, 1}},
		{AlertQuery{Tenant: "sued"}, []int{6, 5}},
		{AlertQuery{State: AlertOpen}, []int{6, 5, 4, 3, 0}},
		{AlertQuery{State: AlertAcknowledged}, []int{1}},
		{AlertQuery{State: AlertResolved}, []int{2}},
		{AlertQuery{From: start.Add(3 * time.Second), To: start.Add(5 * time.Second)}, []int{3, 2}},
		{AlertQuery{Kind: AlertReplayConflict, Tenant: "nord", State: AlertOpen}, []int{3}},
		{AlertQuery{Delivery: DeliveryUndelivered}, nil},
	} {
		list, err := admin.FindAlerts(ctx, c.q)
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for _, a := range list {
			got = append(got, a.ID)
		}
		for _, i := range c.want {
			want = append(want, ids[i])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: %v, want %v", c.q, got, want)
		}
	}
	var paged []string
	for after := ""; ; {
		b, err := admin.Get(ctx, "/v1/admin/alerts?limit=2&tenant=nord&after="+after)
		if err != nil {
			t.Fatal(err)
		}
		var page struct {
			Alerts []AlertView
			Next   string
		}
		if err := json.Unmarshal(b, &page); err != nil || len(page.Alerts) > 2 {
			t.Fatal(len(page.Alerts), err)
		}
		for _, a := range page.Alerts {
			paged = append(paged, a.ID)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if !slices.Equal(paged, []string{ids[4], ids[3], ids[2], ids[1], ids[0]}) {
		t.Errorf("in pages: %v", paged)
	}
	for _, bad := range []string{"limit=0", "limit=501", "limit=x", "state=closed", "from=yesterday", "to=1", "after=none", "delivery=lost", "tennant=nord", "kind=a&kind=b"} {
		_, err := admin.Get(ctx, "/v1/admin/alerts?"+bad)
		refusedWith(t, err, CodeInvalid)
	}
	_, err := admin.Alert(ctx, "none")
	refusedWith(t, err, CodeNotFound)
}

// TestSupportSeesAlertsOfItsTenantAlone: one alert by its name, a page after
// another's, and none of another tenant.
func TestSupportSeesAlertsOfItsTenantAlone(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	r.tenant("sued")
	r.support("sam")
	r.grant("sam", "nord", 30, "read")
	own, other := r.raise(AlertLetterQuota, "nord", "x"), r.raise(AlertLetterQuota, "sued", "y")
	ctx, sam := t.Context(), r.admin("sam")
	if a, err := sam.Alert(ctx, own); err != nil || a.ID != own {
		t.Error(a.ID, err)
	}
	_, err := sam.Alert(ctx, other)
	refusedWith(t, err, CodeNotFound)
	if list, err := sam.Alerts(ctx); err != nil || len(list) != 1 || list[0].ID != own {
		t.Error(list, err)
	}
	_, err = sam.FindAlerts(ctx, AlertQuery{Tenant: "sued"})
	refusedWith(t, err, CodeForbidden)
	_, err = sam.Get(ctx, "/v1/admin/alerts?after="+other)
	refusedWith(t, err, CodeInvalid)
	refusedWith(t, sam.ResendAlert(ctx, own, "", "x"), CodeForbidden)
}

// TestSecretsOfTargetsStayInTheirFiles: whatever goes wrong, they are in no
// log, entry, snapshot or answer.
func TestSecretsOfTargetsStayInTheirFiles(t *testing.T) {
	v, hub := newReceiver(t, 11), newFakeHub(t)
	v.answer = func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			cutOff(n, w, r)
			return
		}
		http.Error(w, v.secret, http.StatusUnauthorized)
	}
	hub.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
		hubError(w, http.StatusUnauthorized, "Bad credentials", nil)
		return true
	}
	var lines logged
	r := newRig(t, toWebhooks(v.policy("pager")), func(c *Config) { c.Alerts.GitHub = hub.policy() }, func(c *Config) { c.Alerts.Attempts = 2 })
	r.stop()
	r.logger = jsonLog(&lines)
	r.start()
	id := r.raise(AlertDeviceSilent, "nord", "x")
	if got := r.told(id); !slices.Equal(got, []string{"raised>pager:undelivered", "raised>acme/ops:undelivered"}) {
		t.Errorf("%v", got)
	}
	shown, err := r.admin("erin").Get(t.Context(), "/v1/admin/config")
	if err != nil {
		t.Fatal(err)
	}
	r.stop()
	all := append([]byte(lines.String()), shown...)
	err = filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(all, b...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(all, []byte("pager.secret")) || !strings.Contains(lines.String(), "could not be told") {
		t.Error("this looks in the wrong place")
	}
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(v.secret, "whsec_"))
	for what, secret := range map[string]string{"the webhook's secret": strings.TrimPrefix(v.secret, "whsec_"), "its bytes": string(key), "the token": hub.token} {
		if bytes.Contains(all, []byte(secret)) {
			t.Errorf("%s is there", what)
		}
	}
}

func jsonLog(to io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestAlertPolicyIsChecked(t *testing.T) {
	good := WebhookPolicy{Name: "pager", URL: "https://pager.example/hook", SecretFile: "secret"}
	hub := AlertGitHubPolicy{Repository: "acme/ops", TokenFile: "token"}
	webhook := func(change func(*WebhookPolicy)) func(*AlertPolicy) {
		w := good
		change(&w)
		return func(p *AlertPolicy) { p.Webhooks = []WebhookPolicy{w} }
	}
	github := func(change func(*AlertGitHubPolicy)) func(*AlertPolicy) {
		g := hub
		change(&g)
		return func(p *AlertPolicy) { p.GitHub = g }
	}
	for want, change := range map[string]func(*AlertPolicy){
		"webhooks[0].name":                      webhook(func(w *WebhookPolicy) { w.Name = "Pager 1" }),
		"webhooks[1].name: pager stands twice":  func(p *AlertPolicy) { p.Webhooks = []WebhookPolicy{good, good} },
		"webhooks[0].url: want https; http":     webhook(func(w *WebhookPolicy) { w.URL = "http://pager.example/hook" }),
		"webhooks[0].url: want https://host":    webhook(func(w *WebhookPolicy) { w.URL = "pager.example" }),
		"webhooks[0].url: want https;":          webhook(func(w *WebhookPolicy) { w.URL = "ftp://127.0.0.1/hook" }),
		"webhooks[0].url: no user":              webhook(func(w *WebhookPolicy) { w.URL = "https://u:p@pager.example/hook" }),
		"webhooks[0].url: no user, query":       webhook(func(w *WebhookPolicy) { w.URL = "https://pager.example/hook?token=x" }),
		"webhooks[0].secret_file":               webhook(func(w *WebhookPolicy) { w.SecretFile = "" }),
		"webhooks[0].events: there is no event": webhook(func(w *WebhookPolicy) { w.Events = []string{"closed"} }),
		"webhooks[0].kinds: there is no kind":   webhook(func(w *WebhookPolicy) { w.Kinds = []string{AlertFleetSilent, "device.slient"} }),
		"webhooks: 17":                          func(p *AlertPolicy) { p.Webhooks = make([]WebhookPolicy, 17) },
		"github.repository: name it":            github(func(g *AlertGitHubPolicy) { g.Repository = "" }),
		"github.repository: \"acme\"":           github(func(g *AlertGitHubPolicy) { g.Repository = "acme" }),
		"github.base_url: want https; http":     github(func(g *AlertGitHubPolicy) { g.BaseURL = "http://git.example/api/v3" }),
		"github.token_file":                     github(func(g *AlertGitHubPolicy) { g.TokenFile = "" }),
		"attempts: 0":                           func(p *AlertPolicy) { p.Attempts = 0 },
		"backoff: 0s":                           func(p *AlertPolicy) { p.Backoff = 0 },
		"acknowledge_within.high: there is no":  func(p *AlertPolicy) { p.AcknowledgeWithin = map[string]time.Duration{"high": time.Hour} },
		"acknowledge_within.warning: 0s":        func(p *AlertPolicy) { p.AcknowledgeWithin = map[string]time.Duration{"warning": 0} },
	} {
		c := testConfig(t)
		change(&c.Alerts)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "ingest.alerts."+want) {
			t.Errorf("%v, want ingest.alerts.%s", err, want)
		}
	}
	c := testConfig(t)
	loopback := good
	loopback.Name, loopback.URL = "near", "http://127.0.0.1:9/hook"
	c.Alerts.Webhooks, c.Alerts.GitHub = []WebhookPolicy{good, loopback}, hub
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if err := checkAlertTargets(c.Alerts); err == nil || !strings.HasPrefix(err.Error(), "ingest.alerts.webhooks[0].secret_file: ") {
		t.Errorf("a secret that is not there: %v", err)
	}
}
