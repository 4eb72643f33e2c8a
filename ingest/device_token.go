package ingest

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"

	"trustpack/evidence"
)

// deviceTokenBegins begins the bearer tokens of devices; 256 bits in base64url
// follow, in deviceTokenSize characters all together.
const (
	deviceTokenBegins = "tpd_"
	deviceTokenSize   = len(deviceTokenBegins) + 43
)

// tokenKeyType is what the registry says of a token in place of a key's type.
const tokenKeyType = "token-256"

// TokenFleets are the devices that may have a token in place of a certificate,
// since they cannot do certificates: by fleet or by type. There are none unless
// the configuration names them.
type TokenFleets struct {
	Fleets []string `yaml:"fleets" json:"fleets"`
	Types  []string `yaml:"types" json:"types"`
}

func (t TokenFleets) effective() map[string]any {
	return map[string]any{"fleets": append([]string{}, t.Fleets...), "types": append([]string{}, t.Types...)}
}

// allows reports whether the device may be given a token.
func (t TokenFleets) allows(d *evidence.Device) bool {
	return d.Fleet != "" && slices.Contains(t.Fleets, d.Fleet) || slices.Contains(t.Types, d.Type)
}

// wanted is the kind of credential that is asked for.
type wanted struct {
	method  string
	csr     *x509.CertificateRequest // of a certificate
	seconds int64                    // how long it shall live at most; 0: as long as it may
}

// wantedOf reads what an enrolment or a renewal asks for: without a method, a
// certificate.
func wantedOf(method, csr string) (wanted, *Problem) {
	switch method {
	case "", MethodCertificate:
		request, err := parseCSR([]byte(csr))
		if err != nil {
			return wanted{}, problem(CodeEnrolBadCSR, err.Error())
		}
		return wanted{method: MethodCertificate, csr: request}, nil
	case MethodToken:
		if csr != "" {
			return wanted{}, problem(CodeInvalid, "csr: a token takes none")
		}
		return wanted{method: MethodToken}, nil
	}
	return wanted{}, problem(CodeInvalid, "method: want x509 or token")
}

// newCredential makes what is wanted for the device. answer is what the device
// is told, once. The caller holds the device's flow.
func (s *Server) newCredential(d *device, w wanted) (c evidence.Credential, answer map[string]any, p *Problem) {
	if w.method == MethodToken {
		return s.newDeviceToken(d, w)
	}
	return s.newCertificate(d, w.csr, shorter(w.seconds, s.cfg().Certificates.Device))
}

// newDeviceToken makes a token, good from now until tokens.device_max. Of it
// the log and the registry hold the SHA-256 alone: 256 random bits need no
// salt and no slow hash.
func (s *Server) newDeviceToken(d *device, w wanted) (c evidence.Credential, answer map[string]any, p *Problem) {
	if !s.cfg().Tokens.Allowed.allows(&d.record) {
		return c, nil, problem(CodeTokenNotAllowed, "")
	}
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return c, nil, s.failure(fmt.Errorf("making a token: %w", err))
	}
	token, now := deviceTokenBegins+base64.RawURLEncoding.EncodeToString(b), s.now()
	c = evidence.Credential{
		Fingerprint: tokenPrint(token), Method: MethodToken, KeyType: tokenKeyType, NotBefore: now, NotAfter: now.Add(shorter(w.seconds, s.cfg().Tokens.DeviceMax)),
	}
	return c, map[string]any{"token": token, "not_before": c.NotBefore, "not_after": c.NotAfter}, nil
}

// plainDeviceToken reports whether text has the form of a device's token.
func plainDeviceToken(text string) bool {
	if len(text) != deviceTokenSize || text[:len(deviceTokenBegins)] != deviceTokenBegins {
		return false
	}
	for i := len(deviceTokenBegins); i < len(text); i++ {
		c := text[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}
