package pack

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// roles adds the vectors of who signed as what: anchors with identities and
// validities, and what signers say of themselves.
func (m *vectorMaker) roles() {
	t := m.t
	sum := packSum(t, m.good)
	vendorAt, reviewerAt := bundleName(roleVendor, 1), bundleName(roleReviewer, 1)
	anna := countersigned{role: roleReviewer, signer: m.reviewer}.as(t, "Anna Berg", sum)
	ben := countersigned{role: roleAuditor, signer: m.auditor}.as(t, "Ben Cole", sum)
	reviewed := withSignatures(t, m.good, anna)
	keyed := func(v *vector, keys ...vectorKey) *vector {
		v.Anchors.Keys = append(slices.Clone(m.anchors.Keys), keys...)
		return v
	}
	inconclusive := func(v *vector) {
		v.Expect.Exit, v.Expect.Verdict = 3, VerdictInconclusive
	}
	named := func(k vectorKey, identity string) vectorKey { k.Identity = identity; return k }
	reviewer, auditor := m.key(roleReviewer, m.reviewer), m.key(roleAuditor, m.auditor)

	keyed(m.add(21, "key of the reviewer, another name", checkSigPrefix+roleReviewer, reviewerAt, reviewed), named(reviewer, "Anna berg"))
	stranger := m.add(21, "vendor who does not say his name", checkSigPrefix+roleVendor, vendorAt, m.good)
	stranger.Anchors.Keys = []vectorKey{named(m.key(roleVendor, m.vendor), "Example Metering GmbH")}
	keyed(m.add(21, "reviewer's signature under the auditor's key", checkSigPrefix+roleReviewer, reviewerAt, reviewed), m.key(roleReviewer, m.auditor))
	m.add(21, "hint that is no fingerprint", checkSigPrefix+roleReviewer, reviewerAt, rehinted(m, reviewed, reviewerAt))

	c := m.content
	c.RequiredRoles = []string{roleReviewer}
	required := buildPack(t, c, m.vendor)
	inconclusive(keyed(m.add(22, "role that pack.json requires", checkRoles, "", required), reviewer))
	inconclusive(m.add(22, "role signed, no key of it given", checkRoles, "", withSignatures(t, required, countersigned{role: roleReviewer, signer: m.reviewer}.as(t, "Anna Berg", packSum(t, required)))))
	keyed(m.add(22, "gap in the numbers", checkSigPrefix+roleReviewer, bundleName(roleReviewer, 2), renamed(m, reviewed, reviewerAt, bundleName(roleReviewer, 2))), reviewer)

	m.add(23, "one person counted twice, no keys given", checkRoles, "", withSignatures(t, m.good, anna, countersigned{role: roleAuditor, signer: m.auditor}.as(t, "anna BERG", sum)))
	m.add(23, "one key counted twice, no keys given", checkRoles, "", withSignatures(t, m.good, anna, countersigned{role: roleAuditor, signer: m.reviewer}.as(t, "Ben Cole", sum)))
	keyed(m.add(23, "one person counted twice in one role", checkRoles, "", withSignatures(t, m.good, anna, countersigned{role: roleReviewer, signer: m.auditor}.as(t, "Anna Berg", sum))), reviewer, m.key(roleReviewer, m.auditor))
	keyed(m.add(24, "vendor as reviewer, not under the reviewer's key", checkRoles, "", withSignatures(t, m.good, countersigned{role: roleReviewer, signer: m.vendor}.as(t, "Anna Berg", sum))), reviewer)
	m.add(24, "vendor as reviewer, no key of the reviewer", checkRoles, "", withSignatures(t, m.good, countersigned{role: roleReviewer, signer: m.vendor}.as(t, "Anna Berg", sum)))

	m.predicates(anna.statement, ben.statement)
	m.validities(reviewed, reviewer, auditor)

	bare := m.add(25, "SSH signature names a security key", checkSSHSig, sshsigName, m.edit(sshsigName, func([]byte) []byte { return m.securityKey() }))
	bare.What = "the key in the SSH signature is of type sk-ssh-ed25519, whose signatures are over other bytes"
	nobody := m.add(21, "two keys signed as the vendor, none given", checkSigPrefix+roleVendor, vendorAt,
		m.edit(vendorAt, func([]byte) []byte { return signBundleOf(t, statementFor(t, roleVendor, sum), m.attacker) }))
	nobody.Anchors.Keys = []vectorKey{}
	m.longNumbers()
	broken := m.add(26, "SSH signature that does not hold, no key given", checkSSHSig, sshsigName, m.edit(sshsigName, func(b []byte) []byte { b[len(b)-60] ^= 1; return b }))
	broken.Anchors.Keys = []vectorKey{}
}

// rehinted is a pack with another sort of hint in a bundle, which no signature
// covers.
func rehinted(m *vectorMaker, pack []byte, at string) []byte {
	e := entriesOf(m.t, pack)
	i := find(m.t, e, at)
	e[i].body = bytes.Replace(e[i].body, []byte(`"hint":"SHA256:`), []byte(`"hint":"MD5:`), 1)
	return zipOf(m.t, e)
}

func renamed(m *vectorMaker, pack []byte, from, to string) []byte {
	e := entriesOf(m.t, pack)
	e[find(m.t, e, from)].name = to
	return zipOf(m.t, e)
}

