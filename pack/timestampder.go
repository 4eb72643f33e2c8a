package pack

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// token is a time stamp token: CMS SignedData (RFC 5652) over a TSTInfo (RFC
// 3161). Its form is right, nothing in it is verified.
type token struct {
	content      []byte // the TSTInfo, as it was signed
	info         tstInfo
	signer       tokenSigner
	certificates []*x509.Certificate
}

type tstInfo struct {
	imprint digest
	time    time.Time
	nonce   *big.Int
}

type tokenSigner struct {
	issuer        []byte // DER
	serial        *big.Int
	signed        []byte // the signed attributes as a SET, the form in which they are signed
	contentDigest digest
	certV1        []byte  // SHA-1 of the signing certificate (RFC 2634); nil without that attribute
	certV2        *digest // RFC 5035; nil without that attribute
	ecdsa         bool    // else RSA PKCS #1 v1.5
	signature     []byte
}

// digest is a hash value and its algorithm.
type digest struct {
	hash crypto.Hash
	sum  []byte
}

func (d digest) of(data []byte) bool {
	h := d.hash.New()
	h.Write(data) // a hash takes everything
	return bytes.Equal(h.Sum(nil), d.sum)
}

var (
	oidSignedData   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTSTInfo      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidDigest       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningCert  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12}
	oidSigningCert2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
)

// Tags of fields that stand in a context of their own.
var (
	tag0 = casn1.Tag(0).ContextSpecific().Constructed()
	tag1 = casn1.Tag(1).ContextSpecific().Constructed()
)

// malformed is for DER that is not of the form that RFC 3161 and 5652 ask for.
func malformed(what string) error { return errors.New(what + " is malformed") }

// parseTimestamp reads a TimeStampResp strictly: DER lengths, known versions,
// nothing that the signature does not cover but what is compared elsewhere.
func parseTimestamp(data []byte) (*token, error) {
	in := cryptobyte.String(data)
	var reply, status cryptobyte.String
	if len(data) > maxTimestamp {
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(data), maxTimestamp)
	}
	if !in.ReadASN1(&reply, casn1.SEQUENCE) || !in.Empty() || !reply.ReadASN1(&status, casn1.SEQUENCE) {
		return nil, malformed("the reply")
	}
	if err := parseStatus(status); err != nil {
		return nil, err
	}
	var contentInfo, wrapped, signedData cryptobyte.String
	var kind asn1.ObjectIdentifier
	if !reply.ReadASN1(&contentInfo, casn1.SEQUENCE) || !reply.Empty() ||
		!contentInfo.ReadASN1ObjectIdentifier(&kind) || !kind.Equal(oidSignedData) ||
		!contentInfo.ReadASN1(&wrapped, tag0) || !contentInfo.Empty() ||
		!wrapped.ReadASN1(&signedData, casn1.SEQUENCE) || !wrapped.Empty() {
		return nil, malformed("its CMS SignedData")
	}
	return parseSignedData(signedData)
}

// parseStatus demands status 0, granted, and no word more. What an authority
// that refused says is in the error.
func parseStatus(s cryptobyte.String) error {
	var status int
	if !s.ReadASN1Integer(&status) {
		return malformed("its status")
	}
	if status == 0 && s.Empty() {
		return nil
	}
	var words []string
	var texts, failure cryptobyte.String
	var there bool
	if s.ReadOptionalASN1(&texts, &there, casn1.SEQUENCE) && there {
		for !texts.Empty() {
			var text cryptobyte.String
			if !texts.ReadASN1(&text, casn1.UTF8String) {
				break
			}
			words = append(words, clean(string(text)))
		}
	}
	var bits asn1.BitString
	if s.PeekASN1Tag(casn1.BIT_STRING) && s.ReadASN1Element(&failure, casn1.BIT_STRING) {
		if _, err := asn1.Unmarshal(failure, &bits); err == nil {
			for bit, name := range map[int]string{0: "badAlg", 2: "badRequest", 5: "badDataFormat", 14: "timeNotAvailable", 15: "unacceptedPolicy", 16: "unacceptedExtension", 17: "addInfoNotAvailable", 25: "systemFailure"} {
				if bits.At(bit) != 0 {
					words = append(words, name)
				}
			}
		}
	}
	return fmt.Errorf("the authority's status is %s, want 0 (granted) and nothing more", strings.Join(append([]string{fmt.Sprint(status)}, words...), ", "))
}

