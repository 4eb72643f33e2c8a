package ingest

import (
	"encoding/json"

	"trustpack/evidence"
)

// standing says where what an act is about stands before and after it, for
// the entries of acts that do not say it themselves. The caller holds s.decide.
func (s *Server) standing(typ string, e *evidence.AuditEntry) (before, after json.RawMessage) {
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	switch typ {
	case evidence.EntryAlertAcked:
		return stateData(standingOf(s.st.alerts[e.Target])), stateData("acknowledged")
	case evidence.EntryAlertResolved:
		return stateData(standingOf(s.st.alerts[e.Target])), stateData("resolved")
	case evidence.EntryExportRequested:
		var x evidence.Export
		if json.Unmarshal(e.Data, &x) == nil && x.NeedsApproval {
			return nil, stateData(ExportPending)
		}
		return nil, stateData(ExportReady)
	case evidence.EntryExport:
		files := 0
		if x := s.st.exports[e.Target]; x != nil {
			files = len(x.Files)
		}
		return raw(map[string]int{"files": files}), raw(map[string]int{"files": files + 1})
	case evidence.EntryPurgeRequested:
		return nil, stateData(PurgePending)
	}
	if e.Device == "" {
		return nil, e.Data
	}
	d := s.st.devices[deviceKey{deviceName{e.Tenant, e.Device}, e.Generation}]
	if d == nil {
		return nil, stateData(string(evidence.DeviceRequested))
	}
	return stateData(string(d.record.State)), stateData(string(d.stateAfter(typ, e.Data)))
}

// standingOf says where an alert stands.
func standingOf(a *AlertRecord) string {
	switch {
	case a == nil:
		return ""
	case a.ResolvedAt != nil:
		return "resolved"
	case a.AcknowledgedAt != nil:
		return "acknowledged"
	}
	return "raised"
}

// stateAfter is the state of a device after an entry; that of now, where the
// entry changes none. The caller holds st.mu.
func (d *device) stateAfter(typ string, data json.RawMessage) evidence.DeviceState {
	switch typ {
	case evidence.EntryDeviceApproved:
		var a struct {
			Hash string `json:"enrolment_code_sha256"`
		}
		if json.Unmarshal(data, &a) == nil && a.Hash != "" {
			return evidence.DeviceApproved
		}
	case evidence.EntryQuarantined:
		return evidence.DeviceQuarantined
	case evidence.EntryReleased:
		return d.released
	case evidence.EntryRevoked:
		return evidence.DeviceRevoked
	case evidence.EntryDeviceRetired:
		return evidence.DeviceRetired
	case evidence.EntryDeviceDeclined:
		return evidence.DeviceDeclined
	}
	return d.record.State
}
