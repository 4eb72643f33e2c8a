package pack

import (
	"maps"
	"slices"
	"strings"
)

// redactions adds the vectors of packs from which files were taken out.
func (m *vectorMaker) redactions() {
	broken := badRedactions(m.t, m.vendor)
	for _, name := range slices.Sorted(maps.Keys(broken)) {
		bad := broken[name]
		v := m.add(20, "redaction, "+name, checkRedaction, "", bad.pack)
		switch {
		case bad.path == "":
			v.Expect = expectation{Exit: 3, Verdict: VerdictInconclusive, Check: checkRedaction}
		case strings.Contains(bad.path, "/raw/"), name == "numbers with a gap":
			v.Expect.Check = checkSet
		}
	}
	for _, w := range []struct{ name, path, check string }{
		{"control withheld", vectorControl, checkManifest},
		{"findings withheld", vectorFinding, checkFindings},
		{"exceptions withheld", exceptionsName, checkExceptions},
		{"checkpoint withheld", vectorLog + checkpointFile, checkCheckpoint},
	} {
		m.add(20, w.name, w.check, "", takenOut(m.t, m.good, m.vendor, w.path))
	}
}
