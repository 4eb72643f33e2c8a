package pack

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"
	"time"
)

// testTSA is a small time stamp authority, with knobs for each wrong that a
// verifier must notice.
type testTSA struct {
	t             testing.TB
	root, middle  *x509.Certificate
	rootKey, key  crypto.Signer
	middleKey     crypto.Signer
	cert          *x509.Certificate
	serial        int64
	genTime       time.Time
	collected     time.Time // of the last collection of the pack that is stamped
	isRSA         bool
	status        int
	text          string
	noESS         bool // no signing-certificate attribute
	ess           *x509.Certificate
	essV1         bool
	signers       int
	unsigned      bool
	before, after []*x509.Certificate // beside those that belong there
	withRoot      bool
	info          func(*tsTSTInfo)
	crls          bool
	otherDigests  bool // SignedData names another digest algorithm than its signer
	plainRSA      bool // names rsaEncryption, as OpenSSL does
}

// The forms of RFC 3161 and RFC 5652, as encoding/asn1 writes them.
type (
	tsAlgorithm struct {
		ID     asn1.ObjectIdentifier
		Params asn1.RawValue `asn1:"optional"`
	}
	tsImprint struct {
		Algorithm tsAlgorithm
		Digest    []byte
	}
	tsTSTInfo struct {
		Version  int
		Policy   asn1.ObjectIdentifier
		Imprint  tsImprint
		Serial   int64
		Time     asn1.RawValue
		Accuracy struct{ Seconds int }
		Ordering bool             `asn1:"optional"`
		Nonce    *big.Int         `asn1:"optional"`
		Ext      []pkix.Extension `asn1:"optional,tag:1"`
	}
	tsAttribute struct {
		ID     asn1.ObjectIdentifier
		Values asn1.RawValue
	}
	tsSignerID struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	tsSigner struct {
		Version   int
		ID        tsSignerID
		Digest    tsAlgorithm
		Signed    asn1.RawValue
		Algorithm tsAlgorithm
		Signature []byte
		Unsigned  asn1.RawValue `asn1:"optional"`
	}
	tsContent struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue
	}
)

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (a *testTSA) der(v any) []byte { a.t.Helper(); return must[[]byte](a.t)(asn1.Marshal(v)) }

// wrap puts DER into a further tag.
func (a *testTSA) wrap(class, tag int, body ...[]byte) asn1.RawValue {
	return asn1.RawValue{Class: class, Tag: tag, IsCompound: true, Bytes: bytes.Join(body, nil)}
}

func (a *testTSA) context(tag int, body ...[]byte) asn1.RawValue {
	return a.wrap(asn1.ClassContextSpecific, tag, body...)
}

func (a *testTSA) set(body ...[]byte) asn1.RawValue {
	return a.wrap(asn1.ClassUniversal, asn1.TagSet, body...)
}

// newTestTSA makes an authority whose certificate stands below an
// intermediate; keys are ECDSA, or RSA.
func newTestTSA(t testing.TB, isRSA bool) *testTSA {
	t.Helper()
	a := &testTSA{t: t, genTime: time.Date(2026, 10, 5, 8, 30, 0, 0, time.UTC), collected: day(91), isRSA: isRSA, signers: 1}
	a.rootKey, a.middleKey, a.key = newKeyOf(t, isRSA), newKeyOf(t, isRSA), newKeyOf(t, isRSA)
	a.root = a.certify("Root", a.rootKey, nil, nil, func(c *x509.Certificate) { c.IsCA = true })
	a.middle = a.certify("Issuing", a.middleKey, a.root, a.rootKey, func(c *x509.Certificate) { c.IsCA = true })
	a.cert = a.certify("Stamps", a.key, a.middle, a.middleKey, usage(true, x509.ExtKeyUsageTimeStamping))
	return a
}

func newKeyOf(t testing.TB, isRSA bool) crypto.Signer {
	t.Helper()
	if isRSA {
		return must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	}
	return must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

// usage gives a certificate extended key usages.
func usage(critical bool, usages ...x509.ExtKeyUsage) func(*x509.Certificate) {
	ids := map[x509.ExtKeyUsage]asn1.ObjectIdentifier{x509.ExtKeyUsageTimeStamping: {1, 3, 6, 1, 5, 5, 7, 3, 8}, x509.ExtKeyUsageCodeSigning: {1, 3, 6, 1, 5, 5, 7, 3, 3}}
	return func(c *x509.Certificate) {
		var list []asn1.ObjectIdentifier
		for _, u := range usages {
			list = append(list, ids[u])
		}
		value, err := asn1.Marshal(list)
		if err != nil {
			panic(err)
		}
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: extKeyUsageOID, Critical: critical, Value: value})
	}
}

