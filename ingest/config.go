package ingest

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"strings"
	"time"

	"trustpack/evidence"
)

// Config is the section `ingest:` of trustpack.yaml. DefaultConfig gives the
// values that a file may leave out.
type Config struct {
	Listen       string            `yaml:"listen"`       // where devices connect, host:port
	AdminListen  string            `yaml:"admin_listen"` // where operators connect
	Hostnames    []string          `yaml:"hostnames"`    // further names and addresses of the server certificate
	Limits       Limits            `yaml:"limits"`
	Rates        Rates             `yaml:"rates"`
	Replay       ReplayPolicy      `yaml:"replay"`
	Time         TimePolicy        `yaml:"time"`
	Heartbeat    HeartbeatPolicy   `yaml:"heartbeat"`
	Schemas      string            `yaml:"schemas"` // folder with <type>.schema.json
	Ranges       map[string]Fields `yaml:"ranges"`  // by event type
	DeadLetters  LetterPolicy      `yaml:"dead_letters"`
	Exports      ExportPolicy      `yaml:"exports"`
	Approvals    ApprovalPolicy    `yaml:"approvals"`
	Certificates CertificatePolicy `yaml:"certificates"`
	Tokens       TokenPolicy       `yaml:"tokens"`
	Rotation     RotationPolicy    `yaml:"rotation"`
	Sharing      SharingPolicy     `yaml:"sharing"`
	Support      SupportPolicy     `yaml:"support"`
	BreakGlass   BreakGlassPolicy  `yaml:"break_glass"`
	OIDC         OIDCPolicy        `yaml:"oidc"`
	Alerts       AlertPolicy       `yaml:"alerts"`
	Drills       DrillPolicy       `yaml:"drills"`
	EST          ESTPolicy         `yaml:"est"`
	ExternalCAs  []ExternalCA      `yaml:"external_cas"`
	Timeouts     Timeouts          `yaml:"timeouts"`
	Ledger       LedgerPolicy      `yaml:"ledger"`
}

// Fields are ranges by field of an event's data; "a.b" reaches into objects.
type Fields map[string]Range

// Range bounds a number, both ends included.
type Range struct {
	Min *float64 `yaml:"min" json:"min,omitempty"`
	Max *float64 `yaml:"max" json:"max,omitempty"`
}

// Limits bound one request, one device and one port.
type Limits struct {
	BodyBytes            int64 `yaml:"body_bytes" json:"body_bytes"`
	Lines                int   `yaml:"lines" json:"lines"`
	Depth                int   `yaml:"depth" json:"depth"`
	DecompressedBytes    int64 `yaml:"decompressed_bytes" json:"decompressed_bytes"`
	EventBytes           int   `yaml:"event_bytes" json:"event_bytes"`   // of one line
	HeaderBytes          int   `yaml:"header_bytes" json:"header_bytes"` // of a request's head; up to 4 KiB more may be let pass
	ConnectionsPerDevice int   `yaml:"connections_per_device" json:"connections_per_device"`
	Connections          int   `yaml:"connections" json:"connections"`                 // of one port; more are closed at once
	UnknownConnections   int   `yaml:"unknown_connections" json:"unknown_connections"` // of those, without a proven credential; of more, the oldest is closed
}

// Rates are in events.
type Rates struct {
	Device Rate `yaml:"device"`
	Tenant Rate `yaml:"tenant"`
}

// ReplayPolicy is how far back a late number is still taken, in numbers, and
// after how long a missing one is recorded as a gap.
type ReplayPolicy struct {
	Window   int64         `yaml:"window"`
	GapAfter time.Duration `yaml:"gap_after"`
}

// TimePolicy judges a device's time against the ingest's clock.
type TimePolicy struct {
	Flag   time.Duration `yaml:"flag"`   // flagged beyond this, either way
	Future time.Duration `yaml:"future"` // dead-lettered when further ahead
	Past   time.Duration `yaml:"past"`   // dead-lettered when further behind
}

// HeartbeatPolicy says when a device is silent: after Missed intervals.
type HeartbeatPolicy struct {
	DefaultInterval time.Duration            `yaml:"default_interval"`
	Missed          int                      `yaml:"missed"`
	Types           map[string]time.Duration `yaml:"types"`   // by device type
	Devices         map[string]time.Duration `yaml:"devices"` // by tenant/device; before that of its type
}

