package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"trustpack/examples/metering"
	"trustpack/internal/locker"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"trustpack": main})
}

// TestScripts runs the program as its users do; see testdata/script.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) < 5 {
		t.Fatalf("%d scripts were found (%v); the glob looks at the wrong place", len(scripts), err)
	}
	d, small := &shared{dir: filepath.Join(t.TempDir(), "demo"), make: wholeDemo}, &shared{dir: filepath.Join(t.TempDir(), "small"), make: smallPack}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			source, err := filepath.Abs(filepath.Join("..", ".."))
			e.Setenv("SOURCE", source)
			e.Setenv("TRUSTPACK_SIGSTORE", os.Getenv("TRUSTPACK_SIGSTORE"))
			e.Setenv("TRUSTPACK_ESTCLIENT", os.Getenv("TRUSTPACK_ESTCLIENT"))
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"demo": d.copyTo, "small": small.copyTo, "flip": flip, "freeports": freePorts, "waitfor": waitFor, "exits": exits,
		},
		Condition: func(cond string) (bool, error) {
			if cond == "sigstore" { // a folder with Sigstore's verifier for JavaScript
				return os.Getenv("TRUSTPACK_SIGSTORE") != "", nil
			}
			if cond == "estclient" { // somebody else's EST client
				return os.Getenv("TRUSTPACK_ESTCLIENT") != "", nil
			}
			tool, ok := strings.CutPrefix(cond, "has:")
			if !ok {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			_, err := exec.LookPath(tool)
			return err == nil, nil
		},
	})
}

// shared is a folder that is made once for all scripts.
type shared struct {
	dir    string
	make   func(dir string, out, progress io.Writer) error
	once   sync.Once
	output bytes.Buffer
	err    error
}

// copyTo is the commands "demo DIR" and "small DIR": the folder, copied to DIR,
// and what was printed when it was made in DIR.out.
func (d *shared) copyTo(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: demo DIR, or small DIR")
	}
	d.once.Do(func() {
		var progress bytes.Buffer
		if err := d.make(d.dir, &d.output, &progress); err != nil {
			d.err = fmt.Errorf("%w\n%s%s", err, d.output.String(), progress.String())
		}
	})
	ts.Check(d.err)
	ts.Check(os.CopyFS(ts.MkAbs(args[0]), os.DirFS(d.dir)))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".out"), d.output.Bytes(), 0o644))
}

// wholeDemo is the finished demo.
func wholeDemo(dir string, out, progress io.Writer) error {
	if code := run(context.Background(), []string{"demo", "--dir", dir}, strings.NewReader(""), out, progress); code != exitOK {
		return fmt.Errorf("the demo exited %d", code)
	}
	return nil
}

// smallPack is the demo's folder without an ingest: what the example's other
// sources hold is collected, and a pack built of it. It serves whatever needs a
// pack, and not one of ten thousand files.
func smallPack(dir string, out, progress io.Writer) (err error) {
	fleet, err := metering.Load()
	if err != nil {
		return err
	}
	services, err := startServices(filepath.Join(dir, "repository"))
	if err != nil {
		return err
	}
	defer services.Close()
	if err := writeExample(dir, fleet, services); err != nil {
		return err
	}
	p := metering.Quarter()
	a := &app{
		out: out, err: progress, config: filepath.Join(dir, "trustpack.yaml"),
		now: func() time.Time { return p.To.Add(time.Hour) }, getenv: func(string) string { return "sample-not-a-secret" },
	}
	cfg, err := a.loadConfig()
	if err != nil {
		return err
	}
	cfg.Collectors.Telemetry = nil // there is no ingest to ask
	if _, err := a.collect(context.Background(), cfg, p, nil); err != nil {
		return err
	}
	lock, err := a.openLocker(cfg)
	if err != nil {
		return err
	}
	key, err := lock.Ledger().VerifierKey(locker.LogName)
	if err := errors.Join(err, lock.Close()); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, locker.LogName+".vkey"), []byte(key+"\n"), 0o644); err != nil {
		return err
	}
	pack := filepath.Join(dir, "lindenau-"+p.String()+".epack.zip")
	if err := a.demoPack(context.Background(), cfg, p, pack); err != nil {
		return err
	}
	return a.demoVerify(dir, pack)
}

// exits is the command "exits CODE PROGRAM ARG…": the program must end with
// that code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	code := 0
	var ended *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &ended):
		code = ended.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("%s ended with %d, want %s\n%s%s", args[1], code, args[0], ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// flip is the command "flip FILE TEXT": it changes one bit of the first byte
// of TEXT where it first stands in FILE, or of the byte in the middle without
// TEXT.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: flip FILE [TEXT]")
	}
	data, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	at := len(data) / 2
	if len(args) == 2 {
		if at = bytes.Index(data, []byte(args[1])); at < 0 {
			ts.Fatalf("%s does not hold %q", args[0], args[1])
		}
	}
	data[at] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o644))
}

// freePorts is the command "freeports FILE NAME…": it replaces each NAME in
// FILE by a port that nothing listens on, and sets $NAME to it.
func freePorts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: freeports FILE NAME…")
	}
	data, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	for _, name := range args[1:] {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		ts.Check(l.Close())
		if !bytes.Contains(data, []byte(name)) {
			ts.Fatalf("%s does not hold %s", args[0], name)
		}
		data = bytes.ReplaceAll(data, []byte(name), []byte(port))
		ts.Setenv(name, port)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o644))
}

// waitFor is the command "waitfor ADDR": it waits until something listens
// there, for at most the tests' patience.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitfor HOST:PORT")
	}
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var c net.Conn
		if c, err = net.Dial("tcp", args[0]); err == nil {
			ts.Check(c.Close())
			return
		}
	}
	ts.Fatalf("nothing listens on %s: %v", args[0], err)
}

func TestUnknownCommandIsUsage(t *testing.T) {
	for _, args := range [][]string{{"nonsense"}, {"pack", "nonsense"}, {"pack"}, {"verify"}, {"verify", "--nonsense", "x"}, {"version", "extra"}} {
		var out, errOut bytes.Buffer
		if code := run(context.Background(), args, strings.NewReader(""), &out, &errOut); code != exitUsage || !strings.HasPrefix(errOut.String(), "trustpack: error: ") {
			t.Errorf("trustpack %s: exit %d, %q; want %d and an error", strings.Join(args, " "), code, errOut.String(), exitUsage)
		}
	}
}

func TestHintsStandBelowErrors(t *testing.T) {
	err := hint(errors.New("it broke"), "mend %s", "it")
	if got := hintOf(fmt.Errorf("doing: %w", err)); got != "mend it" {
		t.Errorf("hint is %q", got)
	}
}

func TestPlainTextNeutralisesTerminalEscapes(t *testing.T) {
	if got := plainText("a\x1b[31mred\u202e\n"); got != `a\u001b[31mred\u202e\u000a` {
		t.Errorf("got %q", got)
	}
}
