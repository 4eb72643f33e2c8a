package pack

import (
	"crypto/x509"
	"fmt"
	"time"
)

// timestamp has the vendor's signature among small stamped.
func (b *builder) timestamp(small map[string][]byte) (time.Time, error) {
	var last time.Time
	for _, e := range b.c.Evidence {
		if e.CollectedAt.After(last) {
			last = e.CollectedAt
		}
	}
	name := bundleName(roleVendor, 1)
	reply, t, err := stampBundle(small[name], b.c.Timestamp, nil, b.c.Period.To, last)
	if err != nil {
		return time.Time{}, err
	}
	small[timestampOf(name)] = reply
	return t, nil
}

// stampBundle asks for a timestamp of the signature in a bundle, and refuses
// one that no verifier would take: over something else, or of a time before
// the period's end or the last collection.
func stampBundle(bundle []byte, ask func([]byte) ([]byte, error), roots []*x509.Certificate, end, collected time.Time) ([]byte, time.Time, error) {
	b, err := parseBundle(bundle)
	if err != nil {
		return nil, time.Time{}, err
	}
	reply, err := ask(b.sig)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("asking for a timestamp: %w", err)
	}
	t, err := CheckTimestamp(reply, b.sig, roots)
	switch {
	case err != nil:
		return nil, time.Time{}, err
	case t.Time.Before(end):
		return nil, time.Time{}, fmt.Errorf("the timestamp is of %s, before the period's end at %s: sign after it, or without a timestamp", stamp(t.Time), stamp(end))
	case t.Time.Before(collected):
		return nil, time.Time{}, fmt.Errorf("the timestamp is of %s, before the last collection at %s: this machine's clock is ahead of the authority's; wait, or sign without a timestamp", stamp(t.Time), stamp(collected))
	}
	return reply, t.Time, nil
}
