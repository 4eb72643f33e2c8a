package metering

import (
	"slices"
	"time"
)

// StepKind names what happens in a step.
type StepKind string

// The kinds of steps. The comment gives the fields of Step that they use
// beside At and Actor.
const (
	AddTenant        StepKind = "add-tenant"        // Tenant, Name
	AddOperator      StepKind = "add-operator"      // Name, Roles, Reason
	RemoveOperator   StepKind = "remove-operator"   // Name, Reason
	RequestDevice    StepKind = "request-device"    // Tenant, Device, Type, Site, Fleet, Reason
	ApproveDevice    StepKind = "approve-device"    // Tenant, Device; the last approval gives the enrolment code
	EnrolDevice      StepKind = "enrol-device"      // Tenant, Device; done by the device, so there is no Actor
	QuarantineDevice StepKind = "quarantine-device" // Tenant, Device, Reason, Ticket
	ReleaseDevice    StepKind = "release-device"    // Tenant, Device, Reason, Ticket
	RevokeDevice     StepKind = "revoke-device"     // Tenant, Device, Reason, Ticket
	AckAlert         StepKind = "ack-alert"         // Tenant, Device, Alert
	ResolveAlert     StepKind = "resolve-alert"     // Tenant, Device, Alert, Reason, Ticket
	RequestExport    StepKind = "request-export"    // Export
	ApproveExport    StepKind = "approve-export"    // Export
	FetchExport      StepKind = "fetch-export"      // Export
	RequestGrant     StepKind = "request-grant"     // Tenant, Grant, Reason, Ticket
	ApproveGrant     StepKind = "approve-grant"     // Grant, Ticket
	UseGrant         StepKind = "use-grant"         // Tenant: its devices are read
	MissGrant        StepKind = "miss-grant"        // Tenant: the same, and it must be refused
	RenewDevice      StepKind = "renew-device"      // Tenant, Device; done by the device
	ShowOldKey       StepKind = "show-old-key"      // Tenant, Device; the credential before, which must be refused
	RequestTransfer  StepKind = "request-transfer"  // Tenant, Device, To, Site, Fleet, Reason, Ticket
	ApproveTransfer  StepKind = "approve-transfer"  // Tenant, Device, To; gives the enrolment code there
	SendUpload       StepKind = "upload"            // Upload; done by the device
)

// Step is one thing that happens at a simulated time.
type Step struct {
	At     time.Time
	Kind   StepKind
	Actor  string // operator who acts
	Tenant string
	Device string
	Name   string
	Roles  []string
	Type   string
	Site   string
	Fleet  string
	To     string // tenant
	Reason string
	Ticket string
	Alert  string // kind of the alert, "device.silent"
	Upload *Upload
	Export *Export
	Grant  *Grant
}

// Timeline is everything that operators and devices do from the filling of
// the registry to the end of the quarter, in order of time. Steps of the same
// time that are uploads are of different devices and may be sent at once.
func (f *Fleet) Timeline() []Step {
	steps := slices.Concat(f.founding(), f.exporting(), f.supporting())
	for i, d := range f.Devices {
		steps = append(steps, f.provisioning(d, i)...)
		steps = append(steps, f.handling(d)...)
		for _, u := range f.Uploads(d) {
			steps = append(steps, Step{At: u.At, Kind: SendUpload, Tenant: d.Tenant, Device: d.ID, Upload: &u})
		}
	}
	slices.SortStableFunc(steps, func(a, b Step) int { return a.At.Compare(b.At) })
	return steps
}

// admin is the operator whom the ingest's own initialisation makes.
func (f *Fleet) admin() string {
	for _, o := range f.Operators {
		if o.First {
			return o.Name
		}
	}
	return ""
}

// founding adds tenants and operators.
func (f *Fleet) founding() []Step {
	at := f.Setup
	var steps []Step
	for _, t := range f.Tenants {
		steps = append(steps, Step{At: at, Kind: AddTenant, Actor: f.admin(), Tenant: t.ID, Name: t.Name})
		at = at.Add(time.Minute)
	}
	for _, o := range f.Operators {
		add := Step{At: at, Kind: AddOperator, Actor: f.admin(), Name: o.Name, Roles: o.Roles, Reason: "set up with the ingest"}
		switch {
		case o.First:
			continue
		case o.Added.IsZero():
			at = at.Add(time.Minute)
		default:
			add.At, add.Reason = o.Added, o.Reason
		}
		steps = append(steps, add)
		if !o.Removed.IsZero() {
			steps = append(steps, Step{At: o.Removed, Kind: RemoveOperator, Actor: f.admin(), Name: o.Name, Reason: o.Reason})
		}
	}
	return steps
}

