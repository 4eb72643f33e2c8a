package metering

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/collectors/aws"
	"trustpack/collectors/documents"
	"trustpack/collectors/rollout"
	"trustpack/evidence"
	"trustpack/internal/httpreplay"
)

// onDisk writes a folder of the example out, as the demo does.
func onDisk(t *testing.T, files fs.FS) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	return dir
}

func afterTheQuarter() time.Time { return Quarter().To.Add(6 * time.Hour) }

// gather runs a collector over the quarter and wants every kind complete.
func gather(t *testing.T, c evidence.Collector, err error) map[evidence.Kind]evidence.Evidence {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.Collect(context.Background(), Quarter())
	if err != nil {
		t.Fatal(err)
	}
	out := map[evidence.Kind]evidence.Evidence{}
	for _, e := range all {
		if e.Completeness.State != evidence.Complete {
			t.Errorf("%s is incomplete: %+v", e.Kind, e.Completeness.Gaps)
		}
		if e.Provenance.Origin != evidence.OriginSample {
			t.Errorf("%s is labelled %s", e.Kind, e.Provenance.Origin)
		}
		out[e.Kind] = e
	}
	return out
}

func TestDocumentsShowTheirTrouble(t *testing.T) {
	c, err := documents.New(documents.Config{Folder: onDisk(t, Documents()), Sample: true}, documents.Deps{Now: afterTheQuarter})
	got := gather(t, c, err)
	runbooks, expired := 0, []string(nil)
	for _, it := range got[documents.KindDocuments].Population.Items {
		if it.Attributes["type"] == "runbook" {
			runbooks++
		}
		if it.Attributes["expired"] == true {
			expired = append(expired, it.ID)
		}
	}
	if runbooks != 3 || !slices.Equal(expired, []string{"runbooks/device-identity-compromise.md"}) {
		t.Errorf("%d runbooks, expired %v", runbooks, expired)
	}
	decided := reviewed(t)
	var undecided []string
	fleet, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range fleet.Operators {
		if !decided["ingest/"+o.Name] {
			undecided = append(undecided, o.Name)
		}
	}
	if !slices.Equal(undecided, []string{"dmitri.volk"}) {
		t.Errorf("operators without a decision: %v, want dmitri.volk alone", undecided)
	}
}

// reviewed lists who the access review decides on, "system/principal".
func reviewed(t *testing.T) map[string]bool {
	t.Helper()
	c, err := documents.New(documents.Config{Folder: onDisk(t, Documents()), Sample: true}, documents.Deps{Now: afterTheQuarter})
	decided := map[string]bool{}
	for _, it := range gather(t, c, err)[documents.KindAccessReviews].Population.Items {
		a := it.Attributes
		principal := a["principal"].(string)
		decided[a["system"].(string)+"/"+principal] = true
		if strings.ReplaceAll(principal, "-", ".") == a["reviewer"] {
			t.Errorf("%s is a self-review", it.ID)
		}
	}
	return decided
}

func TestRolloutsShowTheirTrouble(t *testing.T) {
	c, err := rollout.New(rollout.Config{Folder: onDisk(t, Rollouts()), Sample: true}, rollout.Deps{Now: afterTheQuarter})
	items := gather(t, c, err)[rollout.KindRollouts].Population.Items
	if len(items) != 3 {
		t.Fatalf("%d rollouts, want 3", len(items))
	}
	first := map[string]float64{}
	for _, it := range items {
		first[it.ID] = it.Attributes["stages"].([]any)[0].(map[string]any)["percent_of_fleet"].(float64)
		if back := it.Attributes["rolled_back"] == true; back != (it.ID == "hm-2.8.1") || back != (it.Attributes["rollback_trigger"] != "") {
			t.Errorf("%s: rolled back %v, %v", it.ID, back, it.Attributes["rollback_trigger"])
		}
	}
	if first["gw-7.3.1"] != 50 || first["em-4.2.0"] > 10 || first["hm-2.8.1"] > 10 {
		t.Errorf("first stages in per cent: %v", first)
	}
}

// The files of rollouts and what the devices say of themselves must agree.
func TestRolloutsAgreeWithTheFleet(t *testing.T) {
	fleet, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	c, err := rollout.New(rollout.Config{Folder: onDisk(t, Rollouts()), Sample: true}, rollout.Deps{Now: afterTheQuarter})
	for _, it := range gather(t, c, err)[rollout.KindRollouts].Population.Items {
		a := it.Attributes
		kind, version := a["device_type"].(string), a["firmware"].(string)
		updated := slices.ContainsFunc(fleet.Updates, func(u Update) bool { return u.Type == kind && u.Version == version })
		if runs := updated || fleet.Firmware[kind] == version; runs == (a["rolled_back"] == true) {
			t.Errorf("%s: devices of type %s run %s: %v", it.ID, kind, version, runs)
		}
	}
}

// replayed serves exchanges of the example over loopback HTTP.
func replayed(t *testing.T, replies fs.FS) *httpreplay.Server {
	t.Helper()
	s, err := httpreplay.New(replies, nil)
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
		if un := s.Unmatched(); len(un) > 0 {
			t.Errorf("not answered: %q", un)
		}
	})
	return s
}

func TestTheHawkBitServerAnswers(t *testing.T) {
	s := replayed(t, HawkBitReplies())
	c, err := rollout.New(
		rollout.Config{HawkBit: &rollout.HawkBit{URL: s.URL(), TokenEnv: "TOKEN"}, Sample: true},
		rollout.Deps{Now: afterTheQuarter, Getenv: func(string) string { return "sample" }})
	if n := len(gather(t, c, err)[rollout.KindRollouts].Population.Items); n != 1 {
		t.Errorf("%d rollouts, want 1", n)
	}
}

func TestAWSShowsItsTrouble(t *testing.T) {
	s := replayed(t, AWSReplies())
	c, err := aws.New(
		aws.Config{Account: "111122223333", Endpoint: s.URL(), Sample: true,
			Credentials: aws.Credentials{AccessKeyIDEnv: "ID", SecretAccessKeyEnv: "KEY"}},
		aws.Deps{Now: afterTheQuarter, Getenv: func(string) string { return "sample" }})
	got := gather(t, c, err)
	trouble := map[string]bool{}
	for _, it := range got[aws.KindLogGroups].Population.Items {
		if d, ok := it.Attributes["retention_days"].(int); !ok || d < 365 {
			trouble[it.Attributes["name"].(string)] = true
		}
	}
	decided := reviewed(t)
	for _, it := range got[aws.KindUsers].Population.Items {
		a := it.Attributes
		if a["password"] == true && a["mfa"] == false {
			trouble[a["name"].(string)] = true
		}
		if !decided["aws/"+a["name"].(string)] {
			t.Errorf("the access review does not decide on %s", it.ID)
		}
	}
	for _, it := range got[aws.KindBuckets].Population.Items {
		if it.Attributes["tls_only"] == false {
			trouble[it.Attributes["name"].(string)] = true
		}
	}
	want := []string{"/aws/lambda/meter-export", "/gridpulse/edge-gateway", "dmitri.volk", "lindenau-firmware-releases"}
	if names := slices.Sorted(maps.Keys(trouble)); !slices.Equal(names, want) {
		t.Errorf("trouble with %v, want %v", names, want)
	}
}
