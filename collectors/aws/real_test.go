package aws

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"trustpack/evidence"
	"trustpack/internal/httpreplay"
)

// recordings holds real answers of AWS, kept outside of the project.
const recordings = "../../../shared/data/aws/custodian"

type recording struct {
	StatusCode int             `json:"status_code"`
	Data       json.RawMessage `json:"data"`
}

func realAnswers(t *testing.T, pattern string) map[string]recording {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(recordings, "*", pattern))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(recordings); err != nil {
		t.Skip("skipped: the recorded answers of AWS are not on this machine:", recordings)
	}
	if len(files) == 0 {
		t.Fatalf("no recording matches %s", pattern)
	}
	out := map[string]recording{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var r recording
		if err := json.Unmarshal(b, &r); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		out[f] = r
	}
	return out
}

func TestRealLogGroups(t *testing.T) {
	groups := 0
	for file, r := range realAnswers(t, "logs.DescribeLogGroups_*.json") {
		var data struct {
			LogGroups []struct {
				LogGroupName    string `json:"logGroupName"`
				RetentionInDays *int   `json:"retentionInDays"`
				KmsKeyID        string `json:"kmsKeyId"`
			} `json:"logGroups"`
		}
		if err := json.Unmarshal(r.Data, &data); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		s := spoiled(t, target("DescribeLogGroups", "eu-west-1"), httpreplay.Reply{Body: string(r.Data), Headers: map[string]string{"Content-Type": "application/x-amz-json-1.1"}})
		e := collect(t, exampleConfig(s.URL()), deps())[KindLogGroups]
		if e.Completeness.State != evidence.Complete || len(e.Population.Items) != 7+len(data.LogGroups) {
			t.Errorf("%s: %d items, %+v", file, len(e.Population.Items), e.Completeness)
			continue
		}
		for _, g := range data.LogGroups {
			a := find(t, e, "111122223333/eu-west-1/"+g.LogGroupName)
			var want any
			if g.RetentionInDays != nil {
				want = *g.RetentionInDays
			}
			if a["retention_days"] != want || a["kms"] != (g.KmsKeyID != "") {
				t.Errorf("%s: %v", file, a)
			}
			groups++
		}
	}
	if groups < 5 {
		t.Errorf("only %d log groups in the recordings", groups)
	}
}

func TestRealBucketPolicies(t *testing.T) {
	policies := 0
	for file, r := range realAnswers(t, "s3.GetBucketPolicy_*.json") {
		var data struct{ Policy string }
		if err := json.Unmarshal(r.Data, &data); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if data.Policy == "" {
			continue
		}
		if _, err := parsePolicy(data.Policy); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		policies++
	}
	if policies == 0 {
		t.Error("no policy in the recordings")
	}
}

// The codes with which AWS really says "there is none" are the ones we know.
func TestRealNone(t *testing.T) {
	settings := map[string]struct{ sub, pattern string }{
		"lifecycle":             {"lifecycle", "s3.GetBucketLifecycleConfiguration_*.json"},
		"encryption":            {"encryption", "s3.GetBucketEncryption_*.json"},
		"public_access_blocked": {"publicAccessBlock", "s3.GetPublicAccessBlock_*.json"},
		"tls_only":              {"policy", "s3.GetBucketPolicy_*.json"},
	}
	for field, setting := range settings {
		codes := map[string]bool{}
		for file, r := range realAnswers(t, setting.pattern) {
			var data struct{ Error struct{ Code string } }
			if err := json.Unmarshal(r.Data, &data); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if r.StatusCode == 404 {
				codes[data.Error.Code] = true
			}
		}
		if len(codes) == 0 {
			t.Errorf("%s: no recording says that there is none", field)
		}
		for code := range codes {
			s := spoiled(t, path("/lindenau-evidence", setting.sub), s3Error(404, code))
			if e := collect(t, exampleConfig(s.URL()), deps())[KindBuckets]; e.Completeness.State != evidence.Complete {
				t.Errorf("%s: AWS says %s: %+v", field, code, e.Completeness)
			}
		}
	}
}
