package pack

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// opensslTSA is a timestamp authority made of openssl alone: a root, an
// authority below it, and a certificate for timestamping, each of another key.
type opensslTSA struct {
	t   *testing.T
	dir string
}

const opensslConf = `[tsa]
default_tsa = t
[t]
serial = serial
signer_cert = tsa.pem
certs = inter.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha384, sha512
ess_cert_id_alg = sha256
[root]
basicConstraints = critical,CA:true
[inter]
basicConstraints = critical,CA:true,pathlen:0
keyUsage = critical,keyCertSign
[leaf]
extendedKeyUsage = critical,timeStamping
[dn]
[req]
distinguished_name = dn
`

func newOpensslTSA(t *testing.T) *opensslTSA {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("there is no openssl to make timestamps with")
	}
	a := &opensslTSA{t, t.TempDir()}
	a.write("tsa.cnf", []byte(opensslConf))
	a.write("serial", []byte("01\n"))
	a.run("req", "-x509", "-config", "tsa.cnf", "-newkey", "rsa:2048", "-nodes", "-keyout", "root.key", "-out", "root.pem", "-subj", "/CN=root", "-extensions", "root")
	for _, c := range [][4]string{{"inter", "root", "inter", "P-384"}, {"tsa", "inter", "leaf", "P-256"}} {
		a.run("req", "-config", "tsa.cnf", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:"+c[3], "-nodes", "-keyout", c[0]+".key", "-out", c[0]+".csr", "-subj", "/CN="+c[0])
		a.run("x509", "-req", "-in", c[0]+".csr", "-CA", c[1]+".pem", "-CAkey", c[1]+".key", "-CAcreateserial", "-extfile", "tsa.cnf", "-extensions", c[2], "-out", c[0]+".pem")
	}
	return a
}

func (a *opensslTSA) run(args ...string) {
	a.t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = a.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		a.t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
}

func (a *opensslTSA) write(name string, body []byte) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), body, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *opensslTSA) read(name string) []byte {
	a.t.Helper()
	b, err := os.ReadFile(filepath.Join(a.dir, name))
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

// alone leaves the certificate of the authority below the root out of tokens.
func (a *opensslTSA) alone() *opensslTSA {
	a.write("tsa.cnf", bytes.Replace(a.read("tsa.cnf"), []byte("certs = inter.pem\n"), nil, 1))
	return a
}

// stamp gives a TimeStampResp over data.
func (a *opensslTSA) stamp(data []byte) []byte {
	a.write("data", data)
	a.run("ts", "-query", "-config", "tsa.cnf", "-data", "data", "-sha384", "-cert", "-out", "query")
	a.run("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query", "-out", "reply")
	return a.read("reply")
}

// TestTimestampsInNode gives the JavaScript verifier timestamps that openssl
// made, good ones and others.
func TestTimestampsInNode(t *testing.T) {
	m := newVectorMaker(t)
	b, err := parseBundle(m.body(bundleName(roleVendor, 1)))
	if err != nil {
		t.Fatal(err)
	}
	tsa, other, lonely := newOpensslTSA(t), newOpensslTSA(t), newOpensslTSA(t).alone()
	token := tsa.stamp(b.sig)
	flipped := slices.Clone(token)
	flipped[len(flipped)-5] ^= 1
	root := string(tsa.read("root.pem"))
	stamped := func(tsr []byte) []byte {
		return m.entries(func(e []stored) []stored {
			return slices.Insert(e, find(t, e, bundleName(roleVendor, 1))+1, stored{"signatures/vendor-1.tsr", tsr})
		})
	}
	cases := []struct {
		name   string
		pack   []byte
		roots  []string
		status Status
		exit   int
	}{
		{"good", stamped(token), []string{root}, Passed, 0},
		{"authority below the root as root", stamped(token), []string{string(tsa.read("inter.pem"))}, Passed, 0},
		{"no roots", stamped(token), nil, NotChecked, 0},
		{"no timestamp", m.good, []string{root}, NotChecked, 3},
		{"another root", stamped(token), []string{string(other.read("root.pem"))}, Failed, 1},
		{"certificate between missing", stamped(lonely.stamp(b.sig)), []string{string(lonely.read("root.pem"))}, Failed, 1},
		{"over other bytes", stamped(tsa.stamp([]byte("other"))), []string{root}, Failed, 1},
		{"signature changed", stamped(flipped), []string{root}, Failed, 1},
		{"cut short", stamped(token[:len(token)-1]), []string{root}, Failed, 1},
	}
	dir := t.TempDir()
	var all []vector
	for i, c := range cases {
		v := vector{Case: i, Name: c.name, Anchors: m.anchors, pack: c.pack}
		v.Anchors.TSARoots = c.roots
		all = append(all, v)
	}
	writeVectors(t, dir, all)
	reports := inNode(t, dir)
	for i, c := range cases {
		r := reports[all[i].file()]
		at := slices.IndexFunc(r.Checks, func(k Check) bool { return k.ID == checkTime })
		if at < 0 || r.Checks[at].Status != c.status || r.Exit != c.exit {
			t.Errorf("%s: exit %d, want %d and time.rfc3161 %s\n%s", c.name, r.Exit, c.exit, c.status, reportText(r))
		}
	}
}
