package ledger

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func excerptOf(t *testing.T) (Excerpt, string) {
	t.Helper()
	o := testOptions()
	o.Extensions = []string{"sample=true clock=simulated"}
	l := open(t, t.TempDir(), o)
	for _, n := range []int{5, 300, 10} {
		fill(t, l, "a", n)
		if _, err := l.Checkpoint("a"); err != nil {
			t.Fatal(err)
		}
	}
	e, err := l.Excerpt("a", 5, []int64{0, 7, 314})
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := l.VerifierKey("a")
	if err != nil {
		t.Fatal(err)
	}
	return e, vkey
}

func TestExcerptVerifies(t *testing.T) {
	e, vkey := excerptOf(t)
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var back Excerpt
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if err := back.Verify(vkey); err != nil {
		t.Fatal(err)
	}
	if len(back.History) != 2 || len(back.Records) != 3 || string(back.Records[1].Entry) != "a entry 7" {
		t.Errorf("the excerpt is %s", b)
	}
	c, index, err := VerifyProof([]byte(back.Records[2].Proof), vkey, back.Records[2].Entry)
	if err != nil || index != 314 || c.Size != 315 || c.Extensions[0] != "sample=true clock=simulated" {
		t.Errorf("proof of record 2: %+v, %d, %v", c, index, err)
	}
}

func TestExcerptRefusesEveryChange(t *testing.T) {
	other := testOptions()
	other.Seed = []byte(strings.Repeat("s", SeedSize))
	foreign, err := SignCheckpoint(Checkpoint{Origin: "ingest.example.com/a", Size: 315}, other.Seed)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Excerpt)
		want   string
	}{
		"origin":             {func(e *Excerpt) { e.Origin = "ingest.example.com/b" }, "origin"},
		"key":                {func(e *Excerpt) { e.VerifierKey += "x" }, "verifier key"},
		"checkpoint":         {func(e *Excerpt) { e.Checkpoint = strings.Replace(e.Checkpoint, "315", "316", 1) }, "checkpoint"},
		"foreign checkpoint": {func(e *Excerpt) { e.Checkpoint = string(foreign) }, "no signature by"},
		"previous":           {func(e *Excerpt) { e.Previous = e.Checkpoint }, "consistency"},
		"previous left out":  {func(e *Excerpt) { e.Previous = "" }, "consistency"},
		"consistency":        {func(e *Excerpt) { e.Consistency = e.Consistency[1:] }, "consistency of previous"},
		"consistency hash":   {func(e *Excerpt) { e.Consistency[0] = "AAAA" }, "not a SHA-256 hash"},
		"history size":       {func(e *Excerpt) { e.History[0].Size++ }, "history step 0"},
		"history order":      {func(e *Excerpt) { e.History[0], e.History[1] = e.History[1], e.History[0] }, "shrank"},
		"history cut":        {func(e *Excerpt) { e.History = e.History[:1] }, "history"},
		"history proof":      {func(e *Excerpt) { e.History[1].Consistency[0] = e.History[0].Root }, "history step 1"},
		"entry":              {func(e *Excerpt) { e.Records[1].Entry[0]++ }, "record 1 (index 7)"},
		"index":              {func(e *Excerpt) { e.Records[1].Index = 8 }, "its proof is for index 7"},
		"proof of another":   {func(e *Excerpt) { e.Records[1].Proof = e.Records[0].Proof }, "its proof is for index 0"},
		"proof's checkpoint": {func(e *Excerpt) { e.Records[1].Proof += "\n" }, "another checkpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			e, vkey := excerptOf(t)
			c.change(&e)
			err := e.Verify(vkey)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Verify: %v, want an error with %q", err, c.want)
			}
		})
	}
	e, vkey := excerptOf(t)
	if err := e.Verify(strings.Replace(vkey, "/a+", "/b+", 1)); err == nil {
		t.Error("another log's key verified it")
	}
}

func TestExcerptToEndsAtAnEarlierCheckpoint(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, testOptions())
	fill(t, l, "a", 3)
	if _, err := l.Checkpoint("a"); err != nil {
		t.Fatal(err)
	}
	want, err := l.Excerpt("a", 0, []int64{1})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, "a", 4)
	if _, err := l.Checkpoint("a"); err != nil {
		t.Fatal(err)
	}
	got, err := l.ExcerptTo("a", 0, 3, []int64{1})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("after the log grew, the excerpt to size 3 is\n%+v, was\n%+v", got, want)
	}
	if _, err := l.ExcerptTo("a", 0, 5, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("to a size without a checkpoint: %v, want ErrNotFound", err)
	}
	if _, err := l.ExcerptTo("a", 0, 3, []int64{3}); err == nil {
		t.Error("a record beyond the checkpoint was proved")
	}
}

func TestInstanceOf(t *testing.T) {
	dir := t.TempDir()
	if _, err := InstanceOf(dir); err == nil {
		t.Error("an empty folder has an instance")
	}
	l := open(t, dir, testOptions())
	fill(t, l, "a", 1)
	if _, err := l.Checkpoint("a"); err != nil {
		t.Fatal(err)
	}
	if got, err := InstanceOf(dir); err != nil || got != testOptions().Instance {
		t.Errorf("InstanceOf = %q, %v, want %q", got, err, testOptions().Instance)
	}
}
