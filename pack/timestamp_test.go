package pack

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

func sha1Of(b []byte) []byte { s := sha1.Sum(b); return s[:] }

// stampedPack is the fixture's pack with a timestamp of the vendor's
// signature, and the anchors to verify it.
func stampedPack(t testing.TB, a *testTSA) ([]byte, VerifyOptions) {
	t.Helper()
	s := edSigner(t, 1)
	data := buildPack(t, contentUntil(t, a.collected), s)
	e := entriesOf(t, data)
	b, err := parseBundle(e[find(t, e, bundleName(roleVendor, 1))].body)
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, s)
	o.TSARoots = []*x509.Certificate{a.root}
	return withTimestamp(t, data, a.stamp(b.sig)), o
}

// withTimestamp puts a .tsr beside the vendor's bundle.
func withTimestamp(t testing.TB, data, reply []byte) []byte {
	t.Helper()
	e := entriesOf(t, data)
	return zipOf(t, slices.Insert(e, find(t, e, bundleName(roleVendor, 1))+1, stored{timestampOf(bundleName(roleVendor, 1)), reply}))
}

// kinds are the authorities that all goes through.
func kinds(t *testing.T, f func(t *testing.T, isRSA bool)) {
	for _, isRSA := range []bool{false, true} {
		t.Run(map[bool]string{false: "ecdsa", true: "rsa"}[isRSA], func(t *testing.T) { f(t, isRSA) })
	}
}

func TestTimestamp(t *testing.T) {
	kinds(t, func(t *testing.T, isRSA bool) {
		for name, set := range map[string]func(*testTSA){
			"plain":                  func(*testTSA) {},
			"RSA by its plain name":  func(a *testTSA) { a.plainRSA = true },
			"ESSCertID of RFC 2634":  func(a *testTSA) { a.essV1 = true },
			"root in the token":      func(a *testTSA) { a.withRoot = true },
			"fraction of a second":   func(a *testTSA) { a.genTime = a.genTime.Add(120 * time.Millisecond) },
			"at the period's end":    func(a *testTSA) { a.genTime = quarter().To },
			"at the last collection": func(a *testTSA) { a.collected = a.genTime },
		} {
			t.Run(name, func(t *testing.T) {
				a := newTestTSA(t, isRSA)
				set(a)
				data, o := stampedPack(t, a)
				r := verifyBytes(data, o)
				if r.Exit != 0 || r.Verdict != VerdictOK {
					t.Fatalf("exit %d\n%s", r.Exit, reportText(r))
				}
				if len(r.Timestamps) != 1 || !r.Timestamps[0].Time.Equal(a.genTime) {
					t.Errorf("timestamps %+v", r.Timestamps)
				}
				if want := fmt.Sprintf("-attime %d", a.genTime.Unix()); !strings.Contains(reportText(r), want) {
					t.Errorf("no %q in\n%s", want, reportText(r))
				}
			})
		}
	})
}

// wrongToken is a wrong that a token can have, and a word of what must be said.
type wrongToken struct {
	name, want string
	set        func(*testTSA)
}

