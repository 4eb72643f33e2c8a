package rollout

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"time"

	"trustpack/evidence"
)

// What is read of hawkBit's management API. The listing of targets is not
// asked for: it carries the devices' security tokens.

type hbRollout struct {
	ID                int64  `json:"id"`
	Name              string `json:"name"`
	Status            string `json:"status"`
	CreatedBy         string `json:"createdBy"`
	CreatedAt         millis `json:"createdAt"`
	LastModifiedAt    millis `json:"lastModifiedAt"`
	StartAt           millis `json:"startAt"`
	TotalTargets      int    `json:"totalTargets"`
	DistributionSetID int64  `json:"distributionSetId"`
	ApproveDecidedBy  string `json:"approveDecidedBy"`
	Deleted           bool   `json:"deleted"`
	Type              string `json:"type"`
}

type hbGroup struct {
	ID               int64       `json:"id"`
	Name             string      `json:"name"`
	Status           string      `json:"status"`
	TotalTargets     int         `json:"totalTargets"`
	SuccessCondition hbCondition `json:"successCondition"`
	ErrorCondition   hbCondition `json:"errorCondition"`
}

// hbCondition is a threshold in per cent, as text.
type hbCondition struct {
	Condition  string `json:"condition"`
	Expression string `json:"expression"`
}

type hbAction struct {
	ID             int64  `json:"id"`
	Status         string `json:"status"`
	DetailStatus   string `json:"detailStatus"`
	LastModifiedAt millis `json:"lastModifiedAt"`
	Links          struct {
		Target struct {
			Href string `json:"href"`
		} `json:"target"`
	} `json:"_links"`
}

// millis is a time in milliseconds since 1970.
type millis int64

func (m millis) time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(m)).UTC()
}

// principal asks the server who the credential is.
func (s *server) principal(ctx context.Context) string {
	var who struct{ Tenant, Username string }
	if err := s.get(ctx, "/rest/v1/userinfo", url.Values{}, 0, &who); err != nil {
		return "unknown: " + err.Error()
	}
	return fmt.Sprintf("hawkbit user %s of tenant %s", who.Username, who.Tenant)
}

// rollouts reads every rollout that may touch p, with groups and actions.
func (s *server) rollouts(ctx context.Context, p evidence.Period) []rollout {
	found, err := list[hbRollout](ctx, s, "/rest/v1/rollouts", url.Values{"representation": {"full"}})
	if err != nil {
		s.trace.gap("hawkbit rollouts", err.Error())
	}
	var out []rollout
	for _, h := range found {
		ended := slices.Contains([]string{"finished", "stopped", "deleted", "approval_denied"}, h.Status)
		if !p.IsZero() && (!h.CreatedAt.time().Before(p.To) || ended && h.LastModifiedAt.time().Before(p.From)) {
			continue
		}
		s.deps.Progress("reading hawkBit rollout " + h.Name)
		out = append(out, s.rollout(ctx, h))
	}
	return out
}

func (s *server) rollout(ctx context.Context, h hbRollout) rollout {
	r := rollout{
		id: fmt.Sprintf("hawkbit/%d", h.ID), source: "hawkbit", name: h.Name,
		fleet: h.TotalTargets, requester: h.CreatedBy, approver: h.ApproveDecidedBy,
		created: h.CreatedAt.time(), state: h.Status, paused: h.Status == "paused",
	}
	var err error
	if r.firmware, r.artifact, err = s.firmware(ctx, h.DistributionSetID); err != nil {
		s.trace.gap(r.id+": firmware", err.Error())
	}
	groups, err := list[hbGroup](ctx, s, fmt.Sprintf("/rest/v1/rollouts/%d/deploygroups", h.ID), url.Values{"representation": {"full"}})
	if err != nil {
		s.trace.gap(r.id+": groups", err.Error())
	}
	for i, g := range groups {
		r.stages = append(r.stages, s.stage(ctx, r.id, h, g, i+1))
	}
	for _, st := range r.stages {
		if !st.started.IsZero() && (r.started.IsZero() || st.started.Before(r.started)) {
			r.started = st.started
		}
		if h.Status == "finished" && st.finished.After(r.finished) {
			r.finished = st.finished
		}
	}
	return r
}

