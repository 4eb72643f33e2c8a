package telemetry

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"

	"trustpack/evidence"
	"trustpack/ledger"
)

// checkpoints are the signed heads of every log over the period, each
// verified and proved to extend the one before.
func (r *run) checkpoints() part {
	p := part{kind: KindCheckpoints, basis: "verified-log"}
	p.from(r.logsReply, "logs.json", "list of logs")
	for _, v := range r.logs {
		p.requests = append(p.requests, v.requests...)
		if v.err != nil {
			p.gap("log "+v.name, v.err)
			continue
		}
		p.note = join(p.note, v.note())
		kept, err := r.citing(v)
		if err != nil {
			p.gap("excerpt of log "+v.name, fmt.Errorf("making it: %w", err))
			continue
		}
		p.raw = append(p.raw, kept...)
		r.checkpointItems(&p, v)
	}
	return p
}

// checkpointItems lists what Excerpt.Verify has accepted: a step that did not
// verify would have made the view an error, and so a gap. Cosignatures are
// verified here; how the keepers stand is the ingest's word.
func (r *run) checkpointItems(p *part, v *logView) {
	seen := map[int64]bool{}
	keys, pinned := r.witnessKeys()
	if len(keys) > 0 && !pinned {
		p.note = join(p.note, "cosignatures were verified under the keys that the ingest itself names (none are pinned in witness_keys)")
	}
	for i, step := range v.excerpt.History {
		if seen[step.Size] || step.Time.Before(r.period.From) {
			continue // one before the period is there for the proof alone
		}
		seen[step.Size] = true
		_, by, err := ledger.OpenCosigned([]byte(step.Note), v.key, keys)
		if err != nil {
			p.gap(fmt.Sprintf("cosignatures of checkpoint %d of log %s", step.Size, v.name), err)
			continue
		}
		names := []string{}
		for _, c := range by {
			names = append(names, c.Witness)
		}
		attributes := map[string]any{
			"log": v.name, "origin": v.origin, "size": step.Size, "root": step.Root, "time": ts(step.Time),
			"signature_valid": true, "consistent": true, "position": "history", "key_pinned": v.pinned,
			"cosigned_by": list(names),
		}
		if i == len(v.excerpt.History)-1 {
			attributes["position"] = "latest"
			attributes["kept_apart"] = r.keptApart(v)
		}
		p.add(fmt.Sprintf("%s@%012d", v.name, step.Size), attributes)
	}
}

// witnessKeys are the keys under which cosignatures count, and whether they
// are Config's own.
func (r *run) witnessKeys() (keys []string, pinned bool) {
	if len(r.cfg.WitnessKeys) > 0 {
		return r.cfg.WitnessKeys, true
	}
	for _, w := range r.setup.settings.Ledger.Witnesses {
		keys = append(keys, w.Key)
	}
	return keys, false
}

func (s settings) witnessNames() []string {
	var out []string
	for _, w := range s.Ledger.Witnesses {
		out = append(out, w.Name)
	}
	return out
}

// keptApart is how each keeper of checkpoints stands with the log: how many
// entries are under the checkpoint that it has, and how it fared last.
func (r *run) keptApart(v *logView) []any {
	out := []any{}
	for _, k := range r.keepers {
		out = append(out, map[string]any{"by": k.Name, "state": k.State, "size": v.kept[k.Name], "last_good": ts(k.LastGood)})
	}
	return out
}

// deadLetters are the events of the period that could not be accepted, each
// with its bytes' digest and its inclusion in the tenant's log.
func (r *run) deadLetters() part {
	p, decisions := r.fromControl(KindDeadLetters, func(e entry) bool {
		return (e.Type == evidence.EntryLetterReplayed || e.Type == evidence.EntryLetterDiscarded) && e.Result != "refused"
	})
	p.basis = "reconciled"
	decided := r.decidedLetters(&p, decisions)
	if r.logsReply.err != nil {
		p.needs(r.logsReply, "list of logs")
	}
	r.needTenants(&p)
	for i, rep := range r.deadLetterReplies {
		p.from(rep, fmt.Sprintf("deadletters-%03d.json", i+1), fmt.Sprintf("dead letters, page %d", i+1))
	}
	included := r.provenDeadLetters(&p)
	listed := map[string]int64{}
	for _, d := range r.dead {
		if !r.period.Contains(d.Received) {
			continue
		}
		listed[d.Tenant]++
		id := fmt.Sprintf("%s/%010d", d.Tenant, d.Index)
		state, by := "open", decided[id]
		switch by.Type {
		case evidence.EntryLetterReplayed:
			state = "replayed"
			if _, ok := r.replayed[id]; !ok {
				p.gap(id, fmt.Errorf("control entry %d replays it and the tenant's log holds no event that names it", by.index))
			}
		case evidence.EntryLetterDiscarded:
			state = "discarded"
		}
		if d.State != state && d.State != "" && !by.Time.After(r.at) { // what came while this ran may differ
			p.gap(id, fmt.Errorf("the ingest calls it %s and by the control log it is %s", d.State, state))
		}
		p.add(id, map[string]any{
			"decided_by": by.actorName(), "decided_at": ts(by.Time), "decision_reason": by.Reason, "replayed_as": r.replayedAs(id),
			"tenant": d.Tenant, "device": d.Device, "reason": d.Reason, "detail": d.Detail, "received": ts(d.Received),
			"bytes_sha256": evidence.SHA256Hex(d.Bytes), "size": len(d.Bytes), "state": state, "included": included[id],
		})
	}
	counted := map[string]int64{}
	for day, c := range r.counts {
		tenant := day[:len(day)-len("/2006-01-02")]
		counted[tenant] += c.deadLettered
	}
	for _, tenant := range r.tenants() {
		if counted[tenant] != listed[tenant] {
			p.gap("dead letters of "+tenant, fmt.Errorf("the ingest lists %d in the period and the tenant's log holds %d", listed[tenant], counted[tenant]))
		}
	}
	return p
}

