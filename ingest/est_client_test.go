package ingest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// estClient is an EST client as RFC 7030 describes one, updated by RFC 8951. It
// shares nothing with the server.
type estClient struct {
	t     testing.TB
	base  string // https://host:port/.well-known/est
	roots *x509.CertPool
	pair  *tls.Certificate
	user  string
	pass  string
	max   uint16 // newest version of TLS
	now   func() time.Time
}

// connect opens one connection, so that the channel binding can be taken from it.
func (c *estClient) connect() *estConn {
	c.t.Helper()
	u, err := url.Parse(c.base)
	if err != nil {
		c.t.Fatal(err)
	}
	conf := &tls.Config{RootCAs: c.roots, ServerName: "localhost", MaxVersion: c.max, Time: c.now}
	if c.pair != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.pair, nil }
	}
	conn, err := tls.Dial("tcp", u.Host, conf)
	if err != nil {
		c.t.Fatal(err)
	}
	state := conn.ConnectionState()
	used := false
	e := &estConn{c: c, state: &state}
	e.http = &http.Client{Transport: &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
		if used {
			return nil, errors.New("the connection ended")
		}
		used = true
		return conn, nil
	}}}
	c.t.Cleanup(func() { _ = conn.Close() })
	return e
}

type estConn struct {
	c     *estClient
	state *tls.ConnectionState
	http  *http.Client
}

// estAnswer is what the server answered.
type estAnswer struct {
	status int
	header http.Header
	body   []byte
}

func (e *estConn) do(method, path, media string, body []byte) estAnswer {
	e.c.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, e.c.base+path, bytes.NewReader(body))
	if err != nil {
		e.c.t.Fatal(err)
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
		req.Header.Set("Content-Transfer-Encoding", "base64")
	}
	if e.c.user != "" {
		req.SetBasicAuth(e.c.user, e.c.pass)
	}
	resp, err := e.http.Do(req)
	if err != nil {
		e.c.t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		e.c.t.Fatal(err)
	}
	return estAnswer{resp.StatusCode, resp.Header, text}
}

func (e *estConn) enrol(operation string, csr []byte) estAnswer {
	e.c.t.Helper()
	// Lines of 76 characters, as MIME has them: the server must not mind.
	text := base64.StdEncoding.EncodeToString(csr)
	var lines bytes.Buffer
	for len(text) > 76 {
		lines.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	lines.WriteString(text + "\r\n")
	return e.do(http.MethodPost, operation, "application/pkcs10", lines.Bytes())
}

// certificates takes apart a Simple PKI Response: certificates, and nothing else.
func (a estAnswer) certificates() ([]*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(string(bytes.Join(bytes.Fields(a.body), nil)))
	if err != nil {
		return nil, err
	}
	var info struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,tag:0"`
	}
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("ContentInfo: %v, %d bytes behind it", err, len(rest))
	}
	if info.Type.String() != "1.2.840.113549.1.7.2" {
		return nil, fmt.Errorf("content type %v is not SignedData", info.Type)
	}
	var signed struct {
		Version      int
		Digests      []pkix.AlgorithmIdentifier `asn1:"set"`
		Inner        struct{ Type asn1.ObjectIdentifier }
		Certificates asn1.RawValue   `asn1:"tag:0"`
		Signers      []asn1.RawValue `asn1:"set"`
	}
	if rest, err := asn1.Unmarshal(info.Content.Bytes, &signed); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("SignedData: %v, %d bytes behind it", err, len(rest))
	}
	if signed.Version != 1 || len(signed.Digests) != 0 || len(signed.Signers) != 0 || signed.Inner.Type.String() != "1.2.840.113549.1.7.1" {
		return nil, fmt.Errorf("not certs-only: %+v", signed)
	}
	return x509.ParseCertificates(signed.Certificates.Bytes)
}

// estKey makes a key for a request.
func estKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// estCSR makes a request. With a connection it holds its channel binding as
// the challengePassword of RFC 2985, section 5.4.1, which encoding/x509 does not
// know, so the request is put together here.
func estCSR(t testing.TB, key crypto.Signer, template x509.CertificateRequest, attributes ...asn1.RawValue) []byte {
	t.Helper()
	plain, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	if len(attributes) == 0 {
		return plain
	}
	var outer struct {
		Info      asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	var info struct {
		Version    int
		Subject    asn1.RawValue
		Key        asn1.RawValue
		Attributes []asn1.RawValue `asn1:"tag:0,set"`
	}
	if _, err := asn1.Unmarshal(plain, &outer); err != nil {
		t.Fatal(err)
	}
	if _, err := asn1.Unmarshal(outer.Info.FullBytes, &info); err != nil {
		t.Fatal(err)
	}
	info.Attributes = append(info.Attributes, attributes...)
	tbs, err := asn1.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	sum := crypto.SHA256.New()
	sum.Write(tbs)
	signature, err := key.Sign(rand.Reader, sum.Sum(nil), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	outer.Info = asn1.RawValue{FullBytes: tbs}
	outer.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	out, err := asn1.Marshal(outer)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// attribute is one with values that are encoded already.
func attribute(t testing.TB, oid asn1.ObjectIdentifier, values ...[]byte) asn1.RawValue {
	t.Helper()
	var set []asn1.RawValue
	for _, v := range values {
		set = append(set, asn1.RawValue{FullBytes: v})
	}
	der, err := asn1.Marshal(struct {
		Type   asn1.ObjectIdentifier
		Values []asn1.RawValue `asn1:"set"`
	}{oid, set})
	if err != nil {
		t.Fatal(err)
	}
	return asn1.RawValue{FullBytes: der}
}

// challenge is the challengePassword of the connection.
func (e *estConn) challenge() asn1.RawValue {
	e.c.t.Helper()
	binding := e.state.TLSUnique
	if e.state.Version == tls.VersionTLS13 {
		var err error
		if binding, err = e.state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32); err != nil {
			e.c.t.Fatal(err)
		}
	}
	return challengeOf(e.c.t, base64.StdEncoding.EncodeToString(binding))
}

func challengeOf(t testing.TB, text string) asn1.RawValue {
	t.Helper()
	der, err := asn1.MarshalWithParams(text, "utf8")
	if err != nil {
		t.Fatal(err)
	}
	return attribute(t, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}, der)
}
