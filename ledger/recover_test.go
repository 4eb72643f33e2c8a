package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"trustpack/internal/durable/crashfs"
)

// crashed gives a disk on which three groups stand in the journal and nothing
// else was flushed, the path of the journal's segment, and where each group
// ends.
func crashed(t *testing.T) (*crashfs.FS, string, []int) {
	t.Helper()
	o := testOptions()
	disk := crashfs.New()
	o.fsys = disk
	l := open(t, "/ledger", o)
	path := filepath.Join("/ledger", segmentName(1))
	ends := []int{segmentHeaderSize}
	for i := range 3 {
		if _, err := l.Append(context.Background(), Entry{Log: "a", Data: fmt.Appendf(nil, "a%d", i)}, Entry{Log: "b", Data: fmt.Appendf(nil, "b%d", i)}); err != nil {
			t.Fatal(err)
		}
		b := disk.Files()[path]
		ends = append(ends, ends[i]+int(claimed(b[ends[i]:])))
	}
	disk = disk.Reboot(0)
	disk.Put(path, disk.Files()[path][:sectorSize]) // as a closed ledger would leave it
	return disk, path, ends
}

func TestTornTailIsCutAtEveryByte(t *testing.T) {
	disk, path, ends := crashed(t)
	whole := disk.Files()[path]
	for cut := ends[2]; cut <= ends[3]; cut++ {
		for what, tail := range map[string][]byte{"cut off": whole[:cut], "zeros": append(slices.Clone(whole[:cut]), make([]byte, 1000)...)} {
			disk := disk.Restart()
			disk.Put(path, tail)
			o := testOptions()
			o.fsys = disk
			l, err := Open("/ledger", o)
			if err != nil {
				t.Fatalf("%s at %d: %v", what, cut, err)
			}
			want := int64(2)
			if cut == ends[3] {
				want = 3
			}
			if l.Size("a") != want || l.Size("b") != want {
				t.Errorf("%s at %d: logs have %d and %d entries, want %d", what, cut, l.Size("a"), l.Size("b"), want)
			}
			torn := int64(0)
			switch header := ends[2] + groupHeaderSize; {
			case cut < ends[2]+markerSize || cut == ends[3]: // nothing that can be told from an earlier use
			case what == "cut off" && cut < ends[3]:
				torn = int64(cut - ends[2])
			case cut >= header:
				torn = int64(ends[3] - ends[2])
			default:
				torn = claimed(tail[ends[2]:])
			}
			if r := l.Recovery(); r.Cut != torn || r.Groups != int(want) || torn > 0 && (r.CutAt != int64(ends[2]) || r.CutFile != segmentName(1)) {
				t.Errorf("%s at %d: recovery says %+v, want a cut of %d bytes", what, cut, r, torn)
			}
			appendOne(t, l, "a", "goes on")
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if r, err := Fsck("/ledger", FsckOptions{fsys: disk}); err != nil || !r.OK() {
				t.Errorf("%s at %d: %v, %v", what, cut, r.Problems, err)
			}
		}
	}
}

// TestDamageBeforeTheTailIsRefused flips every bit position's byte in the
// groups before the last.
func TestDamageBeforeTheTailIsRefused(t *testing.T) {
	disk, path, ends := crashed(t)
	whole := disk.Files()[path]
	for at := range ends[2] {
		disk := disk.Restart()
		spoilt := slices.Clone(whole)
		spoilt[at] ^= 1 << (at % 8)
		disk.Put(path, spoilt)
		before := disk.Files()
		o := testOptions()
		o.fsys = disk
		_, err := Open("/ledger", o)
		var d *DamageError
		if !errors.As(err, &d) || d.File != segmentName(1) {
			t.Fatalf("byte %d flipped: %v, want damage of %s", at, err, segmentName(1))
		}
		group := 0
		for at >= ends[group] {
			group++
		}
		if group > 0 && (d.Offset != int64(ends[group-1]) || !strings.Contains(err.Error(), fmt.Sprintf("at byte %d:", ends[group-1]))) {
			t.Errorf("byte %d flipped: %v, want the offset %d", at, err, ends[group-1])
		}
		if !maps.EqualFunc(before, disk.Files(), slices.Equal) {
			t.Errorf("byte %d flipped: the refusal changed something", at)
		}
	}
}

