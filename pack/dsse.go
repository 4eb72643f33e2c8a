package pack

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"trustpack/evidence"
)

// A role's signature is a DSSE envelope (secure-systems-lab/dsse v1.0) over an
// in-toto Statement v1 whose only subject is pack.json.
const (
	payloadType        = "application/vnd.in-toto+json"
	statementType      = "https://in-toto.io/Statement/v1"
	statementTypeV01   = "https://in-toto.io/Statement/v0.1" // what stock cosign writes
	maxStatementBytes  = 4096                                // KMS services sign no more
	packJSONName       = "pack.json"
	vendorPredicate    = "urn:trustpack:pack:vendor:v1"
	verifierPredicate  = "https://in-toto.io/attestation/svr/v0.1"
	packFormat         = "trustpack-pack/1"
	roleVendor         = "vendor"
	roleReviewer       = "reviewer"
	roleAuditor        = "auditor"
	treeAlgorithm      = "rfc6962-sha256"
	maxSignatureBundle = 64 << 10
)

// roles lists the roles of signers, in the order they are reported.
func roles() []string { return []string{roleVendor, roleReviewer, roleAuditor} }

// PredicateType is the in-toto predicate type of a role's statement; empty
// for a word that is no role.
func PredicateType(role string) string {
	switch role {
	case roleVendor:
		return vendorPredicate
	case roleReviewer, roleAuditor:
		return verifierPredicate
	}
	return ""
}

// statement is an in-toto Statement (in-toto/attestation spec v1).
type statement struct {
	Type          string          `json:"_type"`
	Predicate     json.RawMessage `json:"predicate"`
	PredicateType string          `json:"predicateType"`
	Subject       []subject       `json:"subject"`
}

type subject struct {
	Digest map[string]string `json:"digest"`
	Name   string            `json:"name"`
}

// vendorStatement is the payload that the vendor signs for the pack.json with
// the given hex SHA-256.
func vendorStatement(packSHA256 string) ([]byte, error) {
	predicate, err := evidence.CanonicalJSON(map[string]string{"format": packFormat, "role": roleVendor})
	if err != nil {
		return nil, err
	}
	return evidence.CanonicalJSON(statement{
		Type:          statementType,
		Predicate:     predicate,
		PredicateType: PredicateType(roleVendor),
		Subject:       []subject{{Digest: map[string]string{"sha256": packSHA256}, Name: packJSONName}},
	})
}

var errOtherPack = errors.New("it signs another pack.json")

// checkStatement says what in payload does not fit a role's signature over
// the pack.json with the given hex SHA-256.
func checkStatement(payload []byte, role, packSHA256 string) error {
	if len(payload) > maxStatementBytes {
		return fmt.Errorf("statement of %d bytes, more than %d", len(payload), maxStatementBytes)
	}
	var s statement
	if err := decodeStrict(payload, &s); err != nil {
		return fmt.Errorf("reading statement: %w", err)
	}
	if s.Type != statementType && s.Type != statementTypeV01 {
		return fmt.Errorf("statement type %q, want %q", s.Type, statementType)
	}
	if want := PredicateType(role); s.PredicateType != want {
		return fmt.Errorf("predicate type %q, want %q for role %s", s.PredicateType, want, role)
	}
	if len(s.Subject) != 1 {
		return fmt.Errorf("%d subjects, want one", len(s.Subject))
	}
	sub := s.Subject[0]
	got := sub.Digest["sha256"]
	if sub.Name != packJSONName || len(sub.Digest) != 1 || len(got) != 2*sha256.Size {
		return errors.New("its subject is not pack.json with one sha256 digest")
	}
	if got != packSHA256 {
		return fmt.Errorf("%w: one with SHA-256 %s, this one has %s", errOtherPack, got, packSHA256)
	}
	return nil
}

// preAuth is DSSE's pre-authentication encoding, the bytes that are signed.
func preAuth(payloadType string, payload []byte) []byte {
	b := make([]byte, 0, len(payload)+len(payloadType)+32)
	b = append(b, "DSSEv1 "...)
	b = strconv.AppendInt(b, int64(len(payloadType)), 10)
	b = append(b, ' ')
	b = append(b, payloadType...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	b = append(b, ' ')
	return append(b, payload...)
}
