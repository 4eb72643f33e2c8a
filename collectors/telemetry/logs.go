package telemetry

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/evidence"
	"trustpack/ledger"
)

const controlLog = "control"

// logView is one log as this run saw it: its excerpt over the period, and
// whether every entry was read and hashed to the checkpoint's root.
type logView struct {
	name     string
	origin   string
	key      string // verifier key used
	pinned   bool   // the key came from Config and not from the ingest
	kept     map[string]int64
	folders  []string // of the ledger that hold it, as the ingest tells
	excerpt  ledger.Excerpt
	head     ledger.Checkpoint
	replies  []reply // of the excerpt
	requests []evidence.Request
	hashes   []tlog.Hash // stored hashes; control log only
	bundles  [][]byte    // of entries, as they were read; control log only
	err      error       // why the view cannot be relied on
}

func (v *logView) note() string {
	how := "under the pinned verifier key"
	if !v.pinned {
		how = "under the key that the ingest itself names (none is pinned in log_keys)"
	}
	return fmt.Sprintf("all %d entries of %s were read and hash to the root of its checkpoint, verified %s", v.head.Size, v.origin, how)
}

func (r *run) log(name string) *logView {
	for _, v := range r.logs {
		if v.name == name {
			return v
		}
	}
	return nil
}

// listedLog is a log as GET /v1/admin/logs lists it.
type listedLog struct {
	Name        string           `json:"name"`
	Origin      string           `json:"origin"`
	VerifierKey string           `json:"verifier_key"`
	Kept        map[string]int64 `json:"kept"` // entries under the checkpoint that is kept apart, by who keeps it
	Folders     []string         `json:"folders"`
}

// keeper is who keeps checkpoints apart, as the ingest tells it.
type keeper struct {
	Name     string    `json:"name"`
	State    string    `json:"state"`
	LastGood time.Time `json:"last_good"`
}

