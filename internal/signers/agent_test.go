package signers

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"trustpack/pack"
)

// startAgent runs a real ssh-agent and gives its socket.
func startAgent(t *testing.T, args ...string) string {
	t.Helper()
	noWindows(t)
	for _, tool := range []string{"ssh-agent", "ssh-add"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: signing with it was not tried", tool)
		}
	}
	dir, err := os.MkdirTemp("", "agent") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	cmd := exec.Command("ssh-agent", append([]string{"-D", "-a", socket}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return socket
		}
		if time.Now().After(deadline) {
			t.Fatalf("the agent does not listen: %v", err)
		}
	}
}

// noWindows skips where an agent is no socket.
func noWindows(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the agent of Windows is a service behind a pipe: it was not tried")
	}
}

func sshAdd(t *testing.T, socket string, env []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("ssh-add", args...)
	cmd.Env = append(append(os.Environ(), "SSH_AUTH_SOCK="+socket), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func agentOptions(dir, socket string) Options {
	return Options{Dir: dir, Getenv: func(name string) string { return map[string]string{"SSH_AUTH_SOCK": socket}[name] }}
}

// TestAgent signs through a real ssh-agent, with each way of naming a key.
func TestAgent(t *testing.T) {
	socket := startAgent(t)
	dir := t.TempDir()
	o := agentOptions(dir, socket)
	refuses(t, "ssh-agent:", o, "the agent has 0 keys")
	keys := map[string]pack.PublicKey{}
	add := func(name string, kt pack.KeyType) {
		key := newKey(t, kt)
		block, err := ssh.MarshalPrivateKey(key, name)
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = publicOf(t, key)
		file(t, dir, name+".pub", []byte(keys[name].Line()+" whatever\n"))
		if out, err := sshAdd(t, socket, nil, "-q", file(t, dir, name, pem.EncodeToMemory(block))); err != nil {
			t.Fatalf("ssh-add: %v\n%s", err, out)
		}
	}
	add("anna@desk", pack.P256)
	s, err := Open(context.Background(), "ssh-agent:", o)
	if err != nil {
		t.Fatal(err)
	}
	for range 8 { // r and s differ in length from time to time
		signs(t, s, keys["anna@desk"])
	}
	add("ben", pack.Ed25519)
	for name, key := range keys {
		for _, selector := range []string{key.Fingerprint(), name, name + ".pub", filepath.Join(dir, name+".pub")} {
			s, err := Open(context.Background(), "ssh-agent:"+selector, o)
			if err != nil {
				t.Fatalf("%s: %v", selector, err)
			}
			signs(t, s, key)
		}
	}
	refuses(t, "ssh-agent:", o, "the agent has 2 such keys; name one by its fingerprint\n  SHA256:")
	refuses(t, "ssh-agent:carla", o, "none of which is it")
	refuses(t, "ssh-agent:SHA256:nonsense", o, "none of which is it")
	refuses(t, "ssh-agent:none.pub", o, "none.pub")
}

// TestAgentWithOtherKeys: an RSA key is no key for packs, and is not taken for
// one.
func TestAgentWithOtherKeys(t *testing.T) {
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("ssh-keygen is not installed: an agent with an RSA key was not tried")
	}
	socket, dir := startAgent(t), t.TempDir()
	path := filepath.Join(dir, "rsa")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := sshAdd(t, socket, nil, "-q", path); err != nil {
		t.Fatalf("ssh-add: %v\n%s", err, out)
	}
	refuses(t, "ssh-agent:", agentOptions(dir, socket), "it has to be Ed25519 or ECDSA P-256\n  SHA256:")
}

// TestAgentGone: who signs is told what is wrong with the agent.
func TestAgentGone(t *testing.T) {
	noWindows(t)
	refuses(t, "ssh-agent:", agentOptions("", ""), "SSH_AUTH_SOCK is not set")
	refuses(t, "ssh-agent:", agentOptions("", filepath.Join(t.TempDir(), "none")), "reaching the agent")
}

// TestHSMThroughTheAgent signs with a key in a PKCS #11 module (softhsm2) that
// the agent has loaded.
func TestHSMThroughTheAgent(t *testing.T) {
	module := softHSM(t)
	dir := t.TempDir()
	t.Setenv("SOFTHSM2_CONF", file(t, dir, "softhsm2.conf", []byte("directories.tokendir = "+dir+"\nlog.level = ERROR\n")))
	run := func(args ...string) {
		if out, err := exec.Command("softhsm2-util", args...).CombinedOutput(); err != nil {
			t.Fatalf("softhsm2-util %s: %v\n%s", args[0], err, out)
		}
	}
	run("--init-token", "--free", "--label", "packs", "--pin", "1234", "--so-pin", "5678")
	key := newKey(t, pack.P256)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	run("--import", file(t, dir, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})), "--token", "packs", "--label", "pack-key", "--id", "01", "--pin", "1234")
	socket := startAgent(t, "-P", module)
	askpass := file(t, dir, "askpass", []byte("#!/bin/sh\necho 1234\n"))
	if err := os.Chmod(askpass, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := sshAdd(t, socket, []string{"SSH_ASKPASS=" + askpass, "SSH_ASKPASS_REQUIRE=force"}, "-s", module); err != nil {
		t.Fatalf("ssh-add -s: %v\n%s", err, out)
	}
	for _, selector := range []string{"", "pack-key", publicOf(t, key).Fingerprint()} {
		s, err := Open(context.Background(), "ssh-agent:"+selector, agentOptions(dir, socket))
		if err != nil {
			t.Fatal(err)
		}
		signs(t, s, publicOf(t, key))
	}
}

