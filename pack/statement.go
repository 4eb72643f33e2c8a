package pack

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// Prefixes of the properties in a reviewer's or auditor's statement.
const (
	roleProperty   = "urn:trustpack:role:"
	sampleProperty = "urn:trustpack:sample:sha256:" // and the hex SHA-256 of a sample's JSON
)

// vendorSays is the vendor's predicate.
type vendorSays struct {
	Format   string `json:"format"`
	Identity string `json:"identity,omitempty"`
	Role     string `json:"role"`
}

// verifierSays is the predicate of a reviewer or auditor, a Simple
// Verification Result (in-toto/attestation, spec/predicates/svr.md).
type verifierSays struct {
	Properties   []string   `json:"properties"`
	TimeVerified string     `json:"timeVerified"`
	Verifier     verifierID `json:"verifier"`
}

type verifierID struct {
	ID string `json:"id"`
}

// said is what a signer says in his statement: no more than his word.
type said struct {
	identity   string // may be empty for the vendor
	properties []string
	at         time.Time // of a reviewer or auditor
}

// vendorStatement is the payload that the vendor signs for the pack.json with
// the given hex SHA-256. identity may be empty.
func vendorStatement(packSHA256, identity string) ([]byte, error) {
	if identity != "" {
		if err := checkText(identity); err != nil {
			return nil, fmt.Errorf("signing: the vendor's identity: %w", err)
		}
	}
	return statementOf(vendorPredicate, packSHA256, vendorSays{packFormat, identity, roleVendor})
}

// verifierStatement is the payload that a reviewer or auditor signs.
func verifierStatement(role, packSHA256, identity string, at time.Time, properties []string) ([]byte, error) {
	return statementOf(verifierPredicate, packSHA256, verifierSays{
		Properties:   sortedSet(append(slices.Clone(properties), roleProperty+role)),
		TimeVerified: at.UTC().Format(time.RFC3339Nano), Verifier: verifierID{identity},
	})
}

func statementOf(predicateType, packSHA256 string, says any) ([]byte, error) {
	predicate, err := evidence.CanonicalJSON(says)
	if err != nil {
		return nil, err
	}
	return evidence.CanonicalJSON(statement{
		Type:          statementType,
		Predicate:     predicate,
		PredicateType: predicateType,
		Subject:       []subject{{Digest: map[string]string{"sha256": packSHA256}, Name: packJSONName}},
	})
}

var errOtherPack = errors.New("it signs another pack.json")

// openStatement reads an in-toto statement over the pack.json with the given
// hex SHA-256 and demands the predicate type.
func openStatement(payload []byte, predicateType, packSHA256 string) (statement, error) {
	var s statement
	if len(payload) > maxStatementBytes {
		return s, fmt.Errorf("statement of %d bytes, more than %d", len(payload), maxStatementBytes)
	}
	if err := decodeStrict(payload, &s); err != nil {
		return s, fmt.Errorf("reading statement: %w", err)
	}
	if s.Type != statementType && s.Type != statementTypeV01 {
		return s, fmt.Errorf("statement type %q, want %q", s.Type, statementType)
	}
	if s.PredicateType != predicateType {
		return s, fmt.Errorf("predicate type %q, want %q", s.PredicateType, predicateType)
	}
	if len(s.Subject) != 1 {
		return s, fmt.Errorf("%d subjects, want one", len(s.Subject))
	}
	sub := s.Subject[0]
	got := sub.Digest["sha256"]
	if sub.Name != packJSONName || len(sub.Digest) != 1 || !isHex(got, sha256.Size) {
		return s, errors.New("its subject is not pack.json with one sha256 digest")
	}
	if got != packSHA256 {
		return s, fmt.Errorf("%w: one with SHA-256 %s, this one has %s", errOtherPack, got, packSHA256)
	}
	return s, nil
}

// checkStatement says what in payload does not fit a role's signature over
// the pack.json with the given hex SHA-256, and what its signer says.
func checkStatement(payload []byte, role, packSHA256 string) (said, error) {
	s, err := openStatement(payload, PredicateType(role), packSHA256)
	if err != nil {
		return said{}, err
	}
	if role == roleVendor {
		var says vendorSays
		if err := decodeStrict(s.Predicate, &says); err != nil {
			return said{}, fmt.Errorf("reading predicate: %w", err)
		}
		if says.Format != packFormat || says.Role != roleVendor {
			return said{}, fmt.Errorf("the predicate is of format %q and role %q, want %q and %q", says.Format, says.Role, packFormat, roleVendor)
		}
		if says.Identity != "" {
			err = checkText(says.Identity)
		}
		return said{identity: says.Identity}, err
	}
	var says verifierSays
	if err := decodeStrict(s.Predicate, &says); err != nil {
		return said{}, fmt.Errorf("reading predicate: %w", err)
	}
	out := said{identity: says.Verifier.ID, properties: says.Properties}
	if err := checkText(says.Verifier.ID); err != nil {
		return said{}, fmt.Errorf("verifier: %w", err)
	}
	if out.at, err = time.Parse(time.RFC3339Nano, says.TimeVerified); err != nil || out.at.UTC().Format(time.RFC3339Nano) != says.TimeVerified {
		return said{}, fmt.Errorf("timeVerified %q: want RFC 3339 in UTC", says.TimeVerified)
	}
	return out, checkProperties(says.Properties, role)
}

// checkProperties demands distinct, sorted properties of which just one names
// a role, the signer's.
func checkProperties(properties []string, role string) error {
	named := false
	for i, p := range properties {
		if err := checkText(p); err != nil {
			return fmt.Errorf("property %d: %w", i+1, err)
		}
		if i > 0 && properties[i-1] >= p {
			return errors.New("its properties are not sorted and distinct")
		}
		if digest, ok := strings.CutPrefix(p, sampleProperty); ok && !isHex(digest, sha256.Size) {
			return fmt.Errorf("property %q cites a sample by no SHA-256", p)
		}
		if !strings.HasPrefix(p, roleProperty) {
			continue
		}
		if p != roleProperty+role {
			return fmt.Errorf("property %q in a signature of role %s: want %s%s and no other role", p, role, roleProperty, role)
		}
		named = true
	}
	if !named {
		return fmt.Errorf("no property %s%s", roleProperty, role)
	}
	return nil
}
