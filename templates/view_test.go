package templates

import (
	"fmt"
	"testing"
	"time"

	"trustpack/evidence"
)

// at is a time in the example's quarter.
func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

type attrs = map[string]any

func items(in ...attrs) []evidence.Item {
	out := make([]evidence.Item, len(in))
	for i, a := range in {
		id := a["id"].(string)
		delete(a, "id")
		out[i] = evidence.Item{ID: id, Attributes: a}
	}
	return out
}

// collected makes evidence as the locker would hand it over.
func collected(t testing.TB, kind evidence.Kind, account string, change func(*evidence.Evidence), population ...evidence.Item) evidence.Collected {
	t.Helper()
	q3, err := evidence.ParsePeriod("2026-Q3")
	if err != nil {
		t.Fatal(err)
	}
	system := map[string]string{"tele": "trustpack-ingest", "gith": "github", "aws.": "aws", "roll": "rollout", "docu": "documents", "git.": "git"}[string(kind[:4])]
	n := len(population)
	when := at("2026-10-01T06:00:00Z")
	e := evidence.Evidence{Kind: kind, Collector: system, CollectedAt: when, Window: q3, Population: evidence.Population{Items: population},
		Provenance: evidence.Provenance{System: system, Account: account, Principal: "erin.sato (auditor)", Tool: "trustpack 0.1.0", Origin: evidence.OriginLive, Clock: evidence.ClockSimulated,
			Requests: []evidence.Request{{Method: "GET", Target: "https://127.0.0.1:9443/v1/admin/" + string(kind), Parameters: map[string]string{"from": "2026-07-01"}, StartedAt: when, EndedAt: when.Add(time.Second), Page: 1, Status: 200,
				RequestID: "req-7f3a", ReplySHA256: evidence.SHA256Hex([]byte(kind))}}},
		Completeness: evidence.Completeness{State: evidence.Complete, Basis: "verified-log", Got: n, Expected: &n, Note: "every entry up to the checkpoint was read"},
		Raw:          []evidence.RawReply{{Name: "1.json", Body: []byte(kind)}}}
	if system == "github" || system == "aws" {
		e.Provenance.Origin = evidence.OriginSample
		e.Provenance.Principal = "user/gridpulse-evidence"
		e.Completeness.Basis, e.Completeness.Note = "read-to-end", ""
	}
	if change != nil {
		change(&e)
	}
	_, _, id, err := evidence.RecordOf(e)
	if err != nil {
		t.Fatal(err)
	}
	return evidence.Collected{ID: id, Evidence: e}
}

func cite(c evidence.Collected) evidence.Citation {
	return evidence.Citation{ID: c.ID, Kind: c.Kind, CollectedAt: c.CollectedAt, Window: c.Window, Completeness: c.Completeness.State,
		Items: len(c.Population.Items), Origin: c.Provenance.Origin}
}

// test is one attribute with what came of it.
type test struct {
	id, title string
	kind      evidence.Kind
	outcome   evidence.Outcome
	tested    int
	failed    int
}