// exporting is the way of each export from its request to the file, and what
// the alert that a large one raises is found to mean.
func (f *Fleet) exporting() []Step {
	var steps []Step
	for _, x := range f.Exports {
		add := func(after time.Duration, kind StepKind, actor string) *Step {
			steps = append(steps, Step{At: x.At.Add(after), Kind: kind, Actor: actor, Tenant: x.Tenant, Reason: x.Reason, Ticket: x.Ticket, Export: &x})
			return &steps[len(steps)-1]
		}
		add(0, RequestExport, x.By)
		if x.Approver != "" {
			add(2*time.Hour, ApproveExport, x.Approver)
		}
		add(3*time.Hour, FetchExport, x.By)
		if x.Spike != "" {
			add(4*time.Hour, AckAlert, f.operators("provisioner")[0]).Alert = "export.spike"
			end := add(6*time.Hour, ResolveAlert, f.operators("approver")[0])
			end.Alert, end.Reason = "export.spike", x.Spike
		}
	}
	return steps
}

// supporting is the way of each grant from its request to the moment when it
// opens nothing any more.
func (f *Fleet) supporting() []Step {
	var steps []Step
	for _, g := range f.Grants {
		add := func(after time.Duration, kind StepKind, actor string) {
			steps = append(steps, Step{At: g.At.Add(after), Kind: kind, Actor: actor, Tenant: g.Tenant, Reason: g.Reason, Ticket: g.Ticket, Grant: &g})
		}
		add(0, RequestGrant, g.By)
		add(20*time.Minute, ApproveGrant, g.Approver)
		add(35*time.Minute, UseGrant, g.By)
		add(25*time.Minute+g.For, MissGrant, g.By)
	}
	return steps
}

// Delays from the request of a device to what follows.
const (
	firstApproval  = 95 * time.Minute
	secondApproval = 130 * time.Minute
	enrolment      = 3 * time.Hour
	move           = 24 * time.Hour
	oldKey         = 30 * time.Hour // from the renewal; a day after it the old one ends
)

// provisioning is the way of a device into the registry. The devices that were
// there before the quarter follow each other by a minute.
func (f *Fleet) provisioning(d Device, i int) []Step {
	at, reason := d.Added, d.Reason
	if at.IsZero() {
		at, reason = f.Setup.Add(time.Hour+time.Duration(i)*time.Minute), "taken over from the old registry"
	}
	step := func(delay time.Duration, kind StepKind, actor string) Step {
		return Step{At: at.Add(delay), Kind: kind, Actor: actor, Tenant: d.Tenant, Device: d.ID}
	}
	home := Home{Tenant: d.Tenant, Site: d.Site, Fleet: d.Fleet}
	if d.Before != nil {
		home = *d.Before
	}
	final := d.Tenant
	d.Tenant = home.Tenant
	request := step(0, RequestDevice, f.operators("provisioner")[0])
	request.Type, request.Site, request.Fleet, request.Reason = d.Type, home.Site, home.Fleet, reason
	steps := []Step{request}
	if d.Pending {
		return steps
	}
	approvers := f.operators("approver")
	steps = append(steps, step(firstApproval, ApproveDevice, approvers[0]))
	if f.critical(home.Fleet) {
		steps = append(steps, step(secondApproval, ApproveDevice, approvers[1]))
	}
	steps = append(steps, step(enrolment, EnrolDevice, ""))
	if d.Before != nil {
		asks := step(move, RequestTransfer, f.operators("provisioner")[0])
		asks.To, asks.Site, asks.Fleet, asks.Reason, asks.Ticket = final, d.Site, d.Fleet, home.Reason, home.Ticket
		consents := step(move+firstApproval, ApproveTransfer, approvers[0])
		consents.To, consents.Reason = final, "the buyer's letter is in the ticket"
		d.Tenant = final
		steps = append(steps, asks, consents, step(move+enrolment, EnrolDevice, ""))
	}
	if d.Renewed.IsZero() {
		return steps
	}
	renew := step(0, RenewDevice, "")
	renew.At = d.Renewed
	old := renew
	old.Kind, old.At = ShowOldKey, d.Renewed.Add(oldKey)
	return append(steps, renew, old)
}

// handling is what operators do about a device's trouble.
func (f *Fleet) handling(d Device) []Step {
	var steps []Step
	for _, t := range d.Trouble {
		step := Step{Actor: t.By, Tenant: d.Tenant, Device: d.ID, Reason: t.Reason, Ticket: t.Ticket}
		add := func(at time.Time, kind StepKind) *Step {
			step := step
			step.At, step.Kind = at, kind
			steps = append(steps, step)
			return &steps[len(steps)-1]
		}
		switch t.Kind {
		case Quarantined:
			add(t.From, QuarantineDevice)
			add(t.To, ReleaseDevice).Reason = "port closed and configuration compared with the released one"
		case Revoked:
			add(t.From, RevokeDevice)
		case Silent:
			// Seen the second morning, closed when the cause is gone and before
			// the device reports again, which would close it without a word.
			morning := t.From.Truncate(24 * time.Hour).Add(48*time.Hour + 7*time.Hour + 45*time.Minute)
			ack := add(morning, AckAlert)
			ack.Alert, ack.Reason, ack.Ticket = "device.silent", "", ""
			add(t.To.Add(45*time.Minute), ResolveAlert).Alert = "device.silent"
		}
	}
	return steps
}