// LetterPolicy bounds what is kept of events that cannot be accepted.
type LetterPolicy struct {
	PerTenant int `yaml:"per_tenant" json:"per_tenant"` // open ones; more are refused
}

// ExportPolicy bounds what leaves in files.
type ExportPolicy struct {
	UnapprovedRows int64         `yaml:"unapproved_rows"` // of one operator in 24 hours; more wait for somebody else's approval
	MaxRows        int64         `yaml:"max_rows"`        // of one export
	PerDay         int           `yaml:"per_day"`         // requests of one operator in 24 hours
	SpikeRows      int64         `yaml:"spike_rows"`      // that left in 24 hours, above which an alert is raised
	Valid          time.Duration `yaml:"valid"`           // how long an export can be fetched
	// CanarySpikeRows is SpikeRows of the canary tenants, which are counted
	// apart, so that a drill can pass it; 0: the same.
	CanarySpikeRows int64 `yaml:"canary_spike_rows"`
}

// ApprovalPolicy names the fleets whose devices need more approvals.
type ApprovalPolicy struct {
	CriticalFleets []string      `yaml:"critical_fleets"`
	Critical       int           `yaml:"critical"`
	CodeValid      time.Duration `yaml:"code_valid"`    // how long an enrolment code can be used
	RequestValid   time.Duration `yaml:"request_valid"` // how long a request, or a transfer, waits for approval
	Roles          int           `yaml:"roles"`         // persons that a privileged role takes, once there are so many: 2, or 1 to leave it to any admin
}

// CertificatePolicy gives the lifetimes of what the built-in CA issues.
//
// A device's is 90 days unless the file says otherwise. Shutting a device out
// does not wait for it, since the registry is asked at every request; what it
// bounds is for how long a key that was copied without anybody's knowledge is
// good. A device can renew for its last 30 days, so one that comes online once a
// month never misses that; fleets that are always online can do with days.
type CertificatePolicy struct {
	Device   time.Duration `yaml:"device"`
	Operator time.Duration `yaml:"operator"`
	Server   time.Duration `yaml:"server"`
	// CRLURL is where certificates say that the list of revoked ones is, for who
	// publishes /crl/issuing.crl elsewhere too. Plain HTTP serves best, since the
	// list is signed, and who checks the certificate of an https server by it
	// would need it first (RFC 5280, sections 4.2.1.13 and 8). Empty: the ingest
	// itself, where hostnames names a host.
	CRLURL string `yaml:"crl_url"`
}

// Timeouts cut off slow clients.
type Timeouts struct {
	Header time.Duration `yaml:"header"` // and the handshake
	Body   time.Duration `yaml:"body"`
	Idle   time.Duration `yaml:"idle"`
	Answer time.Duration `yaml:"answer"` // to take what is answered
}

const day = 24 * time.Hour

// DefaultConfig is a configuration that Open takes as it is, once Schemas
// names a folder.
func DefaultConfig() Config {
	return Config{
		Listen:      "127.0.0.1:8443",
		AdminListen: "127.0.0.1:8444",
		Limits: Limits{
			BodyBytes: 1 << 20, Lines: 10_000, Depth: 32, DecompressedBytes: 16 << 20, EventBytes: maxLine, HeaderBytes: 16 << 10,
			ConnectionsPerDevice: 8, Connections: 20_000, UnknownConnections: 1_000,
		},
		Rates:       Rates{Rate{100, 20_000}, Rate{10_000, 100_000}},
		Replay:      ReplayPolicy{16_384, day},
		Time:        TimePolicy{2 * time.Minute, 10 * time.Minute, 7 * day},
		Heartbeat:   HeartbeatPolicy{DefaultInterval: 15 * time.Minute, Missed: 3, Types: map[string]time.Duration{evidence.CanarySilence: time.Second}},
		DeadLetters: LetterPolicy{10_000},
		Exports:     ExportPolicy{10_000, 10_000_000, 20, 1_000_000, day, 1_000},
		Approvals:   ApprovalPolicy{Critical: 2, Roles: 2, CodeValid: day, RequestValid: 30 * day},
		Certificates: CertificatePolicy{
			Device: 90 * day, Operator: 365 * day, Server: 90 * day,
		},
		Tokens:   TokenPolicy{OperatorMax: 90 * day, DeviceMax: 90 * day},
		Rotation: DefaultRotation(),
		Sharing:  DefaultSharing(),
		Support:  SupportPolicy{Max: 8 * time.Hour}, BreakGlass: BreakGlassPolicy{Max: time.Hour},
		OIDC:     defaultOIDC(),
		Alerts:   defaultAlertPolicy(),
		EST:      DefaultEST(),
		Timeouts: Timeouts{Header: 5 * time.Second, Body: 30 * time.Second, Idle: 2 * time.Minute, Answer: 30 * time.Second},
		Ledger:   LedgerPolicy{StartWait: 10 * time.Second, Interval: time.Second},
	}
}

