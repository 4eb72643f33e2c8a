package main

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"trustpack/evidence"
	"trustpack/ledger"
)

func TestAssessIsOnlyFineWhereEverythingWasJudged(t *testing.T) {
	finding := func(o evidence.Outcome, exceptions ...evidence.Exception) evidence.Finding {
		return evidence.Finding{Outcome: o, Exceptions: exceptions}
	}
	met, none, absent := finding(evidence.OutcomeMet), finding(evidence.OutcomeNotApplicable), finding(evidence.OutcomeNotAvailable)
	for name, c := range map[string]struct {
		findings []evidence.Finding
		want     int
	}{
		"met":                            {[]evidence.Finding{met, none}, exitOK},
		"an exception":                   {[]evidence.Finding{absent, finding(evidence.OutcomeException, evidence.Exception{})}, exitWrong},
		"a certain one in what is there": {[]evidence.Finding{finding(evidence.OutcomeNotAvailable, evidence.Exception{})}, exitWrong},
		"an error":                       {[]evidence.Finding{finding(evidence.OutcomeError)}, exitWrong},
		"evidence is missing":            {[]evidence.Finding{met, absent}, exitInconclusive},
		"nothing applies":                {[]evidence.Finding{none}, exitInconclusive},
		"nothing at all":                 {nil, exitInconclusive},
	} {
		got := exitOK
		var e *exitError
		if err := assessVerdict(c.findings); errors.As(err, &e) {
			got = e.code
		}
		if got != c.want {
			t.Errorf("%s: exit %d, want %d", name, got, c.want)
		}
	}
}

// A key of a log that is not there has checked nothing.
func TestFsckSaysWhichKeysItDidNotUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	seed := bytes.Repeat([]byte("s"), 32)
	led, err := ledger.Open(dir, ledger.Options{Instance: "example.com", Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := led.Append(context.Background(), ledger.Entry{Log: "control", Data: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if _, err := led.Checkpoint("control"); err != nil {
		t.Fatal(err)
	}
	own, err := led.VerifierKey("control")
	if err := errors.Join(err, led.Close()); err != nil {
		t.Fatal(err)
	}
	other, err := ledger.VerifierKey(seed, "example.com/gone")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want int
		says string
	}{
		"the log's":     {[]string{"--log-key", own}, exitOK, ""},
		"one of two":    {[]string{"--log-key", own, "--log-key", other}, exitOK, "not checked: a key was given for example.com/gone"},
		"another log's": {[]string{"--log-key", other}, exitInconclusive, "none of the keys given"},
	} {
		var out, errOut bytes.Buffer
		code := run(context.Background(), append([]string{"ledger", "fsck", dir}, c.args...), strings.NewReader(""), &out, &errOut)
		if code != c.want || !strings.Contains(errOut.String(), c.says) {
			t.Errorf("%s: exit %d, want %d\n%s%s", name, code, c.want, out.String(), errOut.String())
		}
	}
}

// forgetful is a collector that promises two kinds and brings one.
type forgetful struct{}

func (forgetful) Name() string           { return "forgetful" }
func (forgetful) Kinds() []evidence.Kind { return []evidence.Kind{"forgetful.a", "forgetful.b"} }
func (forgetful) Collect(context.Context, evidence.Period) ([]evidence.Evidence, error) {
	return []evidence.Evidence{{Kind: "forgetful.a"}}, nil
}

func TestAKindThatDidNotComeBackIsAnError(t *testing.T) {
	var got []evidence.Kind
	err := each(t.Context(), forgetful{}, evidence.Period{}, func(e evidence.Evidence) error {
		got = append(got, e.Kind)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for wanted, want := range map[string]int{"forgetful": 1, "forgetful.b": 1, "forgetful.a": 0} {
		if errs := missingKinds(forgetful{}, got, []string{wanted}); len(errs) != want {
			t.Errorf("asked for %s: %v, want %d errors", wanted, errs, want)
		}
	}
}