// exampleView is a quarter of the example vendor, with trouble in it.
func exampleView(t testing.TB) View {
	t.Helper()
	q3, err := evidence.ParsePeriod("2026-Q3")
	if err != nil {
		t.Fatal(err)
	}
	v := View{Organisation: "Lindenau Metering GmbH", System: "GridPulse", Tool: "trustpack 0.1.0", Period: q3, Sample: true, Clock: evidence.ClockSimulated,
		AsOf: at("2026-10-01T06:00:00Z"), CatalogSHA256: evidence.SHA256Hex([]byte("catalog"))}
	byKind := map[evidence.Kind]evidence.Collected{}
	snapshot := func(e *evidence.Evidence) { e.Snapshot = true }
	add := func(kind evidence.Kind, account string, change func(*evidence.Evidence), population ...evidence.Item) {
		c := collected(t, kind, account, change, population...)
		byKind[kind] = c
		v.Evidence = append(v.Evidence, c)
	}

	var devices []attrs
	for i := range 40 {
		tenant := []string{"stadtwerk-nord", "wohnbau-sued"}[i%2]
		state := "active"
		if i == 7 {
			state = "revoked"
		}
		id := fmt.Sprintf("%s/meter-%04d/g1", tenant, 1000+i)
		devices = append(devices, attrs{"id": id, "tenant": tenant, "device": fmt.Sprintf("meter-%04d", 1000+i), "generation": 1.0, "type": "gp-meter-2", "site": "depot", "fleet": "nord-a",
			"state": state, "firmware": "2.4.1", "fingerprints": []any{"sha256:" + evidence.SHA256Hex([]byte(id))[:32]}, "last_seen": "2026-09-30T23:45:00Z", "accepted": float64(8000 + i)})
	}
	add("telemetry.devices", "gridpulse-ingest-1", snapshot, items(devices...)...)
	add("telemetry.config", "gridpulse-ingest-1", snapshot, items(attrs{"id": "ingest", "version": 4.0,
		"listeners": []any{attrs{"name": "public", "addr": "0.0.0.0:8443", "scheme": "https", "tls_min": "1.2", "client_auth": "verify-if-given", "loopback": false},
			attrs{"name": "admin", "addr": "127.0.0.1:9443", "scheme": "https", "tls_min": "1.3", "client_auth": "required", "loopback": true}},
		"limits": attrs{"body_bytes": 1048576.0, "lines": 10000.0, "depth": 32.0}})...)
	add("telemetry.provisioning", "gridpulse-ingest-1", nil, items(
		attrs{"id": "stadtwerk-nord/meter-1040/g1", "requester": "ben.okafor", "requested_at": "2026-07-14T08:00:00Z", "critical": false, "approvals": []any{attrs{"actor": "carla.ruiz", "role": "approver"}}, "issued_at": "2026-07-14T09:12:00Z"},
		attrs{"id": "wohnbau-sued/meter-1041/g1", "requester": "ben.okafor", "requested_at": "2026-08-02T08:00:00Z", "critical": false, "approvals": []any{attrs{"actor": "carla.ruiz", "role": "approver"}}, "issued_at": "2026-08-02T10:30:00Z"})...)
	add("telemetry.revocations", "gridpulse-ingest-1", nil, items(attrs{"id": "214", "tenant": "wohnbau-sued", "device": "meter-1007", "action": "revoke", "actor": "anna.berg", "reason": "stolen from site", "ticket": "OPS-311", "cut_ms": 3.2, "accepted_after": 0.0})...)
	add("telemetry.drills", "gridpulse-ingest-1", nil, items(
		attrs{"id": "401", "drill": "TR-01.plain-http", "control": "TR-01", "verdict": "passed", "latency_ms": 1.4, "got": "400, connection closed"},
		attrs{"id": "402", "drill": "TR-02.replayed-batch", "control": "TR-02", "verdict": "passed", "latency_ms": 2.9, "got": "202, 3 duplicates"},
		attrs{"id": "403", "drill": "TR-03.too-large", "control": "TR-03", "verdict": "passed", "latency_ms": 5.1, "got": "413 body.too-large"})...)
	add("telemetry.refusals", "gridpulse-ingest-1", nil)
	add("telemetry.books", "gridpulse-ingest-1", nil, items(attrs{"id": "stadtwerk-nord/2026-07-01", "tenant": "stadtwerk-nord", "day": "2026-07-01", "received": 1920.0, "accepted": 1911.0, "duplicate": 6.0, "dead_lettered": 3.0, "refused": 0.0, "balanced": true})...)
	add("github.changes", "lindenau/gridpulse-pipeline", nil, items(
		attrs{"id": "3f9c1d0a55e7", "repo": "lindenau/gridpulse-pipeline", "branch": "main", "class": "approved", "pr": 118.0, "author": "ben-okafor", "approvers": []any{"anna-berg"}, "checks_green": true},
		attrs{"id": "77ab02ce1934", "repo": "lindenau/gridpulse-pipeline", "branch": "main", "class": "self-approved", "pr": 121.0, "author": "dmitri-volk", "approvers": []any{"dmitri-volk"}, "checks_green": true},
		attrs{"id": "a01e55b7f2c8", "repo": "lindenau/gridpulse-pipeline", "branch": "main", "class": "direct-push", "pr": nil, "author": "anna-berg", "approvers": []any{}, "checks_green": nil},
		attrs{"id": "c4d8810e6b3f", "repo": "lindenau/gridpulse-pipeline", "branch": "main", "class": "stale-approval", "pr": 124.0, "author": "carla-ruiz", "approvers": []any{"ben-okafor"}, "checks_green": true})...)
	add("github.branch-protection", "lindenau/gridpulse-pipeline", snapshot, items(attrs{"id": "lindenau/gridpulse-pipeline@main", "required_reviews": 1.0, "enforce_admins": false, "allow_force_pushes": false})...)
	add("aws.log-groups", "111122223333", func(e *evidence.Evidence) {
		e.Snapshot = true
		e.Completeness = evidence.Completeness{State: evidence.Incomplete, Basis: "read-to-end", Got: 3,
			Gaps: []evidence.Gap{{What: "region eu-west-1", Reason: "AccessDeniedException: not allowed to call DescribeLogGroups"}}}
		e.Provenance.Requests = append(e.Provenance.Requests, evidence.Request{Method: "DescribeLogGroups", Target: "logs.eu-west-1.amazonaws.com", StartedAt: e.CollectedAt, EndedAt: e.CollectedAt, Status: 400, Error: "AccessDeniedException"})
	}, items(
		attrs{"id": "111122223333/eu-central-1//gridpulse/ingest", "retention_days": 400.0, "stored_bytes": 73400320.0, "kms": true},
		attrs{"id": "111122223333/eu-central-1//gridpulse/audit", "retention_days": 30.0, "stored_bytes": 1048576.0, "kms": false},
		attrs{"id": "111122223333/eu-central-1//gridpulse/debug", "retention_days": nil, "stored_bytes": 912261120.0, "kms": false})...)
	add("aws.buckets", "111122223333", snapshot, items(attrs{"id": "111122223333/gridpulse-archive", "region": "eu-central-1", "versioning": "Enabled", "object_lock": true, "encryption": "aws:kms"})...)
	add("aws.users", "111122223333", snapshot, items(attrs{"id": "111122223333/ci-deploy", "mfa": false, "password": true, "admin": true}, attrs{"id": "111122223333/anna", "mfa": true, "password": true, "admin": false})...)
	add("rollout.rollouts", "rollouts.yaml", nil, items(attrs{"id": "gp-2.4.1", "source": "file", "fleet_size": 40.0, "stages": []any{attrs{"name": "canary", "devices": 16.0, "percent_of_fleet": 40.0}}})...)
	add("documents.documents", "docs/", snapshot, items(attrs{"id": "runbooks/ingest-outage.md", "title": "Ingestion outage", "owner": "anna.berg", "expired": true})...)

	control := func(id, title string, stage evidence.Stage, criteria []evidence.Criterion, objective, guidance string, outcome evidence.Outcome, reason string, kinds []evidence.Kind, tests []test, exceptions ...evidence.Exception) {
		c := evidence.Control{ID: id, Title: title, Stage: stage, Criteria: criteria, Objective: objective, Guidance: guidance, Kinds: kinds}
		f := evidence.Finding{Control: id, Period: q3, Outcome: outcome, Reason: reason, Exceptions: exceptions, Sample: true, Clock: evidence.ClockSimulated}
		for _, x := range tests {
			c.Attributes = append(c.Attributes, evidence.Attribute{ID: x.id, Title: x.title, Kind: x.kind, Test: "true"})
			why := "every item conforms"
			switch x.outcome {
			case evidence.OutcomeException:
				why = fmt.Sprintf("%d of %d items do not conform", x.failed, x.tested)
			case evidence.OutcomeNotAvailable:
				why = "the evidence is missing or incomplete"
			case evidence.OutcomeNotApplicable:
				why = "the population is complete and empty"
			}
			f.Attributes = append(f.Attributes, evidence.AttributeFinding{ID: x.id, Title: x.title, Kind: x.kind, Outcome: x.outcome, Reason: why, Tested: x.tested, Passed: x.tested - x.failed, Failed: x.failed})
			f.Population = max(f.Population, x.tested)
		}
		for _, k := range kinds {
			if e, ok := byKind[k]; ok {
				f.Evidence = append(f.Evidence, cite(e))
			}
		}
		v.Controls = append(v.Controls, c)
		v.Findings = append(v.Findings, f)
	}
	const met, exc, na, nap = evidence.OutcomeMet, evidence.OutcomeException, evidence.OutcomeNotAvailable, evidence.OutcomeNotApplicable
	crit := func(ids ...evidence.Criterion) []evidence.Criterion { return ids }
	kinds := func(ids ...evidence.Kind) []evidence.Kind { return ids }
	wrong := func(attribute string, kind evidence.Kind, item, detail string) evidence.Exception {
		return evidence.Exception{Attribute: attribute, Kind: kind, Item: item, Outcome: exc, Detail: detail}
	}

	control("ID-01", "Every device has its own identity", evidence.StageIdentity, crit("CC6.1"), "No credential is shared between devices or gateways, and no device answers to more than one.",
		"Issue a new credential to each device that shares one, then revoke the shared one.", met, "All 40 devices hold a credential that no other device holds.",
		kinds("telemetry.devices"), []test{{"one-credential", "The device holds one credential", "telemetry.devices", met, 40, 0}, {"not-shared", "No other device holds its credential", "telemetry.devices", met, 40, 0}})
	control("ID-04", "Provisioning follows a workflow", evidence.StageIdentity, crit("CC6.2", "CC6.3"), "A device is requested, approved by somebody else, issued a credential, then activated.", "", met, "Both devices provisioned were approved by somebody other than the requester.",
		kinds("telemetry.provisioning"), []test{{"approver-not-requester", "The approver is not the requester", "telemetry.provisioning", met, 2, 0}})
	control("ID-05", "A compromised device is shut out", evidence.StageIdentity, crit("CC6.2", "CC6.3", "CC7.4"), "A revoked or quarantined device is refused, within the policy's time, and proven to be.", "", met, "The one revocation took effect in 3.2 ms and nothing was accepted after it.",
		kinds("telemetry.revocations"), []test{{"nothing-after", "Nothing was accepted after the decision", "telemetry.revocations", met, 1, 0}})
	control("TR-01", "TLS is enforced on every endpoint", evidence.StageTransport, crit("CC6.1", "CC6.6", "CC6.7"), "No listener beyond loopback speaks anything but TLS 1.2 or later.", "", met, "Both listeners demand TLS 1.2 or later, and the drill over plain HTTP was refused.",
		kinds("telemetry.config", "telemetry.drills"), []test{{"tls-min", "The lowest version allowed is 1.2 or later", "telemetry.config", met, 1, 0}, {"drill", "Drills against it were refused", "telemetry.drills", met, 3, 0}})
	control("TR-02", "Replays are absorbed and counted", evidence.StageTransport, crit("CC6.6", "CC7.2", "PI1.2"), "A message that arrives twice is stored once.", "", met, "The replayed batch was recognised whole.",
		kinds("telemetry.drills"), []test{{"drill", "The replay drill passed", "telemetry.drills", met, 1, 0}})
	control("TR-04", "Rates are limited per device and per tenant", evidence.StageTransport, crit("CC6.6", "A1.1"), "One tenant's flood never takes another's service.", "Run the flood drill: trustpack ingest drill --only TR-04.", na, "No drill of this control was run in the period, so it is not known whether the limits hold.",
		kinds("telemetry.config", "telemetry.throttling"), []test{{"drill", "The flood drill passed", "telemetry.throttling", na, 0, 0}})
	control("PR-03", "Denied cross-tenant access is recorded", evidence.StageProcessing, crit("CC6.1", "CC7.2"), "Each attempt to reach across tenants leaves a record with both tenants.", "", nap, "No access across tenants was attempted in the period.",
		kinds("telemetry.refusals"), []test{{"both-tenants", "Both tenants are recorded", "telemetry.refusals", nap, 0, 0}})
	control("PR-06", "Nothing is dropped in silence", evidence.StageProcessing, crit("PI1.3", "PI1.4", "CC7.3"), "The books of every tenant and day balance exactly.", "", met, "The books balance on every day.",
		kinds("telemetry.books"), []test{{"balanced", "Received is accepted, duplicate, dead-lettered and refused together", "telemetry.books", met, 1, 0}})
	control("PR-07", "Changes to the pipeline are reviewed", evidence.StageProcessing, crit("CC8.1"), "Every commit on the protected branch came through a pull request that somebody other than its author approved on its final head.",
		"Review each change listed after the fact and record it.\n\nThen switch on dismissal of stale approvals and include administrators in the branch's protection, so that it cannot happen again.", exc, "3 of 4 changes did not pass through an effective review.",
		kinds("github.changes"), []test{{"approved", "Approved by somebody else on the final head", "github.changes", exc, 4, 3}, {"checks-green", "Checks were green at the merge", "github.changes", met, 3, 0}},
		wrong("approved", "github.changes", "77ab02ce1934", "self-approved: dmitri-volk approved his own pull request #121"),
		wrong("approved", "github.changes", "a01e55b7f2c8", "direct-push: anna-berg pushed to main without a pull request"),
		wrong("approved", "github.changes", "c4d8810e6b3f", "stale-approval: ben-okafor approved #124 before carla-ruiz pushed its last commit"))
	control("PR-08", "Branch protection is on", evidence.StageProcessing, crit("CC8.1"), "Reviews are required of everybody, administrators included.", "Include administrators.", exc, "Administrators may bypass the protection of main.",
		kinds("github.branch-protection"), []test{{"admins", "Administrators are included", "github.branch-protection", exc, 1, 1}},
		evidence.Exception{Attribute: "admins", Kind: "github.branch-protection", Item: "lindenau/gridpulse-pipeline@main", Outcome: exc, Detail: "enforce_admins is false", Waiver: "W-2026-004"})
	control("PR-11", "Firmware is rolled out in stages", evidence.StageProcessing, crit("CC8.1", "A1.2"), "The first stage is at most 10 % of the fleet.", "", exc, "The first stage of gp-2.4.1 reached 40 % of the fleet.",
		kinds("rollout.rollouts"), []test{{"first-stage", "The first stage is small", "rollout.rollouts", exc, 1, 1}}, wrong("first-stage", "rollout.rollouts", "gp-2.4.1", "first stage: 16 of 40 devices (40 %), allowed 10 %"))
	control("ST-03", "Logs are kept as long as promised", evidence.StageStorage, crit("CC7.2", "CC7.3", "C1.2"), "Every log group in scope keeps its records for the promised time, and none for ever.", "Set retention to 365 days on each group listed. Give the collector logs:DescribeLogGroups in eu-west-1.", exc, "2 of 3 log groups are outside of the policy, and one region could not be read.",
		kinds("aws.log-groups", "aws.trails"), []test{{"long-enough", "Kept for 365 days at least", "aws.log-groups", exc, 3, 1}, {"not-for-ever", "Does not keep for ever", "aws.log-groups", exc, 3, 1}, {"trail", "The trail is logging", "aws.trails", na, 0, 0}},
		wrong("long-enough", "aws.log-groups", "111122223333/eu-central-1//gridpulse/audit", "kept 30 days, promised 365"),
		wrong("not-for-ever", "aws.log-groups", "111122223333/eu-central-1//gridpulse/debug", "never expires, allowed 730 days"))
	control("AU-05", "Privileged access is reviewed", evidence.StageAuditability, crit("CC6.2", "CC6.3"), "Every account was decided on in the quarter by somebody other than its holder.", "", na, "No access review of this period was found.",
		kinds("aws.users", "documents.access-reviews"), []test{{"decided", "Each account has a decision", "documents.access-reviews", na, 0, 0}})
	control("AU-08", "Missing telemetry is noticed", evidence.StageAuditability, crit("A1.1", "CC7.2", "PI1.2"), "A silence beyond the threshold raises an alert.", "", evidence.OutcomeError, "The test of attribute alert-raised could not be evaluated: no such field: alert_delay_s.",
		kinds("telemetry.devices"), []test{{"alert-raised", "An alert was raised", "telemetry.devices", evidence.OutcomeError, 0, 0}})
	return v
}

// realView is the example as if nothing of it had been a sample.
func realView(t testing.TB) View {
	v := exampleView(t)
	v.Sample, v.Clock = false, evidence.ClockSystem
	for i := range v.Findings {
		v.Findings[i].Sample, v.Findings[i].Clock = false, ""
		for j := range v.Findings[i].Evidence {
			v.Findings[i].Evidence[j].Origin = evidence.OriginLive
		}
	}
	for i := range v.Evidence {
		v.Evidence[i].Provenance.Origin, v.Evidence[i].Provenance.Clock = evidence.OriginLive, evidence.ClockSystem
	}
	return v
}
