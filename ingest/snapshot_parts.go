package ingest

import (
	"trustpack/evidence"
)

// What a snapshot says of each thing in the state. TestSnapshotKnowsTheState
// fails when a field is added that is not mentioned here.

func (c *codec) tenant(t *tenant) {
	c.text(&t.ID)
	c.text(&t.Name)
	tableOf(c, &t.books, (*codec).text, func(c *codec, b **evidence.Books) { optional(c, b, (*codec).day) })
	tableOf(c, &t.closed, (*codec).text, (*codec).bool)
	c.rising(&t.dead)
	tableOf(c, &t.fates, (*codec).int64, (*codec).fate)
}

func (c *codec) day(b *evidence.Books) {
	c.name(&b.Tenant)
	c.name(&b.Day)
	for _, n := range []*int64{&b.Received, &b.Accepted, &b.Duplicate, &b.DeadLettered, &b.Refused, &b.Replayed} {
		c.int64(n)
	}
}

// rising is a list of numbers that mostly rise by little.
func (c *codec) rising(v *[]int64) {
	last := int64(0)
	listOf(c, v, func(c *codec, n *int64) { c.after(&last, n) })
}

func (c *codec) fate(f *fate) {
	c.name(&f.state)
	c.name(&f.by)
	c.time(&f.at)
	c.text(&f.reason)
	c.int64(&f.as)
}

func (c *codec) operator(o *operator) {
	c.text(&o.Name)
	listOf(c, &o.Roles, (*codec).name)
	c.text(&o.Fingerprint)
	c.name(&o.Method)
	c.time(&o.NotBefore)
	c.time(&o.NotAfter)
	c.text(&o.Serial)
	c.bool(&o.removed)
	c.text(&o.identity)
	c.text(&o.OIDC)
	listOf(c, &o.credentials, (*codec).operatorCredential)
	listOf(c, &o.withdrawn, (*codec).withdrawn)
}

func (c *codec) withdrawn(w *withdrawn) {
	c.text(&w.Serial)
	c.time(&w.At)
	c.time(&w.Until)
}

func (c *codec) operatorCredential(v *OperatorCredential) {
	c.text(&v.Fingerprint)
	c.name(&v.Method)
	c.time(&v.NotBefore)
	c.time(&v.NotAfter)
	listOf(c, &v.Roles, (*codec).name)
	c.name(&v.Source)
}

func (c *codec) grant(g *GrantRecord) {
	c.text(&g.ID)
	c.name(&g.Operator)
	c.name(&g.Tenant)
	listOf(c, &g.Actions, (*codec).name)
	c.int(&g.Minutes)
	c.name(&g.State)
	c.name(&g.Requester)
	c.time(&g.RequestedAt)
	c.text(&g.Reason)
	c.text(&g.Ticket)
	c.name(&g.Approver)
	c.time(&g.From)
	c.time(&g.Until)
	c.name(&g.Decliner)
	c.time(&g.EndedAt)
	c.name(&g.EndedBy)
	c.text(&g.Why)
}

func (c *codec) roleChange(v *RoleChange) {
	c.text(&v.ID)
	c.name(&v.Name)
	listOf(c, &v.Roles, (*codec).name)
	c.name(&v.State)
	c.name(&v.Requester)
	c.time(&v.RequestedAt)
	c.text(&v.Reason)
	c.name(&v.DecidedBy)
	c.time(&v.DecidedAt)
}

func (c *codec) breakGlass(b *BreakGlass) {
	c.text(&b.ID)
	c.name(&b.Operator)
	c.name(&b.Role)
	c.text(&b.Reason)
	c.text(&b.Ticket)
	c.time(&b.OpenedAt)
	c.time(&b.Until)
	c.time(&b.ClosedAt)
	c.name(&b.ClosedBy)
	c.text(&b.Why)
}

// registry is what the control log says of a device.
func (c *codec) registry(d *device) {
	c.name(&d.key.tenant)
	c.text(&d.key.id)
	c.int(&d.key.generation)
	c.deviceRecord(&d.record)
	c.name(&d.requested.actor)
	c.time(&d.requested.at)
	c.name(&d.requested.reason)
	listOf(c, &d.approvals, (*codec).approval)
	listOf(c, &d.rotation, (*codec).approval)
	c.text(&d.codeHash)
	c.time(&d.codeUntil)
	c.time(&d.issued)
	c.time(&d.activated)
	optional(c, &d.decision, (*codec).decision)
	c.name((*string)(&d.released))
	c.time(&d.letIn)
	listOf(c, &d.seenFrom, (*codec).contact)
	c.life(&d.life)
}

func (c *codec) deviceRecord(r *evidence.Device) {
	c.name(&r.Tenant)
	c.text(&r.ID)
	c.int(&r.Generation)
	c.name(&r.Type)
	c.name(&r.Site)
	c.name(&r.Fleet)
	c.name((*string)(&r.State))
	c.name(&r.Firmware)
	listOf(c, &r.Credentials, (*codec).credential)
}

func (c *codec) credential(v *evidence.Credential) {
	c.text(&v.Fingerprint)
	c.name(&v.Method)
	c.name(&v.KeyType)
	c.text(&v.Key)
	c.text(&v.Serial)
	c.name(&v.Issuer)
	c.time(&v.NotBefore)
	c.time(&v.NotAfter)
	c.time(&v.Ends)
	c.name(&v.Retired)
}

func (c *codec) approval(a *Approval) {
	c.name(&a.Actor)
	c.name(&a.Role)
	c.time(&a.Time)
}

func (c *codec) contact(v *contact) {
	c.text(&v.fingerprint)
	listOf(c, &v.sources, (*codec).name)
}

