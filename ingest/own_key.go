package ingest

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"

	"trustpack/evidence"
)

// ownKey gives the print of a key that is to be certified for d. One that was
// certified for another device, or for another generation of this one, is
// refused: who has it from there would have the new credential too, since a
// certificate is no secret. It knows the keys of the certificates that this CA
// issued, as far back as the registry keeps credentials (see keptCredentials).
// The device itself may keep its key, as RFC 7030, section 4.2.2, lets it. The
// caller holds s.decide.
func (s *Server) ownKey(d *device, pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("encoding a public key: %w", err)
	}
	print := "sha256:" + evidence.SHA256Hex(der)
	s.st.mu.RLock()
	of := s.st.keyFor[print]
	s.st.mu.RUnlock()
	if of != nil && of != d {
		return "", problem(CodeEnrolBadCSR, "the key was certified for another device, or for this one before it was made anew; make a new key")
	}
	return print, nil
}

// enterCredential notes whose the credential is.
func (st *state) enterCredential(d *device, c evidence.Credential) {
	st.deviceFor[c.Fingerprint] = d
	if c.Key != "" {
		st.keyFor[c.Key] = d
	}
}

// dropCredential forgets one that d has no longer.
func (st *state) dropCredential(d *device, gone evidence.Credential) {
	delete(st.deviceFor, gone.Fingerprint)
	if !slices.ContainsFunc(d.record.Credentials, func(c evidence.Credential) bool { return c.Key == gone.Key }) {
		delete(st.keyFor, gone.Key)
	}
}
