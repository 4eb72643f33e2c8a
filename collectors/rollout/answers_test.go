package rollout

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
	"trustpack/internal/httpreplay"
)

// Whatever hawkBit's answer fails, in whatever way: there is a gap that says
// so, nothing reads as "there is none", and the credential is not told.
func TestEveryCallInEveryWay(t *testing.T) {
	s := recorded(t)
	whole := ask(t, s, "2026-Q3")
	var paths []string
	for _, seen := range s.Requests() {
		path, _, _ := strings.Cut(seen.URI, "?")
		if path != "/rest/v1/userinfo" && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	if len(paths) < 6 {
		t.Fatalf("only %d addresses are asked: %v", len(paths), paths)
	}
	echo := `{"you sent":"` + password + `"}`
	for way, c := range map[string]struct {
		fault httpreplay.Fault
		want  string
	}{
		"401":          {httpreplay.Fault{Status: 401, Body: echo}, "HTTP 401"},
		"403":          {httpreplay.Fault{Status: 403, Body: echo}, "HTTP 403"},
		"404":          {httpreplay.Fault{Status: 404, Body: echo}, "HTTP 404"},
		"429":          {httpreplay.Fault{Status: 429, Body: echo}, "HTTP 429"},
		"500":          {httpreplay.Fault{Status: 500, Body: echo}, "HTTP 500"},
		"cut off":      {httpreplay.Fault{Cut: true}, "cut off"},
		"nothing":      {httpreplay.Fault{Status: 200}, "not the JSON that the API describes"},
		"empty object": {httpreplay.Fault{Status: 200, Body: "{}"}, "not the JSON that the API describes"},
	} {
		for _, path := range paths {
			s := recorded(t)
			c.fault.Path = path
			s.Inject(c.fault)
			e := ask(t, s, "2026-Q3")
			if said := fmt.Sprint(e.Completeness.Gaps); e.Completeness.State != evidence.Incomplete || !strings.Contains(said, c.want) {
				t.Errorf("%s of %s: %s with the gaps %s, want one that says %q", way, path, e.Completeness.State, said, c.want)
			}
			if n := len(e.Population.Items); n > len(whole.Population.Items) {
				t.Errorf("%s of %s: %d rollouts", way, path, n)
			}
			noSecret(t, e)
		}
	}
}
