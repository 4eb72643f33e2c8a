package pack

import (
	"encoding/json"
	"strconv"
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
