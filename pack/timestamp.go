package pack

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

const maxTimestamp = 64 << 10 // bytes of a .tsr

// Timestamp is what a time stamp authority said of a signature (RFC 3161).
type Timestamp struct {
	Time      time.Time // genTime
	Nonce     *big.Int  // nil where there is none
	Authority string    // subject of the certificate that signed

	imprint digest
}

// CheckTimestamp reads reply, a DER TimeStampResp, as FORMAT.md section 6 has
// it, and checks that it is over signature, and is signed by the certificate
// that it names. Where roots are given that certificate must lead to one of
// them at genTime; without any, nobody vouches for the time.
func CheckTimestamp(reply, signature []byte, roots []*x509.Certificate) (Timestamp, error) {
	t, err := parseTimestamp(reply)
	if err != nil {
		return Timestamp{}, fmt.Errorf("reading timestamp: %w", err)
	}
	if !t.info.imprint.of(signature) {
		return Timestamp{}, errors.New("the timestamp is over other bytes than the signature beside it")
	}
	leaf, err := t.verify(roots)
	if err != nil {
		return Timestamp{}, fmt.Errorf("verifying timestamp: %w", err)
	}
	return Timestamp{t.info.time, t.info.nonce, leaf.Subject.String(), t.info.imprint}, nil
}

// verify checks the token's signature and, where roots are given, who made it.
// It gives the certificate that signed.
func (t *token) verify(roots []*x509.Certificate) (*x509.Certificate, error) {
	if !t.signer.contentDigest.of(t.content) {
		return nil, errors.New("the signed digest is not that of its content")
	}
	leaf, err := t.signedBy()
	if err != nil {
		return nil, err
	}
	if err := onlyForTimestamps(leaf); err != nil {
		return nil, err
	}
	if err := t.signer.holds(leaf); err != nil {
		return nil, err
	}
	if len(roots) == 0 {
		return leaf, nil
	}
	return leaf, t.leadsTo(leaf, roots)
}

// signedBy finds the certificate that signerInfo and the signed attributes
// name. Names alone would let a forged certificate of the same names take the
// place of the one that signed (CVE-2026-39984).
func (t *token) signedBy() (*x509.Certificate, error) {
	var found *x509.Certificate
	for _, c := range t.certificates {
		if !bytes.Equal(c.RawIssuer, t.signer.issuer) || c.SerialNumber.Cmp(t.signer.serial) != 0 || !t.signer.names(c) {
			continue
		}
		if found != nil {
			return nil, errors.New("the certificate that signed stands in it twice")
		}
		found = c
	}
	if found == nil {
		return nil, errors.New("the certificate that signerInfo and the signing-certificate attribute name is not in it")
	}
	return found, nil
}

// names reports whether every signing-certificate attribute names c.
func (s *tokenSigner) names(c *x509.Certificate) bool {
	if s.certV1 != nil {
		if sum := sha1.Sum(c.Raw); !bytes.Equal(sum[:], s.certV1) {
			return false
		}
	}
	return s.certV2 == nil || s.certV2.of(c.Raw)
}

var extKeyUsageOID = asn1.ObjectIdentifier{2, 5, 29, 37}

// onlyForTimestamps demands timestamping as the one extended key usage,
// critical (RFC 3161 section 2.3).
func onlyForTimestamps(c *x509.Certificate) error {
	if !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}) || len(c.UnknownExtKeyUsage) > 0 {
		return fmt.Errorf("the certificate that signed, of %q, is not for timestamping alone", c.Subject)
	}
	for _, e := range c.Extensions {
		if e.Id.Equal(extKeyUsageOID) && e.Critical {
			return nil
		}
	}
	return fmt.Errorf("the certificate that signed, of %q, is for timestamping but does not say so critically", c.Subject)
}

// holds checks the signature over the signed attributes.
func (s *tokenSigner) holds(leaf *x509.Certificate) error {
	algorithms := map[crypto.Hash][2]x509.SignatureAlgorithm{
		crypto.SHA256: {x509.SHA256WithRSA, x509.ECDSAWithSHA256},
		crypto.SHA384: {x509.SHA384WithRSA, x509.ECDSAWithSHA384},
		crypto.SHA512: {x509.SHA512WithRSA, x509.ECDSAWithSHA512},
	}[s.contentDigest.hash]
	algorithm := algorithms[0]
	switch key := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if s.ecdsa {
			return errors.New("an ECDSA signature by an RSA key")
		}
	case *ecdsa.PublicKey:
		if !s.ecdsa {
			return errors.New("an RSA signature by an ECDSA key")
		}
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() && key.Curve != elliptic.P521() {
			return fmt.Errorf("a key on %s; want P-256, P-384 or P-521", key.Params().Name)
		}
		algorithm = algorithms[1]
	default:
		return fmt.Errorf("a key of type %T; want RSA or ECDSA", key)
	}
	if err := leaf.CheckSignature(algorithm, s.signed, s.signature); err != nil {
		return fmt.Errorf("its signature does not hold under the certificate of %q: %w", leaf.Subject, err)
	}
	return nil
}

// leadsTo demands a chain from leaf to a root, good at genTime, on which every
// certificate of the token is.
func (t *token) leadsTo(leaf *x509.Certificate, roots []*x509.Certificate) error {
	o := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
		CurrentTime: t.info.time, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
	}
	for _, c := range roots {
		o.Roots.AddCert(c)
	}
	for _, c := range t.certificates {
		if !c.Equal(leaf) {
			o.Intermediates.AddCert(c)
		}
	}
	chains, err := leaf.Verify(o)
	if err != nil {
		return fmt.Errorf("the certificate of %q leads to no given root at %s: %w", leaf.Subject, stamp(t.info.time), err)
	}
	for _, chain := range chains {
		if !slices.ContainsFunc(t.certificates, func(c *x509.Certificate) bool { return !slices.ContainsFunc(chain, c.Equal) }) {
			return nil
		}
	}
	return errors.New("a certificate in it is not on the way from the one that signed to the root")
}
