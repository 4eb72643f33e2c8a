package drill

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"trustpack/evidence"
)

// record is one entry of a log, read as what it may be.
type record struct {
	log     string
	index   int64
	audit   evidence.AuditEntry // in the control log
	refusal evidence.Refusal    // where audit is a refusal
	tenant  tenantRecord        // in a tenant's log
}

// tenantRecord is an entry of a tenant's log.
type tenantRecord struct {
	T         string `json:"t"` // "event", "deadletter", "tally"
	Device    string `json:"device"`
	Seq       int64  `json:"seq"`
	Reason    string `json:"reason"`
	Payload   string `json:"payload"` // hex of SHA-256(salt || what was sent)
	Bytes     []byte `json:"bytes"`   // of a dead letter, see letters
	Duplicate int    `json:"duplicate"`
	Refused   int    `json:"refused"`
}

const controlLog = "control"

// entries reads the entries of a log that were written since the run began.
func (r *run) entries(ctx context.Context, log string) ([]record, error) {
	if r.sizes[log] == 0 {
		return nil, nil // not there yet
	}
	var checkpoint []byte
	if err := r.either(ctx, "GET", "/v1/admin/checkpoint/"+log, nil, &checkpoint); err != nil {
		return nil, err
	}
	size, err := sizeOf(checkpoint)
	if err != nil {
		return nil, fmt.Errorf("log %s: %w", log, err)
	}
	var records []record
	for bundle := r.since[log] / 256; bundle*256 < size; bundle++ {
		path := "/log/" + log + "/tile/entries/" + tilePath(bundle)
		width := min(size-bundle*256, 256)
		if width < 256 {
			path += ".p/" + strconv.FormatInt(width, 10)
		}
		var raw []byte
		if err := r.either(ctx, "GET", path, nil, &raw); err != nil {
			return nil, err
		}
		entries, err := split(raw, width)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for i, data := range entries {
			index := bundle*256 + int64(i)
			if index < r.since[log] {
				continue
			}
			rec, err := parse(log, index, data)
			if err != nil {
				return nil, err
			}
			records = append(records, rec)
		}
	}
	if log == controlLog {
		return records, nil
	}
	return records, r.letters(ctx, log, records)
}

// sizeOf is the size in a checkpoint: its second line (C2SP tlog-checkpoint).
func sizeOf(checkpoint []byte) (int64, error) {
	lines := strings.SplitN(string(checkpoint), "\n", 3)
	if len(lines) < 3 {
		return 0, errors.New("reading checkpoint: too short")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return 0, fmt.Errorf("reading checkpoint: size %q", lines[1])
	}
	return size, nil
}

// tilePath writes a tile's number in groups of three digits (C2SP tlog-tiles).
func tilePath(n int64) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	return path
}

// split cuts an entry bundle: each entry follows its length in two bytes.
func split(raw []byte, width int64) ([][]byte, error) {
	var entries [][]byte
	for len(raw) > 0 {
		if len(raw) < 2 || len(raw)-2 < int(binary.BigEndian.Uint16(raw)) {
			return nil, errors.New("reading entries: cut off")
		}
		n := int(binary.BigEndian.Uint16(raw))
		entries, raw = append(entries, raw[2:2+n]), raw[2+n:]
	}
	if int64(len(entries)) != width {
		return nil, fmt.Errorf("reading entries: %d of %d", len(entries), width)
	}
	return entries, nil
}

func parse(log string, index int64, data []byte) (record, error) {
	rec := record{log: log, index: index}
	var err error
	if log != controlLog {
		err = json.Unmarshal(data, &rec.tenant)
	} else if err = json.Unmarshal(data, &rec.audit); err == nil && rec.audit.Type == evidence.EntryRefusal {
		err = json.Unmarshal(rec.audit.Data, &rec.refusal)
	}
	if err != nil {
		return record{}, fmt.Errorf("reading entry %d of log %s: %w", index, log, err)
	}
	return rec, nil
}

// reader reads a log once.
type reader func(log string) ([]record, error)

func (r *run) reader(ctx context.Context) reader {
	r.measure(ctx)
	logs, blind := map[string][]record{}, map[string]error{}
	return func(log string) ([]record, error) {
		if r.blind != nil {
			return nil, r.blind
		}
		if _, done := logs[log]; !done && blind[log] == nil {
			logs[log], blind[log] = r.entries(ctx, log)
		}
		return logs[log], blind[log]
	}
}