// readLogs lists the logs and reads each one whole.
func (r *run) readLogs() {
	r.payloads, r.senders = map[string]*payloadDay{}, map[string]bool{}
	r.counts, r.activity, r.replayed = map[string]*counts{}, map[string]*activity{}, map[string]int64{}
	r.logsReply = r.get("/v1/admin/logs")
	var listed struct {
		Logs    []listedLog `json:"logs"`
		Keepers []keeper    `json:"keepers"`
	}
	if r.logsReply.err = r.logsReply.decodeList("logs", &listed); r.logsReply.err != nil {
		return
	}
	if r.logsReply.err = eachOnce(listed.Logs, func(l listedLog) string { return l.Name }); r.logsReply.err != nil {
		return
	}
	r.keepers = listed.Keepers
	// The control log is read first: what is looked for in the tenants' logs
	// depends on the decisions and settings that it holds.
	slices.SortStableFunc(listed.Logs, func(a, b listedLog) int {
		switch {
		case a.Name == b.Name:
			return 0
		case a.Name == controlLog:
			return -1
		case b.Name == controlLog:
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	for _, l := range listed.Logs {
		v := &logView{name: l.Name, origin: l.Origin, key: l.VerifierKey, kept: l.Kept, folders: l.Folders}
		if key, ok := r.keys[l.Origin]; ok {
			v.key, v.pinned = key, true
		}
		r.logs = append(r.logs, v)
		if v.err = r.knownAs(l); v.err != nil {
			continue
		}
		r.deps.Progress("reading log " + l.Name)
		r.readExcerpt(v)
		if v.err == nil {
			r.readEntries(v)
		}
		if v.err == nil && v.name == controlLog {
			v.err = r.readVersions()
		}
	}
	r.missLogs()
}

// knownAs is an error where log_keys has a key for a log of that name, and none
// for the origin under which the ingest lists it: it is not the log that is
// known, and its key is nobody's but the ingest's.
func (c *collector) knownAs(l listedLog) error {
	if _, pinned := c.keys[l.Origin]; pinned {
		return nil
	}
	for _, origin := range slices.Sorted(maps.Keys(c.keys)) {
		if strings.HasSuffix(origin, "/"+l.Name) {
			return fmt.Errorf("log_keys has the key of %s, and the ingest lists the log as %s: is it the ingest that you know?", origin, l.Origin)
		}
	}
	return nil
}

// missLogs puts in the place of each log that must be there and is not listed
// one that cannot be relied on: the control log, and that of each tenant of
// which the control log has books with something in them.
func (r *run) missLogs() {
	missing := map[string]error{}
	if r.log(controlLog) == nil {
		missing[controlLog] = errors.New("the ingest lists no log of that name")
	}
	for _, e := range r.control {
		var b evidence.Books
		if e.Type != evidence.EntryBooksClosed || e.data(&b) != nil || b.Accepted+b.DeadLettered == 0 || r.log(b.Tenant) != nil {
			continue
		}
		missing[b.Tenant] = fmt.Errorf("the ingest lists no log of that name, and control entry %d closes books of it", e.index)
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		r.logs = append(r.logs, &logView{name: name, err: missing[name]})
	}
}

// readExcerpt fetches the log's checkpoints over the period with their
// consistency proofs. A log that is older than the period is asked for twice:
// first for its whole history, then from the last checkpoint before it, and not
// after the one that the last pack cites.
func (r *run) readExcerpt(v *logView) {
	var since int64
	for range 2 {
		rep := r.get(fmt.Sprintf("/v1/admin/excerpt/%s?since=%d", url.PathEscape(v.name), since))
		v.replies = append(v.replies, rep)
		v.requests = append(v.requests, rep.requests()...)
		v.excerpt = ledger.Excerpt{}
		if v.err = rep.decode(&v.excerpt); v.err != nil {
			return
		}
		if v.head, v.err = ledger.OpenCheckpoint([]byte(v.excerpt.Checkpoint), v.key); v.err != nil {
			return
		}
		if v.err = v.excerpt.Verify(v.key); v.err != nil {
			return
		}
		if v.err = r.readLabels(v); v.err != nil {
			return
		}
		before, cited := since, r.deps.Cited(v.origin)
		for _, step := range v.excerpt.History {
			if step.Time.Before(r.period.From) && (cited == 0 || step.Size <= cited) {
				since = step.Size
			}
		}
		if since == before {
			return
		}
	}
}

// readLabels looks for the signed words of a sample in the checkpoints of a
// verified excerpt, such as "sample=true clock=simulated".
func (r *run) readLabels(v *logView) error {
	notes := []string{v.excerpt.Checkpoint}
	for _, step := range v.excerpt.History {
		notes = append(notes, step.Note)
	}
	for _, n := range notes {
		c, err := ledger.OpenCheckpoint([]byte(n), v.key)
		if err != nil {
			return err
		}
		for _, word := range strings.Fields(strings.Join(c.Extensions, " ")) {
			r.sample = r.sample || word == "sample=true"
			r.simulated = r.simulated || word == "clock="+string(evidence.ClockSimulated)
		}
	}
	return nil
}

// readEntries reads every entry up to the checkpoint and compares the root.
func (r *run) readEntries(v *logView) {
	started := r.deps.Now().UTC()
	use := r.tenantEntry(v.name)
	if v.name == controlLog {
		use = r.controlEntry
	}
	tree := &compactTree{}
	if v.name == controlLog {
		tree.keep = true
	}
	bundles := 0
	for first := int64(0); first < v.head.Size && v.err == nil; first += ledger.TileWidth {
		n := first / ledger.TileWidth
		tile := ledger.Tile{Level: ledger.EntryBundles, N: n, Width: ledger.WidthAt(v.head.Size, ledger.EntryBundles, n)}
		path := fmt.Sprintf("/log/%s/%s", url.PathEscape(v.name), tile.Path())
		rep := r.get(path)
		v.requests = append(v.requests, rep.tried...)
		if rep.err != nil {
			v.err = fmt.Errorf("reading entries from %d on: %s: %w", first, path, rep.err)
			break
		}
		bundles++
		if v.name == controlLog {
			v.bundles = append(v.bundles, rep.body)
		}
		v.err = readBundle(rep.body, int64(tile.Width), func(i int64, data []byte) error {
			if err := tree.add(data); err != nil {
				return err
			}
			return use(first+i, data)
		})
		if v.err != nil {
			v.err = fmt.Errorf("reading entries from %d on: %w", first, v.err)
		}
	}
	if v.err == nil {
		if root := tree.root(); root != v.head.Root {
			v.err = fmt.Errorf("its %d entries hash to the root %s and not to the checkpoint's %s: what the ingest serves is not what it signed", v.head.Size, root, v.head.Root)
		}
	}
	v.hashes = tree.stored
	req := evidence.Request{
		Method: "GET", Target: r.cfg.URL + "/log/" + v.name + "/tile/entries/…", StartedAt: started, EndedAt: r.deps.Now().UTC(),
		Parameters: map[string]string{"entries": fmt.Sprint(v.head.Size), "bundles": fmt.Sprint(bundles), "root": v.head.Root.String()},
	}
	if v.err != nil {
		req.Error = v.err.Error()
	}
	v.requests = append(v.requests, req)
}

func (r *run) controlEntry(index int64, data []byte) error {
	e := entry{index: index, raw: data}
	if err := json.Unmarshal(data, &e.AuditEntry); err != nil {
		return fmt.Errorf("control entry %d is not JSON: %w", index, err)
	}
	r.control = append(r.control, e)
	return nil
}

// readBundle walks an entry bundle (C2SP tlog-tiles: each entry after its
// big-endian 16-bit length) and demands exactly want entries.
func readBundle(b []byte, want int64, each func(i int64, data []byte) error) error {
	for i := range want {
		if len(b) < 2 {
			return fmt.Errorf("bundle ends after %d of %d entries", i, want)
		}
		n := int(b[0])<<8 | int(b[1])
		if len(b) < 2+n {
			return fmt.Errorf("bundle ends inside entry %d", i)
		}
		if err := each(i, b[2:2+n:2+n]); err != nil {
			return err
		}
		b = b[2+n:]
	}
	if len(b) > 0 {
		return fmt.Errorf("bundle holds %d bytes after its %d entries", len(b), want)
	}
	return nil
}

// compactTree computes an RFC 6962 root in memory that grows with the
// logarithm of the entries; with keep it also holds the stored hashes, from
// which proofs can be made.
type compactTree struct {
	size   int64
	right  []tlog.Hash // perfect subtrees from the left, one for each bit set in size
	keep   bool
	stored []tlog.Hash
}

func (t *compactTree) add(data []byte) error {
	leaf := tlog.RecordHash(data)
	if t.keep {
		hashes, err := tlog.StoredHashesForRecordHash(t.size, leaf, hashSlice(t.stored))
		if err != nil {
			return err
		}
		t.stored = append(t.stored, hashes...)
	}
	t.right = append(t.right, leaf)
	t.size++
	for n := t.size; n&1 == 0; n >>= 1 {
		last := len(t.right) - 1
		t.right[last-1] = tlog.NodeHash(t.right[last-1], t.right[last])
		t.right = t.right[:last]
	}
	return nil
}

func (t *compactTree) root() tlog.Hash {
	if t.size == 0 {
		root, err := tlog.TreeHash(0, nil)
		if err != nil {
			return tlog.Hash{}
		}
		return root
	}
	h := t.right[len(t.right)-1]
	for i := len(t.right) - 2; i >= 0; i-- {
		h = tlog.NodeHash(t.right[i], h)
	}
	return h
}

// hashSlice reads stored hashes from memory.
type hashSlice []tlog.Hash

func (s hashSlice) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x < 0 || x >= int64(len(s)) {
			return nil, fmt.Errorf("hash %d of %d is not held", x, len(s))
		}
		out[i] = s[x]
	}
	return out, nil
}