// Validate checks each value and names the first that cannot stand, by its
// path in the file.
func (c Config) Validate() error {
	for _, a := range []struct{ key, addr string }{{"listen", c.Listen}, {"admin_listen", c.AdminListen}} {
		if _, _, err := net.SplitHostPort(a.addr); err != nil {
			return fmt.Errorf("ingest.%s: %q is no host:port: %w", a.key, a.addr, err)
		}
	}
	for _, r := range []struct {
		key       string
		got       int64
		low, high int64
	}{
		{"limits.body_bytes", c.Limits.BodyBytes, 1, 1 << 30},
		{"limits.lines", int64(c.Limits.Lines), 1, 1_000_000},
		{"limits.depth", int64(c.Limits.Depth), 2, 1000},
		{"limits.decompressed_bytes", c.Limits.DecompressedBytes, 1, 1 << 32},
		{"limits.event_bytes", int64(c.Limits.EventBytes), 1, maxLine},
		{"limits.header_bytes", int64(c.Limits.HeaderBytes), 1 << 10, 1 << 20},
		{"limits.connections", int64(c.Limits.Connections), 1, 1_000_000},
		{"limits.unknown_connections", int64(c.Limits.UnknownConnections), 1, 1_000_000},
		{"limits.connections_per_device", int64(c.Limits.ConnectionsPerDevice), 1, 1_000_000},
		{"rates.device.burst", int64(c.Rates.Device.Burst), 1, 1 << 31},
		{"rates.tenant.burst", int64(c.Rates.Tenant.Burst), 1, 1 << 31},
		{"replay.window", c.Replay.Window, 1, 1 << 40},
		{"heartbeat.missed", int64(c.Heartbeat.Missed), 2, 1000},
		{"dead_letters.per_tenant", int64(c.DeadLetters.PerTenant), 0, 10_000_000},
		{"exports.unapproved_rows", c.Exports.UnapprovedRows, 0, 1 << 40},
		{"exports.max_rows", c.Exports.MaxRows, 1, 1 << 40},
		{"exports.per_day", int64(c.Exports.PerDay), 1, 1_000_000},
		{"exports.spike_rows", c.Exports.SpikeRows, 1, 1 << 40},
		{"exports.canary_spike_rows", c.Exports.CanarySpikeRows, 0, 1 << 40},
		{"approvals.critical", int64(c.Approvals.Critical), 1, 10},
		{"approvals.roles", int64(c.Approvals.Roles), 1, 2},
	} {
		if r.got < r.low || r.got > r.high {
			return fmt.Errorf("ingest.%s: %d is outside %d to %d", r.key, r.got, r.low, r.high)
		}
	}
	for _, r := range []struct {
		key string
		got float64
	}{{"rates.device.per_second", c.Rates.Device.PerSecond}, {"rates.tenant.per_second", c.Rates.Tenant.PerSecond}} {
		if !(r.got >= 0.001 && r.got <= 1e9) {
			return fmt.Errorf("ingest.%s: %v is outside 0.001 to 1e9", r.key, r.got)
		}
	}
	// A request is one append: base64 of every line and what stands around it.
	if worst := max(c.Limits.BodyBytes, c.Limits.DecompressedBytes)/3*4 + int64(c.Limits.Lines)*512; worst > 60<<20 {
		return fmt.Errorf("ingest.limits: a request of %d lines and %d bytes could need %d bytes in the log, and one append takes %d: lower lines, body_bytes or decompressed_bytes",
			c.Limits.Lines, max(c.Limits.BodyBytes, c.Limits.DecompressedBytes), worst, 60<<20)
	}
	if err := c.validateDurations(); err != nil {
		return err
	}
	if err := c.Alerts.validate(); err != nil {
		return fmt.Errorf("ingest.alerts.%w", err)
	}
	if err := errors.Join(c.EST.validate(), validateExternals(c.ExternalCAs)); err != nil {
		return err
	}
	if u, err := url.Parse(c.Certificates.CRLURL); c.Certificates.CRLURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "") {
		return fmt.Errorf("ingest.certificates.crl_url: %q; write it like http://crl.example/issuing.crl", c.Certificates.CRLURL)
	}
	if err := c.OIDC.validate(); err != nil {
		return fmt.Errorf("ingest.oidc.%w", err)
	}
	if err := c.Drills.validate(); err != nil {
		return fmt.Errorf("ingest.drills.%w", err)
	}
	if err := c.Ledger.validate(); err != nil {
		return fmt.Errorf("ingest.ledger.%w", err)
	}
	for typ, fields := range c.Ranges {
		for field, r := range fields {
			if r.Min == nil && r.Max == nil {
				return fmt.Errorf("ingest.ranges.%s.%s: give min, max or both", typ, field)
			}
			for _, bound := range []*float64{r.Min, r.Max} {
				if bound != nil && (math.IsNaN(*bound) || math.IsInf(*bound, 0)) {
					return fmt.Errorf("ingest.ranges.%s.%s: %v is no bound; leave out the side that has none", typ, field, *bound)
				}
			}
			if r.Min != nil && r.Max != nil && *r.Min > *r.Max {
				return fmt.Errorf("ingest.ranges.%s.%s: min %v is above max %v", typ, field, *r.Min, *r.Max)
			}
		}
	}
	return nil
}