// judge looks into the logs for what the drills left there: it finds the
// entry about each refusal, and counts what was stored.
func (r *run) judge(ctx context.Context, outcomes []outcome) {
	read := r.reader(ctx)
	for i := range outcomes {
		outcomes[i].look(read)
	}
	if r.blind == nil && slices.ContainsFunc(outcomes, outcome.waits) {
		select {
		case <-ctx.Done():
		case <-time.After(r.t.Settle):
		}
		read = r.reader(ctx)
		for i := range outcomes {
			outcomes[i].look(read)
		}
	}
	for i := range outcomes {
		outcomes[i].trace(read)
		for _, s := range outcomes[i].stored {
			outcomes[i].count(s, read)
		}
	}
}

// look finds the entry about the refusal, if it is there.
func (o *outcome) look(read reader) {
	for _, t := range o.traces {
		if records, err := read(t.log); err == nil && o.entry == "" {
			o.entry = t.find(records, o.from, o.to)
		}
	}
}

// waits reports whether an entry about the outcome may still come.
func (o outcome) waits() bool { return o.verdict == Passed && len(o.traces) > 0 && o.entry == "" }

// trace insists on the entry where the drill's claim includes it.
func (o *outcome) trace(read reader) {
	if !o.recorded || o.entry != "" || o.verdict != Passed {
		return
	}
	for _, t := range o.traces {
		if _, err := read(t.log); err != nil {
			o.verdict = NotAvailable
			o.got += "; whether it is recorded could not be looked up: " + err.Error()
			return
		}
	}
	o.verdict = Failed
	o.got += "; no entry of the logs records it"
}

// count compares what is stored with what should be.
func (o *outcome) count(s stored, read reader) {
	records, err := read(s.log)
	if err != nil {
		if o.verdict == Passed {
			o.verdict = NotAvailable
		}
		o.got += "; whether it is stored could not be looked up: " + err.Error()
		return
	}
	n := 0
	for _, rec := range records {
		if rec.tenant.T == "event" && rec.tenant.Device == s.device && rec.tenant.Seq == s.seq {
			n++
		}
	}
	if n != s.want {
		o.verdict = join(o.verdict, Failed)
		o.got += fmt.Sprintf("; log %s holds event %d of %s %d times, not %d", s.log, s.seq, s.device, n, s.want)
	}
}

// find is the position of the record that matches. Where the match alone
// does not tell that the drill caused it, the record must be the only one of
// those written while the drill ran, from..to; or, where none was, the only
// one written later, since like refusals are counted before one is written.
// Empty where the right one would be a guess.
func (t trace) find(records []record, from, to int64) string {
	var during, later []string
	for _, rec := range records {
		position := fmt.Sprintf("%s/%d", rec.log, rec.index)
		switch {
		case !t.match(rec) || !t.ours && rec.index < from:
		case t.ours:
			return position
		case rec.index < to:
			during = append(during, position)
		default:
			later = append(later, position)
		}
	}
	if len(during) == 0 {
		during = later
	}
	if len(during) != 1 {
		return ""
	}
	return during[0]
}

// refusedFor finds the refusal with the code of the request that a was the
// answer to: by the request's ID where the ingest gave one, else by the
// credential shown or, where there was none, the source.
func refusedFor(a answer, code, fingerprint string, more ...func(evidence.Refusal) bool) trace {
	return trace{log: controlLog, match: func(rec record) bool {
		if rec.audit.Type != evidence.EntryRefusal || rec.refusal.Code != code {
			return false
		}
		if a.request != "" && rec.audit.RequestID != "" {
			return rec.audit.RequestID == a.request
		}
		for _, m := range more {
			if !m(rec.refusal) {
				return false
			}
		}
		if fingerprint != "" {
			return rec.refusal.Fingerprint == fingerprint
		}
		return rec.refusal.Fingerprint == "" && a.source != "" && sameHost(rec.refusal.Source, a.source)
	}}
}

// sameHost compares source addresses, with or without a port.
func sameHost(logged, host string) bool {
	return logged == host || strings.HasPrefix(logged, host+":") || strings.HasPrefix(logged, "["+host+"]:")
}

// caused finds the first refusal with the code of a credential that this drill
// alone has used.
func caused(code string, c *canary) trace {
	return trace{log: controlLog, ours: true, match: func(rec record) bool {
		return rec.audit.Type == evidence.EntryRefusal && rec.refusal.Code == code && rec.refusal.Fingerprint == c.fingerprint
	}}
}
