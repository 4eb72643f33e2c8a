package ingest

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"trustpack/evidence"
)

// rotatedData is the data of a rotation.
type rotatedData struct {
	Credential evidence.Credential `json:"credential"`
	Replaces   string              `json:"replaces"`
	OldUntil   time.Time           `json:"old_until"`
	By         string              `json:"by"` // "device", with the old credential, or "code"
}

// retiredData is the data of a credential's end.
type retiredData struct {
	Fingerprint string `json:"fingerprint"`
	Why         string `json:"why"`
}

// orderedData is the data of an order to rotate.
type orderedData struct {
	Hash      string    `json:"enrolment_code_sha256,omitempty"`
	Expires   time.Time `json:"expires,omitzero"`
	Approvals int       `json:"approvals"`
	Needed    int       `json:"needed"`
}

// keptCredentials is how many of a device the registry keeps; of more, the
// oldest that are retired are dropped. The log has them all.
const keptCredentials = 16

func (st *state) applyRotation(d *device, e *evidence.AuditEntry) error {
	switch e.Type {
	case evidence.EntryRotationOrdered:
		var o orderedData
		if err := json.Unmarshal(e.Data, &o); err != nil {
			return err
		}
		role := ""
		if e.Actor != nil {
			role = e.Actor.Role
		}
		d.rotation = append(slices.Clip(d.rotation), Approval{st.name(actorName(e.Actor)), st.name(role), e.Time})
		if o.Hash != "" {
			d.codeHash, d.codeUntil, d.rotation = o.Hash, o.Expires, nil
		}
	case evidence.EntryDeviceRotated:
		var r rotatedData
		if err := json.Unmarshal(e.Data, &r); err != nil {
			return err
		}
		st.replace(d, r)
		if r.By == "code" {
			d.codeHash = ""
		}
	case evidence.EntryCredentialDead:
		var r retiredData
		if err := json.Unmarshal(e.Data, &r); err != nil {
			return err
		}
		c := d.credential(r.Fingerprint)
		if c == nil {
			return fmt.Errorf("%s of a credential that the device does not have, %s", e.Type, clip(r.Fingerprint))
		}
		if c.Retired = st.name(r.Why); r.Why == whyRotated && (c.Ends.IsZero() || c.Ends.After(e.Time)) {
			c.Ends = e.Time
		}
	}
	return nil
}

// replace sets the end of what the device has and enters the new credential.
func (st *state) replace(d *device, r rotatedData) {
	for i := range d.record.Credentials {
		if c := &d.record.Credentials[i]; c.Ends.IsZero() && c.Retired == "" {
			c.Ends = r.OldUntil
		}
	}
	c := r.Credential
	c.Method, c.KeyType = st.name(c.Method), st.name(c.KeyType)
	d.record.Credentials = append(d.record.Credentials, c)
	st.enterCredential(d, c)
	for i := 0; i < len(d.record.Credentials) && len(d.record.Credentials) > keptCredentials; {
		gone := d.record.Credentials[i]
		if gone.Retired == "" {
			i++
			continue
		}
		d.record.Credentials = slices.Delete(d.record.Credentials, i, i+1)
		d.seenFrom = slices.DeleteFunc(d.seenFrom, func(x contact) bool { return x.fingerprint == gone.Fingerprint })
		if len(d.seenFrom) == 0 {
			d.seenFrom = nil
		}
		st.dropCredential(d, gone)
	}
}
