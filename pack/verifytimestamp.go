package pack

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// TimestampReport is a timestamp that was verified, with what another tool
// needs to do the same.
type TimestampReport struct {
	Path      string    `json:"path"` // of the .tsr
	Bundle    string    `json:"bundle"`
	Time      time.Time `json:"time"`
	Authority string    `json:"authority"` // subject of the certificate that signed
	OpenSSL   string    `json:"openssl"`   // the command that checks it in the unpacked pack, tsa-root.pem being the root
}

// timestampOf is the name of the timestamp of a bundle's signature.
func timestampOf(bundle string) string {
	return strings.TrimSuffix(bundle, ".sigstore.json") + ".tsr"
}

func isTimestamp(name string) bool { return timestampPath.MatchString(name) }

// checkTimestamps verifies the timestamp beside each bundle whose form is
// right, and keeps the times that are proved.
func (v *verifier) checkTimestamps() {
	for _, sig := range v.claims {
		name := timestampOf(sig.name)
		if _, there := v.c.a.find(name); there {
			v.checkTimestamp(name, sig)
		}
	}
	if !slices.ContainsFunc(v.c.Paths(), func(name string) bool {
		m := timestampPath.FindStringSubmatch(name)
		return m != nil && m[1] == roleVendor
	}) {
		v.res.skip(checkTime, "", "no RFC 3161 timestamp of the vendor's signature: the time of signing rests on his word")
	}
}

// checkTimestamp verifies one. Without a root it must hold all the same under
// the certificate that it brings, which tells a changed one from a whole one.
func (v *verifier) checkTimestamp(name string, sig heldSignature) {
	reply, err := v.c.a.read(name, maxTimestamp)
	var t Timestamp
	if err == nil {
		t, err = CheckTimestamp(reply, sig.bundle.sig, v.o.TSARoots)
	}
	if err != nil {
		v.res.fail(checkTime, name, "an RFC 3161 timestamp over the signature beside it, under a given root", err.Error())
		return
	}
	if len(v.o.TSARoots) == 0 {
		v.res.skip(checkTime, name, "it claims "+stamp(t.Time)+"; no root of a time stamp authority was given (--tsa-root): who vouches for that time cannot be told")
		return
	}
	v.genTimes[sig.name] = t.Time
	v.report.Timestamps = append(v.report.Timestamps, TimestampReport{
		Path: clean(name), Bundle: clean(sig.name), Time: t.Time.UTC(), Authority: clean(t.Authority), OpenSSL: opensslTS(name, t),
	})
	if end := v.c.root.Period.To; v.c.root.Format == packFormat && t.Time.Before(end) {
		v.res.fail(checkTime, name, "a time not before the period's end, "+stamp(end), stamp(t.Time))
	}
}

// opensslTS is the command by which OpenSSL verifies a timestamp at its own
// time, so that it works still when the authority's certificate has expired.
func opensslTS(name string, t Timestamp) string {
	return fmt.Sprintf("openssl ts -verify -in %s -digest %x -CAfile tsa-root.pem -attime %d", name, t.imprint.sum, t.Time.Unix())
}

// concludeTimestamps holds the proved times to what was collected.
func (v *verifier) concludeTimestamps() {
	var said []string
	for _, t := range v.report.Timestamps {
		if t.Time.Before(v.lastCollected) {
			v.res.fail(checkTime, t.Path, "a time not before anything in the pack was collected, "+stamp(v.lastCollected), stamp(t.Time))
		}
		said = append(said, fmt.Sprintf("%s at %s by %s", t.Bundle, stamp(t.Time), t.Authority))
	}
	if len(said) > 0 {
		v.res.pass(checkTime, strings.Join(said, "; "))
	}
}