// decidedLetters gives the decision over each dead letter, by item ID.
func (r *run) decidedLetters(p *part, decisions []entry) map[string]entry {
	out := map[string]entry{}
	for _, e := range decisions {
		var d struct{ Index int64 }
		if err := e.data(&d); err != nil {
			p.gap("what became of a dead letter", err)
			continue
		}
		out[fmt.Sprintf("%s/%010d", e.Tenant, d.Index)] = e
	}
	return out
}

// replayedAs names the event that a dead letter became, "tenant/index".
func (r *run) replayedAs(id string) string {
	index, ok := r.replayed[id]
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s/%d", id[:len(id)-len("/0000000000")], index)
}

func (r *run) tenants() []string {
	var out []string
	for _, v := range r.logs {
		if v.name != controlLog {
			out = append(out, v.name)
		}
	}
	slices.Sort(out)
	return out
}

// provenDeadLetters asks for the inclusion proofs of the listed dead letters,
// a hundred at a time, and keeps the excerpts that carry them.
func (r *run) provenDeadLetters(p *part) map[string]bool {
	proven := map[string]bool{}
	byTenant := map[string][]deadLetter{}
	for _, d := range r.dead {
		if r.period.Contains(d.Received) {
			byTenant[d.Tenant] = append(byTenant[d.Tenant], d)
		}
	}
	for _, tenant := range r.tenants() {
		v := r.log(tenant)
		if v.err != nil {
			continue
		}
		for part, chunk := range slices.Collect(slices.Chunk(byTenant[tenant], 100)) {
			query := fmt.Sprintf("since=%d", v.head.Size)
			for _, d := range chunk {
				query += fmt.Sprintf("&record=%d", d.Index)
			}
			rep := r.get(fmt.Sprintf("/v1/admin/excerpt/%s?%s", url.PathEscape(tenant), query))
			var excerpt ledger.Excerpt
			if rep.err = rep.decode(&excerpt); rep.err == nil {
				rep.err = excerpt.Verify(v.key)
			}
			p.from(rep, fmt.Sprintf("proofs-%s-%03d.json", tenant, part+1), "proofs of dead letters of "+tenant)
			if rep.err != nil {
				continue
			}
			held := map[int64][]byte{}
			for _, rec := range excerpt.Records {
				held[rec.Index] = rec.Entry
			}
			for _, d := range chunk {
				proven[fmt.Sprintf("%s/%010d", tenant, d.Index)] = holdsDeadLetter(held[d.Index], d)
			}
		}
	}
	return proven
}

// holdsDeadLetter compares a proven entry with what the ingest listed: the
// bytes with what the entry commits to, or, in a log from before there were
// payloads, holds itself. Bytes that were purged cannot be compared.
func holdsDeadLetter(entry []byte, d deadLetter) bool {
	var e struct {
		T       string `json:"t"`
		Device  string `json:"device"`
		Reason  string `json:"reason"`
		Bytes   []byte `json:"bytes"`
		Payload string `json:"payload"`
	}
	if json.Unmarshal(entry, &e) != nil || e.T != "deadletter" || e.Device != d.Device || e.Reason != d.Reason {
		return false
	}
	if e.Payload == "" {
		return bytes.Equal(e.Bytes, d.Bytes)
	}
	salt, err := hex.DecodeString(d.Salt)
	return err == nil && (d.Purged && len(d.Bytes) == 0 || evidence.SHA256Hex(append(salt, d.Bytes...)) == e.Payload)
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
