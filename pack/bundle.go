package pack

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"

	"trustpack/evidence"
)

const bundleMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// bundle is a Sigstore bundle v0.3 that carries a DSSE envelope and names its
// key by a hint (sigstore/protobuf-specs, sigstore_bundle.proto).
type bundle struct {
	Envelope  envelope `json:"dsseEnvelope"`
	MediaType string   `json:"mediaType"`
	Material  material `json:"verificationMaterial"`
}

type envelope struct {
	Payload     string      `json:"payload"` // base64
	PayloadType string      `json:"payloadType"`
	Signatures  []signature `json:"signatures"`
}

type signature struct {
	KeyID string `json:"keyid,omitempty"`
	Sig   string `json:"sig"` // base64
}

type material struct {
	PublicKey keyHint `json:"publicKey"`
}

type keyHint struct {
	Hint string `json:"hint"` // OpenSSH fingerprint; says which key to fetch, never trusted
}

// signBundle signs payload and wraps it. The same payload and key give the
// same bytes.
func signBundle(payload []byte, s Signer) ([]byte, error) {
	if len(payload) > maxStatementBytes {
		return nil, fmt.Errorf("signing: statement of %d bytes, more than %d", len(payload), maxStatementBytes)
	}
	message := preAuth(payloadType, payload)
	sig, err := s.Sign(message)
	if err != nil {
		return nil, err
	}
	if err := s.Public().Verify(message, sig); err != nil {
		return nil, fmt.Errorf("signing: checking the new signature: %w", err)
	}
	return evidence.CanonicalJSON(bundle{
		Envelope: envelope{
			Payload:     base64.StdEncoding.EncodeToString(payload),
			PayloadType: payloadType,
			Signatures:  []signature{{Sig: base64.StdEncoding.EncodeToString(sig)}},
		},
		MediaType: bundleMediaType,
		Material:  material{keyHint{s.Public().Fingerprint()}},
	})
}

var fingerprintForm = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}$`)

// openedBundle is a bundle whose form is right. Nothing in it is verified.
type openedBundle struct {
	payload, sig []byte
	hint         string
}

// parseBundle reads a bundle strictly.
func parseBundle(data []byte) (openedBundle, error) {
	var b bundle
	if err := decodeStrict(data, &b); err != nil {
		return openedBundle{}, fmt.Errorf("reading bundle: %w", err)
	}
	if b.MediaType != bundleMediaType {
		return openedBundle{}, fmt.Errorf("media type %q, want %q", b.MediaType, bundleMediaType)
	}
	if b.Envelope.PayloadType != payloadType {
		return openedBundle{}, fmt.Errorf("payload type %q, want %q", b.Envelope.PayloadType, payloadType)
	}
	if n := len(b.Envelope.Signatures); n != 1 {
		return openedBundle{}, fmt.Errorf("%d signatures, want one", n)
	}
	o := openedBundle{hint: b.Material.PublicKey.Hint}
	if !fingerprintForm.MatchString(o.hint) {
		return openedBundle{}, fmt.Errorf("hint %q, want an OpenSSH fingerprint, SHA256:…", o.hint)
	}
	s := b.Envelope.Signatures[0]
	if s.KeyID != "" && s.KeyID != o.hint {
		return openedBundle{}, errors.New("its keyid and its hint name different keys")
	}
	var err error
	if o.payload, err = strictBase64(b.Envelope.Payload); err != nil {
		return openedBundle{}, fmt.Errorf("payload: %w", err)
	}
	if o.sig, err = strictBase64(s.Sig); err != nil {
		return openedBundle{}, fmt.Errorf("signature: %w", err)
	}
	return o, nil
}

// verify finds the key among pinned under which the signature holds, and
// demands that the hint names that key.
func (o openedBundle) verify(pinned []PublicKey) (PublicKey, error) {
	message := preAuth(payloadType, o.payload)
	for _, key := range pinned {
		if key.Verify(message, o.sig) != nil {
			continue
		}
		if o.hint != key.Fingerprint() {
			return PublicKey{}, fmt.Errorf("the signature is by %s, but the bundle's hint says %q", key.Fingerprint(), o.hint)
		}
		return key, nil
	}
	return PublicKey{}, fmt.Errorf("no pinned key verifies it; its hint says %q", o.hint)
}
