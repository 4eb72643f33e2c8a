package drill

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
)

// apiError is an admin call that was answered but not done.
type apiError struct {
	method, path string
	answer       answer
	detail       string
}

func (e *apiError) Error() string {
	s := fmt.Sprintf("%s %s: answered %s", e.method, e.path, e.answer)
	if e.detail != "" {
		s += " (" + e.detail + ")"
	}
	return s
}

// call makes one call to an API and decodes the answer into out, which may be
// nil.
func call(ctx context.Context, e endpoint, config *tls.Config, method, path string, in, out any) error {
	q, err := jsonRequest(method, path, in)
	if err != nil {
		return err
	}
	a := e.once(ctx, config, q)
	switch {
	case a.err != nil:
		return fmt.Errorf("%s %s: %w", method, path, a.err)
	case a.status < 200 || a.status > 299:
		var problem struct {
			Detail string `json:"detail"`
		}
		if json.Unmarshal(a.body, &problem) != nil {
			problem.Detail = "" // not a problem document: the status says it all
		}
		return &apiError{method, path, a, problem.Detail}
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = a.body
		return nil
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		return fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
	}
	return nil
}

// jsonRequest is a request with in as its body, if that is not nil.
func jsonRequest(method, path string, in any) (request, error) {
	q := request{method: method, path: path}
	if in == nil {
		return q, nil
	}
	body, err := json.Marshal(in)
	if err != nil {
		return q, fmt.Errorf("%s %s: %w", method, path, err)
	}
	q.body, q.header = body, http.Header{"Content-Type": {"application/json"}}
	return q, nil
}

// by makes an admin call as one operator.
func (r *run) by(ctx context.Context, operator tls.Certificate, method, path string, in, out any) error {
	return call(ctx, r.admin, r.admin.with(operator), method, path, in, out)
}

// either makes an admin call as the requester and, where that operator's role
// does not allow it, as the approver.
func (r *run) either(ctx context.Context, method, path string, in, out any) error {
	first := r.by(ctx, r.t.Requester, method, path, in, out)
	var refused *apiError
	if !errors.As(first, &refused) || refused.answer.status != http.StatusForbidden {
		return first
	}
	if second := r.by(ctx, r.t.Approver, method, path, in, out); second != nil {
		return fmt.Errorf("%w; and as the other operator: %w", first, second)
	}
	return nil
}

// config is what the drills need of the ingest's effective settings.
type config struct {
	err    error // why it could not be read
	Limits struct {
		BodyBytes         int64 `json:"body_bytes"`
		Lines             int64 `json:"lines"`
		Depth             int64 `json:"depth"`
		DecompressedBytes int64 `json:"decompressed_bytes"`
	} `json:"limits"`
	Rates struct {
		Device rate `json:"device"`
		Tenant rate `json:"tenant"`
	} `json:"rates"`
	Replay struct {
		Window int64 `json:"window"`
	} `json:"replay"`
	Time struct {
		Future string `json:"future"`
		Past   string `json:"past"`
	} `json:"time"`
	Heartbeat struct {
		Missed int               `json:"missed"`
		Types  map[string]string `json:"types"`
	} `json:"heartbeat"`
	Exports struct {
		UnapprovedRows  int64 `json:"unapproved_rows"`
		CanarySpikeRows int64 `json:"canary_spike_rows"`
	} `json:"exports"`
}

type rate struct {
	PerSecond float64 `json:"per_second"`
	Burst     float64 `json:"burst"`
}

// begin notes what the drills start from: the settings, and how long the logs
// are. What cannot be had is known later by the drills that need it.
func (r *run) begin(ctx context.Context) {
	var snapshot struct {
		Config *config `json:"config"`
	}
	if err := r.either(ctx, "GET", "/v1/admin/config", nil, &snapshot); err != nil {
		r.config.err = fmt.Errorf("reading the ingest's settings: %w", err)
	} else if snapshot.Config == nil {
		r.config.err = errors.New("reading the ingest's settings: the answer has no \"config\"")
	} else {
		r.config = *snapshot.Config
	}
	r.measure(ctx)
	r.since = maps.Clone(r.sizes)
}

// measure notes how long the logs are now.
func (r *run) measure(ctx context.Context) {
	var logs struct {
		Logs []struct {
			Name string `json:"name"`
			Size int64  `json:"size"`
		} `json:"logs"`
	}
	if r.blind != nil || ctx.Err() != nil {
		return
	}
	if err := r.either(ctx, "GET", "/v1/admin/logs", nil, &logs); err != nil {
		r.blind = fmt.Errorf("listing the ingest's logs: %w", err)
		return
	}
	for _, l := range logs.Logs {
		r.sizes[l.Name] = l.Size
	}
}

// limit is a limit of the settings if it can be overstepped with at most most.
func (c config) limit(name string, value, most int64) (int64, error) {
	switch {
	case c.err != nil:
		return 0, c.err
	case value <= 0:
		return 0, fmt.Errorf("the ingest's settings name no limits.%s", name)
	case value > most:
		return 0, fmt.Errorf("limits.%s is %d; a drill sends no more than %d", name, value, most)
	}
	return value, nil
}
