package telemetry

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"trustpack/evidence"
)

// reconcileDevices compares the registry that the ingest lists with the
// requests in the control log, both ways: a device that is left out of the
// list is left out of every test over it, and one of another type is held to
// another type's rules.
func (r *run) reconcileDevices(p *part) {
	if r.devicesReply.err != nil || !r.controlHolds() {
		return
	}
	listed, requested := map[string]bool{}, map[string]string{} // the type that it was requested as
	for _, d := range r.devs {
		listed[deviceKey(d.Tenant, d.ID, d.Generation)] = true
	}
	for _, e := range r.control {
		if e.Type != evidence.EntryDeviceRequested && e.Type != evidence.EntryTransferred || e.Result == "refused" {
			continue
		}
		key := deviceKey(e.Tenant, e.Device, e.Generation)
		var made struct {
			transferred
			Type string `json:"type"` // of a request and of a transfer
		}
		if err := e.data(&made); err != nil {
			p.gap("how "+key+" was made", err)
			continue
		}
		if e.Type == evidence.EntryTransferred { // it makes the device at its new tenant
			key = deviceKey(made.ToTenant, e.Device, made.Generation)
		}
		requested[key] = made.Type
		if !listed[key] && !e.Time.After(r.at) { // what came while this ran may be missing
			p.gap(key, fmt.Errorf("control entry %d makes it and the registry that the ingest lists lacks it", e.index))
		}
	}
	for _, d := range r.devs {
		key := deviceKey(d.Tenant, d.ID, d.Generation)
		if typ, known := requested[key]; !known {
			p.gap(key, errors.New("the registry lists it and the control log holds no request for it"))
		} else if typ != d.Type {
			p.gap(key, fmt.Errorf("the registry lists it as %q and by the control log it is %q", d.Type, typ))
		}
	}
}

// reconcileOperators compares the operators that the ingest lists, and their
// roles, with those that the control log added and did not remove.
func (r *run) reconcileOperators(p *part) {
	if r.operatorsReply.err != nil || !r.controlHolds() {
		return
	}
	last, roles := map[string]entry{}, map[string][]string{}
	for _, e := range r.control {
		name, held, ok, err := rolesBy(e)
		if err != nil {
			p.gap("operators", err)
		} else if ok {
			last[name], roles[name] = e, held
		}
	}
	listed := map[string]bool{}
	for _, o := range r.opers {
		listed[o.Name] = true
		e, known := last[o.Name]
		switch {
		case !known:
			p.gap("operator "+o.Name, errors.New("the ingest lists it and the control log never added it"))
		case e.Time.After(r.at): // changed while this ran
		case e.Type == evidence.EntryOperatorRemoved:
			p.gap("operator "+o.Name, fmt.Errorf("the ingest lists it and control entry %d removed it", e.index))
		case !sameRoles(roles[o.Name], o.Roles):
			p.gap("operator "+o.Name, fmt.Errorf("the ingest lists the roles %s and control entry %d gave %s",
				strings.Join(o.Roles, ", "), e.index, strings.Join(roles[o.Name], ", ")))
		}
	}
	for name, e := range last {
		if !listed[name] && e.Type != evidence.EntryOperatorRemoved && !e.Time.After(r.at) {
			p.gap("operator "+name, fmt.Errorf("control entry %d added it, nothing removed it, and the ingest does not list it", e.index))
		}
	}
	sortGaps(p)
}

// controlHolds tells whether the control log was read and is what was signed.
func (r *run) controlHolds() bool {
	v := r.log(controlLog)
	return v != nil && v.err == nil
}

func sameRoles(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func sortGaps(p *part) {
	slices.SortStableFunc(p.gaps, func(a, b evidence.Gap) int { return strings.Compare(a.What, b.What) })
}
