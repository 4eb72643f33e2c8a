package metering

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"trustpack/evidence"
	"trustpack/internal/strictyaml"
)

//go:embed fleet.yaml
var fleetYAML []byte

//go:embed schemas/*.schema.json
var schemaFiles embed.FS

// Schemas holds one JSON Schema per event type, "<type>.schema.json", for the
// "data" of an event.
func Schemas() (fs.FS, error) { return fs.Sub(schemaFiles, "schemas") }

// Quarter is the period that the example covers, 2026-Q3.
func Quarter() evidence.Period {
	return evidence.Period{
		From: time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC),
		To:   time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC),
	}
}

// Fleet is fleet.yaml: who reports what, and what goes wrong on the way.
type Fleet struct {
	Organisation string            `yaml:"organisation"`
	System       string            `yaml:"system"`
	Tenants      []Tenant          `yaml:"tenants"`
	Operators    []Operator        `yaml:"operators"`
	Fleets       []DeviceFleet     `yaml:"fleets"`
	Types        map[string]Type   `yaml:"types"`    // by device type
	Firmware     map[string]string `yaml:"firmware"` // by device type, at the start of the quarter
	Updates      []Update          `yaml:"updates"`
	Setup        time.Time         `yaml:"setup"` // when the registry was filled
	Devices      []Device          `yaml:"devices"`
	Exports      []Export          `yaml:"exports"`
	Grants       []Grant           `yaml:"grants"`
}

// Tenant is a customer of the vendor.
type Tenant struct {
	ID   string `yaml:"id"`
	Name string `yaml:"name"`
}

// Operator is a person at the vendor who works with the ingest. First marks
// the admin that the ingest's own initialisation makes. Added is zero for who
// was there before the quarter, Removed for who is there at its end.
type Operator struct {
	Name    string    `yaml:"name"`
	Roles   []string  `yaml:"roles"`
	First   bool      `yaml:"first"`
	Added   time.Time `yaml:"added"`
	Reason  string    `yaml:"reason"` // for the last of the two
	Removed time.Time `yaml:"removed"`
}

// Grant is leave for support to look at a customer's devices. They are read
// once under it, and once more in vain when it is over.
type Grant struct {
	At       time.Time     `yaml:"at"`
	By       string        `yaml:"by"`
	Approver string        `yaml:"approver"`
	Tenant   string        `yaml:"tenant"`
	For      time.Duration `yaml:"for"`
	Reason   string        `yaml:"reason"`
	Ticket   string        `yaml:"ticket"`
}

// Export is a file of a customer's events that somebody takes out. Approver is
// empty where it is small enough to need none.
type Export struct {
	At          time.Time `yaml:"at"`
	By          string    `yaml:"by"`
	Approver    string    `yaml:"approver"`
	Tenant      string    `yaml:"tenant"`
	Device      string    `yaml:"device"`
	From        string    `yaml:"from"` // days of receipt
	To          string    `yaml:"to"`
	Destination string    `yaml:"destination"`
	Reason      string    `yaml:"reason"`
	Ticket      string    `yaml:"ticket"`
	Spike       string    `yaml:"spike"` // what somebody found of the alert that it raises; empty where it raises none
}

// DeviceFleet groups devices of one tenant; a critical one needs two approvals
// for each new device.
type DeviceFleet struct {
	ID       string `yaml:"id"`
	Tenant   string `yaml:"tenant"`
	Critical bool   `yaml:"critical"`
}

// Type is a sort of device: the type of its events and the time between two
// uploads.
type Type struct {
	Event  string        `yaml:"event"`
	Upload time.Duration `yaml:"upload"`
}

// Update is one firmware update of a device type and its waves. Behind lists
// devices that should have it and have not.
type Update struct {
	Type    string   `yaml:"type"`
	Version string   `yaml:"version"`
	Waves   []Wave   `yaml:"waves"`
	Behind  []string `yaml:"behind"`
}

// Wave is the part of an update that happens at one time.
type Wave struct {
	At      time.Time `yaml:"at"`
	Devices []string  `yaml:"devices"`
}

// Device is one meter or gateway. Added is zero for what was there before the
// quarter; Pending marks a request that nobody has approved yet. Scale is the
// number of households whose load it sees, 1 where it is not given.
type Device struct {
	ID      string    `yaml:"id"`
	Tenant  string    `yaml:"tenant"`
	Type    string    `yaml:"type"`
	Site    string    `yaml:"site"`
	Fleet   string    `yaml:"fleet"`
	Scale   int64     `yaml:"scale"`
	Added   time.Time `yaml:"added"`
	Pending bool      `yaml:"pending"`
	Reason  string    `yaml:"reason"`
	Renewed time.Time `yaml:"renewed"` // its certificate; zero where that stays
	Before  *Home     `yaml:"before"`  // where it was provisioned first, and from where it was moved a day later
	Trouble []Trouble `yaml:"trouble"`
}

