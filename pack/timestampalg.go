package pack

import (
	"crypto"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// parseAlgorithm reads an AlgorithmIdentifier without parameters, which may
// stand there as NULL.
func parseAlgorithm(s *cryptobyte.String) (string, error) {
	var algorithm, none cryptobyte.String
	var id asn1.ObjectIdentifier
	var there bool
	if !s.ReadASN1(&algorithm, casn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&id) ||
		!algorithm.ReadOptionalASN1(&none, &there, casn1.NULL) || !none.Empty() || !algorithm.Empty() {
		return "", errors.New("an algorithm that is malformed, or has parameters")
	}
	return id.String(), nil
}

// parseHash reads a digest algorithm (RFC 5754).
func parseHash(s *cryptobyte.String) (crypto.Hash, error) {
	id, err := parseAlgorithm(s)
	if err != nil {
		return 0, err
	}
	switch id {
	case "2.16.840.1.101.3.4.2.1":
		return crypto.SHA256, nil
	case "2.16.840.1.101.3.4.2.2":
		return crypto.SHA384, nil
	case "2.16.840.1.101.3.4.2.3":
		return crypto.SHA512, nil
	}
	return 0, fmt.Errorf("the digest algorithm %s; want SHA-256, SHA-384 or SHA-512", id)
}

// parseSignatureAlgorithm reads a signature algorithm (RFC 5754), whose hash
// must be that of the digest, and reports whether it is ECDSA, else RSA.
func parseSignatureAlgorithm(s *cryptobyte.String, hash crypto.Hash) (bool, error) {
	id, err := parseAlgorithm(s)
	if err != nil {
		return false, fmt.Errorf("signerInfo's signature: %w", err)
	}
	named := hash
	isECDSA := false
	switch id {
	case "1.2.840.113549.1.1.1": // RSA, by the hash of the digest
	case "1.2.840.113549.1.1.11":
		named = crypto.SHA256
	case "1.2.840.113549.1.1.12":
		named = crypto.SHA384
	case "1.2.840.113549.1.1.13":
		named = crypto.SHA512
	case "1.2.840.10045.4.3.2":
		named, isECDSA = crypto.SHA256, true
	case "1.2.840.10045.4.3.3":
		named, isECDSA = crypto.SHA384, true
	case "1.2.840.10045.4.3.4":
		named, isECDSA = crypto.SHA512, true
	default:
		return false, fmt.Errorf("the signature algorithm %s; want RSA PKCS #1 v1.5 or ECDSA with SHA-256, SHA-384 or SHA-512", id)
	}
	if named != hash {
		return false, errors.New("its signature and its digest are of two hashes")
	}
	return isECDSA, nil
}
