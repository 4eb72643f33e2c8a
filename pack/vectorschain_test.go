package pack

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
)

// chain adds the vectors of a verifier that accepted the first pack, and of
// one that knows a witness.
func (m *vectorMaker) chain() {
	numbers := map[string]int{"a second pack 1": 30, "sequence gap": 30, "wrong previous": 30, "earlier period under a later number": 29,
		"smaller log": 35, "log left out": 35, "log not proved to have grown": 35}
	kept := m.kept(m.good)
	broken := brokenChain(m.t, m.vendor)
	for _, name := range slices.Sorted(maps.Keys(broken)) {
		number, ok := numbers[name]
		if !ok {
			number = 34
		}
		v := m.add(number, name, checkChain, "", broken[name].pack) // at which of a log's files is for each verifier to say
		v.Anchors.State = kept
		if name == "log left out" {
			v.Anchors.LogKeys = v.Anchors.LogKeys[:1]
		}
	}
	next := buildPack(m.t, nextContent(m.t, packSum(m.t, m.good)), m.vendor)
	old := m.add(29, "older pack sold as the latest", checkChain, packJSONName, m.good)
	old.Anchors.State = m.kept(next)

	w, forger := newWitness("witness.example/w1", 40), newWitness("witness.example/w1", 42)
	bad := m.add(38, "cosignature by another key", checkWitness, vectorLog+checkpointFile,
		buildPack(m.t, forgedUnder(m.t, cosignedContent(m.t, forger), forger, w), m.vendor))
	bad.Anchors.Witnesses = []string{w.vkey()}
	none := m.add(38, "no cosignature of the witness given", checkWitness, vectorLog+checkpointFile, m.good)
	none.Anchors.Witnesses = []string{w.vkey()}
	none.Expect.Exit, none.Expect.Verdict = 3, VerdictInconclusive
}

func (m *vectorMaker) kept(pack []byte) json.RawMessage {
	text, err := acceptedOf(m.t, pack, (vector{Anchors: m.anchors}).options(m.t)).Encode()
	if err != nil {
		m.t.Fatal(err)
	}
	return text
}

// state is what the vector's verifier has accepted before.
func (a vectorAnchors) state(t testing.TB) func(string, string) (*Accepted, error) {
	if a.State == nil {
		return nil
	}
	kept, err := ParseAccepted(a.State)
	if err != nil {
		t.Fatal(err)
	}
	return knows(&kept)
}
