package telemetry

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
	"trustpack/ledger"
)

const witnessName = "witness.example/w1"

func witnessKey(fill string) (ed25519.PrivateKey, string, []byte) {
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat(fill, ed25519.SeedSize)))
	material := append([]byte{4}, private.Public().(ed25519.PublicKey)...)
	id := sha256.Sum256(append([]byte(witnessName+"\n"), material...))
	return private, fmt.Sprintf("%s+%x+%s", witnessName, id[:4], base64.StdEncoding.EncodeToString(material)), id[:4]
}

// cosign has the last checkpoint of the log cosigned, whatever it holds.
func (s *served) cosign(log string) {
	s.t.Helper()
	private, key, id := witnessKey("w")
	post := func(_ context.Context, _ string, body []byte) ([]byte, int, error) {
		_, note, _ := bytes.Cut(body, []byte("\n\n"))
		text, _, _ := bytes.Cut(note, []byte("\n\n"))
		const at = 1782864000
		sig := binary.BigEndian.AppendUint64(slices.Clone(id), at)
		sig = append(sig, ed25519.Sign(private, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s\n", at, text))...)
		return fmt.Appendf(nil, "— %s %s\n", witnessName, base64.StdEncoding.EncodeToString(sig)), 200, nil
	}
	if err := s.led.Cosign(s.t.Context(), log, ledger.Witness{Key: key}, post); err != nil {
		s.t.Fatal(err)
	}
}

// TestCheckpointsSayWhoCosigned: one under the keys that the ingest names, or
// under those that are pinned, and never under others.
func TestCheckpointsSayWhoCosigned(t *testing.T) {
	_, key, _ := witnessKey("w")
	_, other, _ := witnessKey("x")
	s := newServed(t)
	s.control(day(1), evidence.AuditEntry{Type: evidence.EntryTenantAdded, Tenant: "nord"}, nil)
	s.checkpoint()
	s.control(day(3), evidence.AuditEntry{Type: evidence.EntryTenantAdded, Tenant: "sued"}, nil)
	s.checkpoint()
	s.cosign("control")
	answer := func(change func(map[string]any)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			inner := &served{t: t, led: s.led}
			rec := &recorder{header: http.Header{}}
			inner.ServeHTTP(rec, r)
			var v map[string]any
			if err := json.Unmarshal(rec.body.Bytes(), &v); err != nil {
				t.Error(err)
			}
			change(v)
			if err := json.NewEncoder(w).Encode(v); err != nil {
				t.Error(err)
			}
		}
	}
	s.broken["/v1/admin/config"] = answer(func(v map[string]any) {
		v["config"].(map[string]any)["ledger"] = map[string]any{"checkpoint_copy": "/mnt/b/c.json", "quorum": 1, "witnesses": []any{map[string]any{"name": witnessName, "key": key}}}
	})
	s.broken["/v1/admin/logs"] = answer(func(v map[string]any) {
		v["logs"].([]any)[0].(map[string]any)["kept"] = map[string]any{witnessName: 2}
		v["keepers"] = []any{map[string]any{"name": witnessName, "state": "agrees", "last_good": day(3)}}
	})
	for name, c := range map[string]struct {
		pinned []string
		want   string
	}{"named by the ingest": {nil, "[witness.example/w1]"}, "pinned": {[]string{key}, "[witness.example/w1]"}, "another pinned": {[]string{other}, "[]"}} {
		got := collectFrom(t, s, Config{WitnessKeys: c.pinned})
		first, latest := item(t, got[KindCheckpoints], "control@000000000001"), item(t, got[KindCheckpoints], "control@000000000002")
		if fmt.Sprint(first["cosigned_by"]) != "[]" || fmt.Sprint(latest["cosigned_by"]) != c.want {
			t.Errorf("%s: cosigned by %v and %v, want [] and %s", name, first["cosigned_by"], latest["cosigned_by"], c.want)
		}
		if said := strings.Contains(got[KindCheckpoints].Completeness.Note, "none are pinned in witness_keys"); said != (c.pinned == nil) {
			t.Errorf("%s: %s", name, got[KindCheckpoints].Completeness.Note)
		}
		if got := fmt.Sprint(latest["kept_apart"]); got != "[map[by:witness.example/w1 last_good:2026-07-04T00:00:00Z size:2 state:agrees]]" {
			t.Errorf("%s: kept apart: %s", name, got)
		}
		if got := fmt.Sprint(item(t, got[KindConfig], "ingest")["ledger"]); got != "map[checkpoint_copy:true quorum:1 witnesses:[witness.example/w1]]" {
			t.Errorf("%s: configuration: %s", name, got)
		}
	}
	if _, err := New(Config{URL: "https://x", WitnessKeys: []string{"nonsense"}}, Deps{}); err == nil || !strings.Contains(err.Error(), "witness_keys") {
		t.Errorf("%v", err)
	}
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
func (r *recorder) WriteHeader(int)             {}