func (c Config) validateDurations() error {
	type span struct {
		key string
		got time.Duration
	}
	spans := []span{
		{"replay.gap_after", c.Replay.GapAfter}, {"time.flag", c.Time.Flag}, {"time.future", c.Time.Future}, {"time.past", c.Time.Past},
		{"heartbeat.default_interval", c.Heartbeat.DefaultInterval}, {"approvals.code_valid", c.Approvals.CodeValid}, {"approvals.request_valid", c.Approvals.RequestValid}, {"exports.valid", c.Exports.Valid},
		{"certificates.device", c.Certificates.Device}, {"certificates.operator", c.Certificates.Operator}, {"certificates.server", c.Certificates.Server},
		{"tokens.operator_max", c.Tokens.OperatorMax}, {"support.max", c.Support.Max}, {"break_glass.max", c.BreakGlass.Max},
		{"tokens.device_max", c.Tokens.DeviceMax},
		{"rotation.due_before", c.Rotation.DueBefore}, {"rotation.overlap", c.Rotation.Overlap}, {"sharing.within", c.Sharing.Within},
		{"timeouts.header", c.Timeouts.Header}, {"timeouts.body", c.Timeouts.Body}, {"timeouts.idle", c.Timeouts.Idle}, {"timeouts.answer", c.Timeouts.Answer},
		{"ledger.start_wait", c.Ledger.StartWait}, {"ledger.interval", c.Ledger.Interval},
	}
	for typ, d := range c.Heartbeat.Types {
		spans = append(spans, span{"heartbeat.types." + typ, d})
	}
	for name, d := range c.Heartbeat.Devices {
		if tenant, device, _ := strings.Cut(name, "/"); !tenantForm.MatchString(tenant) || !deviceForm.MatchString(device) {
			return fmt.Errorf("ingest.heartbeat.devices.%s: want a tenant and a device, such as acme/meter-1", name)
		}
		spans = append(spans, span{"heartbeat.devices." + name, d})
	}
	for _, s := range spans {
		if s.got < time.Millisecond || s.got > 100*365*day {
			return fmt.Errorf("ingest.%s: %v is outside 1ms to 100 years; write it like 90s, 15m or 24h", s.key, s.got)
		}
	}
	if c.Time.Flag > c.Time.Future {
		return fmt.Errorf("ingest.time.flag: %v is above time.future, %v: every event beyond it would be dead-lettered before it could be flagged", c.Time.Flag, c.Time.Future)
	}
	return nil
}

// interval is how often the device of typ is expected to report.
func (h HeartbeatPolicy) interval(name deviceName, typ string) time.Duration {
	if len(h.Devices) > 0 {
		if d, ok := h.Devices[name.tenant+"/"+name.id]; ok {
			return d
		}
	}
	if d, ok := h.Types[typ]; ok {
		return d
	}
	return h.DefaultInterval
}

// needed is how many approvals a device of fleet wants.
func (a ApprovalPolicy) needed(fleet string) int {
	for _, f := range a.CriticalFleets {
		if f == fleet {
			return a.Critical
		}
	}
	return 1
}
