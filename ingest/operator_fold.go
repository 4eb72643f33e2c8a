package ingest

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"trustpack/evidence"
)

// Methods by which an operator proves who he is.
const (
	MethodCertificate = "x509"
	MethodToken       = "token"
)

// operator is a person with roles. A removed one is kept, without credential.
// It is replaced as a whole when it changes, since a snapshot may hold it.
type operator struct {
	evidence.Operator
	removed     bool
	identity    string               // at the provider: SHA-256 of the issuer, a line feed and the subject; empty: none is linked
	credentials []OperatorCredential // those that were issued and not replaced, the oldest first
	withdrawn   []withdrawn          // certificates that were replaced, or taken with the roles
}

// OperatorCredential is what an operator proves himself with, never the
// secret. Times are those of a token; a certificate carries its own, and here
// they are zero.
type OperatorCredential struct {
	Fingerprint string    `json:"fingerprint"` // "sha256:<hex>" of the certificate, or of the token's text
	Method      string    `json:"method"`
	NotBefore   time.Time `json:"not_before,omitzero"`
	NotAfter    time.Time `json:"not_after,omitzero"`
	// Of a session, "oidc", alone: what its groups gave, and the network from
	// which it can be used.
	Roles  []string `json:"roles,omitempty"`
	Source string   `json:"source,omitempty"`
}

// ended reports whether the credential is none any more at now.
func (c OperatorCredential) ended(now time.Time) bool {
	return !c.NotAfter.IsZero() && !now.Before(c.NotAfter)
}

// credential finds one by its fingerprint.
func (o *operator) credential(fingerprint string) (OperatorCredential, bool) {
	for _, c := range o.credentials {
		if c.Fingerprint == fingerprint {
			return c, true
		}
	}
	return OperatorCredential{}, false
}

// changed is a copy that may be changed.
func (o *operator) changed() *operator {
	c := *o
	c.Roles, c.credentials = slices.Clone(o.Roles), slices.Clone(o.credentials)
	return &c
}

// enterOperator puts o in the place of whoever had the name before.
func (st *state) enterOperator(o *operator) {
	if old := st.operators[o.Name]; old != nil {
		for _, c := range old.credentials {
			delete(st.operatorFor, c.Fingerprint)
		}
	}
	st.operators[o.Name] = o
	for _, c := range o.credentials {
		st.operatorFor[c.Fingerprint] = o
	}
}

// credentialIssued is the data of operator.credential-issued.
type credentialIssued struct {
	Name string `json:"name"`
	OperatorCredential
	OldUntil time.Time `json:"old_until"` // at which the operator's others of this method end, if not before
}

func (st *state) applyOperator(e *evidence.AuditEntry) error {
	switch e.Type {
	case evidence.EntryOperatorIssued:
		return st.applyOperatorIssued(e)
	case evidence.EntryOperatorLogin:
		return st.applyLogin(e)
	case evidence.EntryOperatorLogout:
		return st.applyLogout(e)
	}
	var o evidence.Operator
	if err := json.Unmarshal(e.Data, &o); err != nil {
		return err
	}
	op := &operator{Operator: o, removed: e.Type == evidence.EntryOperatorRemoved}
	if op.Method == "" && op.Fingerprint != "" {
		op.Method = MethodCertificate
	}
	if !op.removed && o.Fingerprint != "" {
		op.credentials = []OperatorCredential{{Fingerprint: o.Fingerprint, Method: op.Method, NotBefore: o.NotBefore, NotAfter: o.NotAfter}}
	}
	if old := st.operators[o.Name]; old != nil && !old.removed && !op.removed {
		op.identity, op.OIDC = old.identity, old.OIDC // the same person
	}
	if old := st.operators[o.Name]; old != nil {
		op.withdrawn = old.withdrawn
		if !old.removed && old.Serial != "" && (op.removed || old.Serial != op.Serial) {
			op.withdrawn = append(slices.Clip(op.withdrawn), withdrawn{old.Serial, e.Time, old.NotAfter})
		}
	}
	if len(op.Roles) == 0 {
		op.Roles = nil // as a snapshot gives it back
	}
	st.lapse(op.Name, e.Time)
	st.enterOperator(op)
	return nil
}

func (st *state) applyOperatorIssued(e *evidence.AuditEntry) error {
	var d credentialIssued
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return err
	}
	old := st.operators[d.Name]
	if old == nil || old.removed {
		return fmt.Errorf("%s to an operator that is not there, %s", e.Type, clip(d.Name))
	}
	st.enterOperator(old.withCredential(d, e.Time))
	return nil
}

// withCredential is o with a further credential, as of now.
func (o *operator) withCredential(d credentialIssued, now time.Time) *operator {
	op := o.changed()
	kept := op.credentials[:0]
	for _, c := range op.credentials {
		if c.Method == d.Method && (c.NotAfter.IsZero() || d.OldUntil.Before(c.NotAfter)) {
			c.NotAfter = d.OldUntil
		}
		if !c.ended(now) {
			kept = append(kept, c)
		}
	}
	op.credentials = append(kept, d.OperatorCredential)
	return op
}