// predicates adds vectors of what a signer may not say.
func (m *vectorMaker) predicates(anna, ben statement) {
	t := m.t
	sum := packSum(t, m.good)
	for _, v := range []struct{ name, from, to string }{
		{"signature says another role", "role:reviewer", "role:auditor"},
		{"signature says two roles", `["urn:trustpack:role:`, `["urn:trustpack:role:auditor","urn:trustpack:role:`},
		{"signature says no role", `"urn:trustpack:role:reviewer"`, ``},
		{"properties unsorted", `reviewer"]`, `reviewer","A"]`},
		{"property that cites no digest", `reviewer"]`, `reviewer","urn:trustpack:sample:sha256:x"]`},
		{"signer without a name", `"Anna Berg"`, `""`},
		{"signer's name with an escape", `Anna Berg`, `Anna\u001bBerg`},
		{"time of another zone", `:00Z"`, `:00+02:00"`},
		{"further member of what is said", `{"properties"`, `{"policy":{},"properties"`},
	} {
		st := anna
		st.Predicate = []byte(strings.Replace(string(anna.Predicate), v.from, v.to, 1))
		if bytes.Equal(st.Predicate, anna.Predicate) {
			t.Fatalf("%s: nothing was changed", v.name)
		}
		keyed := m.add(25, v.name, checkSigPrefix+roleReviewer, bundleName(roleReviewer, 1), withSignatures(t, m.good, countersigned{roleReviewer, m.reviewer, st}))
		keyed.Anchors.Keys = append(slices.Clone(m.anchors.Keys), m.key(roleReviewer, m.reviewer))
	}
	asReviewer := m.add(25, "auditor's statement in the reviewer's place", checkSigPrefix+roleReviewer, bundleName(roleReviewer, 1), withSignatures(t, m.good, countersigned{roleReviewer, m.auditor, ben}))
	asReviewer.Anchors.Keys = append(slices.Clone(m.anchors.Keys), m.key(roleReviewer, m.auditor))
	vendor := statementFor(t, roleVendor, sum)
	vendor.Predicate = []byte(`{"format":"trustpack-pack/1","role":"reviewer"}`)
	at := bundleName(roleVendor, 1)
	m.add(25, "vendor who says that he is the reviewer", checkSigPrefix+roleVendor, at, m.edit(at, func([]byte) []byte { return signBundleOf(t, vendor, m.vendor) }))
	digests := statementFor(t, roleVendor, sum)
	digests.Subject[0].Digest["sha512"] = sum + sum
	m.add(25, "subject with a second digest", checkSigPrefix+roleVendor, at, m.edit(at, func([]byte) []byte { return signBundleOf(t, digests, m.vendor) }))
}

// validities adds vectors of keys outside of their time.
func (m *vectorMaker) validities(reviewed []byte, reviewer, auditor vectorKey) {
	at := func(v *vector, now time.Time, keys ...vectorKey) {
		v.Anchors.Keys, v.Anchors.Now = append(slices.Clone(m.anchors.Keys), keys...), &now
		v.Expect.Exit, v.Expect.Verdict = 3, VerdictInconclusive
	}
	from, until := day(95), day(100)
	bounded := reviewer
	bounded.From, bounded.Until = &from, &until
	for _, v := range []struct {
		name string
		now  time.Time
	}{{"key not valid yet", from.Add(-time.Second)}, {"key no longer valid", until.Add(time.Second)}, {"key no longer valid by a fraction", until.Add(time.Millisecond)}} {
		missed := m.add(27, v.name, checkSigPrefix+roleReviewer, bundleName(roleReviewer, 1), reviewed)
		missed.Anchors.RequireRoles = []string{roleReviewer}
		at(missed, v.now, bounded)
	}
	ssh := m.add(27, "vendor's key not valid yet, SSH signature", checkSSHSig, sshsigName, m.good)
	vendor := m.key(roleVendor, m.vendor)
	vendor.From = &from
	at(ssh, day(1), auditor)
	ssh.Anchors.Keys = []vectorKey{vendor}
}

// securityKey is the good pack's SSH signature with its key passed off as one
// of a security key.
func (m *vectorMaker) securityKey() []byte {
	blob, _, err := parseSSH(m.body(sshsigName))
	if err != nil {
		m.t.Fatal(err)
	}
	raw, ok := m.vendor.Public().key.(ed25519.PublicKey)
	if !ok {
		m.t.Fatal("the vendor's key is not Ed25519")
	}
	blob.PublicKey = ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, raw, "ssh:"})
	return armorSSH(ssh.Marshal(blob))
}

// longNumbers adds a vector of a P-256 vendor whose SSH signature holds but for
// the form of a number in it.
func (m *vectorMaker) longNumbers() {
	t := m.t
	vendor := p256Signer(t)
	pack := buildPack(t, m.content, vendor)
	e := entriesOf(t, pack)
	i := find(t, e, sshsigName)
	blob, _, err := parseSSH(e[i].body)
	if err != nil {
		t.Fatal(err)
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(blob.Signature, &sig); err != nil {
		t.Fatal(err)
	}
	var rs struct{ R, S []byte }
	if err := ssh.Unmarshal(sig.Blob, &rs); err != nil {
		t.Fatal(err)
	}
	rs.R = append([]byte{0}, rs.R...)
	sig.Blob = ssh.Marshal(rs)
	blob.Signature = ssh.Marshal(ssh.Signature{Format: sig.Format, Blob: sig.Blob})
	e[i].body = armorSSH(ssh.Marshal(blob))
	v := m.add(25, "number of the SSH signature in another form", checkSSHSig, sshsigName, zipOf(t, e))
	v.Anchors.Keys = []vectorKey{m.key(roleVendor, vendor)}
}