// softHSM finds the module, its links followed as the agent follows them.
func softHSM(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("softhsm2-util"); err != nil {
		t.Skip("softhsm2 is not installed: signing with a hardware module was not tried")
	}
	for _, pattern := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			path, err := filepath.EvalSymlinks(found[0])
			if err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	t.Skip("softhsm2's module was not found: signing with a hardware module was not tried")
	return ""
}

// fakeAgent answers as it is told; unlike a real one it can lie and be silent.
type fakeAgent struct {
	agent.ExtendedAgent
	sign func(ssh.PublicKey, []byte) (*ssh.Signature, error)
}

func (f fakeAgent) SignWithFlags(k ssh.PublicKey, m []byte, _ agent.SignatureFlags) (*ssh.Signature, error) {
	return f.sign(k, m)
}

func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return l.Addr().String()
}

// TestAgentThatIsWrong: an agent that refuses, lies, or says nothing gives no
// signature.
func TestAgentThatIsWrong(t *testing.T) {
	noWindows(t)
	key := newKey(t, pack.P256)
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key, Comment: "k"}); err != nil {
		t.Fatal(err)
	}
	ofNumbers := func(r, s int64) []byte { return ssh.Marshal(struct{ R, S *big.Int }{big.NewInt(r), big.NewInt(s)}) }
	for _, tc := range []struct {
		name string
		sign func(ssh.PublicKey, []byte) (*ssh.Signature, error)
		why  string
	}{
		{"refuses", func(ssh.PublicKey, []byte) (*ssh.Signature, error) { return nil, errors.New("no") }, "the agent refused"},
		{"signs something else", func(k ssh.PublicKey, m []byte) (*ssh.Signature, error) {
			return ring.Sign(k, append(slices.Clone(m), 'x'))
		}, "no signature by its own key"},
		{"another form", func(k ssh.PublicKey, m []byte) (*ssh.Signature, error) {
			return &ssh.Signature{Format: "ssh-ed25519", Blob: make([]byte, 64)}, nil
		}, "of form"},
		{"no numbers", func(k ssh.PublicKey, m []byte) (*ssh.Signature, error) {
			return &ssh.Signature{Format: k.Type(), Blob: []byte{1}}, nil
		}, "the agent's signature"},
		{"not positive", func(k ssh.PublicKey, m []byte) (*ssh.Signature, error) {
			return &ssh.Signature{Format: k.Type(), Blob: ofNumbers(0, 1)}, nil
		}, "not positive"},
		{"negative", func(k ssh.PublicKey, m []byte) (*ssh.Signature, error) {
			return &ssh.Signature{Format: k.Type(), Blob: ofNumbers(5, -1)}, nil
		}, "not positive"},
	} {
		socket := listen(t, func(c net.Conn) { agent.ServeAgent(fakeAgent{ring.(agent.ExtendedAgent), tc.sign}, c) })
		s, err := Open(context.Background(), "ssh-agent:k", agentOptions("", socket))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Sign([]byte("message")); err == nil || !strings.Contains(err.Error(), tc.why) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.why)
		}
	}
	silent := agentOptions("", listen(t, func(c net.Conn) { io.Copy(io.Discard, c) }))
	silent.Timeout = time.Millisecond
	refuses(t, "ssh-agent:k", silent, "did not answer")
	stopped, stop := context.WithCancel(context.Background())
	silent.Timeout = 0
	stop()
	if _, err := Open(stopped, "ssh-agent:k", silent); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}
