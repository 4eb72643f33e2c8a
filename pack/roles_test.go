package pack

import (
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

func TestNamesOfSignatures(t *testing.T) {
	for _, name := range []string{
		"vendor-1.sigstore.json", "reviewer-12.sigstore.json", "auditor-999.sigstore.json", "pack.json.sshsig", "vendor-1.tsr", "auditor-2.tsr",
		"redaction-1.jsonl", "redaction-1.sigstore.json", "sample-1.json", "sample-1.xlsx",
	} {
		if !isSignature(signaturesDir + name) {
			t.Errorf("%s is refused", name)
		}
	}
	for _, name := range []string{
		"vendor-0.sigstore.json", "vendor-01.sigstore.json", "vendor-1000.sigstore.json", "boss-1.sigstore.json", "vendor.sigstore.json", "Vendor-1.tsr",
		"vendor-1.json", "redaction-1.tsr", "redaction-1.json", "sample-1.jsonl", "sample-1.sigstore.json", "sample-1.xlsm", "x/vendor-1.tsr", "pack.json.sshsig2", "vendor-1.sigstore.json\n",
	} {
		if isSignature(signaturesDir + name) {
			t.Errorf("%s is accepted", name)
		}
	}
}

// signedPack is a pack with a signature of each given kind on it.
type countersigned struct {
	role      string
	signer    Signer
	statement statement
}

func withSignatures(t testing.TB, data []byte, sigs ...countersigned) []byte {
	t.Helper()
	e := entriesOf(t, data)
	n := map[string]int{roleVendor: 1}
	for _, s := range sigs {
		n[s.role]++
		e = append(e, stored{bundleName(s.role, n[s.role]), signBundleOf(t, s.statement, s.signer)})
	}
	slices.SortFunc(e, func(a, b stored) int { return compareNames(a.name, b.name) })
	return zipOf(t, e)
}

func packSum(t testing.TB, data []byte) string {
	t.Helper()
	e := entriesOf(t, data)
	return evidence.SHA256Hex(e[find(t, e, packJSONName)].body)
}

func (s countersigned) as(t testing.TB, identity, sum string) countersigned {
	t.Helper()
	payload, err := verifierStatement(s.role, sum, identity, day(95), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := decodeStrict(payload, &s.statement); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestIdentitiesAndValidity: who a key is trusted as, and when.
func TestIdentitiesAndValidity(t *testing.T) {
	vendor, anna, ben := edSigner(t, 1), edSigner(t, 3), edSigner(t, 4)
	c := content(t)
	c.Identity = "Example Metering GmbH"
	data := buildPack(t, c, vendor)
	sum := packSum(t, data)
	reviewer := countersigned{role: roleReviewer, signer: anna}.as(t, "Anna Berg", sum)
	auditor := countersigned{role: roleAuditor, signer: ben}.as(t, "Ben Cole", sum)
	both := withSignatures(t, data, reviewer, auditor)
	good := func() []Anchor {
		return []Anchor{
			{Role: roleVendor, Key: vendor.Public(), Identity: "Example Metering GmbH", From: day(0), Until: day(100)},
			{Role: roleReviewer, Key: anna.Public(), Identity: "Anna Berg", Until: day(100)},
			{Role: roleAuditor, Key: ben.Public(), Identity: "Ben Cole", From: day(0)},
		}
	}
	all := []string{roleReviewer, roleAuditor}
	for _, tc := range []struct {
		name   string
		pack   []byte
		change func(*VerifyOptions)
		exit   int
		check  string // that failed (exit 1) or was not checked (exit 3)
	}{
		{"all", both, func(o *VerifyOptions) {}, 0, ""},
		{"to the last moment", both, func(o *VerifyOptions) { o.Now = day(100) }, 0, ""},
		{"from the first moment", both, func(o *VerifyOptions) { o.Now = day(0) }, 0, ""},
		{"after it", both, func(o *VerifyOptions) { o.Now = day(100).Add(time.Nanosecond) }, 3, checkSigPrefix + roleVendor},
		{"before it", both, func(o *VerifyOptions) { o.Now = day(0).Add(-time.Nanosecond) }, 3, checkSSHSig},
		{"two lines for one key", both, func(o *VerifyOptions) {
			o.Now = day(150)
			for i := range o.Anchors {
				again := o.Anchors[i]
				again.From, again.Until = day(120), time.Time{}
				o.Anchors = append(o.Anchors, again)
			}
		}, 0, ""},
		{"vendor under another name", both, func(o *VerifyOptions) { o.Anchors[0].Identity = "Somebody GmbH" }, 1, checkSigPrefix + roleVendor},
		{"reviewer under another name", both, func(o *VerifyOptions) { o.Anchors[1].Identity = "Anna berg" }, 1, checkSigPrefix + roleReviewer},
		{"vendor without a name", buildPack(t, content(t), vendor), func(o *VerifyOptions) { o.RequireRoles = nil }, 1, checkSigPrefix + roleVendor},
		{"auditor's key for the reviewer", both, func(o *VerifyOptions) { o.Anchors[2].Role = roleReviewer }, 3, checkRoles},
		{"one identity twice", withSignatures(t, data, reviewer, countersigned{role: roleAuditor, signer: ben}.as(t, "anna BERG", sum)), func(o *VerifyOptions) { o.Anchors[2].Identity = "" }, 1, checkRoles},
		{"the vendor's identity again", withSignatures(t, data, reviewer, countersigned{role: roleAuditor, signer: ben}.as(t, "example metering GmbH", sum)), func(o *VerifyOptions) { o.Anchors[2].Identity = "" }, 1, checkRoles},
		{"one identity twice, no keys given", withSignatures(t, data, reviewer, countersigned{role: roleAuditor, signer: ben}.as(t, "Anna Berg", sum)), func(o *VerifyOptions) { o.Anchors, o.RequireRoles = nil, nil }, 1, checkRoles},
		{"one key twice, no keys given", withSignatures(t, data, reviewer, countersigned{role: roleAuditor, signer: anna}.as(t, "Ben Cole", sum)), func(o *VerifyOptions) { o.Anchors, o.RequireRoles = nil, nil }, 1, checkRoles},
		{"no key of the auditor", both, func(o *VerifyOptions) { o.Anchors = o.Anchors[:2] }, 3, checkRoles},
		{"ends before it begins", both, func(o *VerifyOptions) { o.Anchors[0].Until = day(-1) }, 2, checkOptions},
		{"identity of two lines", both, func(o *VerifyOptions) { o.Anchors[0].Identity = "a\nb" }, 2, checkOptions},
		{"unknown role", both, func(o *VerifyOptions) { o.Anchors[0].Role = "boss" }, 2, checkOptions},
		{"no key", both, func(o *VerifyOptions) { o.Anchors[0].Key = PublicKey{} }, 2, checkOptions},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := VerifyOptions{Anchors: good(), RequireRoles: all, Now: day(95)}
			tc.change(&o)
			r := verifyBytes(tc.pack, o)
			if r.Exit != tc.exit {
				t.Fatalf("exit %d, want %d\n%s", r.Exit, tc.exit, reportText(r))
			}
			want := map[int]Status{1: Failed, 2: Failed, 3: NotChecked}[tc.exit]
			if tc.exit != 0 && !slices.ContainsFunc(r.Checks, func(c Check) bool { return c.ID == tc.check && c.Status == want }) {
				t.Errorf("%s is not %s\n%s", tc.check, want, reportText(r))
			}
		})
	}
}

// TestValidityAtTheProvedTime: where a timestamp proves when a signature was
// made, that time counts and not today's.
func TestValidityAtTheProvedTime(t *testing.T) {
	s := edSigner(t, 1)
	anchor := []Anchor{{Role: roleVendor, Key: s.Public(), From: day(0), Until: day(100)}}
	now := day(1000)
	if _, err := trust(anchor, "", day(99), now); err != nil {
		t.Errorf("signed in time: %v", err)
	}
	if _, err := trust(anchor, "", day(101), day(50)); err == nil || strings.Contains(err.Error(), errUnproved.Error()) {
		t.Errorf("signed too late, which is proved: %v", err)
	}
	if _, err := trust(anchor, "", time.Time{}, now); err == nil || !strings.Contains(err.Error(), errUnproved.Error()) {
		t.Errorf("expired, time not proved: %v", err)
	}
	if _, err := trust(nil, "", time.Time{}, now); err == nil {
		t.Error("no anchor at all is trusted")
	}
	data := buildPack(t, content(t), s)
	v := newVerifier(strings.NewReader(string(data)), int64(len(data)), VerifyOptions{Anchors: anchor, Now: now})
	if !v.checkOptions() || !v.scan() || !v.readRoot() {
		t.Fatal("the pack cannot be read")
	}
	v.readSignatures()
	v.genTimes[bundleName(roleVendor, 1)] = day(99)
	v.judgeSignatures()
	if !v.res.ok(checkSigPrefix+roleVendor) || !v.res.ok(checkSSHSig) {
		t.Errorf("%+v %+v", v.res.failures, v.res.skipped)
	}
}

// TestPredicates: what a signer says has one form.
func TestPredicates(t *testing.T) {
	vendor, anna := edSigner(t, 1), edSigner(t, 3)
	data := buildPack(t, content(t), vendor)
	sum := packSum(t, data)
	o := VerifyOptions{Keys: []PublicKey{vendor.Public()}, Anchors: []Anchor{{Role: roleReviewer, Key: anna.Public()}}}
	good := string(countersigned{role: roleReviewer, signer: anna}.as(t, "Anna", sum).statement.Predicate)
	for name, predicate := range map[string]string{
		"another role":       strings.Replace(good, "role:reviewer", "role:auditor", 1),
		"two roles":          strings.Replace(good, `["urn:trustpack:role:`, `["urn:trustpack:role:auditor","urn:trustpack:role:`, 1),
		"no role":            strings.Replace(good, "urn:trustpack:role:reviewer", "SEEN", 1),
		"unsorted":           strings.Replace(good, `reviewer"]`, `reviewer","A"]`, 1),
		"twice the same":     strings.Replace(good, `reviewer"]`, `reviewer","x","x"]`, 1),
		"control characters": strings.Replace(good, `reviewer"]`, `reviewer","x\n"]`, 1),
		"nobody":             strings.Replace(good, `"Anna"`, `""`, 1),
		"offset":             strings.Replace(good, `12:00:00Z`, `12:00:00+02:00`, 1),
		"no time":            strings.Replace(good, `12:00:00Z`, ``, 1),
		"further member":     strings.Replace(good, `{"properties"`, `{"policy":"x","properties"`, 1),
		"further of who":     strings.Replace(good, `{"id":`, `{"a":1,"id":`, 1),
		"nothing":            `{}`,
	} {
		if predicate == good {
			t.Fatalf("%s: nothing was changed in %s", name, good)
		}
		st := statementFor(t, roleReviewer, sum)
		st.Predicate = []byte(predicate)
		t.Run(name, func(t *testing.T) {
			wantFailure(t, verifyBytes(withSignatures(t, data, countersigned{roleReviewer, anna, st}), o), checkSigPrefix+roleReviewer, bundleName(roleReviewer, 1))
		})
	}
	st := statementFor(t, roleReviewer, sum)
	st.Predicate = []byte(good)
	if r := verifyBytes(withSignatures(t, data, countersigned{roleReviewer, anna, st}), o); r.Exit != 0 {
		t.Errorf("the unchanged one: %s", reportText(r))
	}
	st.Type = statementTypeV01 // as stock cosign writes it
	if r := verifyBytes(withSignatures(t, data, countersigned{roleReviewer, anna, st}), o); r.Exit != 0 {
		t.Errorf("a statement v0.1: %s", reportText(r))
	}
	st.Type = "https://in-toto.io/Statement/v2"
	wantFailure(t, verifyBytes(withSignatures(t, data, countersigned{roleReviewer, anna, st}), o), checkSigPrefix+roleReviewer, bundleName(roleReviewer, 1))
	entries := entriesOf(t, data)
	for _, predicate := range []string{`{}`, `{"format":"trustpack-pack/1","role":"reviewer"}`, `{"format":"x","role":"vendor"}`, `{"format":"trustpack-pack/1","identity":" ","role":"vendor"}`, `{"format":"trustpack-pack/1","role":"vendor","z":1}`} {
		st := statementFor(t, roleVendor, sum)
		st.Predicate = []byte(predicate)
		e := slices.Clone(entries)
		e[find(t, e, bundleName(roleVendor, 1))].body = signBundleOf(t, st, vendor)
		wantFailure(t, verifyBytes(zipOf(t, e), o), checkSigPrefix+roleVendor, bundleName(roleVendor, 1))
	}
}

// TestRequiredRolesOfThePack: what pack.json requires, every verifier demands.
func TestRequiredRolesOfThePack(t *testing.T) {
	vendor, anna := edSigner(t, 1), edSigner(t, 3)
	c := content(t)
	c.RequiredRoles = []string{roleReviewer}
	data := buildPack(t, c, vendor)
	o := VerifyOptions{Keys: []PublicKey{vendor.Public()}, Anchors: []Anchor{{Role: roleReviewer, Key: anna.Public()}}}
	if r := verifyBytes(data, o); r.Exit != 3 {
		t.Errorf("not signed by the reviewer: exit %d\n%s", r.Exit, reportText(r))
	}
	signed := withSignatures(t, data, countersigned{roleReviewer, anna, statementFor(t, roleReviewer, packSum(t, data))})
	if r := verifyBytes(signed, o); r.Exit != 0 {
		t.Errorf("signed by the reviewer: %s", reportText(r))
	}
}

// TestSecurityKeysAreRefused: their signatures are over other bytes.
func TestSecurityKeysAreRefused(t *testing.T) {
	for _, line := range []string{
		"sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIJiT4ojdL04M5GyI7wrmZ/c2kBFkA4nMH+h3UkyG5JEtAAAABHNzaDo=",
	} {
		if _, err := ParsePublicKey([]byte(line)); err == nil || !strings.Contains(err.Error(), "want Ed25519 or ECDSA P-256") {
			t.Errorf("%s: %v", line, err)
		}
	}
}
