package ingest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
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
	State      string    `json:"state"` // "open"
}

// bury notes the index of a dead letter. The caller holds t.mu, or is alone.
func (t *tenant) bury(index int64) {
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
	return DeadLetter{t.ID, index, e.Received, e.Device, e.Gen, e.Reason, e.Detail, e.Rules, e.Bytes, "open"}, nil
}
