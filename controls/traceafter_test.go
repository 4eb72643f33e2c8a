package controls

import (
	"strings"
	"testing"
)

// What was recorded after a deployment is told one by one, good or bad; what
// nobody could read is not available, and what nobody recorded is missing.
func TestTraceAfterADeployment(t *testing.T) {
	check := func(name, state string) any {
		return map[string]any{"what": "check", "name": name, "state": state, "at": "2026-08-05T11:40:00Z", "by": "ci"}
	}
	for name, c := range map[string]struct {
		after any
		want  string // the steps' states
		says  string
	}{
		"checks":        {[]any{check("smoke", "success"), check("soak", "failure")}, "found found", "check soak: failure, once it ran on production"},
		"a bare status": {[]any{map[string]any{"what": "status", "name": "", "state": "success", "at": "2026-08-05T11:40:00Z", "by": "smoke"}}, "found", "status: success, once it ran on production"},
		"nothing":       {[]any{}, "missing", "no status and no check"},
		"not read":      {nil, "not-available", "could not be read"},
	} {
		in := estate()
		in["github.deployments"].Population.Items[1].Attributes["after"] = c.after
		chain, err := trace(t, in, "51")
		if err != nil {
			t.Fatal(err)
		}
		var states, said []string
		for _, l := range chain.Links {
			if l.Step == "after-deployment" {
				states, said = append(states, l.State), append(said, l.Detail)
			}
		}
		if got := strings.Join(states, " "); got != c.want || !strings.Contains(strings.Join(said, "\n"), c.says) {
			t.Errorf("%s: %s, want %s: %q", name, got, c.want, said)
		}
	}
}
