package git

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// signature says what is known of a commit's or a tag's signature.
//
//	kind  status       meaning
//	none  none         not signed
//	ssh   verified     fits the object, made by a declared key
//	      unknown-key  fits the object, made by a key that nobody declared
//	      bad          does not fit the object, is malformed, or of a tag by another name
//	gpg   verified     as above
//	      unknown-key  made by a key that nobody declared; whether it fits cannot be told
//	      bad          as above, or made by a declared key that was expired or revoked
//	x509  unverified   S/MIME signatures are named and not checked
//	other unverified   some other form
type signature struct{ kind, status, signer, detail string }

// signedObject is a commit or a tag.
type signedObject interface {
	EncodeWithoutSignature(plumbing.EncodedObject) error
}

func (k keyring) checkCommit(c *object.Commit) (signature, error) {
	return k.check(c, c.PGPSignature, c.Committer.When)
}

func (k keyring) checkTag(t *object.Tag) (signature, error) {
	return k.check(t, t.PGPSignature, t.Tagger.When)
}

// check judges the signature over exactly the bytes that git signs: a commit
// without its gpgsig header, a tag without the signature at its end
// (gitformat-signature). at is when it says that it was made.
func (k keyring) check(o signedObject, armored string, at time.Time) (signature, error) {
	if armored = strings.TrimSpace(armored); armored == "" {
		return signature{kind: "none", status: "none"}, nil
	}
	payload, err := signedBytes(o)
	if err != nil {
		return signature{kind: "other", status: "unverified", detail: "the signed bytes could not be read"}, err
	}
	switch {
	case strings.HasPrefix(armored, "-----BEGIN SSH SIGNATURE-----"):
		return k.checkSSH(armored, payload, at), nil
	case strings.HasPrefix(armored, "-----BEGIN PGP SIGNATURE-----"):
		return k.checkPGP(armored, payload), nil
	case strings.HasPrefix(armored, "-----BEGIN SIGNED MESSAGE-----"):
		return signature{kind: "x509", status: "unverified", detail: "S/MIME signatures are not checked"}, nil
	}
	return signature{kind: "other", status: "unverified", detail: "neither SSH nor OpenPGP nor S/MIME"}, nil
}

func signedBytes(of signedObject) ([]byte, error) {
	var o plumbing.MemoryObject
	if err := of.EncodeWithoutSignature(&o); err != nil {
		return nil, err
	}
	r, err := o.Reader()
	if err != nil {
		return nil, err
	}
	payload, err := io.ReadAll(r)
	return payload, errors.Join(err, r.Close())
}

// checkPGP takes the key's validity at the time at which the signature says it
// was made, since a key that has expired since then does not undo what it
// signed.
func (k keyring) checkPGP(armored string, payload []byte) signature {
	out := signature{kind: "gpg"}
	made, err := pgpTime(armored)
	if err != nil {
		out.status, out.detail = "bad", err.Error()
		return out
	}
	entity, err := openpgp.CheckArmoredDetachedSignature(k.pgp, bytes.NewReader(payload), strings.NewReader(armored),
		&packet.Config{Time: func() time.Time { return made }})
	if entity != nil {
		out.signer = pgpName(entity)
	}
	switch {
	case err == nil:
		out.status = "verified"
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		out.status, out.detail = "unknown-key", "no declared key made it"
	default:
		out.status, out.detail = "bad", err.Error()
	}
	return out
}

func pgpTime(armored string) (time.Time, error) {
	block, err := armor.Decode(strings.NewReader(armored))
	if err != nil {
		return time.Time{}, fmt.Errorf("malformed armour: %w", err)
	}
	p, err := packet.Read(block.Body)
	if err != nil {
		return time.Time{}, fmt.Errorf("malformed signature: %w", err)
	}
	sig, ok := p.(*packet.Signature)
	if !ok {
		return time.Time{}, errors.New("malformed signature: its first packet is none")
	}
	return sig.CreationTime, nil
}

func (s signature) plain() map[string]any {
	return map[string]any{"kind": s.kind, "status": s.status, "signer": s.signer, "detail": s.detail}
}

func pgpName(e *openpgp.Entity) string {
	if id := e.PrimaryIdentity(); id != nil && id.UserId != nil {
		if id.UserId.Email != "" {
			return id.UserId.Email
		}
		return id.Name
	}
	return e.PrimaryKey.KeyIdString()
}
