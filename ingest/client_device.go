package ingest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
)

// DeviceClient speaks to the device port.
type DeviceClient struct{ client }

// NewDeviceClient makes a client; without Certificate it can only enrol.
func NewDeviceClient(o ClientOptions) (*DeviceClient, error) {
	c, err := newClient(o)
	return &DeviceClient{c}, err
}

// Send sends events as NDJSON and gives the receipt. A *Problem says why the
// batch was refused as a whole; any other error leaves open whether it was
// taken, and the same batch can be sent again. Where a connection that was kept
// open breaks, Send does so itself: the ingest takes an event once.
func (c *DeviceClient) Send(ctx context.Context, ndjson []byte) (Receipt, error) {
	var r Receipt
	reply, err := c.repeat(ctx, http.MethodPost, "/v1/telemetry", "application/x-ndjson", ndjson)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(reply, &r); err != nil {
		return r, fmt.Errorf("reading the receipt: %w", err)
	}
	return r, nil
}

// Enrol makes a P-256 key and exchanges the one-time code for a certificate.
func (c *DeviceClient) Enrol(ctx context.Context, tenant, device, code string) (*tls.Certificate, error) {
	key, csr, err := NewCSR(device)
	if err != nil {
		return nil, err
	}
	var out struct {
		Certificate string `json:"certificate"`
	}
	if err := c.call(ctx, http.MethodPost, "/v1/enroll", map[string]string{
		"tenant": tenant, "device": device, "code": code, "csr": string(csr),
	}, &out); err != nil {
		return nil, err
	}
	return pairOf(out.Certificate, key)
}

// NewCSR makes a P-256 key and a PEM certificate request with it.
func NewCSR(name string) (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: clipName(name)}}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("making a certificate request: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// KeyPEM encodes a private key as PKCS #8 PEM, to be kept private.
func KeyPEM(key crypto.Signer) ([]byte, error) { return keyPEM(key) }

func pairOf(certificate string, key crypto.Signer) (*tls.Certificate, error) {
	pair := &tls.Certificate{PrivateKey: key}
	for rest := []byte(certificate); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		pair.Certificate = append(pair.Certificate, block.Bytes)
	}
	if len(pair.Certificate) == 0 {
		return nil, errors.New("the answer holds no certificate")
	}
	var err error
	pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	return pair, err
}

// CertificatePEM encodes the certificates of a pair.
func CertificatePEM(pair *tls.Certificate) []byte {
	var out []byte
	for _, der := range pair.Certificate {
		out = append(out, certPEM(der)...)
	}
	return out
}
