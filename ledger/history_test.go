package ledger

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"trustpack/internal/durable/crashfs"
)

// TestCheckpointsOfManyLogsCostOneSync counts the durable steps of a timer's
// round.
func TestCheckpointsOfManyLogsCostOneSync(t *testing.T) {
	o := testOptions()
	disk := crashfs.New()
	o.fsys = disk
	l := open(t, "/ledger", o)
	const logs = 50
	grow := func() {
		for i := range logs {
			appendOne(t, l, fmt.Sprintf("log-%d", i), "news")
		}
	}
	for round := range 3 {
		grow()
		disk.FailAt(0, crashfs.None)
		if err := l.PublishCheckpoints(); err != nil {
			t.Fatal(err)
		}
		if n := len(disk.Operations()); round > 0 && n != 2 {
			t.Errorf("round %d took %d steps, want a write and a sync: %q", round, n, disk.Operations())
		}
	}
	for i := range logs {
		log := fmt.Sprintf("log-%d", i)
		signed, err := l.LastCheckpoint(log)
		if err != nil {
			t.Fatal(err)
		}
		vkey, err := l.VerifierKey(log)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := OpenCheckpoint(signed, vkey); err != nil || c.Size != 3 {
			t.Errorf("%s: %+v, %v", log, c, err)
		}
	}
	disk.FailAt(0, crashfs.None)
	if err := l.PublishCheckpoints(); err != nil || len(disk.Operations()) > 0 {
		t.Errorf("without news: %v, %q", err, disk.Operations())
	}
}

// TestOneLogsContradictionKeepsNoOtherFromItsCheckpoint.
func TestOneLogsContradictionKeepsNoOtherFromItsCheckpoint(t *testing.T) {
	l := open(t, t.TempDir(), testOptions())
	for _, log := range []string{"a", "b"} {
		fill(t, l, log, 3)
	}
	if err := l.PublishCheckpoints(); err != nil {
		t.Fatal(err)
	}
	a, err := l.find("a")
	if err != nil {
		t.Fatal(err)
	}
	a.checkpoints.head.Root[0]++
	for _, log := range []string{"a", "b"} {
		fill(t, l, log, 1)
	}
	var c *ContradictionError
	if err := l.PublishCheckpoints(); !errors.As(err, &c) || c.Log != "a" {
		t.Errorf("publishing says %v", err)
	}
	for log, want := range map[string]int64{"a": 3, "b": 4} {
		if past, err := l.Checkpoints(log); err != nil || past[len(past)-1].Size != want {
			t.Errorf("the last checkpoint of %s is %+v, %v; want size %d", log, past, err, want)
		}
	}
}

// TestTornRecordIsLeftOut cuts and garbles a file of records at each byte.
func TestTornRecordIsLeftOut(t *testing.T) {
	disk := crashfs.New()
	file := func() *recordFile { return &recordFile{fsys: disk, dir: "/d", name: "f"} }
	read := func() (string, error) {
		var got []string
		err := file().read(func(b []byte) error { got = append(got, string(b)); return nil })
		return strings.Join(got, " "), err
	}
	if err := disk.MkdirAll("/d", 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := read(); got != "" || err != nil {
		t.Errorf("no file: %q, %v", got, err)
	}
	f := file()
	if err := f.replace(1, 2); err != nil {
		t.Fatal(err)
	}
	whole := f.length
	for _, body := range []int{3, 4} {
		if err := f.add(body); err != nil {
			t.Fatal(err)
		}
	}
	b := disk.Files()["/d/f"]
	last := slices.Index(b[whole:], '\n') + int(whole) + 1
	lines := strings.Index(string(b), `"lines":`) + len(`"lines":`)
	for at := range b {
		zeros := append(slices.Clone(b[:at]), make([]byte, len(b)-at)...)
		hole := slices.Clone(b) // the end reached the disk, and what is before it did not
		clear(hole[at : len(b)-1])
		files := map[string][]byte{"cut": slices.Clone(b[:at]), "zeros": zeros, "hole": hole}
		for bit := range 8 {
			flipped := slices.Clone(b)
			flipped[at] ^= 1 << bit
			files[fmt.Sprintf("flipped bit %d", bit)] = flipped
		}
		for what, spoilt := range files {
			flipped := strings.HasPrefix(what, "flipped")
			disk.Put("/d/f", spoilt)
			got, err := read()
			var d *DamageError
			switch damaged := errors.As(err, &d); {
			case flipped && at == lines && got == "1 2 3 4" && err == nil: // it stands outside the checksum
			case flipped && damaged && d.File == "f":
			case what == "hole" && at == len(b)-1 && got == "1 2 3 4" && err == nil: // there is none
			case !flipped && at >= last && got == "1 2 3" && err == nil:
			case !flipped && int64(at) >= whole && at < last && got == "1 2" && err == nil:
			case !flipped && int64(at) < whole && damaged:
			default:
				t.Errorf("%s at %d of %d: %q, %v", what, at, len(b), got, err)
			}
		}
	}
}