// certify makes a certificate of 2026 and 2027; without an issuer it is its
// own.
func (a *testTSA) certify(name string, key crypto.Signer, issuer *x509.Certificate, issuerKey crypto.Signer, edit func(*x509.Certificate)) *x509.Certificate {
	a.t.Helper()
	a.serial++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{Organization: []string{"Example Time"}, CommonName: name},
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2027, 12, 31, 0, 0, 0, 0, time.UTC),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	edit(c)
	if c.IsCA {
		c.KeyUsage = x509.KeyUsageCertSign
	}
	if issuer == nil {
		issuer, issuerKey = c, key
	}
	der := must[[]byte](a.t)(x509.CreateCertificate(rand.Reader, c, issuer, key.Public(), issuerKey))
	return must[*x509.Certificate](a.t)(x509.ParseCertificate(der))
}

var nullParams = asn1.RawValue{Tag: asn1.TagNull}

// stamp is the authority's answer to a signature.
func (a *testTSA) stamp(signature []byte) []byte { return a.answer(signature, nil) }

func (a *testTSA) answer(signature []byte, nonce *big.Int) []byte {
	a.t.Helper()
	status := [][]byte{a.der(a.status)}
	if a.text != "" {
		status = append(status, a.der([]asn1.RawValue{{Tag: asn1.TagUTF8String, Bytes: []byte(a.text)}}), a.der(asn1.BitString{Bytes: []byte{0x20}, BitLength: 3}))
	}
	parts := [][]byte{a.der(a.wrap(asn1.ClassUniversal, asn1.TagSequence, status...))}
	if a.status <= 1 {
		parts = append(parts, a.token(signature, nonce))
	}
	return a.der(a.wrap(asn1.ClassUniversal, asn1.TagSequence, parts...))
}

func (a *testTSA) token(signature []byte, nonce *big.Int) []byte {
	a.t.Helper()
	sha := tsAlgorithm{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, nullParams}
	imprint := sha256.Sum256(signature)
	info := tsTSTInfo{
		Version: 1, Policy: asn1.ObjectIdentifier{1, 2, 3, 4}, Imprint: tsImprint{sha, imprint[:]}, Serial: 77, Nonce: nonce,
		Time: asn1.RawValue{Tag: asn1.TagGeneralizedTime, Bytes: []byte(a.genTime.Format("20060102150405.999Z"))},
	}
	info.Accuracy.Seconds = 1
	if a.info != nil {
		a.info(&info)
	}
	content := a.der(info)
	sum := sha256.Sum256(content)
	attribute := func(id asn1.ObjectIdentifier, value []byte) []byte { return a.der(tsAttribute{id, a.set(value)}) }
	attributes := [][]byte{attribute(oidContentType, a.der(oidTSTInfo)), attribute(oidDigest, a.der(sum[:]))}
	named := a.cert
	if a.ess != nil {
		named = a.ess
	}
	certSum := sha256.Sum256(named.Raw)
	if !a.noESS && !a.essV1 {
		attributes = append(attributes, attribute(oidSigningCert2, a.der([][]struct{ Sum []byte }{{{certSum[:]}}})))
	}
	if a.essV1 {
		attributes = append(attributes, attribute(oidSigningCert, a.der([][]struct{ Sum []byte }{{{sha1Of(named.Raw)}}})))
	}
	slices.SortFunc(attributes, bytes.Compare)
	digest := sha256.Sum256(a.der(a.set(attributes...)))
	algorithm := tsAlgorithm{ID: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}}
	if _, ok := a.key.(*rsa.PrivateKey); ok {
		algorithm = tsAlgorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, nullParams}
		if a.plainRSA {
			algorithm.ID = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
		}
	}
	signer := tsSigner{
		Version: 1, ID: tsSignerID{asn1.RawValue{FullBytes: a.cert.RawIssuer}, a.cert.SerialNumber}, Digest: sha,
		Signed: a.context(0, attributes...), Algorithm: algorithm,
		Signature: must[[]byte](a.t)(a.key.Sign(rand.Reader, digest[:], crypto.SHA256)),
	}
	if a.unsigned {
		signer.Unsigned = a.context(1, attributes[0])
	}
	var signers [][]byte
	for range a.signers {
		signers = append(signers, a.der(signer))
	}
	certificates := slices.Concat(a.before, []*x509.Certificate{a.cert, a.middle}, a.after)
	if a.withRoot {
		certificates = append(certificates, a.root)
	}
	var raw [][]byte
	for _, c := range certificates {
		raw = append(raw, c.Raw)
	}
	digests := sha
	if a.otherDigests {
		digests.ID = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	}
	fields := [][]byte{
		a.der(3), a.der(a.set(a.der(digests))), a.der(tsContent{oidTSTInfo, a.context(0, a.der(content))}), a.der(a.context(0, raw...)),
	}
	if a.crls {
		fields = append(fields, a.der(a.context(1)))
	}
	fields = append(fields, a.der(a.set(signers...)))
	return a.der(tsContent{oidSignedData, a.context(0, a.der(a.wrap(asn1.ClassUniversal, asn1.TagSequence, fields...)))})
}

// usageUntil is for timestamping alone, until t.
func usageUntil(t time.Time) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		usage(true, x509.ExtKeyUsageTimeStamping)(c)
		c.NotAfter = t
	}
}