func TestLossOfAFlushedSegmentIsRefused(t *testing.T) {
	o := testOptions()
	disk := crashfs.New()
	o.fsys = disk
	l := open(t, "/ledger", o)
	fill(t, l, "a", 10)
	appendOne(t, l, "a", "last")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("/ledger", segmentName(1))
	b := disk.Files()[path]
	disk = disk.Restart()
	scan, err := scanSegment(b, chain{}, func(group) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	disk.Put(path, b[:scan.end-1])
	o.fsys = disk
	_, err = Open("/ledger", o)
	var d *DamageError
	if !errors.As(err, &d) || !strings.Contains(err.Error(), "group 2 was made durable") {
		t.Errorf("a journal behind its own files: %v", err)
	}
}

// TestSegmentsMustFollowOneAnother puts a second segment behind the first.
func TestSegmentsMustFollowOneAnother(t *testing.T) {
	disk, path, ends := crashed(t)
	whole := disk.Files()[path]
	h, err := parseSegmentHeader(whole)
	if err != nil {
		t.Fatal(err)
	}
	var groups []group
	s, err := scanSegment(whole, chain{}, func(g group) error { groups = append(groups, g); return nil })
	if err != nil || len(groups) != 3 {
		t.Fatal(err, len(groups))
	}
	second := func(number uint64, bodies ...[]byte) []byte {
		h := segmentHeader{number: number, marker: marker{1, 2, 3, 4, 5, 6, 7, 8}}
		var groups [][]byte
		last := s.last
		for _, body := range bodies {
			g := make([]byte, groupHeaderSize)
			last = chain{last.number + 1, sealGroup(g, h.marker, last.number+1, last.crc, body)}
			groups = append(groups, append(g, body...))
		}
		return segmentFile(h, groups...)
	}
	run := func(log string, first int, entry string) []byte {
		b := append([]byte{byte(len(log))}, log...)
		b = append(b, 0, 0, 0, 0, 0, 0, 0, byte(first), 0, 0, 0, 1, 0, 0, 0, byte(2+len(entry)))
		return appendEntry(b, []byte(entry))
	}
	goesOn := second(2, append(run("a", 3, "more"), run("b", 3, "more")...), run("a", 4, "last"))
	spoilt := func(at int) []byte { b := slices.Clone(goesOn); b[at] ^= 1; return b }
	if scan, err := scanSegment(goesOn, s.last, func(group) error { return nil }); err != nil || scan.end != 192 {
		t.Fatal(scan, err)
	}
	renumbered := slices.Clone(whole[:ends[2]])
	sealGroup(renumbered[ends[1]:], h.marker, 3, groups[1].prevCRC, groups[1].body)
	for name, c := range map[string]struct {
		first   []byte
		second  []byte
		entries int64 // of log a; 0 where the ledger must be refused
		want    string
	}{
		"empty":                  {whole, second(2), 3, ""},
		"follows":                {whole, goesOn, 5, ""},
		"torn":                   {whole, goesOn[:191], 4, ""},
		"first group torn":       {whole, second(2, run("a", 3, "more"))[:segmentHeaderSize+40], 3, ""},
		"first group spoilt":     {whole, spoilt(segmentHeaderSize + 40), 0, "at byte 64: checksum of a group is wrong, and a good group follows"},
		"first marker spoilt":    {whole, spoilt(segmentHeaderSize), 0, "at byte 64: no group begins here, and a good group follows"},
		"behind a tear":          {whole[:ends[3]-1], goesOn, 0, fmt.Sprintf("%s is damaged at byte %d", segmentName(1), ends[2])},
		"empty behind a tear":    {whole[:ends[3]-1], second(2), 2, ""},
		"another number":         {whole, second(3), 0, "segment 3 under another name"},
		"cut at a group's end":   {whole[:ends[2]], goesOn, 0, segmentName(2) + " is damaged at byte 64: group 4 does not follow group 2"},
		"a group of other place": {renumbered, nil, 0, "group 3 does not follow group 1"},
	} {
		disk := disk.Restart()
		disk.Put(path, c.first)
		if c.second != nil {
			disk.Put(filepath.Join("/ledger", segmentName(2)), c.second)
		}
		o := testOptions()
		o.fsys = disk
		l, err := Open("/ledger", o)
		if c.entries == 0 {
			var d *DamageError
			if !errors.As(err, &d) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if l.Size("a") != c.entries {
			t.Errorf("%s: log a has %d entries, want %d", name, l.Size("a"), c.entries)
		}
		l.Close()
	}
	disk = disk.Restart()
	disk.Put(filepath.Join("/ledger", segmentName(3)), segmentHeader{number: 3}.encode())
	o := testOptions()
	o.fsys = disk
	if _, err := Open("/ledger", o); err == nil || !strings.Contains(err.Error(), segmentName(2)+" is damaged: the segment is missing") {
		t.Errorf("a missing segment: %v", err)
	}
}

func TestAGroupThatLeavesEntriesOutIsRefused(t *testing.T) {
	disk, path, ends := crashed(t)
	whole := slices.Clone(disk.Files()[path])
	h, err := parseSegmentHeader(whole)
	if err != nil {
		t.Fatal(err)
	}
	// Drop the second group, and make the third follow the first.
	third := slices.Clone(whole[ends[2]:ends[3]])
	first, _, err := parseGroup(whole[ends[0]:], h.marker)
	if err != nil {
		t.Fatal(err)
	}
	sealGroup(third, h.marker, 2, first.crc, third[groupHeaderSize:])
	disk.Put(path, append(whole[:ends[1]], third...))
	o := testOptions()
	o.fsys = disk
	_, err = Open("/ledger", o)
	if err == nil || !strings.Contains(err.Error(), "log a goes on with entry 2, but has 1") {
		t.Errorf("Open: %v", err)
	}
}

func TestFilesAreCutToWhatIsKnownToBeDurable(t *testing.T) {
	o := testOptions()
	disk := crashfs.New()
	o.fsys = disk
	l := open(t, "/ledger", o)
	fill(t, l, "a", 300)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	before := disk.Files()
	disk = disk.Restart()
	for name, b := range before {
		if strings.Contains(name, logsDir) {
			disk.Put(name, append(slices.Clone(b), "left by a crash"...))
		}
	}
	o.fsys = disk
	l = open(t, "/ledger", o)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, b := range disk.Files() {
		if strings.Contains(name, logsDir) && !slices.Equal(b, before[name]) {
			t.Errorf("%s has %d bytes, want %d", name, len(b), len(before[name]))
		}
	}
}

func TestAnEntryCannotPassForAGroup(t *testing.T) {
	disk, _, _ := crashed(t)
	o := testOptions()
	o.fsys = disk
	l := open(t, "/ledger", o)
	path := filepath.Join("/ledger", segmentName(2))
	appendOne(t, l, "a", "x")
	group := disk.Files()[path][segmentHeaderSize:]
	group = group[:claimed(group)] // a real group of this segment
	forged := slices.Clone(group)
	clear(forged[:markerSize]) // whose marker a device cannot know
	appendOne(t, l, "a", string(forged))
	whole := disk.Files()[path]
	at := segmentHeaderSize + len(group)
	whole[at+int(claimed(whole[at:]))-1] ^= 1
	disk = disk.Reboot(0)
	disk.Put(path, whole)
	o.fsys = disk
	_, err := Open("/ledger", o)
	var d *DamageError
	if !errors.As(err, &d) || d.Offset != int64(at) || strings.Contains(err.Error(), "a good group follows") {
		t.Errorf("Open: %v, want damage at byte %d", err, at)
	}
}

func TestAnOlderCopyThatASignedTreeContradictsIsRefused(t *testing.T) {
	o := testOptions()
	disk := crashfs.New()
	o.fsys = disk
	l := open(t, "/ledger", o)
	fill(t, l, "a", 300)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	old := disk.Restart()
	o.fsys = old
	l = open(t, "/ledger", o)
	fill(t, l, "a", 10)
	if _, err := l.Checkpoint("a"); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	signed := old.Files()["/ledger/signed.jsonl"]

	// The checkpoint kept apart, the rest from before it.
	rolled := disk.Restart()
	rolled.Put("/ledger/signed.jsonl", signed)
	o.fsys = rolled
	before := rolled.Files()
	_, err := Open("/ledger", o)
	var c *ContradictionError
	if !errors.As(err, &c) || c.Signed != 310 || c.Size != 300 {
		t.Errorf("a shorter tree: %v", err)
	}
	if !maps.EqualFunc(before, rolled.Files(), slices.Equal) {
		t.Error("the refusal changed something")
	}

	// Another history of the same length.
	other := disk.Restart()
	o.fsys = other
	l = open(t, "/ledger", o)
	for range 10 {
		appendOne(t, l, "a", "something else")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	other.Put("/ledger/signed.jsonl", signed)
	if _, err := Open("/ledger", o); !errors.As(err, &c) || !strings.Contains(err.Error(), "its first 310 entries hash to") {
		t.Errorf("another tree: %v", err)
	}
}

func TestAnotherInstanceOrSeedIsRefused(t *testing.T) {
	dir, o := t.TempDir(), testOptions()
	l := open(t, dir, o)
	fill(t, l, "a", 3)
	if _, err := l.Checkpoint("a"); err != nil {
		t.Fatal(err)
	}
	l.Close()
	other := o
	other.Instance = "elsewhere.example.com"
	if _, err := Open(dir, other); err == nil || !strings.Contains(err.Error(), "open the ledger under the instance name") {
		t.Errorf("another instance: %v", err)
	}
	other = o
	other.Seed = []byte(strings.Repeat("s", SeedSize))
	if _, err := Open(dir, other); err == nil || !strings.Contains(err.Error(), "not signed with this seed") {
		t.Errorf("another seed: %v", err)
	}
	for name, bad := range map[string]Options{
		"short seed": {Instance: "a", Seed: []byte("short")}, "no instance": {Seed: o.Seed}, "instance with a space": {Instance: "a b", Seed: o.Seed},
		"empty extension": {Instance: "a", Seed: o.Seed, Extensions: []string{""}}, "two-line extension": {Instance: "a", Seed: o.Seed, Extensions: []string{"a\nb"}},
	} {
		if l, err := Open(t.TempDir(), bad); err == nil {
			l.Close()
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), string(bad.Seed)) && len(bad.Seed) > 0 {
			t.Errorf("%s: the error tells the seed", name)
		}
	}
}

func TestAFailedWriteEndsAllWriting(t *testing.T) {
	for fault, want := range map[crashfs.Fault]error{crashfs.NoSpace: syscall.ENOSPC, crashfs.Short: syscall.EIO} {
		for step := 1; step <= 2; step++ { // the group's write, and its sync
			o := testOptions()
			disk := crashfs.New()
			o.fsys = disk
			l := open(t, "/ledger", o)
			appendOne(t, l, "a", "safe")
			disk.FailAt(step, fault)
			_, err := l.Append(context.Background(), Entry{Log: "a", Data: []byte("lost")})
			if !errors.Is(err, ErrJournalLost) || !errors.Is(err, want) || !strings.Contains(err.Error(), "writing group 2 to journal") {
				t.Errorf("%v: %v", fault, err)
			}
			if fault == crashfs.NoSpace && !strings.Contains(err.Error(), "the disk is full") {
				t.Errorf("%v: %v", fault, err)
			}
			steps := len(disk.Operations())
			_, again := l.Append(context.Background(), Entry{Log: "b", Data: []byte("more")})
			if !errors.Is(again, ErrJournalLost) || again.Error() != err.Error() || !errors.Is(l.Err(), ErrJournalLost) {
				t.Errorf("%v: the next append says %v, Err says %v", fault, again, l.Err())
			}
			if _, err := l.Checkpoint("a"); !errors.Is(err, ErrJournalLost) {
				t.Errorf("%v: a checkpoint says %v", fault, err)
			}
			if got := entries(t, l, "a", 0, math.MaxInt64); !slices.Equal(got, []string{"safe"}) {
				t.Errorf("%v: entries are %q", fault, got)
			}
			if err := l.Close(); !errors.Is(err, ErrJournalLost) {
				t.Errorf("%v: closing says %v", fault, err)
			}
			if more := disk.Operations()[steps:]; len(more) > 0 {
				t.Errorf("%v: something was written after the failure: %q", fault, more)
			}
		}
	}
}

func TestPublishedHistoryKeepsOneAnHour(t *testing.T) {
	dir, o := t.TempDir(), testOptions() // each look at the clock is a second later
	l := open(t, dir, o)
	for range 10 {
		fill(t, l, "a", 1)
		if _, err := l.PublishCheckpoint("a"); err != nil {
			t.Fatal(err)
		}
	}
	sizes := func(l *Ledger) string {
		history, err := l.Checkpoints("a")
		if err != nil {
			t.Fatal(err)
		}
		return sizesOf(history)
	}
	if got := sizes(l); got != "1, 10" {
		t.Errorf("published within a minute: %s, want the first and the last", got)
	}
	fill(t, l, "a", 1)
	first, err := l.Checkpoint("a")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := l.Checkpoint("a"); err != nil || string(again) != string(first) {
		t.Errorf("nothing is new, but the checkpoint is: %v", err)
	}
	fill(t, l, "a", 1)
	if _, err := l.PublishCheckpoint("a"); err != nil {
		t.Fatal(err)
	}
	l.Close()
	l = open(t, dir, o)
	if got := sizes(l); got != "1, 11, 12" {
		t.Errorf("after reopening: %s", got)
	}
	fill(t, l, "a", 1)
	if _, err := l.Checkpoint("a"); err != nil {
		t.Fatal(err)
	}
	if got := sizes(l); got != "1, 11, 13" {
		t.Errorf("at the end: %s", got)
	}
}

// TestACheckpointIsDurableBeforeItIsHandedOut fails the last step of storing
// one, so that the next process reads it and the disk does not hold it.
func TestACheckpointIsDurableBeforeItIsHandedOut(t *testing.T) {
	o := testOptions()
	disk := crashfs.New()
	o.fsys = disk
	l := open(t, "/ledger", o)
	fill(t, l, "a", 1)
	if _, err := l.Checkpoint("a"); err != nil {
		t.Fatal(err)
	}
	fill(t, l, "a", 1)
	if err := l.Close(); err != nil { // so that the next opening finds nothing to do
		t.Fatal(err)
	}
	l = open(t, "/ledger", o)
	disk.FailAt(2, crashfs.Short)
	if _, err := l.PublishCheckpoint("a"); !errors.Is(err, ErrJournalLost) {
		t.Fatalf("publishing: %v, after %q", err, disk.Operations())
	}
	disk = disk.Restart()
	o.fsys = disk
	l = open(t, "/ledger", o)
	signed, err := l.PublishCheckpoint("a")
	if err != nil {
		t.Fatal(err)
	}
	o.fsys = disk.Reboot(0)
	l = open(t, "/ledger", o)
	if last, err := l.LastCheckpoint("a"); err != nil || string(last) != string(signed) {
		t.Errorf("after a crash the last checkpoint is another than the one handed out: %v", err)
	}
}
