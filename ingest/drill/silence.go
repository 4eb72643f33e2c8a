package drill

import (
	"context"
	"fmt"
	"slices"
	"time"

	"trustpack/evidence"
)

// silenceMost is the longest silence that a drill waits for.
const silenceMost = 30 * time.Second

// silentDevice has a canary fall silent.
func silentDevice() drill {
	return drill{
		id: "AU-08.silent-device", control: "AU-08",
		what:     "a device of the type " + evidence.CanarySilence + " reports once and never again",
		expected: "an alert device.silent or fleet.silent that names it, once it has missed its intervals",
		prepare: func(ctx context.Context, r *run) {
			if _, err := r.silencePeriod(); err == nil {
				_, _ = r.silent(ctx) // why there is none is told by the attack
			}
		},
		attack: func(ctx context.Context, r *run) outcome {
			span, err := r.silencePeriod()
			if err != nil {
				return unable("", err)
			}
			c, err := r.silent(ctx)
			if err != nil {
				return unable("", err)
			}
			sent := fmt.Sprintf("nothing for %v after the first event of canary device %s", span, c.device)
			if err := r.pass(ctx, span+time.Second); err != nil {
				return unable(sent, err)
			}
			name := c.tenant + "/" + c.device
			o := outcome{sent: sent, recorded: true, traces: []trace{raised("device.silent", func(al evidence.Alert, _ string) bool { return slices.Contains(al.Devices, name) }),
				raised("fleet.silent", func(al evidence.Alert, _ string) bool { return slices.Contains(al.Devices, name) })}}
			kind := "device.silent"
			return r.alerted(ctx, o, "silent for "+span.String(), true, kind, func(al alert) bool { return slices.Contains(al.Devices, name) })
		},
	}
}

// silent is the canary that falls silent, in a fleet of its own.
func (r *run) silent(ctx context.Context) (*canary, error) {
	return r.canaryWith(ctx, TenantA, "silent", func(c *canary) { c.kind, c.fleet = evidence.CanarySilence, "silent" })
}

// silencePeriod is after how long the ingest calls the canary silent.
func (r *run) silencePeriod() (time.Duration, error) {
	if r.config.err != nil {
		return 0, r.config.err
	}
	key := "heartbeat.types." + evidence.CanarySilence
	interval, err := time.ParseDuration(r.config.Heartbeat.Types[evidence.CanarySilence])
	if err != nil || interval <= 0 {
		return 0, fmt.Errorf("the ingest's settings name no %s: set it to a second or so", key)
	}
	span := time.Duration(r.config.Heartbeat.Missed) * interval
	if span > silenceMost {
		return 0, fmt.Errorf("%s is %v, and a device is silent after %d intervals: a drill waits no longer than %v", key, interval, r.config.Heartbeat.Missed, silenceMost)
	}
	return span, nil
}