func parseSignedData(s cryptobyte.String) (*token, error) {
	var version int
	var digests, encap, wrapped, content, certificates, signers, signer cryptobyte.String
	var kind asn1.ObjectIdentifier
	if !s.ReadASN1Integer(&version) || version != 3 || !s.ReadASN1(&digests, casn1.SET) ||
		!s.ReadASN1(&encap, casn1.SEQUENCE) || !encap.ReadASN1ObjectIdentifier(&kind) || !kind.Equal(oidTSTInfo) ||
		!encap.ReadASN1(&wrapped, tag0) || !encap.Empty() || !wrapped.ReadASN1(&content, casn1.OCTET_STRING) || !wrapped.Empty() {
		return nil, malformed("its CMS SignedData over a TSTInfo")
	}
	if !s.ReadASN1(&certificates, tag0) {
		return nil, errors.New("there are no certificates in it")
	}
	if s.PeekASN1Tag(tag1) {
		return nil, errors.New("there are revocation lists in it, which no signature covers")
	}
	if !s.ReadASN1(&signers, casn1.SET) || !s.Empty() || !signers.ReadASN1(&signer, casn1.SEQUENCE) {
		return nil, malformed("its signerInfos")
	}
	if !signers.Empty() {
		return nil, errors.New("more than one signerInfo")
	}
	t := &token{content: content}
	var err error
	if t.info, err = parseTSTInfo(content); err != nil {
		return nil, err
	}
	if t.signer, err = parseSigner(signer); err != nil {
		return nil, err
	}
	if hash, err := parseHash(&digests); err != nil || !digests.Empty() || hash != t.signer.contentDigest.hash {
		return nil, errors.New("its digest algorithms are not the one of its signerInfo")
	}
	for !certificates.Empty() {
		var der cryptobyte.String
		if !certificates.ReadASN1Element(&der, casn1.SEQUENCE) {
			return nil, malformed("its set of certificates")
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("a certificate of it: %w", err)
		}
		t.certificates = append(t.certificates, c)
	}
	return t, nil
}

// parseTSTInfo reads RFC 3161, section 2.4.2.
func parseTSTInfo(der []byte) (tstInfo, error) {
	var out tstInfo
	in := cryptobyte.String(der)
	var s, imprint, sum cryptobyte.String
	var version int
	var policy asn1.ObjectIdentifier
	serial := new(big.Int)
	if !in.ReadASN1(&s, casn1.SEQUENCE) || !in.Empty() || !s.ReadASN1Integer(&version) || version != 1 ||
		!s.ReadASN1ObjectIdentifier(&policy) || !s.ReadASN1(&imprint, casn1.SEQUENCE) {
		return out, malformed("its TSTInfo")
	}
	hash, err := parseHash(&imprint)
	if err != nil || !imprint.ReadASN1(&sum, casn1.OCTET_STRING) || !imprint.Empty() {
		return out, errors.Join(malformed("its messageImprint"), err)
	}
	out.imprint = digest{hash, sum}
	var when cryptobyte.String
	if !s.ReadASN1Integer(serial) || !s.ReadASN1(&when, casn1.GeneralizedTime) {
		return out, malformed("its TSTInfo")
	}
	if out.time, err = parseGenTime(string(when)); err != nil {
		return out, err
	}
	// accuracy, ordering (never false: that is the default), nonce, tsa, extensions
	ordering := true
	nonce := new(big.Int)
	var extensions cryptobyte.String
	var there bool
	if !s.SkipOptionalASN1(casn1.SEQUENCE) ||
		s.PeekASN1Tag(casn1.BOOLEAN) && (!s.ReadASN1Boolean(&ordering) || !ordering) {
		return out, malformed("its TSTInfo")
	}
	if s.PeekASN1Tag(casn1.INTEGER) {
		if !s.ReadASN1Integer(nonce) {
			return out, malformed("its nonce")
		}
		out.nonce = nonce
	}
	if !s.SkipOptionalASN1(tag0) || !s.ReadOptionalASN1(&extensions, &there, tag1) || !s.Empty() {
		return out, malformed("its TSTInfo")
	}
	for !extensions.Empty() {
		var e cryptobyte.String
		var id asn1.ObjectIdentifier
		if !extensions.ReadASN1(&e, casn1.SEQUENCE) || !e.ReadASN1ObjectIdentifier(&id) {
			return out, malformed("its TSTInfo's extensions")
		}
		if e.PeekASN1Tag(casn1.BOOLEAN) {
			return out, fmt.Errorf("its TSTInfo has the critical extension %s, which is not known", id)
		}
	}
	return out, nil
}

// parseGenTime reads a GeneralizedTime in DER: UTC, seconds, a fraction
// without trailing zeros.
func parseGenTime(s string) (time.Time, error) {
	const form = "20060102150405"
	t, err := time.Parse(form+"Z", s) // takes a fraction after the seconds
	if err != nil || t.Format(form+".999999999Z") != s {
		return time.Time{}, fmt.Errorf("its genTime %q is no time in DER of at most nanoseconds", clean(s))
	}
	return t, nil
}