func (c *codec) decision(d *Decision) {
	c.name(&d.Action)
	c.name(&d.Actor)
	c.name(&d.Reason)
	c.name(&d.Ticket)
	c.time(&d.DecidedAt)
	c.int64(&d.Index)
}

// traffic is what its tenant's log says of a device.
func (c *codec) traffic(d *device) {
	tableOf(c, &d.windows, (*codec).int64, func(c *codec, w **window) { optional(c, w, (*codec).window) })
	c.time(&d.lastSeen)
	c.time(&d.lastAccepted)
	c.time(&d.lastEvent)
	c.int64(&d.accepted)
	c.name(&d.firmware)
}

func (c *codec) window(w *window) {
	c.int64(&w.high)
	c.int64(&w.floor)
	last := int64(0)
	listOf(c, &w.holes, func(c *codec, h *hole) {
		c.after(&last, &h.from)
		c.after(&last, &h.to)
		c.time(&h.since)
		c.bool(&h.leading)
	})
	c.runs(&w.runs)
}

// runs are kept as they are packed.
func (c *codec) runs(p *runs) {
	c.int(&p.count)
	c.int64(&p.last.seq)
	c.int64(&p.last.index)
	c.int64(&p.last.n)
	if p.count < 2 {
		return
	}
	c.bytes(&p.packed)
	c.int64(&p.from.seq)
	c.int64(&p.from.index)
	c.int64(&p.to.seq)
	c.int64(&p.to.index)
	if c.reading && (c.err != nil || !p.sound()) {
		c.fail()
	}
}

// after is a number as its distance from the one before.
func (c *codec) after(last, n *int64) {
	step := *n - *last
	c.int64(&step)
	*last += step
	if c.reading {
		*n = *last
	}
}

func (c *codec) alert(a *AlertRecord) {
	c.text(&a.ID)
	c.name(&a.Kind)
	c.time(&a.Since)
	listOf(c, &a.Devices, (*codec).name)
	c.text(&a.Detail)
	c.name(&a.Tenant)
	c.time(&a.RaisedAt)
	optional(c, &a.EscalatedAt, (*codec).time)
	optional(c, &a.AcknowledgedAt, (*codec).time)
	c.name(&a.AcknowledgedBy)
	optional(c, &a.ResolvedAt, (*codec).time)
	c.name(&a.ResolvedBy)
	c.text(&a.Resolution)
	c.text(&a.Ticket)
	listOf(c, &a.Chain, (*codec).alertStep)
	listOf(c, &a.Deliveries, (*codec).alertDelivery)
}

func (c *codec) alertStep(v *AlertStep) {
	c.name(&v.Event)
	c.time(&v.Time)
	c.int64(&v.Index)
	c.name(&v.Actor)
	c.name(&v.Role)
	c.text(&v.Text)
	c.text(&v.Ticket)
}

func (c *codec) alertDelivery(v *AlertDelivery) {
	c.name(&v.To)
	c.name(&v.Kind)
	c.name(&v.Event)
	c.name(&v.State)
	c.int(&v.Attempts)
	c.text(&v.Error)
	c.text(&v.Ticket)
	c.time(&v.Time)
	c.int64(&v.Index)
}

func (c *codec) export(x *ExportRecord) {
	c.exportScope(&x.Export)
	c.name(&x.State)
	c.name(&x.Requester)
	c.time(&x.RequestedAt)
	c.text(&x.Reason)
	c.name(&x.Approver)
	c.time(&x.ReadyAt)
	c.name(&x.Decliner)
	c.time(&x.DeclinedAt)
	c.text(&x.Why)
	listOf(c, &x.Files, func(c *codec, f *ExportFile) {
		c.time(&f.Time)
		c.int64(&f.Rows)
		c.int64(&f.Bytes)
		c.text(&f.SHA256)
	})
}

func (c *codec) exportScope(x *evidence.Export) {
	c.text(&x.ID)
	c.name(&x.Tenant)
	c.time(&x.From)
	c.time(&x.To)
	c.int64(&x.Until)
	c.name(&x.Device)
	c.name(&x.EventType)
	c.name(&x.Format)
	c.text(&x.Destination)
	c.int64(&x.Rows)
	c.bool(&x.NeedsApproval)
}

func (c *codec) purge(x *PurgeRecord) {
	c.text(&x.ID)
	c.name(&x.Tenant)
	c.time(&x.Asked)
	c.text(&x.Before)
	c.name(&x.State)
	c.name(&x.Requester)
	c.time(&x.RequestedAt)
	c.text(&x.Reason)
	c.name(&x.Approver)
	c.time(&x.DoneAt)
	c.int64(&x.Index)
	p := &x.Purge
	c.name(&p.Log)
	c.text(&p.Before)
	c.text(&p.FirstDay)
	c.text(&p.LastDay)
	c.int(&p.Days)
	c.int64(&p.First)
	c.int64(&p.End)
	c.int64(&p.Count)
	c.int64(&p.Bytes)
	c.text(&p.Commitments)
}

func (c *codec) version(v *ConfigVersion) {
	c.int(&v.Version)
	c.text(&v.SHA256)
	c.time(&v.Time)
	c.name(&v.Actor)
	c.name(&v.Role)
	c.text(&v.Reason)
	c.text(&v.Ticket)
	listOf(c, &v.Diff, (*codec).text)
	c.int64(&v.Index)
}

func (c *codec) config(v *evidence.ConfigApplied) {
	c.int(&v.Version)
	c.text(&v.SHA256)
	c.bytes((*[]byte)(&v.Config))
	listOf(c, &v.Diff, (*codec).text)
}
