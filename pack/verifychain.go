package pack

import (
	"bytes"
	"encoding/json"
	"fmt"

	"trustpack/ledger"
)

// checkChain holds the pack to the last one that was accepted of its
// organisation and system (FORMAT.md section 10). It leans on the checks of the
// logs before it: what of theirs failed makes the pack fail as it is.
func (v *verifier) checkChain() {
	r := v.c.root
	logs, err := v.c.Logs()
	if err == nil {
		v.accepted, err = accept(r, v.packSHA256, logs)
	}
	if err != nil && !v.res.failed() {
		v.res.fail(checkChain, logsName, "logs that can be kept for the next pack", err.Error())
	}
	if v.o.State == nil {
		v.res.skip(checkChain, "", "not compared with an earlier pack (no --state): sequence and previous are the vendor's word")
		return
	}
	last, err := v.o.State(r.Organisation, r.System)
	if err == nil && last != nil {
		err = last.check()
	}
	if err != nil {
		v.res.fail(checkOptions, "", "", "state: "+err.Error())
		return
	}
	if last == nil || last.Organisation != r.Organisation || last.System != r.System {
		why := "the state knows no earlier pack of this organisation and system: there is nothing yet to hold this one to"
		if r.Sequence > 1 {
			why += fmt.Sprintf("; %d came before it", r.Sequence-1)
		}
		v.res.skip(checkChain, "", why)
		return
	}
	if v.packSHA256 == last.PackJSON {
		v.res.pass(checkChain, fmt.Sprintf("it is the pack that was accepted last, %d", last.Sequence))
		return
	}
	v.checkSequence(*last)
	heads := map[string]LogHead{}
	for _, h := range logs {
		heads[h.Origin] = h
	}
	for _, kept := range last.Logs {
		v.checkGrowth(kept, heads, last.Sequence)
	}
	v.res.pass(checkChain, fmt.Sprintf("pack %d follows pack %d, which was accepted last; %d logs have grown from there", r.Sequence, last.Sequence, len(last.Logs)))
}

// checkSequence demands the pack that comes right after last.
func (v *verifier) checkSequence(last Accepted) {
	r := v.c.root
	accepted := fmt.Sprintf("pack %d of %s, the one accepted last, SHA-256 of its pack.json %s", last.Sequence, last.Period, last.PackJSON)
	fail := func(expected, actual string) { v.res.fail(checkChain, packJSONName, expected, actual) }
	next := last.Sequence + 1
	switch {
	case r.Sequence < last.Sequence:
		fail(fmt.Sprintf("pack %d, which comes after %s", next, accepted),
			fmt.Sprintf("pack %d, an older one: it was replaced by later packs; ask the vendor for the latest", r.Sequence))
		return
	case r.Sequence == last.Sequence:
		fail(accepted, fmt.Sprintf("another pack under the same number, SHA-256 of its pack.json %s: the vendor has issued two; keep both and ask him why", v.packSHA256))
		return
	case r.Sequence > next:
		fail(fmt.Sprintf("pack %d, which comes after %s", next, accepted),
			fmt.Sprintf("pack %d: packs are left out between them; ask the vendor for every pack from %d to %d and verify them in turn", r.Sequence, next, r.Sequence-1))
		return
	}
	if r.Previous != last.PackJSON {
		fail("a pack that names as its previous "+accepted, fmt.Sprintf("previous %s: it follows another pack %d than the one accepted; keep both and ask the vendor why there are two", r.Previous, last.Sequence))
	}
	if r.Period.From.Before(last.Period.From) {
		fail(fmt.Sprintf("a period that begins no earlier than %s of pack %d", last.Period, last.Sequence), fmt.Sprintf("%s: an older period sold as newer", r.Period))
	}
}

// checkGrowth demands that the pack proves the log to have grown from the head
// that was kept: that head must be on the line of checkpoints that it proves.
func (v *verifier) checkGrowth(kept AcceptedLog, heads map[string]LogHead, sequence int) {
	dir := logPath(kept.Origin)
	was := fmt.Sprintf("log %s, grown from %d entries with root %s in pack %d", kept.Origin, kept.Size, kept.Root, sequence)
	fail := func(name, actual string) { v.res.fail(checkChain, dir+name, was, actual) }
	head, ok := heads[kept.Origin]
	switch {
	case !ok:
		fail("", "the pack has no such log: ask the vendor for a pack that carries it")
	case head.Size < kept.Size:
		fail(checkpointFile, fmt.Sprintf("it has %d entries: entries were taken back, or the pack was made from an older copy", head.Size))
	case kept.Size == 0: // an empty log grows into any
	default:
		root, name, found := v.rootAt(head, kept.Size)
		switch {
		case !found:
			fail(checkpointFile, fmt.Sprintf("no checkpoint of %d entries is proved: it is not shown to have grown from what was accepted; ask the vendor to build the pack from that checkpoint on", kept.Size))
		case root != kept.Root:
			fail(name, fmt.Sprintf("at %d entries its root is %s: the log was forked, or written anew; keep both packs and ask the vendor why", kept.Size, root))
		}
	}
}

// rootAt gives the root that the pack's checkpoints of a log prove for a
// size, in base64, and the file that says it.
func (v *verifier) rootAt(head LogHead, size int64) (root, name string, found bool) {
	switch size {
	case head.Size:
		return head.Root, checkpointFile, true
	case head.PreviousSize:
		return head.PreviousRoot, previousFile, true
	}
	history, err := v.c.Read(logPath(head.Origin) + historyFile)
	if err != nil {
		return "", "", false // said by log.consistency
	}
	for line := range bytes.Lines(history) {
		var step ledger.HistoryStep
		if json.Unmarshal(line, &step) != nil {
			return "", "", false // likewise
		}
		if step.Size == size {
			return step.Root, historyFile, true
		}
	}
	return "", "", false
}
