package ingest

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"sync/atomic"
	"time"
)

// maxCRL bounds a list of revoked certificates that is read, in bytes.
const maxCRL = 64 << 20

// revocations are what a CA says of its certificates in a file (RFC 5280,
// section 5).
type revocations struct {
	file    string
	signers []*x509.Certificate
	now     atomic.Pointer[revocationList]
	said    string // of the last look at the file, where it could not be read; the ticks' own
}

// revocationList is a list as it was read. It is not changed.
type revocationList struct {
	size       int64     // of the file, by which
	changed    time.Time // it is seen that there is another one
	number     *big.Int
	thisUpdate time.Time
	nextUpdate time.Time
	issuer     []byte
	serials    map[string]time.Time
}

// read reads the list, where it is another one than before. One that goes back
// behind what is known is refused: the file's owner cannot have revoked less.
func (r *revocations) read(now time.Time) error {
	info, err := os.Stat(r.file)
	if err != nil {
		return fmt.Errorf("reading the list of revoked certificates: %w", err)
	}
	old := r.now.Load()
	if old != nil && old.size == info.Size() && old.changed.Equal(info.ModTime()) {
		return nil
	}
	f, err := os.Open(r.file)
	if err != nil {
		return fmt.Errorf("reading the list of revoked certificates: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxCRL+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("reading the list of revoked certificates: %w", err)
	}
	list, err := parseRevocations(text, r.signers, now)
	if err != nil {
		return fmt.Errorf("reading the list of revoked certificates %s: %w", r.file, err)
	}
	if old != nil && (list.thisUpdate.Before(old.thisUpdate) || old.number != nil && (list.number == nil || list.number.Cmp(old.number) < 0)) {
		return fmt.Errorf("reading the list of revoked certificates %s: it is older than the one that is known", r.file)
	}
	list.size, list.changed = info.Size(), info.ModTime()
	r.now.Store(list)
	return nil
}

// parseRevocations reads a list, DER or PEM, that one of the signers signed.
func parseRevocations(text []byte, signers []*x509.Certificate, now time.Time) (*revocationList, error) {
	if len(text) > maxCRL {
		return nil, fmt.Errorf("it is larger than %d bytes", maxCRL)
	}
	if block, _ := pem.Decode(text); block != nil && block.Type == "X509 CRL" {
		text = block.Bytes
	}
	list, err := x509.ParseRevocationList(text)
	if err != nil {
		return nil, errors.New("it is no list of revoked certificates, DER or PEM")
	}
	signed := false
	for _, ca := range signers {
		signed = signed || bytes.Equal(ca.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(ca) == nil
	}
	switch {
	case !signed:
		return nil, errors.New("the CA did not sign it")
	case list.NextUpdate.IsZero():
		return nil, errors.New("it does not say when the next one comes (RFC 5280, section 5.1.2.5)")
	case list.ThisUpdate.After(now.Add(clockSlack)):
		return nil, errors.New("it is of the future")
	}
	for _, x := range list.Extensions {
		if x.Critical {
			return nil, fmt.Errorf("it is a list of a kind that is not taken: it holds the critical extension %s", x.Id)
		}
	}
	out := &revocationList{number: list.Number, thisUpdate: list.ThisUpdate, nextUpdate: list.NextUpdate, issuer: list.RawIssuer, serials: map[string]time.Time{}}
	for _, e := range list.RevokedCertificateEntries {
		if e.ReasonCode == 8 { // removeFromCRL
			continue
		}
		out.serials[string(e.SerialNumber.Bytes())] = e.RevocationTime
	}
	return out, nil
}

// vouched says why the certificate of an external CA may not be used any more:
// its CA has revoked it, does not say what it has revoked, as where the list is
// of another CA, or is declared no more. Each request asks, since a connection can outlive all of that.
func (s *Server) vouched(e *external) *Problem {
	now, ca := s.now(), s.set.Load().externals.named(e.ca.Name)
	if ca != nil && ca != e.ca { // the configuration is another one than at the handshake
		if again, _ := (&externals{[]*externalCA{ca}}).verify(e.cert, e.between, now); again == nil {
			ca = nil
		}
	}
	if ca == nil {
		return problem(CodeUnknownCredential, "its CA, "+e.ca.Name+", is declared no more")
	}
	if ca.revoked == nil {
		return nil
	}
	list := ca.revoked.now.Load()
	if !bytes.Equal(list.issuer, e.cert.RawIssuer) { // a CA below another one has a list of its own
		return problem(CodeUnknownCredential, "the list of revoked certificates of "+ca.Name+" does not speak for the CA that issued the certificate; declare that CA with its own list")
	}
	if _, is := list.serials[string(e.cert.SerialNumber.Bytes())]; is {
		return problem(CodeRevoked, "its CA, "+ca.Name+", has revoked the certificate")
	}
	if now.After(list.nextUpdate) && ca.ExpiredCRL != ExpiredCRLAccept {
		return problem(CodeCRLExpired, "external CA "+ca.Name)
	}
	return nil
}