// stage counts a group's actions. The server's own counts are not used, save
// for how many targets the group has.
func (s *server) stage(ctx context.Context, rollout string, h hbRollout, g hbGroup, order int) stage {
	st := stage{name: g.Name, order: order}
	what := fmt.Sprintf("%s: group %q", rollout, g.Name)
	var err error
	if st.success, err = share(g.SuccessCondition); err != nil {
		s.trace.gap(what+": success threshold", err.Error())
	}
	if st.failure, err = share(g.ErrorCondition); err != nil {
		s.trace.gap(what+": error threshold", err.Error())
	}
	actions, err := list[hbAction](ctx, s, "/rest/v1/actions", url.Values{
		"q": {fmt.Sprintf("rolloutGroup.id==%d", g.ID)}, "representation": {"full"}})
	if err != nil {
		s.trace.gap(what+": actions", err.Error())
	}
	var last time.Time
	for _, a := range actions {
		outcome, known := outcomeOf(a, h.Type)
		if !known {
			s.trace.gap(fmt.Sprintf("%s: action %d", what, a.ID), fmt.Sprintf("its status %q (%q) is not one that hawkBit describes", a.DetailStatus, a.Status))
		}
		switch outcome {
		case "succeeded":
			st.succeeded++
		case "failed":
			st.failed++
		default:
			st.pending++
			continue
		}
		if at := a.LastModifiedAt.time(); at.After(last) {
			last = at
		}
	}
	if missing := g.TotalTargets - len(actions); missing > 0 {
		st.pending += missing // not yet started, or not to be seen
		waiting := slices.Contains([]string{"creating", "ready", "scheduled"}, g.Status)
		if !waiting && err == nil {
			s.trace.gap(what+": actions", fmt.Sprintf("the group has %d targets and the server lists %d actions", g.TotalTargets, len(actions)))
		}
	}
	if st.pending == 0 {
		st.finished = last
	}
	if len(actions) > 0 {
		if st.started, err = s.startOf(ctx, actions[0]); err != nil {
			s.trace.gap(what+": start", err.Error())
		}
	}
	return st
}

// outcomeOf sorts an action into succeeded, failed and pending. A cancelled
// one is pending: its device has neither succeeded nor failed. In a rollout
// that only downloads, having downloaded is success.
func outcomeOf(a hbAction, rolloutType string) (outcome string, known bool) {
	switch a.DetailStatus {
	case "finished":
		return "succeeded", true
	case "downloaded":
		if rolloutType == "downloadonly" {
			return "succeeded", true
		}
		return "pending", true
	case "error":
		return "failed", true
	case "running", "pending", "scheduled", "retrieved", "download", "warning",
		"canceled", "canceling", "cancel_rejected", "wait_for_confirmation":
		return "pending", true
	}
	return "pending", false
}

// startOf is when the server set an action running. It starts a group's
// actions together, so that one stands for the group; zero where its history
// has no such entry.
func (s *server) startOf(ctx context.Context, a hbAction) (time.Time, error) {
	href, err := url.Parse(a.Links.Target.Href)
	if err != nil || href.Path == "" {
		return time.Time{}, fmt.Errorf("action %d does not name its target", a.ID)
	}
	history, err := list[struct {
		Type       string `json:"type"`
		ReportedAt millis `json:"reportedAt"`
	}](ctx, s, fmt.Sprintf("/rest/v1/targets/%s/actions/%d/status", url.PathEscape(path.Base(href.Path)), a.ID), nil)
	for _, h := range history {
		if h.Type == "running" {
			return h.ReportedAt.time(), err
		}
	}
	return time.Time{}, err
}

// firmware is the version that a distribution set brings, and the digest of
// its artifact where it has exactly one.
func (s *server) firmware(ctx context.Context, set int64) (version, sha256 string, err error) {
	var ds struct {
		ID      int64  `json:"id"`
		Version string `json:"version"`
		Modules []struct {
			ID      int64  `json:"id"`
			Type    string `json:"type"`
			Version string `json:"version"`
		} `json:"modules"`
	}
	if err := s.get(ctx, fmt.Sprintf("/rest/v1/distributionsets/%d", set), nil, 0, &ds); err != nil {
		return "", "", fmt.Errorf("distribution set %d: %w", set, err)
	}
	if ds.ID != set {
		return "", "", fmt.Errorf("distribution set %d: the reply is not the JSON that the API describes: it is of set %d", set, ds.ID)
	}
	version = ds.Version
	var digests []string
	for _, m := range ds.Modules {
		if len(ds.Modules) == 1 || m.Type == "os" || m.Type == "firmware" {
			version = m.Version
		}
		var artifacts []struct {
			Hashes struct {
				SHA256 string `json:"sha256"`
			} `json:"hashes"`
		}
		if err := s.get(ctx, fmt.Sprintf("/rest/v1/softwaremodules/%d/artifacts", m.ID), nil, 0, &artifacts); err != nil {
			return version, "", fmt.Errorf("artifacts of module %d: %w", m.ID, err)
		}
		for _, a := range artifacts {
			digests = append(digests, a.Hashes.SHA256)
		}
	}
	if len(digests) == 1 {
		sha256 = digests[0]
	}
	return version, sha256, nil
}

// share turns a threshold in per cent into a share; nil where there is none.
func share(c hbCondition) (*float64, error) {
	if c.Expression == "" {
		return nil, nil
	}
	percent, err := strconv.ParseFloat(c.Expression, 64)
	if err != nil || !(percent >= 0 && percent <= 100) {
		return nil, fmt.Errorf("want a number from 0 to 100, got %q", c.Expression)
	}
	percent /= 100
	return &percent, nil
}
