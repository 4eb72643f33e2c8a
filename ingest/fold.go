package ingest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"trustpack/evidence"
	"trustpack/ledger"
)

// foldAll rebuilds the state from the logs alone.
func foldAll(led *ledger.Ledger, window int64) (*state, []evidence.AuditEntry, error) {
	st := newState(window)
	missed, err := st.fold(led, nil)
	return st, missed, err
}

// fold takes the state on from the sizes of the logs of which it is to their
// ends; see foldTo.
func (st *state) fold(led *ledger.Ledger, from map[string]int64) (missed []evidence.AuditEntry, err error) {
	return st.foldTo(led, from, led.Sizes())
}

// foldTo takes the state on from the sizes of the logs of which it is to
// others. The control log comes first, then each tenant's; within one log order
// counts, between them it does not: gaps, which stand in the control log, are
// applied last, and closing a window's past gives the same result then as it
// gave when it happened.
//
// missed are entries for gaps that events closed but that the control log does
// not hold, since the process ended between the two.
func (st *state) foldTo(led *ledger.Ledger, from, to map[string]int64) (missed []evidence.AuditEntry, err error) {
	gaps, err := st.foldControl(led, from[controlLog], to[controlLog])
	if err != nil {
		return nil, fmt.Errorf("folding the control log: %w", err)
	}
	found, err := st.foldTenants(led, from, to)
	if err != nil {
		return nil, err
	}
	for i := range gaps {
		if err := st.apply(0, &gaps[i]); err != nil {
			return nil, fmt.Errorf("folding the control log: a gap: %w", err)
		}
	}
	return unrecorded(found, gaps)
}

// foldTenants folds the tenants' logs beside each other: no two have anything
// in common.
func (st *state) foldTenants(led *ledger.Ledger, from, to map[string]int64) ([]deviceGap, error) {
	tenants := st.sortedTenants()
	found := make([][]deviceGap, len(tenants))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, t := range tenants {
		if to[t.ID] == from[t.ID] {
			continue
		}
		g.Go(func() error {
			if err := st.foldTenant(led, t, from[t.ID], to[t.ID], &found[i]); err != nil {
				return fmt.Errorf("folding the log of tenant %s: %w", t.ID, err)
			}
			return nil
		})
	}
	err := g.Wait()
	return slices.Concat(found...), err
}

// foldControl applies the control log from one index to another but for its
// gaps, which it returns.
func (st *state) foldControl(led *ledger.Ledger, from, to int64) ([]evidence.AuditEntry, error) {
	var gaps []evidence.AuditEntry
	read := func(from, to int64) iter.Seq2[[]byte, error] { return led.Entries(controlLog, from, to) }
	for c := range parsed(read, from, to, readAudit) {
		if c.err != nil {
			return nil, c.err
		}
		for i := range c.entries {
			if e, index := &c.entries[i], c.from+int64(i); e.Type == evidence.EntryGap {
				gaps = append(gaps, *e)
			} else if err := st.apply(index, e); err != nil {
				return nil, fmt.Errorf("entry %d: %w", index, err)
			}
		}
	}
	return gaps, nil
}

func readAudit(data []byte) (e evidence.AuditEntry, err error) {
	if err = json.Unmarshal(data, &e); err != nil {
		err = fmt.Errorf("it is no audit entry: %w", err)
	}
	return e, err
}

// deviceGap is a gap of one device.
type deviceGap struct {
	key deviceKey
	bootGap
}

// unrecorded gives the gaps found that no entry covers. Where only a part is
// covered, as after one aged before its neighbours, the rest is given.
func unrecorded(found []deviceGap, entries []evidence.AuditEntry) ([]evidence.AuditEntry, error) {
	type boot struct {
		key  deviceKey
		boot int64
	}
	known := map[boot][]gap{}
	for _, e := range entries {
		var g gapData
		if err := json.Unmarshal(e.Data, &g); err != nil {
			return nil, err
		}
		at := boot{deviceKey{deviceName{e.Tenant, e.Device}, e.Generation}, g.Boot}
		known[at] = append(known[at], gap{g.From, g.To})
	}
	for _, list := range known {
		slices.SortFunc(list, func(a, b gap) int { return cmp.Compare(a.from, b.from) })
	}
	var out []evidence.AuditEntry
	for _, f := range found {
		from := f.from
		for _, k := range known[boot{f.key, f.boot}] {
			if k.to < from || k.from > f.to {
				continue
			}
			if k.from > from {
				out = append(out, gapEntry(f.key, f.boot, gap{from, k.from - 1}))
			}
			from = k.to + 1
		}
		if from <= f.to {
			out = append(out, gapEntry(f.key, f.boot, gap{from, f.to}))
		}
	}
	return out, nil
}

func gapEntry(k deviceKey, boot int64, g gap) evidence.AuditEntry {
	return evidence.AuditEntry{
		Type: evidence.EntryGap, Tenant: k.tenant, Device: k.id, Generation: k.generation, Data: raw(gapData{boot, g.from, g.to}),
	}
}

func (st *state) foldTenant(led *ledger.Ledger, t *tenant, from, to int64, found *[]deviceGap) error {
	read := func(from, to int64) iter.Seq2[[]byte, error] { return led.Data(t.ID, from, to) }
	for c := range parsed(read, from, to, readFolded) {
		if c.err != nil {
			return c.err
		}
		for i := range c.entries {
			if err := st.foldEntry(t, c.from+int64(i), &c.entries[i], found); err != nil {
				return err
			}
		}
	}
	return nil
}

func (st *state) foldEntry(t *tenant, index int64, e *foldedEntry, found *[]deviceGap) error {
	d := st.devices[deviceKey{deviceName{t.ID, string(e.device)}, e.gen}]
	if d == nil {
		return fmt.Errorf("entry %d: device %s generation %d is not in the registry", index, clip(string(e.device)), e.gen)
	}
	switch e.kind {
	case kindEvent:
		gaps, n := []bootGap(nil), counts{received: 1, accepted: 1}
		if e.isReplay {
			gaps, n.replayed = d.applyReplay(e.boot, e.seq, index, st.window, e.received, e.at), 1
			t.settle(e.replays, func(f *fate) { f.as = index })
		} else {
			fw := d.firmware
			if string(e.fw) != fw {
				fw = string(e.fw)
			}
			gaps = d.applyEvent(e.boot, e.seq, index, st.window, e.received, e.at, fw)
		}
		for _, g := range gaps {
			*found = append(*found, deviceGap{d.key, g})
		}
		t.count(e.received, n)
	case kindDeadLetter:
		if e.hasSeq {
			d.applyDeadLetter(e.boot, e.seq, index, st.window)
		}
		d.applySeen(e.received)
		t.count(e.received, counts{received: 1, deadLettered: 1})
		t.bury(index)
	case kindTally:
		d.applySeen(e.received)
		// The entries before it were counted as received one by one.
		n := e.tally
		n.received -= n.accepted + n.deadLettered
		n.accepted, n.deadLettered = 0, 0
		t.count(e.received, n)
	}
	return nil
}
