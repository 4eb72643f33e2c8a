package ingest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"trustpack/evidence"
)

// durationText is a time.Duration that encodes as "2m0s".
type durationText time.Duration

func (d durationText) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// effective is the configuration as it is logged and shown: every setting,
// defaults filled in, and the schemas by digest, so that a changed schema is a
// new version too. It holds no secret.
func (set *settings) effective() map[string]any {
	c := set.Config
	types, devices := map[string]durationText{}, map[string]durationText{}
	for typ, d := range c.Heartbeat.Types {
		types[typ] = durationText(d)
	}
	for name, d := range c.Heartbeat.Devices {
		devices[name] = durationText(d)
	}
	schemas := map[string]string{}
	for _, i := range set.rules.infos() {
		schemas[i.Type] = i.SHA256
	}
	ranges := c.Ranges
	if ranges == nil {
		ranges = map[string]Fields{}
	}
	return map[string]any{
		"listen": c.Listen, "admin_listen": c.AdminListen, "hostnames": append([]string{}, c.Hostnames...),
		"limits": c.Limits, "rates": map[string]any{"device": c.Rates.Device, "tenant": c.Rates.Tenant},
		"replay":    map[string]any{"window": c.Replay.Window, "gap_after": durationText(c.Replay.GapAfter)},
		"time":      map[string]any{"flag": durationText(c.Time.Flag), "future": durationText(c.Time.Future), "past": durationText(c.Time.Past)},
		"heartbeat": map[string]any{"default_interval": durationText(c.Heartbeat.DefaultInterval), "missed": c.Heartbeat.Missed, "types": types, "devices": devices},
		"schemas":   schemas, "ranges": ranges,
		"dead_letters": c.DeadLetters,
		"exports": map[string]any{
			"unapproved_rows": c.Exports.UnapprovedRows, "max_rows": c.Exports.MaxRows, "per_day": c.Exports.PerDay,
			"spike_rows": c.Exports.SpikeRows, "canary_spike_rows": cmp.Or(c.Exports.CanarySpikeRows, c.Exports.SpikeRows), "valid": durationText(c.Exports.Valid),
		},
		"approvals": map[string]any{
			"critical_fleets": append([]string{}, c.Approvals.CriticalFleets...), "critical": c.Approvals.Critical, "roles": c.Approvals.Roles, "code_valid": durationText(c.Approvals.CodeValid),
			"request_valid": durationText(c.Approvals.RequestValid),
		},
		"certificates": map[string]any{
			"device": durationText(c.Certificates.Device), "operator": durationText(c.Certificates.Operator), "server": durationText(c.Certificates.Server), "crl_url": c.Certificates.CRLURL,
		},
		"support": map[string]any{"max": durationText(c.Support.Max)}, "break_glass": map[string]any{"max": durationText(c.BreakGlass.Max)},
		"oidc":     c.OIDC.effective(),
		"tokens":   map[string]any{"operator_max": durationText(c.Tokens.OperatorMax), "device_max": durationText(c.Tokens.DeviceMax), "allowed": c.Tokens.Allowed.effective()},
		"rotation": map[string]any{"due_before": durationText(c.Rotation.DueBefore), "overlap": durationText(c.Rotation.Overlap)},
		"alerts":   c.Alerts.effective(),
		"est":      c.EST.effective(), "external_cas": set.externals.effective(),
		"sharing": map[string]any{"places": c.Sharing.Places, "counters": c.Sharing.Counters, "within": durationText(c.Sharing.Within)},
		"ledger":  c.Ledger.effective(), "drills": c.Drills.effective(),
		"timeouts": map[string]any{"header": durationText(c.Timeouts.Header), "body": durationText(c.Timeouts.Body), "idle": durationText(c.Timeouts.Idle), "answer": durationText(c.Timeouts.Answer)},
	}
}

// configVersion is the version that set would be, next after the one in force,
// with what differs.
func (s *Server) configVersion(set *settings) (evidence.ConfigApplied, error) {
	canonical, err := evidence.CanonicalJSON(set.effective())
	if err != nil {
		return evidence.ConfigApplied{}, err
	}
	v := evidence.ConfigApplied{Version: s.st.config.Version + 1, SHA256: evidence.SHA256Hex(canonical), Config: canonical}
	if s.st.config.Version > 0 {
		v.Diff, err = diffJSON(s.st.config.Config, canonical)
	}
	return v, err
}

// diffJSON lists what differs between two JSON objects, one setting a line:
// "limits.body_bytes: 1048576 -> 2097152".
func diffJSON(a, b []byte) ([]string, error) {
	left, right := map[string]string{}, map[string]string{}
	for _, side := range []struct {
		data []byte
		into map[string]string
	}{{a, left}, {b, right}} {
		var v any
		if err := json.Unmarshal(side.data, &v); err != nil {
			return nil, fmt.Errorf("comparing configurations: %w", err)
		}
		flatten("", v, side.into)
	}
	all := maps.Clone(left)
	maps.Copy(all, right)
	var out []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		from, was := left[key]
		to, is := right[key]
		switch {
		case !was:
			out = append(out, key+": added "+to)
		case !is:
			out = append(out, key+": removed "+from)
		case from != to:
			out = append(out, key+": "+from+" -> "+to)
		}
	}
	return out, nil
}

func flatten(prefix string, v any, into map[string]string) {
	if m, ok := v.(map[string]any); ok {
		for k, child := range m {
			key := k
			if prefix != "" {
				key = prefix + "." + k
			}
			flatten(key, child, into)
		}
		return
	}
	into[prefix] = string(raw(v))
}
