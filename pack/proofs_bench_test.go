package pack

import (
	"testing"

	"trustpack/ledger"

	"golang.org/x/mod/sumdb/tlog"
)

// benchLogPack verifies a pack that cites entries of a log of 66,000, and
// reports how many a second were proved, by all that the verifier does.
func benchLogPack(b *testing.B, excerpt func(*testLog) ledger.Excerpt, entries int) {
	s := edSigner(b, 1)
	c, log := tiledContent(b)
	c.Logs[0] = excerpt(log)
	data := buildPack(b, c, s)
	o := options(b, s)
	for b.Loop() {
		if r := verifyBytes(data, o); r.Exit != 0 {
			b.Fatal(reportText(r))
		}
	}
	b.ReportMetric(float64(entries)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

func BenchmarkVerifyTiledLog(b *testing.B) {
	benchLogPack(b, func(l *testLog) ledger.Excerpt {
		var all []int64
		for n := range int64(tiledSize/ledger.TileWidth + 1) {
			all = append(all, n)
		}
		return l.tiled(300, all...)
	}, tiledSize)
}

func BenchmarkVerifySingleProofs(b *testing.B) {
	const proofs = 5000
	benchLogPack(b, func(l *testLog) ledger.Excerpt {
		cited := []int64{700, 701, tiledSize - 1}
		for n := range int64(proofs - 3) {
			cited = append(cited, 1000+n*13)
		}
		return l.excerpt(300, cited...)
	}, proofs)
}

// BenchmarkInclusionProof checks one proof of c2sp.org/tlog-proof: reading its
// text, hashing the entry, and the way to the root.
func BenchmarkInclusionProof(b *testing.B) {
	_, log := tiledContent(b)
	head, _ := log.checkpoint(tiledSize)
	e := log.excerpt(300, 1000, 30_000, 65_999)
	for b.Loop() {
		for _, r := range e.Records {
			p, err := ledger.ParseProof([]byte(r.Proof))
			if err != nil {
				b.Fatal(err)
			}
			if err := tlog.CheckRecord(p.Hashes, head.Size, head.Root, p.Index, ledger.LeafHash(r.Entry)); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(len(e.Records))*float64(b.N)/b.Elapsed().Seconds(), "proofs/s")
}