// parseSigner reads a signerInfo (RFC 5652, section 5.3) that names its
// certificate by issuer and serial number.
func parseSigner(s cryptobyte.String) (tokenSigner, error) {
	out := tokenSigner{serial: new(big.Int)}
	var version int
	var id, issuer, attributes, signature cryptobyte.String
	if !s.ReadASN1Integer(&version) || version != 1 || !s.ReadASN1(&id, casn1.SEQUENCE) ||
		!id.ReadASN1Element(&issuer, casn1.SEQUENCE) || !id.ReadASN1Integer(out.serial) || !id.Empty() {
		return out, malformed("its signerInfo, which names a certificate by issuer and serial number,")
	}
	out.issuer = issuer
	hash, err := parseHash(&s)
	if err != nil {
		return out, fmt.Errorf("signerInfo's digest: %w", err)
	}
	out.contentDigest.hash = hash
	if !s.PeekASN1Tag(tag0) {
		return out, errors.New("its signerInfo has no signed attributes")
	}
	if !s.ReadASN1Element(&attributes, tag0) {
		return out, malformed("its signed attributes")
	}
	out.signed = bytes.Clone(attributes)
	out.signed[0] = byte(casn1.SET)
	if out.ecdsa, err = parseSignatureAlgorithm(&s, hash); err != nil {
		return out, err
	}
	if !s.ReadASN1(&signature, casn1.OCTET_STRING) {
		return out, malformed("its signature")
	}
	if !s.Empty() {
		return out, errors.New("its signerInfo has unsigned attributes")
	}
	out.signature = signature
	return out, out.parseAttributes(attributes)
}

// parseAttributes reads the signed attributes that RFC 3161 demands.
func (t *tokenSigner) parseAttributes(element cryptobyte.String) error {
	var all cryptobyte.String
	if !element.ReadASN1(&all, tag0) {
		return malformed("its signed attributes")
	}
	values := map[string]cryptobyte.String{}
	for !all.Empty() {
		var attribute, set, value cryptobyte.String
		var id asn1.ObjectIdentifier
		var tag casn1.Tag
		if !all.ReadASN1(&attribute, casn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&id) ||
			!attribute.ReadASN1(&set, casn1.SET) || !attribute.Empty() || !set.ReadAnyASN1Element(&value, &tag) || !set.Empty() {
			return errors.New("a signed attribute is malformed, or has other than one value")
		}
		if _, twice := values[id.String()]; twice {
			return fmt.Errorf("the signed attribute %s stands twice", id)
		}
		values[id.String()] = value
	}
	var kind asn1.ObjectIdentifier
	if v := values[oidContentType.String()]; !v.ReadASN1ObjectIdentifier(&kind) || !kind.Equal(oidTSTInfo) {
		return errors.New("no signed attribute says that the content is a TSTInfo")
	}
	var sum cryptobyte.String
	if v := values[oidDigest.String()]; !v.ReadASN1(&sum, casn1.OCTET_STRING) {
		return errors.New("no signed attribute holds the content's digest")
	}
	t.contentDigest.sum = sum
	v1, ok1 := values[oidSigningCert.String()]
	v2, ok2 := values[oidSigningCert2.String()]
	if !ok1 && !ok2 {
		return errors.New("no signed attribute names the certificate that signed")
	}
	if ok1 {
		cert, ok := firstOf(v1)
		if !ok || !cert.ReadASN1(&sum, casn1.OCTET_STRING) {
			return malformed("its signing-certificate attribute")
		}
		t.certV1 = append([]byte{}, sum...)
	}
	if ok2 {
		cert, ok := firstOf(v2)
		hash := crypto.SHA256
		if ok && cert.PeekASN1Tag(casn1.SEQUENCE) {
			var err error
			if hash, err = parseHash(&cert); err != nil {
				return fmt.Errorf("its signing-certificate attribute: %w", err)
			}
		}
		if !ok || !cert.ReadASN1(&sum, casn1.OCTET_STRING) {
			return malformed("its signing-certificate attribute")
		}
		t.certV2 = &digest{hash, sum}
	}
	return nil
}

// firstOf gives the first certificate that a signing-certificate attribute
// names, which is the one that signed.
func firstOf(v cryptobyte.String) (cert cryptobyte.String, ok bool) {
	var attribute, certs cryptobyte.String
	ok = v.ReadASN1(&attribute, casn1.SEQUENCE) && attribute.ReadASN1(&certs, casn1.SEQUENCE) && certs.ReadASN1(&cert, casn1.SEQUENCE)
	return cert, ok
}
