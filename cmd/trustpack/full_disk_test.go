//go:build linux || darwin

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"crypto/tls"
	"crypto/x509"

	"trustpack/evidence"
	"trustpack/ingest"
)

// TestFullDisk lets the disk run full under an ingest: it must say so to
// whoever asks, take nothing more, and have all that it acknowledged when it
// is started again.
func TestFullDisk(t *testing.T) {
	t.Run("file size limit", func(t *testing.T) {
		s := initServed(t)
		cmd := exec.Command(os.Args[0], "-test.run=^TestServeUnderFileLimit$")
		cmd.Env = append(os.Environ(), fileLimit+"=2097152", fileLimit+"_CONFIG="+s.config)
		s.fillUp(cmd, "file too large", func() {})
	})
	t.Run("full file system", func(t *testing.T) {
		if out, err := exec.Command("unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", t.TempDir()).CombinedOutput(); err != nil {
			t.Skipf("a small file system cannot be mounted here: %v: %s", err, out)
		}
		s := initServed(t)
		cmd := exec.Command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", onSmallDisk, "sh", s.dir)
		s.fillUp(cmd, "the disk is full; entries acknowledged before are safe; free space and start again", func() {
			state := filepath.Join(s.dir, "state")
			if err := os.RemoveAll(state); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(s.dir, "copy"), state); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// onSmallDisk serves a state that lies on a file system of 3 MiB, and leaves
// what is there in the end in the folder copy.
const onSmallDisk = `
set -e
cp -a "$1/state" "$1/copy"
mount -t tmpfs -o size=3m none "$1/state"
cp -a "$1/copy/." "$1/state/"
trap 'kill -TERM $pid' INT
trustpack ingest serve --config "$1/trustpack.yaml" &
pid=$!
set +e
wait $pid
code=$?
if test $code -gt 128; then
	wait $pid
	code=$?
fi
rm -rf "$1/copy"
cp -a "$1/state" "$1/copy"
exit $code
`

// fileLimit names the variable that makes this test binary an ingest under a
// limit of file size.
const fileLimit = "TRUSTPACK_TEST_FILE_LIMIT"

// TestServeUnderFileLimit is no test of its own: TestFullDisk runs it as a
// process that serves. The limit has to be set inside, since the Go runtime
// ends a process that gets the limit's signal, unless told otherwise.
func TestServeUnderFileLimit(t *testing.T) {
	limit, err := strconv.ParseUint(os.Getenv(fileLimit), 10, 64)
	if err != nil {
		t.Skip("is run by TestFullDisk")
	}
	signal.Ignore(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, []string{"ingest", "serve", "--config", os.Getenv(fileLimit + "_CONFIG")}, os.Stdin, os.Stdout, os.Stderr))
}

// fillUp sends to the ingest that cmd serves until it can take no more, ends
// it, calls between, and starts it again with room.
func (s *served) fillUp(cmd *exec.Cmd, cause string, between func()) {
	t := s.t
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := s.ready(s.start())
	one, two := device{"north", "n-1"}, device{"south", "s-1"}
	pairs := s.enrol(ctx, one, two)
	s.stop(p)

	p = s.ready(s.start(cmd))
	first, second := s.deviceClient(pairs[one], true), s.deviceClient(pairs[two], false)
	batch := func(seq int64) (body []byte) {
		for i := range int64(10) {
			body = fmt.Appendf(body, `{"seq":%d,"time":%q,"type":"example.v1","data":{"value":%d}}`+"\n", seq+i, time.Now().UTC().Format(time.RFC3339), (seq+i)%1000)
		}
		return body
	}
	var seq int64
	var refused []byte
	for ; refused == nil; seq += 10 {
		body := batch(seq)
		receipt, err := first.Send(ctx, body)
		if err != nil {
			wantLost(t, "the batch that did not fit", err)
			refused = body
			break
		}
		if receipt.Accepted != 10 {
			t.Fatalf("receipt %+v", receipt)
		}
	}
	if seq < 100 {
		t.Fatalf("the disk was full after %d events: the test has shown nothing", seq)
	}
	_, err := first.Send(ctx, refused)
	wantLost(t, "the same batch again", err)
	_, err = second.Send(ctx, batch(0))
	wantLost(t, "a batch of another tenant", err)
	admin := s.operator("admin")
	wantLost(t, "a decision", admin.AddTenant(ctx, evidence.Tenant{ID: "west"}, "test"))
	if devices, err := admin.Devices(ctx, ""); err != nil || len(devices) != 2 {
		t.Errorf("the registry can be read no more: %v", err)
	}
	s.wantStatus("/readyz", http.StatusServiceUnavailable, "durability lost\n")
	s.wantStatus("/healthz", http.StatusOK, "ok\n")

	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if p.cmd.ProcessState.ExitCode() != exitUsage {
		t.Errorf("the ingest ended with %v, want %d", p.err, exitUsage)
	}
	for _, want := range []string{`"level":"ERROR","msg":"durability lost`, "trustpack: error: ", cause} {
		if !strings.Contains(p.errOut.String(), want) {
			t.Errorf("the ingest did not say %q:\n%s", want, p.errOut.String())
		}
	}
	between()

	p = s.ready(s.start())
	s.wantStatus("/readyz", http.StatusOK, "ready\n")
	if receipt, err := first.Send(ctx, refused); err != nil || receipt.Accepted+receipt.Duplicate != 10 {
		t.Errorf("sending it once more: %+v, %v", receipt, err)
	}
	s.stop(p)
	counts := map[int64]int{}
	stored, _ := s.stored()
	for i, data := range stored["north"] {
		var e struct {
			T   string
			Seq int64
		}
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if e.T == "event" {
			counts[e.Seq]++
		}
	}
	for n := range seq + 10 {
		if counts[n] != 1 {
			t.Errorf("event %d was acknowledged and stands in the log %d times", n, counts[n])
		}
	}
	if len(counts) != int(seq+10) {
		t.Errorf("the log holds %d events, want %d", len(counts), seq+10)
	}
	for _, data := range stored["south"] {
		t.Errorf("it was refused and stands in the log: %s", data)
	}
	s.fsck()
}

func wantLost(t *testing.T, what string, err error) {
	t.Helper()
	var p *ingest.Problem
	if !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable || p.Code != ingest.CodeDurabilityLost {
		t.Fatalf("%s: %v, want 503 %s", what, err, ingest.CodeDurabilityLost)
	}
}

// wantStatus asks the device port without a certificate, as a prober does.
func (s *served) wantStatus(path string, status int, body string) {
	s.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.root)
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	res, err := c.Get(s.public + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status || string(got) != body {
		s.t.Errorf("%s answers %d %q (%v), want %d %q", path, res.StatusCode, got, err, status, body)
	}
}
