package drill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// runForm is how a run's ID begins: with the time of its beginning.
const runForm = "20060102-150405"

// Clear clears away what a run left behind that was begun at a time and whose
// process ended before it did, and what older ones did.
func Clear(ctx context.Context, t Target, began time.Time) error {
	r, err := newRun(t)
	if err != nil {
		return err
	}
	r.dead = began.UTC().Truncate(time.Second)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return r.sweep(ctx)
}

// abandoned reports whether the run that name begins with must have ended
// long ago, or is known to have, so that whatever is there of it was left behind.
func (r *run) abandoned(name string) bool {
	if len(name) < len(runForm) || strings.HasPrefix(name, r.id) {
		return false
	}
	began, err := time.Parse(runForm, name[:len(runForm)])
	return err == nil && r.over(began, 5*time.Second)
}

// over reports whether what happened at a time was of a run that has ended: so
// long ago, or at most within after the beginning of the one that is dead.
func (r *run) over(at time.Time, within time.Duration) bool {
	return r.t.Now().Sub(at) > runTime+5*time.Minute || !r.dead.IsZero() && !at.Before(r.dead) && at.Sub(r.dead) <= within
}

// sweep revokes the canary devices, removes the canary operators and resolves
// the alerts that earlier runs left behind, which were cut off before they
// could do so.
func (r *run) sweep(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil // nothing is attacked either
	}
	var failed []error
	for _, tenant := range []string{TenantA, TenantB} {
		failed = append(failed, r.sweepDevices(ctx, tenant))
	}
	var list struct {
		Operators []evidence.Operator `json:"operators"`
	}
	if err := r.either(ctx, "GET", "/v1/admin/operators", nil, &list); err != nil {
		failed = append(failed, err)
	}
	for _, o := range list.Operators {
		if name, ok := strings.CutPrefix(o.Name, evidence.CanaryPrefix); ok && r.abandoned(name) {
			failed = append(failed, r.remove(ctx, o.Name))
		}
	}
	failed = append(failed, r.resolveIf(ctx, func(a alert) bool {
		if a.Kind == "export.spike" { // of all canaries' exports, and names no device
			return strings.HasPrefix(a.Tenant, evidence.CanaryPrefix) && r.over(a.RaisedAt, runTime)
		}
		return len(a.Devices) > 0 && !slices.ContainsFunc(a.Devices, func(name string) bool {
			device, ok := strings.CutPrefix(name, TenantA+"/")
			if !ok {
				device, ok = strings.CutPrefix(name, TenantB+"/")
			}
			return !ok || !r.abandoned(device)
		})
	}))
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("clearing away what an earlier run of drills left behind: %w", err)
	}
	return nil
}

func (r *run) sweepDevices(ctx context.Context, tenant string) error {
	var failed []error
	for from := ""; ; {
		var page struct {
			Devices []struct {
				ID     string               `json:"id"`
				State  evidence.DeviceState `json:"state"`
				Reason string               `json:"request_reason"`
			} `json:"devices"`
			Next string `json:"next"`
		}
		path := "/v1/admin/devices?tenant=" + tenant
		if from != "" {
			path += "&from=" + url.QueryEscape(from)
		}
		if err := r.either(ctx, "GET", path, nil, &page); err != nil {
			return errors.Join(append(failed, err)...)
		}
		for _, d := range page.Devices {
			gone := d.State == evidence.DeviceRevoked || d.State == evidence.DeviceRetired
			if !gone && strings.HasPrefix(d.Reason, canaryReason) && r.abandoned(d.ID) {
				failed = append(failed, r.act(ctx, &canary{tenant: tenant, device: d.ID}, "revoke", "left behind by a drill run that was cut off"))
			}
		}
		if from = page.Next; from == "" {
			return errors.Join(failed...)
		}
	}
}

// resolveIf resolves the open alerts of which match holds.
func (r *run) resolveIf(ctx context.Context, match func(alert) bool) error {
	list, err := r.alerts(ctx)
	if err != nil {
		return fmt.Errorf("looking for alerts that drills caused: %w", err)
	}
	for _, a := range list {
		if !a.ResolvedAt.IsZero() || !match(a) {
			continue
		}
		in := map[string]string{"resolution": "caused by drills that have ended; drill run " + r.id, "ticket": "DRILL-" + r.id}
		err := r.either(ctx, "POST", "/v1/admin/alerts/"+url.PathEscape(a.ID)+"/resolve", in, nil)
		var refused *apiError
		if errors.As(err, &refused) && refused.answer.status == http.StatusConflict {
			continue // resolved meanwhile, by the ingest itself
		}
		if err != nil {
			return fmt.Errorf("resolving an alert that drills caused: %w", err)
		}
	}
	return nil
}
