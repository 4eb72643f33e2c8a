package pack

import (
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"io"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
)

func p256Signer(t testing.TB) Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBuildAndVerify(t *testing.T) {
	for name, s := range map[string]Signer{"ed25519": edSigner(t, 1), "p256": p256Signer(t)} {
		t.Run(name, func(t *testing.T) {
			data := buildPack(t, content(t), s)
			r := verifyBytes(data, options(t, s))
			if r.Exit != 0 || r.Verdict != VerdictOK || !strings.HasSuffix(reportText(r), "verify: OK\n") {
				t.Fatalf("got exit %d\n%s", r.Exit, reportText(r))
			}
			again := buildPack(t, content(t), s)
			if !bytes.Equal(data, again) {
				t.Error("the same content and key gave other bytes")
			}
		})
	}
}

func TestArchiveIsPlain(t *testing.T) {
	data := buildPack(t, content(t), edSigner(t, 1))
	zr, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range zr.File {
		names = append(names, f.Name)
		if f.Method != zip.Store || len(f.Extra) > 0 || f.Flags != 0 || f.Comment != "" || f.Mode() != 0o644 || f.Modified.UTC().Year() != 1980 {
			t.Errorf("%s: %+v", f.Name, f.FileHeader)
		}
		rc, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, rc); err != nil { // archive/zip checks the CRC-32
			t.Errorf("%s: %v", f.Name, err)
		}
	}
	head := []string{"README.txt", "pack.json", "signatures/pack.json.sshsig", "signatures/vendor-1.sigstore.json", "manifest.jsonl", "bagit.txt", "bag-info.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt"}
	if !slices.Equal(names[:len(head)], head) {
		t.Errorf("the archive begins with %q", names[:len(head)])
	}
	for _, want := range []string{
		"data/1-identity/ID-01/control.json", "data/3-processing/PR-01/findings.json", "data/exceptions.json",
		"data/log/ingest.example/evidence/checkpoint.prev", "data/log/ingest.example/control/proofs/19.tlog-proof",
		"data/catalog/sub/PR-01.yaml", "trust/logs/ingest.example/control.vkey",
	} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not in %q", want, names)
		}
	}
	once := 0
	for _, n := range names {
		if strings.Contains(n, "/telemetry.devices/") && strings.HasSuffix(n, recordFile) {
			once++
		}
	}
	if once != 1 {
		t.Errorf("evidence that two controls cite is stored %d times", once)
	}
}

func TestBuildRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Content)
		want   string
	}{
		"evidence changed":      {func(c *Content) { c.Evidence[0].Population.Items[0].Attributes["n"] = 99 }, "has changed since"},
		"evidence not logged":   {func(c *Content) { c.Logs[0].Records = c.Logs[0].Records[1:] }, "no log excerpt holds"},
		"finding over nothing":  {func(c *Content) { c.Findings[0].Evidence[0].ID = strings.Repeat("0", 64) }, "not among the pack's"},
		"finding of no control": {func(c *Content) { c.Findings[0].Control = "XX-99" }, "no such control"},
		"unlabelled sample":     {func(c *Content) { sampled(t, c, false) }, "does not call itself sample"},
		"short secret":          {func(c *Content) { c.Secret = []byte("short") }, "secret"},
		"no sequence":           {func(c *Content) { c.Sequence = 0 }, "sequence"},
		"previous missing":      {func(c *Content) { c.Sequence = 2 }, "previous"},
		"control characters":    {func(c *Content) { c.System = "a\x1b[31m" }, "system"},
		"extra outside data":    {func(c *Content) { c.Extra[0].Path = "trust/vendor.pub" }, "belongs under data/"},
		"extra in our folder":   {func(c *Content) { c.Extra[0].Path = "data/log/x" }, "belongs under data/"},
		"extra climbs":          {func(c *Content) { c.Extra[0].Path = "data/../x" }, "leaves its folder"},
		"extra twice":           {func(c *Content) { c.Extra = append(c.Extra, File{Path: "data/Report/index.html"}) }, "in case only"},
		"broken excerpt":        {func(c *Content) { c.Logs[1].Records[0].Entry = []byte("other") }, "excerpt of ingest.example/control"},
		"stage unknown":         {func(c *Content) { c.Controls[0].Stage = "elsewhere" }, "stage"},
		"control climbs":        {func(c *Content) { c.Controls[0].ID = ".." }, "cannot name a folder"},
		"another period":        {func(c *Content) { c.Period, _ = evidence.ParsePeriod("2025-Q1") }, "outside the pack's period"},
	} {
		t.Run(name, func(t *testing.T) {
			c := content(t)
			tc.change(&c)
			var out bytes.Buffer
			_, err := Build(&out, c, edSigner(t, 1))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if out.Len() > 0 {
				t.Errorf("%d bytes were written", out.Len())
			}
		})
	}
}

