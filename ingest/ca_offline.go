package ingest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"trustpack/internal/durable"
)

// OfflineOptions say where TakeRootOffline puts the root key.
type OfflineOptions struct {
	To string // folder outside the ingest's: a removable disk, say
	// Seal encrypts the key, PKCS #8 PEM, before it is written; nil leaves it
	// as it is, readable by its owner alone. KeyFile is the file's name then.
	Seal    func(plain []byte) ([]byte, error)
	KeyFile string // default root.key
	Now     func() time.Time
}

const (
	issuingLife = 3 * 365 * day // of an issuing CA
	rootListFor = 365 * day     // of the root's own list of revoked certificates, which only its key renews
)

// TakeRootOffline makes an issuing CA below the root of the ingest in dir,
// which signs from the next start on, and takes the root key out of dir: it
// leaves o.To/root.key, a copy of root.crt beside it, ca/issuing.{crt,key} and
// ca/root.crl in dir, and no ca/root.key. What the root has signed stays good.
// The key is in o.To before it is gone from dir. A run that was cut short is
// finished by another one, to another folder where the key is encrypted. The key's old sectors on dir's disk are not
// overwritten: no program can promise that.
func TakeRootOffline(dir string, o OfflineOptions) (issuing *x509.Certificate, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.KeyFile == "" {
		o.KeyFile = "root.key"
	}
	issuing, err = o.take(filepath.Join(dir, "ca"))
	if err != nil {
		return nil, fmt.Errorf("taking the root key offline: %w", err)
	}
	return issuing, nil
}

func (o OfflineOptions) take(ca string) (*x509.Certificate, error) {
	rootKey, issuingFile := filepath.Join(ca, "root.key"), filepath.Join(ca, "issuing.crt")
	root, err := readCertificate(filepath.Join(ca, "root.crt"))
	if err != nil {
		return nil, err
	}
	plain, err := os.ReadFile(rootKey)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not there: the root is offline already, or %s is no ingest's CA", rootKey, ca)
	} else if err != nil {
		return nil, err
	}
	key, err := readKey(rootKey)
	if err != nil {
		return nil, err
	}
	switch {
	case !belongs(key, root):
		return nil, fmt.Errorf("%s does not belong to root.crt: restore the two files from one copy", rootKey)
	case root.MaxPathLenZero:
		return nil, errors.New("this root was made for no CA below it (path length 0), and who trusts it would refuse one: only an ingest that a newer trustpack made can take its root offline")
	}
	if err := o.putAway(root, plain); err != nil {
		return nil, err
	}
	issuing, err := readCertificate(issuingFile)
	if errors.Is(err, fs.ErrNotExist) {
		own := &authority{dir: ca, root: root, issuer: root, key: key}
		issuing, err = own.makeIssuing(o.Now())
	}
	if err != nil {
		return nil, err
	}
	if err := os.Remove(rootKey); err != nil {
		return nil, err
	}
	if _, err := openAuthority(ca); err != nil {
		return nil, err
	}
	return issuing, nil
}

// putAway writes the key and the certificate to where they are kept.
func (o OfflineOptions) putAway(root *x509.Certificate, plain []byte) error {
	if err := os.MkdirAll(o.To, 0o700); err != nil {
		return err
	}
	target := filepath.Join(o.To, o.KeyFile)
	if there, err := os.ReadFile(target); err == nil {
		if o.Seal == nil && string(there) == string(plain) {
			return nil // a run before was cut short
		}
		return fmt.Errorf("%s is there already and is never overwritten", target)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out := plain
	if o.Seal != nil {
		var err error
		if out, err = o.Seal(plain); err != nil {
			return fmt.Errorf("encrypting the root key: %w", err)
		}
	}
	if err := durable.WriteFile(filepath.Join(o.To, "root.crt"), certPEM(root.Raw), 0o644); err != nil {
		return err
	}
	return durable.WriteFile(target, out, 0o600)
}

// makeIssuing makes the CA below the root, its key before its certificate, and
// the root's list of revoked certificates, which is empty.
func (a *authority) makeIssuing(now time.Time) (*x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the issuing key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	org := ""
	if len(a.root.Subject.Organization) > 0 {
		org = a.root.Subject.Organization[0]
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: caName(org, " telemetry issuing"), Organization: a.root.Subject.Organization},
		NotBefore: now.Add(-clockSlack).UTC().Truncate(time.Second), NotAfter: now.Add(issuingLife).UTC().Truncate(time.Second),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: keyID(key.Public()),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if template.NotAfter.After(a.root.NotAfter) {
		template.NotAfter = a.root.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.root, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("making the issuing certificate: %w", err)
	}
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: now.UTC(), NextUpdate: now.Add(rootListFor).UTC(),
	}, a.root, a.key)
	if err != nil {
		return nil, fmt.Errorf("making the root's list of revoked certificates: %w", err)
	}
	if err := writeKey(filepath.Join(a.dir, "issuing.key"), key); err != nil {
		return nil, err
	}
	if err := durable.WriteFile(filepath.Join(a.dir, "root.crl"), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list}), 0o644); err != nil {
		return nil, err
	}
	if err := durable.WriteFile(filepath.Join(a.dir, "issuing.crt"), certPEM(der), 0o644); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