func wrongTokens(isRSA bool) []wrongToken {
	return []wrongToken{
		{"another usage beside", "not for timestamping alone", func(a *testTSA) {
			a.cert = a.certify("Stamps", a.key, a.middle, a.middleKey, usage(true, x509.ExtKeyUsageTimeStamping, x509.ExtKeyUsageCodeSigning))
		}},
		{"another usage", "not for timestamping alone", func(a *testTSA) {
			a.cert = a.certify("Stamps", a.key, a.middle, a.middleKey, usage(true, x509.ExtKeyUsageCodeSigning))
		}},
		{"no usage", "not for timestamping alone", func(a *testTSA) {
			a.cert = a.certify("Stamps", a.key, a.middle, a.middleKey, func(*x509.Certificate) {})
		}},
		{"usage that is not critical", "does not say so critically", func(a *testTSA) {
			a.cert = a.certify("Stamps", a.key, a.middle, a.middleKey, usage(false, x509.ExtKeyUsageTimeStamping))
		}},
		{"forged certificate first", "not on the way", func(a *testTSA) {
			// Of the very names and number, for timestamping, by a key of the attacker's.
			a.before = []*x509.Certificate{a.forged()}
		}},
		{"a good certificate first, signed by another's key", "does not hold", func(a *testTSA) {
			a.key = newTestTSA(a.t, isRSA).key
		}},
		{"forged certificate named by the attribute", "does not hold", func(a *testTSA) {
			a.ess = a.forged()
			a.before = []*x509.Certificate{a.ess}
		}},
		{"attribute of another certificate", "is not in it", func(a *testTSA) { a.ess = a.middle }},
		{"no signing-certificate attribute", "no signed attribute names the certificate", func(a *testTSA) { a.noESS = true }},
		{"before the certificate was valid", "leads to no given root", func(a *testTSA) {
			a.cert = a.certify("Stamps", a.key, a.middle, a.middleKey, func(c *x509.Certificate) {
				usage(true, x509.ExtKeyUsageTimeStamping)(c)
				c.NotBefore = a.genTime.AddDate(0, 1, 0)
			})
		}},
		{"expired at genTime", "leads to no given root", func(a *testTSA) {
			a.cert = a.certify("Stamps", a.key, a.middle, a.middleKey, func(c *x509.Certificate) {
				usage(true, x509.ExtKeyUsageTimeStamping)(c)
				c.NotAfter = a.genTime.Add(-time.Second)
			})
		}},
		{"other imprint", "over other bytes", func(a *testTSA) { a.info = func(i *tsTSTInfo) { i.Imprint.Digest[3] ^= 1 } }},
		{"before the period's end", "2026-09-30T23:59:59Z", func(a *testTSA) { a.genTime = quarter().To.Add(-time.Second) }},
		{"collected after it", "2026-10-04T11:59:59Z", func(a *testTSA) { a.collected = day(95); a.genTime = day(95).Add(-time.Second) }},
		{"extra certificate", "not on the way", func(a *testTSA) { a.after = []*x509.Certificate{newTestTSA(a.t, isRSA).root} }},
		{"the signer's certificate twice", "stands in it twice", func(a *testTSA) { a.after = []*x509.Certificate{a.cert} }},
		{"two signerInfos", "more than one signerInfo", func(a *testTSA) { a.signers = 2 }},
		{"no signerInfo", "signerInfos is malformed", func(a *testTSA) { a.signers = 0 }},
		{"unsigned attributes", "unsigned attributes", func(a *testTSA) { a.unsigned = true }},
		{"revocation lists", "revocation lists", func(a *testTSA) { a.crls = true }},
		{"rejected", "2, try\\nlater, badRequest", func(a *testTSA) { a.status, a.text = 2, "try\nlater" }},
		{"granted with changes", "status is 1", func(a *testTSA) { a.status = 1 }},
		{"granted with words", "status is 0, hello", func(a *testTSA) { a.text = "hello" }},
		{"critical extension", "1.2.3", func(a *testTSA) {
			a.info = func(i *tsTSTInfo) {
				i.Ext = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
			}
		}},
		{"time with an offset", "no time in DER", func(a *testTSA) { a.info = func(i *tsTSTInfo) { i.Time.Bytes = []byte("20261005103000+0200") } }},
		{"time with a trailing zero", "no time in DER", func(a *testTSA) { a.info = func(i *tsTSTInfo) { i.Time.Bytes = []byte("20261005083000.10Z") } }},
		{"another digest algorithm", "not the one of its signerInfo", func(a *testTSA) { a.otherDigests = true }},
		{"version 2", "TSTInfo is malformed", func(a *testTSA) { a.info = func(i *tsTSTInfo) { i.Version = 2 } }},
		{"another root", "leads to no given root", func(a *testTSA) { a.root = newTestTSA(a.t, isRSA).root }},
	}
}

// TestTimestampRefused holds the verifier to each wrong that a token can have.
func TestTimestampRefused(t *testing.T) {
	kinds(t, func(t *testing.T, isRSA bool) {
		for _, tc := range wrongTokens(isRSA) {
			t.Run(tc.name, func(t *testing.T) {
				a := newTestTSA(t, isRSA)
				tc.set(a)
				data, o := stampedPack(t, a)
				r := verifyBytes(data, o)
				wantFailure(t, r, checkTime, "signatures/vendor-1.tsr")
				if !strings.Contains(reportText(r), tc.want) {
					t.Errorf("no %q in\n%s", tc.want, reportText(r))
				}
			})
		}
	})
}