// sampled turns the content's evidence into recorded sample data.
func sampled(t testing.TB, c *Content, label bool) {
	ids := map[string]string{}
	for i := range c.Evidence {
		e := &c.Evidence[i]
		e.Provenance.Origin, e.Provenance.Clock = evidence.OriginSample, evidence.ClockSimulated
		_, _, id, err := evidence.RecordOf(e.Evidence)
		if err != nil {
			t.Fatal(err)
		}
		ids[e.ID], e.ID = id, id
	}
	for i := range c.Findings {
		for j := range c.Findings[i].Evidence {
			cited := &c.Findings[i].Evidence[j]
			cited.ID = ids[cited.ID]
		}
	}
	c.Logs = nil
	if label {
		c.Sample, c.Clock = true, evidence.ClockSimulated
	}
}

func TestSampleIsNeverTakenForReal(t *testing.T) {
	c, s := content(t), edSigner(t, 1)
	sampled(t, &c, true)
	r := verifyBytes(buildPack(t, c, s), VerifyOptions{Keys: []PublicKey{s.Public()}})
	if r.Exit != 0 || !r.Sample || r.Clock != evidence.ClockSimulated {
		t.Fatalf("got %+v", r)
	}
	if text := reportText(r); !strings.HasSuffix(text, "verify: OK  (SAMPLE DATA, SIMULATED CLOCK)\n") {
		t.Errorf("the verdict does not say what the pack is:\n%s", text)
	}
}

func TestManyLogsStayWithinPackJSON(t *testing.T) {
	c, s := content(t), edSigner(t, 1)
	for i := range 60 {
		l := &testLog{t: t, origin: "ingest.example/tenant-" + strings.Repeat("x", i+1), seed: seed(7)}
		l.add([]byte("e"))
		c.Logs = append(c.Logs, l.excerpt(0))
	}
	data := buildPack(t, c, s)
	r := verifyBytes(data, options(t, s))
	if r.Exit != 0 {
		t.Fatal(reportText(r))
	}
	p, err := Open(bytes.NewReader(data), int64(len(data)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Root().LogsOmitted != 62 || len(p.Root().Logs) != 0 {
		t.Errorf("root %+v", p.Root())
	}
	if sum, err := Show(bytes.NewReader(data), int64(len(data)), Limits{}); err != nil || len(sum.Logs) != 62 {
		t.Errorf("Show: %d logs, %v", len(sum.Logs), err)
	}
}

func TestManifestLineIsCanonicalAsEncoded(t *testing.T) {
	at, window := day(1), quarter()
	l := Line{&at, []string{"ID-01"}, []string{"data/x"}, "kind<&>", "text/plain", "data/y", strings.Repeat("a", 64), strings.Repeat("b", 32), strings.Repeat("c", 64), 17, evidence.StageIdentity, &window, ""}
	got, err := l.encode()
	if err != nil {
		t.Fatal(err)
	}
	want, err := evidence.CanonicalJSON(l)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %s\nwant %s (%v)", got, want, err)
	}
}