// Home is where a device belongs.
type Home struct {
	Tenant string `yaml:"tenant"`
	Site   string `yaml:"site"`
	Fleet  string `yaml:"fleet"`
	Reason string `yaml:"reason"` // for leaving it
	Ticket string `yaml:"ticket"`
}

// TroubleKind names what goes wrong with a device.
type TroubleKind string

// The kinds of trouble. The comment says what From and To mean.
const (
	ClockAhead  TroubleKind = "clock-ahead"  // From..To: event times run ahead by Ahead
	Resend      TroubleKind = "resend"       // From: the first upload after it is sent twice
	Silent      TroubleKind = "silent"       // From..To: no power; afterwards a new boot
	Gap         TroubleKind = "gap"          // From: Missing sequence numbers are never sent
	OutOfRange  TroubleKind = "out-of-range" // From..To: one impossible reading a minute
	Quarantined TroubleKind = "quarantined"  // From: quarantined; To: released. The device keeps what was refused
	Revoked     TroubleKind = "revoked"      // From: revoked; To: taken from the wall, so it stops trying
)

// Trouble is one thing that goes wrong with a device. By and Ticket are those
// of the operator who deals with it.
type Trouble struct {
	Kind    TroubleKind   `yaml:"kind"`
	From    time.Time     `yaml:"from"`
	To      time.Time     `yaml:"to"`
	Ahead   time.Duration `yaml:"ahead"`
	Missing int64         `yaml:"missing"`
	By      string        `yaml:"by"`
	Ticket  string        `yaml:"ticket"`
	Reason  string        `yaml:"reason"`
}

// during reports whether at lies in [From, To).
func (t Trouble) during(at time.Time) bool { return !at.Before(t.From) && at.Before(t.To) }

// Load reads the fleet. Errors name the place in fleet.yaml.
func Load() (*Fleet, error) {
	var f Fleet
	if err := strictyaml.Decode("fleet.yaml", fleetYAML, &f); err != nil {
		return nil, fmt.Errorf("reading the example's fleet: %w", err)
	}
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("checking fleet.yaml: %w", err)
	}
	return &f, nil
}

// check finds words that point at nothing.
func (f *Fleet) check() error {
	seen := map[string]bool{}
	for i := range f.Devices {
		d := &f.Devices[i]
		if d.Scale == 0 {
			d.Scale = 1
		}
		switch _, known := f.Types[d.Type]; {
		case seen[d.ID]:
			return fmt.Errorf("device %s stands twice", d.ID)
		case !known:
			return fmt.Errorf("device %s: unknown type %q", d.ID, d.Type)
		case f.Firmware[d.Type] == "":
			return fmt.Errorf("device %s: type %q has no firmware", d.ID, d.Type)
		case !slices.ContainsFunc(f.Fleets, func(x DeviceFleet) bool { return x.ID == d.Fleet && x.Tenant == d.Tenant }):
			return fmt.Errorf("device %s: tenant %q has no fleet %q", d.ID, d.Tenant, d.Fleet)
		}
		seen[d.ID] = true
		for _, t := range d.Trouble {
			if t.By != "" && !slices.ContainsFunc(f.Operators, func(o Operator) bool { return o.Name == t.By }) {
				return fmt.Errorf("device %s: %s by unknown operator %q", d.ID, t.Kind, t.By)
			}
		}
	}
	for _, x := range f.Exports {
		for _, name := range []string{x.By, x.Approver} {
			if name != "" && !slices.ContainsFunc(f.Operators, func(o Operator) bool { return o.Name == name }) {
				return fmt.Errorf("export %s: unknown operator %q", x.Ticket, name)
			}
		}
	}
	for _, g := range f.Grants {
		for _, name := range []string{g.By, g.Approver} {
			if !slices.ContainsFunc(f.Operators, func(o Operator) bool { return o.Name == name }) {
				return fmt.Errorf("grant %s: unknown operator %q", g.Ticket, name)
			}
		}
	}
	for _, u := range f.Updates {
		for _, w := range u.Waves {
			for _, id := range w.Devices {
				if !seen[id] {
					return fmt.Errorf("update %s: unknown device %q", u.Version, id)
				}
			}
		}
	}
	return nil
}

// operators are the names of those who hold the role, in the order of the file.
func (f *Fleet) operators(role string) []string {
	var names []string
	for _, o := range f.Operators {
		if slices.Contains(o.Roles, role) {
			names = append(names, o.Name)
		}
	}
	return names
}

// firmwareOf is what the device runs at the time.
func (f *Fleet) firmwareOf(d Device, at time.Time) string {
	version := f.Firmware[d.Type]
	for _, u := range f.Updates {
		for _, w := range u.Waves {
			if u.Type == d.Type && !at.Before(w.At) && slices.Contains(w.Devices, d.ID) {
				version = u.Version
			}
		}
	}
	return version
}

// critical reports whether a new device of the fleet needs two approvals.
func (f *Fleet) critical(fleet string) bool {
	return slices.ContainsFunc(f.Fleets, func(x DeviceFleet) bool { return x.ID == fleet && x.Critical })
}
