package ingest

import (
	"bytes"
	"encoding/asn1"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	tags "golang.org/x/crypto/cryptobyte/asn1"
)

// certsOnly is a CMS SignedData with nothing but certificates, DER: the Simple
// PKI Response of CMC (RFC 5272, section 4.1; RFC 5652, section 5).
func certsOnly(certs ...[]byte) ([]byte, error) {
	slices.SortFunc(certs, bytes.Compare) // a SET OF is in order (X.690, section 11.6)
	var b cryptobyte.Builder
	b.AddASN1(tags.SEQUENCE, func(info *cryptobyte.Builder) {
		info.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}) // id-signedData
		info.AddASN1(tags.Tag(0).ContextSpecific().Constructed(), func(content *cryptobyte.Builder) {
			content.AddASN1(tags.SEQUENCE, func(signed *cryptobyte.Builder) {
				signed.AddASN1Int64(1)
				signed.AddASN1(tags.SET, func(*cryptobyte.Builder) {}) // no digests: nobody signs
				signed.AddASN1(tags.SEQUENCE, func(inner *cryptobyte.Builder) {
					inner.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}) // id-data, and none there
				})
				signed.AddASN1(tags.Tag(0).ContextSpecific().Constructed(), func(set *cryptobyte.Builder) {
					for _, der := range certs {
						set.AddBytes(der)
					}
				})
				signed.AddASN1(tags.SET, func(*cryptobyte.Builder) {}) // no signers
			})
		})
	})
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding certificates: %w", err)
	}
	return out, nil
}