// forged is a certificate of the names and the number of the authority's, for
// timestamping, that somebody else made.
func (a *testTSA) forged() *x509.Certificate {
	a.t.Helper()
	key := newKeyOf(a.t, a.isRSA)
	other := *a.middle
	other.PublicKey = key.Public()
	return a.certify("Stamps", key, &other, key, func(c *x509.Certificate) {
		usage(true, x509.ExtKeyUsageTimeStamping)(c)
		c.SerialNumber = new(big.Int).Set(a.cert.SerialNumber)
	})
}

// TestTimestampFlipped flips each bit of a token, and all bits of each byte:
// with the roots nothing goes unnoticed.
func TestTimestampFlipped(t *testing.T) {
	kinds(t, func(t *testing.T, isRSA bool) {
		a := newTestTSA(t, isRSA)
		a.withRoot = true
		signature := []byte("the signature that is stamped")
		reply, roots := a.stamp(signature), []*x509.Certificate{a.root}
		if _, err := CheckTimestamp(reply, signature, roots); err != nil {
			t.Fatal(err)
		}
		for i := range reply {
			for _, mask := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 255} {
				reply[i] ^= mask
				if _, err := CheckTimestamp(reply, signature, roots); err == nil {
					t.Errorf("byte %d of %d, %#02x made %#02x: not noticed", i, len(reply), reply[i]^mask, reply[i])
				}
				reply[i] ^= mask
			}
		}
		for i := range reply {
			if _, err := CheckTimestamp(reply[:i], signature, roots); err == nil {
				t.Errorf("cut at %d: not noticed", i)
			}
		}
		if _, err := CheckTimestamp(append(slices.Clone(reply), 0), signature, roots); err == nil {
			t.Error("a byte behind it: not noticed")
		}
	})
}

// TestTimestampFlippedInAPack: in the pack too, and without roots no verdict
// claims that the time was checked.
func TestTimestampFlippedInAPack(t *testing.T) {
	a := newTestTSA(t, false)
	data, o := stampedPack(t, a)
	e := entriesOf(t, data)
	at := find(t, e, "signatures/vendor-1.tsr")
	reply := e[at].body
	whole, err := parseTimestamp(bytes.Clone(reply))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := whole.signedBy()
	if err != nil {
		t.Fatal(err)
	}
	original := bytes.Clone(reply)
	inChain := func(i int) bool {
		return slices.ContainsFunc(whole.certificates, func(c *x509.Certificate) bool {
			from := bytes.Index(original, c.Raw)
			return c != signed && i >= from && i < from+len(c.Raw)
		})
	}
	for i := 0; i < len(reply); i += 37 {
		reply[i] ^= 0xff
		bad := zipOf(t, e)
		wantFailure(t, verifyBytes(bad, o), checkTime, "signatures/vendor-1.tsr")
		bare := o
		bare.TSARoots = nil
		if r := verifyBytes(bad, bare); !inChain(i) { // certificates above the one that signed hold on to a root alone
			wantFailure(t, r, checkTime, "signatures/vendor-1.tsr")
		}
		reply[i] ^= 0xff
	}
}

func checkOf(t testing.TB, r Report, id string) Check {
	t.Helper()
	for _, c := range r.Checks {
		if c.ID == id {
			return c
		}
	}
	t.Fatalf("no check %s", id)
	return Check{}
}

func TestTimestampNotChecked(t *testing.T) {
	a := newTestTSA(t, false)
	data, o := stampedPack(t, a)
	bare := o
	bare.TSARoots = nil
	r := verifyBytes(data, bare)
	if c := checkOf(t, r, checkTime); r.Exit != 0 || c.Status != NotChecked || !strings.Contains(c.Actual, "it claims 2026-10-05T08:30:00Z") || len(r.Timestamps) != 0 {
		t.Errorf("without roots: exit %d\n%s", r.Exit, reportText(r))
	}
	r = verifyBytes(buildPack(t, content(t), edSigner(t, 1)), o)
	if c := checkOf(t, r, checkTime); r.Exit != 3 || c.Status != NotChecked {
		t.Errorf("roots, and no timestamp: exit %d\n%s", r.Exit, reportText(r))
	}
	e := entriesOf(t, data)
	i := find(t, e, "signatures/vendor-1.tsr")
	e[i].name = "signatures/vendor-2.tsr"
	wantFailure(t, verifyBytes(zipOf(t, e), o), checkSet, "signatures/vendor-2.tsr")
}

