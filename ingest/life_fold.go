package ingest

import (
	"encoding/json"
	"fmt"
	"time"

	"trustpack/evidence"
)

// life is what the registry knows of a device's request and of its way from
// one tenant to another.
type life struct {
	expires  time.Time // of the request, while nobody has approved it; zero in logs from before requests expired
	batch    string    // of one that was asked for with others
	transfer *Transfer // that waits for a decision
	from, to *Binding  // whence it came by a transfer, and where it went
}

// Transfer is a device's move to another tenant that somebody asked for and
// nobody has decided yet.
type Transfer struct {
	ID          string     `json:"id"`
	ToTenant    string     `json:"to_tenant"`
	Site        string     `json:"site,omitempty"`
	Fleet       string     `json:"fleet,omitempty"`
	RequestedBy string     `json:"requested_by"`
	RequestedAt time.Time  `json:"requested_at"`
	Reason      string     `json:"reason"`
	Expires     time.Time  `json:"expires"`
	Approvals   []Approval `json:"approvals"`
}

// Binding is one generation of a device in another tenant.
type Binding struct {
	Tenant     string `json:"tenant"`
	Generation int    `json:"generation"`
}

// requestData is the data of a request.
type requestData struct {
	evidence.Device
	Expires time.Time `json:"expires,omitzero"`
	Batch   string    `json:"batch,omitempty"`
}

// transferData is the data of the steps of a transfer.
type transferData struct {
	ID         string    `json:"id"`
	ToTenant   string    `json:"to_tenant,omitempty"`
	Generation int       `json:"to_generation,omitempty"`
	Type       string    `json:"type,omitempty"`
	Site       string    `json:"site,omitempty"`
	Fleet      string    `json:"fleet,omitempty"`
	CodeHash   string    `json:"enrolment_code_sha256,omitempty"`
	Expires    time.Time `json:"expires,omitzero"` // of the request, or of the code
	Approvals  int       `json:"approvals,omitempty"`
	Needed     int       `json:"needed,omitempty"`
}

func (st *state) applyRequested(e *evidence.AuditEntry) error {
	var r requestData
	if err := json.Unmarshal(e.Data, &r); err != nil {
		return err
	}
	if st.tenants[r.Tenant] == nil {
		return fmt.Errorf("a device of a tenant that was never added, %s", clip(r.Tenant))
	}
	d := st.bind(r.Device, provisionStep{st.name(actorName(e.Actor)), e.Time, st.name(e.Reason)})
	d.life.expires, d.life.batch = r.Expires, st.name(r.Batch)
	return nil
}

// bind enters a new generation of a device.
func (st *state) bind(r evidence.Device, requested provisionStep) *device {
	r.Tenant, r.Type, r.Site, r.Fleet = st.name(r.Tenant), st.name(r.Type), st.name(r.Site), st.name(r.Fleet)
	name := deviceName{r.Tenant, r.ID}
	d := &device{
		st: st, number: uint32(len(st.order)), key: deviceKey{name, r.Generation}, record: r,
		requested: requested, registryRound: st.round, trafficRound: st.round,
	}
	st.order = append(st.order, d)
	st.devices[d.key] = d
	st.latest[name] = d
	return d
}

// applyLife makes the ends of a binding and the steps of a transfer take
// effect. Where a device ends, so does what was asked for it.
func (st *state) applyLife(d *device, index int64, e *evidence.AuditEntry) error {
	switch e.Type {
	case evidence.EntryDeviceRetired:
		d.decision = &Decision{"retire", actorName(e.Actor), e.Reason, e.Ticket, e.Time, index}
		d.end(evidence.DeviceRetired)
	case evidence.EntryRequestExpired:
		d.end(evidence.DeviceExpired)
	case evidence.EntryDeviceDeclined:
		d.end(evidence.DeviceDeclined)
	default:
		return st.applyTransfer(d, index, e)
	}
	return nil
}

// end closes a binding.
func (d *device) end(state evidence.DeviceState) {
	d.record.State, d.codeHash, d.life.transfer = state, "", nil
}

func (st *state) applyTransfer(d *device, index int64, e *evidence.AuditEntry) error {
	var t transferData
	if err := json.Unmarshal(e.Data, &t); err != nil {
		return err
	}
	by := st.name(actorName(e.Actor))
	if e.Type == evidence.EntryTransferAsked {
		d.life.transfer = &Transfer{
			ID: t.ID, ToTenant: st.name(t.ToTenant), Site: st.name(t.Site), Fleet: st.name(t.Fleet),
			RequestedBy: by, RequestedAt: e.Time, Reason: st.name(e.Reason), Expires: t.Expires, Approvals: []Approval{},
		}
		return nil
	}
	asked := d.life.transfer
	if asked == nil || asked.ID != t.ID {
		return fmt.Errorf("%s of a transfer that nobody asked for, %s", e.Type, clip(t.ID))
	}
	if e.Type == evidence.EntryTransferRefused {
		d.life.transfer = nil
		return nil
	}
	consent := Approval{Actor: by, Time: e.Time}
	if e.Actor != nil {
		consent.Role = st.name(e.Actor.Role)
	}
	changed := *asked // a reader may hold the one before
	changed.Approvals = append(append([]Approval{}, asked.Approvals...), consent)
	if e.Type == evidence.EntryTransferConsent {
		d.life.transfer = &changed
		return nil
	}
	if st.tenants[t.ToTenant] == nil {
		return fmt.Errorf("a transfer to a tenant that was never added, %s", clip(t.ToTenant))
	}
	d.decision = &Decision{"transfer", actorName(e.Actor), asked.Reason, e.Ticket, e.Time, index}
	d.end(evidence.DeviceRetired)
	d.life.to = &Binding{st.name(t.ToTenant), t.Generation}
	next := st.bind(
		evidence.Device{Tenant: t.ToTenant, ID: d.key.id, Generation: t.Generation, Type: t.Type, Site: t.Site, Fleet: t.Fleet, State: evidence.DeviceApproved},
		provisionStep{asked.RequestedBy, asked.RequestedAt, asked.Reason})
	next.approvals, next.codeHash, next.codeUntil = changed.Approvals, t.CodeHash, t.Expires
	next.life.from = &Binding{d.key.tenant, d.key.generation}
	return nil
}

func (c *codec) life(l *life) {
	c.time(&l.expires)
	c.name(&l.batch)
	optional(c, &l.transfer, (*codec).transfer)
	optional(c, &l.from, (*codec).binding)
	optional(c, &l.to, (*codec).binding)
}

func (c *codec) transfer(t *Transfer) {
	c.text(&t.ID)
	c.name(&t.ToTenant)
	c.name(&t.Site)
	c.name(&t.Fleet)
	c.name(&t.RequestedBy)
	c.time(&t.RequestedAt)
	c.name(&t.Reason)
	c.time(&t.Expires)
	listOf(c, &t.Approvals, (*codec).approval)
}

func (c *codec) binding(b *Binding) {
	c.name(&b.Tenant)
	c.int(&b.Generation)
}
