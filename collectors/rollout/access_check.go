package rollout

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"

	"trustpack/evidence"
)

// permissionChecks are what hawkBit is asked with one GET each. The page has
// one entry.
func permissionChecks() []struct {
	name, reads, path string
	query             url.Values
} {
	one := url.Values{"limit": {"1"}}
	return []struct {
		name, reads, path string
		query             url.Values
	}{
		{"READ_ROLLOUT", "rollouts and their groups", "/rest/v1/rollouts", one},
		{"READ_TARGET", "the devices' actions and their status", "/rest/v1/actions", one},
		{"READ_REPOSITORY", "distribution sets", "/rest/v1/distributionsets", one},
		{"READ_REPOSITORY", "software modules and their artifacts", "/rest/v1/softwaremodules", one},
	}
}

// CheckAccess reads the folder as Collect does, keeping nothing, and asks
// hawkBit once for each permission. The list of targets is not asked for: it
// carries the devices' security tokens.
func (c *collector) CheckAccess(ctx context.Context) ([]evidence.AccessCheck, error) {
	var out []evidence.AccessCheck
	if c.config.Folder != "" {
		out = append(out, c.folderCheck(ctx)...)
	}
	if c.config.HawkBit != nil {
		out = append(out, c.hawkBitChecks(ctx)...)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("asking what may be read of rollouts: %w", err)
	}
	return out, nil
}

// folderCheck has a row for each file that cannot be used, or one for all.
func (c *collector) folderCheck(ctx context.Context) []evidence.AccessCheck {
	check := evidence.AccessCheck{
		Source: c.Name(), Target: "folder " + filepath.Base(filepath.Clean(c.config.Folder)), Permission: "the folder: read", For: "rollout files",
		Kinds: c.Kinds(), State: evidence.AccessGranted,
	}
	var t trace
	if found := c.files(ctx, &t); len(t.gaps) == 0 {
		check.Said = fmt.Sprintf("rollouts: %d", len(found))
		return []evidence.AccessCheck{check}
	}
	var out []evidence.AccessCheck
	for _, g := range t.gaps {
		check.State, check.Said = evidence.AccessLacking, g.What+": "+g.Reason
		out = append(out, check)
	}
	return out
}

func (c *collector) hawkBitChecks(ctx context.Context) []evidence.AccessCheck {
	var t trace
	s := c.server(&t)
	s.tries = 1 // who asks waits for the answer
	var out []evidence.AccessCheck
	check := evidence.AccessCheck{Source: c.Name(), Target: c.config.HawkBit.URL, Kinds: c.Kinds(), Principal: "unknown: it was not asked"}
	ended := false // nobody answers, or nobody is known by the credential: once is enough
	for _, p := range permissionChecks() {
		check.Permission, check.For = p.name, p.reads
		if !ended {
			check.State, check.Said = s.may(ctx, p.path, p.query)
			n := len(t.requests)
			ended = n == 0 || t.requests[n-1].Status == 0 || t.requests[n-1].Status == http.StatusUnauthorized
		}
		out = append(out, check)
	}
	if !ended {
		principal := s.principal(ctx)
		for i := range out {
			out[i].Principal = principal
		}
	}
	return out
}

// may asks for one page.
func (s *server) may(ctx context.Context, path string, query url.Values) (evidence.AccessState, string) {
	var reply struct {
		Total *int `json:"total"`
	}
	err := s.get(ctx, path, query, 0, &reply)
	if err == nil && reply.Total == nil {
		err = errors.New("the reply is not the JSON that the API describes: it has no total")
	}
	switch {
	case err == nil:
		return evidence.AccessGranted, ""
	case s.auth == "", errors.Is(err, errCredential), errors.Is(err, errPermission):
		return evidence.AccessLacking, err.Error()
	}
	return evidence.AccessUnknown, err.Error()
}
