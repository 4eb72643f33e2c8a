package ingest

import (
	"bytes"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	tags "golang.org/x/crypto/cryptobyte/asn1"
)

// estRequest is a certificate request as EST brings it, and what it says that
// encoding/x509 does not read.
type estRequest struct {
	*x509.CertificateRequest
	binding  string // of the challengePassword attribute
	bound    bool   // it has one
	renaming bool   // it has the attribute ChangeSubjectName of RFC 6402
}

var (
	oidChallengePassword = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}
	oidChangeSubjectName = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 7, 36}
	oidSubjectAltName    = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// parseEST reads the body of an enrolment: a PKCS #10 request in base64, in
// which white space means nothing, whatever a Content-Transfer-Encoding says
// (RFC 8951, section 3).
func parseEST(body []byte) (*estRequest, *Problem) {
	text := strings.NewReplacer("\r", "", "\n", "", " ", "", "\t", "").Replace(string(body))
	der, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(der) == 0 {
		return nil, problem(CodeBodyMalformed, "the body is no base64 (RFC 8951, section 3)")
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, problem(CodeEnrolBadCSR, "the request is no PKCS #10 in DER")
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, problem(CodeEnrolBadCSR, "the request is not signed by its own key")
	}
	if _, err := keyType(csr.PublicKey); err != nil {
		return nil, problem(CodeEnrolBadCSR, err.Error())
	}
	out := &estRequest{CertificateRequest: csr}
	if err := out.readAttributes(); err != nil {
		return nil, problem(CodeEnrolBadCSR, err.Error())
	}
	return out, nil
}

// readAttributes looks through the attributes (RFC 2986, section 4.1), none of
// which may stand there twice.
func (r *estRequest) readAttributes() error {
	bad := errors.New("the request's attributes cannot be read")
	input := cryptobyte.String(r.RawTBSCertificateRequest)
	var info, attributes cryptobyte.String
	var has bool
	if !input.ReadASN1(&info, tags.SEQUENCE) || !info.SkipASN1(tags.INTEGER) || !info.SkipASN1(tags.SEQUENCE) || !info.SkipASN1(tags.SEQUENCE) ||
		!info.ReadOptionalASN1(&attributes, &has, tags.Tag(0).ContextSpecific().Constructed()) {
		return bad
	}
	seen := map[string]bool{}
	for !attributes.Empty() {
		var one, values cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !attributes.ReadASN1(&one, tags.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&oid) || !one.ReadASN1(&values, tags.SET) || !one.Empty() {
			return bad
		}
		if seen[oid.String()] {
			return fmt.Errorf("the request holds the attribute %s twice", oid)
		}
		seen[oid.String()] = true
		switch {
		case oid.Equal(oidChangeSubjectName):
			r.renaming = true
		case oid.Equal(oidChallengePassword):
			var value cryptobyte.String
			var tag tags.Tag
			if !values.ReadAnyASN1(&value, &tag) || !values.Empty() || len(value) > 255 ||
				tag != tags.UTF8String && tag != tags.PrintableString && tag != tags.IA5String && tag != tags.T61String {
				return errors.New("the request's challengePassword is no single string of at most 255 bytes")
			}
			r.binding, r.bound = string(value), true
		}
	}
	return nil
}

// linked holds the request to the TLS connection that brings it: whoever made
// it held its key while this connection was open (RFC 7030, section 3.5). The
// challengePassword is then base64 of tls-unique (RFC 5929, section 3) under
// TLS 1.2, and under TLS 1.3, which has none, of tls-exporter (RFC 9266,
// section 2). One that is there must fit; without one the request is linked by
// nothing but what authenticates it, unless required says that this does not
// suffice.
func (r *estRequest) linked(state *tls.ConnectionState, required bool) *Problem {
	if !r.bound {
		if required {
			return problem(CodeESTLinking, "the linking of identity and POP information is required (RFC 7030, section 3.5): give the request a challengePassword with the channel binding")
		}
		return nil
	}
	want, err := channelBinding(state)
	if err != nil {
		return problem(CodeESTLinking, "this connection has no channel binding that a challengePassword could hold: "+err.Error())
	}
	if subtle.ConstantTimeCompare([]byte(r.binding), []byte(base64.StdEncoding.EncodeToString(want))) != 1 {
		return problem(CodeESTLinking, "the challengePassword is not the channel binding of this connection (RFC 7030, section 3.5)")
	}
	return nil
}

// channelBinding is tls-unique, or tls-exporter where the version has no such.
func channelBinding(state *tls.ConnectionState) ([]byte, error) {
	switch {
	case state == nil:
		return nil, errors.New("there is no TLS")
	case state.Version >= tls.VersionTLS13:
		return state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	case len(state.TLSUnique) == 0: // resumed without the extended master secret, say
		return nil, errors.New("there is no tls-unique")
	}
	return state.TLSUnique, nil
}

// names holds what the request names to who asks: it may name nobody, and
// otherwise none but the device, as its certificate will.
func (r *estRequest) names(d deviceName, urn string) *Problem {
	if r.renaming {
		return problem(CodeEnrolBadCSR, "ChangeSubjectName is not taken: a device keeps its name")
	}
	for _, o := range r.Subject.Organization {
		if o != d.tenant {
			return mismatch(o)
		}
	}
	if cn := r.Subject.CommonName; cn != "" && cn != clipName(d.id) {
		return problem(CodeEnrolBadCSR, "the request's common name is not the device's ID")
	}
	for _, u := range r.URIs {
		if u.String() != urn {
			return problem(CodeEnrolBadCSR, "the request names a URI other than "+urn)
		}
	}
	if len(r.DNSNames)+len(r.EmailAddresses)+len(r.IPAddresses) > 0 {
		return problem(CodeEnrolBadCSR, "the request names hosts or mail addresses, which no device's certificate carries")
	}
	return nil
}

// renews holds the request to the certificate that it renews: subject and
// subject alternative name byte for byte (RFC 7030, section 4.2.2).
func (r *estRequest) renews(cert *x509.Certificate) *Problem {
	switch {
	case r.renaming:
		return problem(CodeEnrolBadCSR, "ChangeSubjectName is not taken: a device keeps its name")
	case !bytes.Equal(r.RawSubject, cert.RawSubject):
		return problem(CodeEnrolBadCSR, "the request's subject is not that of the certificate that it renews (RFC 7030, section 4.2.2)")
	case !bytes.Equal(altName(r.Extensions), altName(cert.Extensions)):
		return problem(CodeEnrolBadCSR, "the request's subject alternative name is not that of the certificate that it renews (RFC 7030, section 4.2.2)")
	}
	return nil
}

func altName(extensions []pkix.Extension) []byte {
	for _, x := range extensions {
		if x.Id.Equal(oidSubjectAltName) {
			return x.Value
		}
	}
	return nil
}

// csrAttributes is what a request should hold, DER (RFC 8951, section 4): a
// P-256 key, ECDSA with SHA-256, and the challengePassword where the linking of
// identity and POP is required.
func csrAttributes(linking bool) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(tags.SEQUENCE, func(list *cryptobyte.Builder) {
		if linking {
			list.AddASN1ObjectIdentifier(oidChallengePassword)
		}
		list.AddASN1(tags.SEQUENCE, func(key *cryptobyte.Builder) {
			key.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}) // id-ecPublicKey
			key.AddASN1(tags.SET, func(values *cryptobyte.Builder) {
				values.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}) // secp256r1
			})
		})
		list.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}) // ecdsa-with-SHA256
	})
	return b.Bytes()
}
