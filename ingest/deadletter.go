package ingest

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// DeadLetter is an event that could not be accepted, with its bytes.
type DeadLetter struct {
	Tenant     string    `json:"tenant"`
	Index      int64     `json:"index"` // in the tenant's log
	Received   time.Time `json:"received"`
	Device     string    `json:"device"`
	Generation int       `json:"generation"`
	Reason     Code      `json:"reason"`
	Detail     string    `json:"detail"`
	Rules      string    `json:"rules"` // hash of the rules that judged it
	Bytes      []byte    `json:"bytes"`
	Salt       string    `json:"salt,omitempty"`   // hex; the entry's "payload" is the hex of SHA-256(salt || bytes)
	Purged     bool      `json:"purged,omitempty"` // there are no bytes any more
	State      string    `json:"state"`            // "open", "replayed" or "discarded"

	// Who decided that it is no longer open, and why.
	DecidedBy      string     `json:"decided_by,omitempty"`
	DecidedAt      *time.Time `json:"decided_at,omitempty"`
	DecisionReason string     `json:"decision_reason,omitempty"`
	ReplayedAs     *int64     `json:"replayed_as,omitempty"` // index of the event that it became
}

// States of a dead letter.
const (
	LetterOpen      = "open"
	LetterReplayed  = "replayed"
	LetterDiscarded = "discarded"
)

// fate is what became of a dead letter: folded from the decision in the
// control log and, where it was replayed, from the event in the tenant's.
type fate struct {
	state  string
	by     string
	at     time.Time
	reason string
	as     int64 // index of the event
}

// settle changes the fate of the dead letter at index. The caller holds t.mu,
// or is alone.
func (t *tenant) settle(index int64, change func(*fate)) {
	t.beforeChange()
	f := t.fates[index]
	change(&f)
	t.fates[index] = f
}

// reserve takes a place for one more open dead letter, where there is one.
func (t *tenant) reserve(quota int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open()+t.reserved >= quota {
		return false
	}
	t.reserved++
	return true
}

// open is the number of open dead letters. The caller holds t.mu.
func (t *tenant) open() int { return len(t.dead) - len(t.fates) }

func (t *tenant) release(n int) {
	if n == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reserved -= n
}

func (st *state) applyLetter(e *evidence.AuditEntry) error {
	var in struct {
		Index int64 `json:"index"`
	}
	if err := json.Unmarshal(e.Data, &in); err != nil {
		return err
	}
	t := st.tenants[e.Tenant]
	if t == nil {
		return fmt.Errorf("%s of a tenant that was never added, %s", e.Type, clip(e.Tenant))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle(in.Index, func(f *fate) {
		f.state, f.by, f.at, f.reason = LetterDiscarded, actorName(e.Actor), e.Time, e.Reason
		if e.Type == evidence.EntryLetterReplayed {
			f.state = LetterReplayed
		}
	})
	return nil
}

// bury notes the index of a dead letter. The caller holds t.mu, or is alone.
func (t *tenant) bury(index int64) {
	t.beforeChange()
	i, _ := slices.BinarySearch(t.dead, index)
	t.dead = slices.Insert(t.dead, i, index)
}

// deadFrom lists up to limit indexes of dead letters from index from on.
func (t *tenant) deadFrom(from int64, limit int) []int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, _ := slices.BinarySearch(t.dead, from)
	return slices.Clone(t.dead[i:min(len(t.dead), i+limit)])
}

// deadLetters lists dead letters in the order of tenant and index, of one
// tenant or of all, from the cursor on ("tenant/index", or an index alone
// where the tenant is given). next is the cursor to go on with, empty at the
// end.
func (s *Server) deadLetters(tenantID, from string, limit int) (out []DeadLetter, next string, err error) {
	fromTenant, index := tenantID, int64(0)
	if from != "" {
		text := from
		if t, i, ok := strings.Cut(from, "/"); ok {
			fromTenant, text = t, i
		}
		if index, err = strconv.ParseInt(text, 10, 64); err != nil || index < 0 || fromTenant == "" {
			return nil, "", problem(CodeInvalid, "from: want the \"next\" of the page before")
		}
	}
	out = []DeadLetter{}
	for _, t := range s.st.sortedTenants() {
		if tenantID != "" && t.ID != tenantID || t.ID < fromTenant {
			continue
		}
		start := int64(0)
		if t.ID == fromTenant {
			start = index
		}
		// One more than wanted tells where the next page begins.
		for _, i := range t.deadFrom(start, limit-len(out)+1) {
			if len(out) == limit {
				return out, t.ID + "/" + itoa(i), nil
			}
			d, err := s.deadLetter(t, i)
			if err != nil {
				return nil, "", err
			}
			out = append(out, d)
		}
	}
	return out, "", nil
}

func (s *Server) deadLetter(t *tenant, index int64) (DeadLetter, error) {
	data, err := s.led.Entry(t.ID, index)
	if err != nil {
		return DeadLetter{}, fmt.Errorf("reading a dead letter: %w", err)
	}
	var e tenantEntry
	if err := json.Unmarshal(data, &e); err != nil {
		return DeadLetter{}, fmt.Errorf("reading dead letter %d of %s: %w", index, t.ID, err)
	}
	out := DeadLetter{
		Tenant: t.ID, Index: index, Received: e.Received, Device: e.Device, Generation: e.Gen,
		Reason: e.Reason, Detail: e.Detail, Rules: e.Rules, Bytes: e.Bytes, State: LetterOpen,
	}
	if e.Payload != "" {
		bytes, salt, err := s.led.Payload(t.ID, index)
		if out.Purged = errors.Is(err, ledger.ErrPurged); err != nil && !out.Purged {
			return DeadLetter{}, fmt.Errorf("reading a dead letter: %w", err)
		}
		out.Bytes, out.Salt = bytes, hex.EncodeToString(salt)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if f, ok := t.fates[index]; ok {
		out.State, out.DecidedBy, out.DecidedAt, out.DecisionReason = f.state, f.by, &f.at, f.reason
		if f.state == LetterReplayed {
			out.ReplayedAs = &f.as
		}
	}
	return out, nil
}
