package pack

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"trustpack/evidence"
)

func sampleName(n int) string    { return fmt.Sprintf("%ssample-%d.json", signaturesDir, n) }
func worksheetName(n int) string { return fmt.Sprintf("%ssample-%d.xlsx", signaturesDir, n) }

// checkSamples draws every sample of the pack again and demands that a
// reviewer or an auditor signed for it: a sample that nobody answers for could
// have been put in, or drawn until it pleased.
func (v *verifier) checkSamples() {
	samples, worksheets := numbersOf(v.c.Paths(), samplePath), numbersOf(v.c.Paths(), worksheetPath)
	if gap := gapIn(samples); gap > 0 {
		v.res.fail(checkSample, sampleName(samples[gap-1]), "numbers from 1 without a gap", sampleName(gap)+" is missing")
	}
	for _, n := range worksheets {
		if !slices.Contains(samples, n) {
			v.res.fail(checkSample, worksheetName(n), "the sample that it is the worksheet of", sampleName(n)+" is missing")
		}
	}
	if len(samples)+len(worksheets) == 0 {
		v.res.skip(checkSample, "", "the pack carries no sample")
		return
	}
	v.carriesSample = true
	var drawn []string
	for _, n := range samples {
		if s, ok := v.checkSample(n); ok {
			drawn = append(drawn, fmt.Sprintf("%d of %d %s", len(s.Drawn), s.Population.Size, s.Population.Kind))
		}
	}
	if len(drawn) > 0 {
		v.res.pass(checkSample, "drawn again: "+strings.Join(drawn, ", "))
	}
}

// checkSample checks one sample; false where something is wrong with it.
func (v *verifier) checkSample(n int) (Sample, bool) {
	name := sampleName(n)
	fail := func(path, expected, actual string) (Sample, bool) {
		v.res.fail(checkSample, path, expected, actual)
		return Sample{}, false
	}
	data, err := v.c.a.read(name, maxSampleFile)
	if err != nil {
		return fail(name, "a sample", err.Error())
	}
	s, err := ParseSample(data)
	if err != nil {
		return fail(name, "a sample in canonical form", err.Error())
	}
	if s.Worksheet != "" {
		sum, ok := v.tags[worksheetName(n)]
		if !ok {
			return fail(worksheetName(n), "the worksheet that the sample names", "it is missing")
		}
		if got := hex32(sum); got != s.Worksheet {
			return fail(worksheetName(n), "SHA-256 "+s.Worksheet+", as the sample says", "SHA-256 "+got)
		}
	} else if _, ok := v.tags[worksheetName(n)]; ok {
		return fail(worksheetName(n), "a worksheet that the sample names", "it names none")
	}
	err = v.c.Redraw(s)
	var withheld *WithheldError
	if errors.As(err, &withheld) {
		v.res.withhold(checkSample, withheld.Path, "nothing was drawn again from it: "+withheld.Error())
		v.sampleCited(name, evidence.SHA256Hex(data))
		return Sample{}, false
	}
	if err != nil {
		return fail(name, "what its seed draws from the pack's population", err.Error())
	}
	return s, v.sampleCited(name, evidence.SHA256Hex(data))
}

// sampleCited demands that somebody's signature cites the sample.
func (v *verifier) sampleCited(name, digest string) bool {
	cited := false
	for _, sig := range v.signatures {
		if !slices.Contains(sig.said.properties, sampleProperty+digest) {
			continue
		}
		cited = true
		if slices.ContainsFunc(v.signedBy[sig.role], func(k PublicKey) bool { return k.Fingerprint() == sig.bundle.hint }) {
			return true
		}
	}
	if cited {
		v.res.skip(checkSample, name, "it is drawn as its seed says, but no given key verifies the signature that cites it")
		return true
	}
	v.res.fail(checkSample, name, "a reviewer's or auditor's signature that cites it, "+digest, "none does")
	return false
}
