package aws

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/internal/httpreplay"
)

const (
	keyID  = "AKIASAMPLE000000K4ZD"
	secret = "wJalrSampleSecretKey/of+the+collector"
	token  = "FwoGSampleSessionToken/with+signs=="
)

var collectedAt = time.Date(2026, 10, 1, 6, 0, 0, 0, time.UTC)

func exampleConfig(url string) Config {
	return Config{
		Account: "111122223333", Endpoint: url, Attempts: 3, Sample: true,
		Credentials: Credentials{AccessKeyIDEnv: "KEY_ID", SecretAccessKeyEnv: "SECRET", SessionTokenEnv: "TOKEN"},
	}
}

func deps() Deps {
	return Deps{
		Tool: "trustpack test", Now: func() time.Time { return collectedAt }, Clock: evidence.ClockSimulated,
		Getenv: func(k string) string {
			return map[string]string{"KEY_ID": keyID, "SECRET": secret, "TOKEN": token, "EXTERNAL_ID": externalID}[k]
		},
		Backoff: func(int) time.Duration { return time.Microsecond },
	}
}

func recorded(t *testing.T) *httpreplay.Server {
	t.Helper()
	s, err := httpreplay.New(os.DirFS("../../examples/metering/aws"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return started(t, s)
}

func started(t *testing.T, s *httpreplay.Server) *httpreplay.Server {
	t.Helper()
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

func collect(t *testing.T, c Config, d Deps) map[evidence.Kind]evidence.Evidence {
	t.Helper()
	got := map[evidence.Kind]evidence.Evidence{}
	for _, e := range collectAll(t, c, d) {
		got[e.Kind] = e
	}
	if len(got) != 4 {
		t.Fatalf("%d kinds, want 4", len(got))
	}
	return got
}

// collectAll gives the evidence of every account in its order.
func collectAll(t *testing.T, c Config, d Deps) []evidence.Evidence {
	t.Helper()
	col, err := New(c, d)
	if err != nil {
		t.Fatal(err)
	}
	p, err := evidence.ParsePeriod("2026-Q3")
	if err != nil {
		t.Fatal(err)
	}
	all, err := col.Collect(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		noSecret(t, e)
	}
	if want := 4 * len(c.all()); len(all) != want {
		t.Fatalf("%d pieces of evidence, want %d", len(all), want)
	}
	return all
}

func noSecret(t *testing.T, e evidence.Evidence) {
	t.Helper()
	_, record, _, err := evidence.RecordOf(e)
	if err != nil {
		t.Fatalf("%s cannot be recorded: %v", e.Kind, err)
	}
	lines, err := e.Population.Lines()
	if err != nil {
		t.Fatal(err)
	}
	all := string(record) + string(lines)
	for _, r := range e.Raw {
		all += string(r.Body)
	}
	for _, s := range []string{secret, token, keyID, "AWS4-HMAC", "FwoGSample", "wJalrSample", roleSecret, roleToken, roleKeyID, externalID, "FwoGRole", "wJalrRole"} {
		if strings.Contains(all, s) {
			t.Errorf("%s holds %q", e.Kind, s)
		}
	}
}

func find(t *testing.T, e evidence.Evidence, id string) map[string]any {
	t.Helper()
	for _, it := range e.Population.Items {
		if it.ID == id {
			return it.Attributes
		}
	}
	t.Fatalf("%s has no item %s", e.Kind, id)
	return nil
}

func wantFields(t *testing.T, id string, got, want map[string]any) {
	t.Helper()
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: %s = %v, want %v", id, k, got[k], v)
		}
	}
}

func TestTheExampleAccount(t *testing.T) {
	s := recorded(t)
	got := collect(t, exampleConfig(s.URL()), deps())
	if un := s.Unmatched(); len(un) > 0 {
		t.Errorf("not answered: %q", un)
	}
	sizes := map[evidence.Kind]int{KindLogGroups: 9, KindTrails: 1, KindBuckets: 5, KindUsers: 9}
	for kind, e := range got {
		if e.Completeness.State != evidence.Complete || len(e.Population.Items) != sizes[kind] {
			t.Errorf("%s: %d items, want %d; %+v", kind, len(e.Population.Items), sizes[kind], e.Completeness)
		}
		p := e.Provenance
		if p.Account != "111122223333" || p.Principal != "arn:aws:iam::111122223333:user/svc-evidence-collector" || p.Origin != evidence.OriginSample || !e.Snapshot {
			t.Errorf("%s: %+v", kind, p)
		}
	}
	want := map[string]map[string]any{
		"111122223333/eu-central-1//gridpulse/ingest":        {"retention_days": 400, "kms": true, "class": "STANDARD", "region": "eu-central-1", "created_at": "2024-11-04T10:02:40Z", "stored_bytes": int64(1288490188)},
		"111122223333/eu-central-1//gridpulse/edge-gateway":  {"retention_days": 30, "kms": false},
		"111122223333/eu-central-1//aws/lambda/meter-export": {"retention_days": nil},
		"111122223333/eu-west-1//gridpulse/ingest-standby":   {"retention_days": 400},
		"111122223333/eu-central-1//gridpulse/status-page":   {"class": "INFREQUENT_ACCESS"},
	}
	for id, fields := range want {
		wantFields(t, id, find(t, got[KindLogGroups], id), fields)
	}
	wantFields(t, "trail", find(t, got[KindTrails], "111122223333/gridpulse-audit"), map[string]any{
		"home_region": "eu-central-1", "multi_region": true, "global_events": true, "validation": true, "kms": true, "logging": true,
		"latest_delivery_at": "2026-09-30T22:51:07Z", "latest_delivery_error": "", "bucket": "lindenau-cloudtrail",
	})
	wantFields(t, "evidence bucket", find(t, got[KindBuckets], "111122223333/lindenau-evidence"), map[string]any{
		"versioning": "Enabled", "object_lock": true, "object_lock_mode": "COMPLIANCE", "object_lock_days": 2555, "encryption": "aws:kms",
		"public_access_blocked": true, "tls_only": true, "min_expire_days": nil, "region": "eu-central-1",
	})
	wantFields(t, "firmware bucket", find(t, got[KindBuckets], "111122223333/lindenau-firmware-releases"), map[string]any{
		"versioning": "Disabled", "object_lock": false, "object_lock_mode": "", "object_lock_days": 0, "encryption": "AES256", "tls_only": false,
	})
	archive := find(t, got[KindBuckets], "111122223333/lindenau-telemetry-archive")
	wantFields(t, "archive bucket", archive, map[string]any{"min_expire_days": 14})
	wantFields(t, "archive rule", archive["lifecycle"].([]any)[1].(map[string]any), map[string]any{"id": "readings", "status": "Enabled", "expire_days": 800, "noncurrent_days": 30, "prefix": "readings/"})
}

func TestTheExampleUsers(t *testing.T) {
	users := collect(t, exampleConfig(recorded(t).URL()), deps())[KindUsers]
	wantFields(t, "anna.berg", find(t, users, "111122223333/anna.berg"), map[string]any{"password": true, "mfa": true, "admin": true, "root": false, "last_used_at": "2026-09-29T07:52:31Z"})
	wantFields(t, "dmitri.volk", find(t, users, "111122223333/dmitri.volk"), map[string]any{"password": true, "mfa": false, "admin": false})
	deploy := find(t, users, "111122223333/svc-pipeline-deploy")
	wantFields(t, "deploy", deploy, map[string]any{"password": false, "mfa": false, "last_used_at": "2026-09-30T14:12:00Z"})
	wantFields(t, "deploy key", deploy["keys"].([]any)[0].(map[string]any), map[string]any{
		"id_suffix": "M2WE", "status": "Active", "created_at": "2024-12-02T14:06:02Z", "age_days": 667, "last_used_at": "2026-09-30T14:12:00Z"})
	shipper := find(t, users, "111122223333/svc-log-shipper")
	if p := shipper["policies"].([]any); len(p) != 1 || p[0] != "inline:write-logs" || shipper["admin"] != false {
		t.Errorf("log shipper: %v", shipper)
	}
	erin := find(t, users, "111122223333/erin.sato")
	if p := erin["policies"].([]any); len(p) != 1 || p[0] != "group:auditors:SecurityAudit" {
		t.Errorf("erin.sato: %v", erin)
	}
	root := find(t, users, "111122223333/root")
	wantFields(t, "root", root, map[string]any{"root": true, "mfa": true, "created_at": "2024-10-30T14:02:55Z", "last_used_at": "2025-11-17T10:22:08Z"})
	if keys := root["keys"].([]any); len(keys) != 0 {
		t.Errorf("root has keys: %v", keys)
	}
	if c := users.Completeness; c.Basis != "source-total" || c.Expected == nil || *c.Expected != 9 {
		t.Errorf("%+v", c)
	}
}

// By the name of a host, S3 would put the bucket before it.
func TestEndpointByName(t *testing.T) {
	s := recorded(t)
	got := collect(t, exampleConfig(strings.Replace(s.URL(), "127.0.0.1", "localhost", 1)), deps())
	if c := got[KindBuckets].Completeness; c.State != evidence.Complete {
		t.Errorf("%+v", c)
	}
}

func TestProvenanceNamesEveryRequest(t *testing.T) {
	s := recorded(t)
	got := collect(t, exampleConfig(s.URL()), deps())
	total := 0
	for kind, e := range got {
		digests := map[string]bool{}
		for _, r := range e.Raw {
			digests[evidence.SHA256Hex(r.Body)] = true
		}
		for _, r := range e.Provenance.Requests {
			if r.Method == "" || r.Parameters["region"] == "" || r.Status == 0 || r.RequestID == "" || !digests[r.ReplySHA256] {
				t.Errorf("%s: %+v", kind, r)
			}
			total++
		}
	}
	if seen := len(s.Requests()); total-4 != seen { // who asks is in all four, and which regions there are in two
		t.Errorf("%d requests in evidence, %d reached the server", total-4, seen)
	}
	logs := got[KindLogGroups].Provenance.Requests
	second := logs[slices.IndexFunc(logs, func(r evidence.Request) bool { return r.Page == 2 })]
	if second.Method != "DescribeLogGroups" || second.Parameters["nextToken"] == "" || second.Parameters["limit"] != "50" || second.Parameters["region"] != "eu-central-1" {
		t.Errorf("second page: %+v", second)
	}
	users := got[KindUsers].Provenance.Requests
	asked := users[slices.IndexFunc(users, func(r evidence.Request) bool { return r.Method == "GetAccessKeyLastUsed" })]
	if asked.Parameters["AccessKeyId"] != "AKIA-redacted-K4ZD" {
		t.Errorf("parameters: %v", asked.Parameters)
	}
	listed := users[slices.IndexFunc(users, func(r evidence.Request) bool {
		return r.Method == "ListAccessKeys" && r.Parameters["UserName"] == "svc-evidence-collector"
	})]
	if !slices.Contains(listed.Redactions, "access key IDs, all but the last four characters") {
		t.Errorf("the redaction is not recorded: %+v", listed)
	}
	buckets := got[KindBuckets].Provenance.Requests
	if !slices.ContainsFunc(buckets, func(r evidence.Request) bool {
		return r.Method == "GetBucketVersioning" && r.Parameters["region"] == "eu-west-1" && strings.HasSuffix(r.Target, "/lindenau-backup")
	}) {
		t.Error("the bucket of the other region was not asked for there")
	}
}

// What is kept is what the server sent, byte for byte, where nothing is secret.
func TestRawRepliesAreWhatWasSent(t *testing.T) {
	exchanges, err := httpreplay.Load(os.DirFS("../../examples/metering/aws"))
	if err != nil {
		t.Fatal(err)
	}
	sent := map[string]bool{}
	for _, e := range exchanges {
		sent[e.Reply.Body] = true
	}
	exact := 0
	for kind, e := range collect(t, exampleConfig(recorded(t).URL()), deps()) {
		redacted := map[string]bool{}
		for _, r := range e.Provenance.Requests {
			if len(r.Redactions) > 0 {
				redacted[r.ReplySHA256] = true
			}
		}
		for _, r := range e.Raw {
			if redacted[evidence.SHA256Hex(r.Body)] {
				continue
			}
			if !sent[string(r.Body)] {
				t.Errorf("%s: %s is not what the server sent", kind, r.Name)
			}
			exact++
		}
	}
	if exact < 60 {
		t.Errorf("only %d replies were compared", exact)
	}
}
