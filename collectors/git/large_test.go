package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"trustpack/evidence"
)

// large makes a bare repository of n commits, one each ten minutes, every
// tenth a merge of a side branch of one commit; each changes one of 1000
// files in 50 folders. It gives the folder and the time of the first commit.
func large(t testing.TB, n int) (dir string, first time.Time) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed, so no large repository can be made")
	}
	dir, first = filepath.Join(t.TempDir(), "large.git"), time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	env := append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	initial := exec.Command("git", "init", "-q", "--bare", "-b", "main", dir)
	initial.Env = env
	if out, err := initial.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r, w := io.Pipe()
	go func() {
		b := bufio.NewWriter(w)
		for i := range n {
			ref, from := "main", i-1
			switch {
			case i%10 == 8:
				ref = "side"
			case i%10 == 9:
				from = i - 2
			}
			fmt.Fprintf(b, "commit refs/heads/%s\nmark :%d\ncommitter Anna Berg <anna@lindenau.example> %d +0000\ndata <<END\nchange %d\n\nReviewed-by: Carla\nEND\n",
				ref, i+1, first.Add(time.Duration(i)*10*time.Minute).Unix(), i)
			if i > 0 {
				fmt.Fprintf(b, "from :%d\n", from+1)
			}
			if i%10 == 9 {
				fmt.Fprintf(b, "merge :%d\n", i)
			}
			fmt.Fprintf(b, "M 644 inline folder%02d/file%02d\ndata <<END\n%d\nEND\n\n", i%50, i/50%20, i)
		}
		w.CloseWithError(errors.Join(b.Flush(), w.Close()))
	}()
	load := exec.Command("git", "-C", dir, "fast-import", "--quiet", "--depth=10")
	load.Env, load.Stdin = env, r
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir, first
}

// peak runs f and gives the largest heap that was live or not yet collected,
// in bytes, above what there was before.
func peak(f func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(25))
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, uint64(0)
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		var m runtime.MemStats
		for {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	f()
	close(done)
	watch.Wait()
	return most - min(most, before)
}

// BenchmarkLargeRepository reads 200,000 commits, a quarter of them in the
// window and all of them in the window, and tells the peak of the heap.
func BenchmarkLargeRepository(b *testing.B) {
	const n = 200_000
	dir, first := large(b, n)
	for _, days := range []int{91, 5000} {
		b.Run(fmt.Sprintf("days=%d", days), func(b *testing.B) {
			c, err := New(Config{Repositories: []Repository{{Path: dir, Name: "large"}}}, Deps{})
			if err != nil {
				b.Fatal(err)
			}
			items := 0
			for b.Loop() {
				items = 0
				most := peak(func() {
					err = c.Stream(context.Background(), evidence.Period{From: first, To: first.AddDate(0, 0, days)}, func(e evidence.Evidence) error {
						if e.Completeness.State != evidence.Complete {
							return fmt.Errorf("%s: %v", e.Kind, e.Completeness.Gaps)
						}
						if e.Kind == KindCommits {
							items += len(e.Population.Items)
						}
						return nil
					})
				})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(most)/1e6, "peak-MB")
			}
			b.ReportMetric(float64(items), "commits-in-window")
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}

// A long window comes in slices, which join to it and hold each commit once;
// whoever cannot keep one ends the reading.
func TestALongWindowComesInSlices(t *testing.T) {
	const n, size = 500, 250
	dir, first := large(t, n)
	p := evidence.Period{From: first, To: first.AddDate(0, 0, 10)}
	c, err := New(Config{Repositories: []Repository{{Path: dir, Name: "large"}, {Path: dir, Name: "again"}}}, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	c.slice = size
	at, ids := p.From, map[string]bool{}
	var kinds []evidence.Kind
	var repository evidence.Evidence
	err = c.Stream(t.Context(), p, func(e evidence.Evidence) error {
		kinds = append(kinds, e.Kind)
		if e.Kind == KindRepository {
			repository = e
		}
		if e.Kind != KindCommits {
			return nil
		}
		if !e.Window.From.Equal(at) || e.Completeness.Got != len(e.Population.Items) || e.Completeness.State != evidence.Complete {
			t.Errorf("a slice begins at %s, want %s; %+v", e.Window.From, at, e.Completeness)
		}
		at = e.Window.To
		if len(e.Population.Items) > size+2 { // the two clones' commits of one second stay together
			t.Errorf("a slice holds %d commits", len(e.Population.Items))
		}
		for _, it := range e.Population.Items {
			if ids[it.ID] {
				t.Errorf("%s comes twice", it.ID)
			}
			ids[it.ID] = true
			if when := it.Attributes["committed_at"].(string); when < stamp(e.Window.From) || when >= stamp(e.Window.To) {
				t.Errorf("a commit of %s is in the slice %s", when, e.Window)
			}
		}
		if _, _, _, err := evidence.RecordOf(e); err != nil {
			t.Error(err)
		}
		return nil
	})
	if err != nil || !at.Equal(p.To) || len(ids) != 2*n {
		t.Errorf("%d commits until %s: %v", len(ids), at, err)
	}
	if want := []evidence.Kind{KindCommits, KindCommits, KindCommits, KindCommits, KindRepository, KindTags}; !slices.Equal(kinds, want) {
		t.Errorf("the kinds are %v, want %v", kinds, want)
	}
	for _, it := range repository.Population.Items {
		if it.Attributes["commits_in_window"] != n || it.Attributes["commits"] != n {
			t.Errorf("%s: %v of %v commits in the window", it.ID, it.Attributes["commits_in_window"], it.Attributes["commits"])
		}
	}
	full := errors.New("the disk is full")
	calls := 0
	if err := c.Stream(t.Context(), p, func(evidence.Evidence) error { calls++; return full }); !errors.Is(err, full) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}