// TestTimestampProvesWhenAKeySigned: a key that has expired since is good
// where the timestamp says that it was not then.
func TestTimestampProvesWhenAKeySigned(t *testing.T) {
	a := newTestTSA(t, false)
	data, o := stampedPack(t, a)
	key := o.Keys[0]
	o.Keys, o.Now = nil, time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC) // the authority's certificates have expired too
	for until, exit := range map[time.Time]int{a.genTime: 0, a.genTime.Add(-time.Second): 1} {
		o.Anchors = []Anchor{{Role: roleVendor, Key: key, Until: until}}
		if r := verifyBytes(data, o); r.Exit != exit {
			t.Errorf("until %s: exit %d, want %d\n%s", until, r.Exit, exit, reportText(r))
		}
	}
	o.Anchors, o.TSARoots = []Anchor{{Role: roleVendor, Key: key, Until: a.genTime}}, nil
	if r := verifyBytes(data, o); r.Exit != 3 {
		t.Errorf("without roots: exit %d, want 3\n%s", r.Exit, reportText(r))
	}
}

func TestBuildWithTimestamp(t *testing.T) {
	a, s := newTestTSA(t, false), edSigner(t, 1)
	build := func() ([]byte, Built, error) {
		c := contentUntil(t, a.collected)
		c.Timestamp = func(signature []byte) ([]byte, error) { return a.stamp(signature), nil }
		var out strings.Builder
		built, err := Build(&out, c, s)
		return []byte(out.String()), built, err
	}
	data, built, err := build()
	if err != nil || !built.Timestamp.Equal(a.genTime) {
		t.Fatalf("timestamp %s, %v", built.Timestamp, err)
	}
	o := options(t, s)
	o.TSARoots = []*x509.Certificate{a.root}
	if r := verifyBytes(data, o); r.Exit != 0 {
		t.Fatalf("exit %d\n%s", r.Exit, reportText(r))
	}
	anna := edSigner(t, 3)
	c := Countersigning{Role: roleReviewer, Identity: "Anna Berg", Time: day(97), Timestamp: func(signature []byte) ([]byte, error) { return a.stamp(signature), nil }}
	signed, _, err := countersignBytes(data, o, c, anna)
	if err != nil {
		t.Fatal(err)
	}
	o.Anchors = []Anchor{{Role: roleReviewer, Key: anna.Public()}}
	if r := verifyBytes(signed, o); r.Exit != 0 || len(r.Timestamps) != 2 {
		t.Errorf("countersigned: exit %d\n%s", r.Exit, reportText(r))
	}
	for want, set := range map[string]func(){
		"before the period's end":    func() { a.genTime = quarter().To.Add(-time.Second) },
		"before the last collection": func() { a.collected = day(95); a.genTime = day(95).Add(-time.Second) },
		"over other bytes":           func() { a.info = func(i *tsTSTInfo) { i.Imprint.Digest[0] ^= 1 } },
		"status is 2":                func() { a.status = 2 },
	} {
		*a = *newTestTSA(t, false)
		set()
		if data, _, err := build(); err == nil || len(data) > 0 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %d bytes, %v", want, len(data), err)
		}
	}
	c2 := content(t)
	c2.Timestamp = func([]byte) ([]byte, error) { return nil, errors.New("nobody there") }
	var out strings.Builder
	if _, err := Build(&out, c2, s); err == nil || out.Len() > 0 || !strings.Contains(err.Error(), "asking for a timestamp: nobody there") {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
}

// FuzzTimestamp: no reply makes the reader panic, and one that is read holds
// under no roots but those that signed it.
func FuzzTimestamp(f *testing.F) {
	other := []*x509.Certificate{newTestTSA(f, false).root}
	for _, isRSA := range []bool{false, true} {
		a := newTestTSA(f, isRSA)
		f.Add(a.stamp([]byte("signature")))
		a.essV1, a.plainRSA = true, true
		f.Add(a.stamp([]byte("signature")))
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		if _, err := CheckTimestamp(reply, []byte("signature"), other); err == nil {
			t.Error("a timestamp under roots that never signed")
		}
		if ts, err := CheckTimestamp(reply, []byte("signature"), nil); err == nil && ts.Time.IsZero() {
			t.Error("a timestamp without a time")
		}
	})
}
