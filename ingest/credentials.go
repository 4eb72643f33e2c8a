package ingest

import (
	"time"

	"trustpack/evidence"
)

// Why a credential is retired.
const (
	whyRotated = "rotated"
	whyExpired = "expired"
)

// A device has one credential, and two while one of them takes the other's
// place: the old one is refused from the moment Ends on, to the nanosecond, and
// a tick later it is retired: an entry says so and its connections are cut.
// Which credentials there are and when they end is the fold of the control log.

// credential finds one of the device's, the newest first; nil where there is
// none of the fingerprint. The caller holds state.mu or the device's flow.
func (d *device) credential(print string) *evidence.Credential {
	for i := len(d.record.Credentials) - 1; i >= 0; i-- {
		if c := &d.record.Credentials[i]; c.Fingerprint == print {
			return c
		}
	}
	return nil
}

// endOf is from when on the credential is refused since another one took its
// place; zero where none did. It is not known where the registry has dropped
// it, long after its end. The caller holds state.mu or the device's flow.
func (d *device) endOf(print string) (ends time.Time, known bool) {
	c := d.credential(print)
	if c == nil {
		return ends, false
	}
	return c.Ends, true
}

// lives reports whether the credential is one to prove oneself with at now, as
// far as its own times go: from NotBefore on, a certificate to the second
// NotAfter (RFC 5280, section 4.1.2.5), a token until just before it.
func lives(c *evidence.Credential, now time.Time) bool {
	return c.Retired == "" && !now.Before(c.NotBefore) && deadline(c, now) == ""
}

// deadline says why the credential has ended at now; empty where it has not.
func deadline(c *evidence.Credential, now time.Time) (why string) {
	switch {
	case !c.Ends.IsZero() && !now.Before(c.Ends):
		return whyRotated
	case c.NotAfter.IsZero():
		return ""
	case now.After(c.NotAfter), c.Method == MethodToken && now.Equal(c.NotAfter):
		return whyExpired
	}
	return ""
}

// holds are the states in which a device has credentials that count.
func holds(state evidence.DeviceState) bool {
	return state == evidence.DeviceIssued || state == evidence.DeviceActive || state == evidence.DeviceQuarantined
}
