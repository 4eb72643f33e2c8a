package drill

import (
	"encoding/json"
	"fmt"
	"slices"
)

// receipt is the body of a 202.
type receipt struct {
	Log          string        `json:"log"`
	Tenant       string        `json:"tenant"`
	Accepted     int           `json:"accepted"`
	Duplicate    int           `json:"duplicate"`
	DeadLettered int           `json:"dead_lettered"`
	Refused      int           `json:"refused"`
	Lines        []receiptLine `json:"lines"`
}

type receiptLine struct {
	Line   int    `json:"line"`
	Status string `json:"status"`
	Code   string `json:"code"`
}

// receipt reads the receipt of an answer that must be 202.
func (a answer) receipt() (receipt, error) {
	var r receipt
	if a.status != 202 {
		return r, fmt.Errorf("answered %s", a)
	}
	if err := json.Unmarshal(a.body, &r); err != nil {
		return r, fmt.Errorf("reading the receipt: %w", err)
	}
	return r, nil
}

// line is what the receipt says of a line, counted from 1.
func (r receipt) line(n int) receiptLine {
	for _, l := range r.Lines {
		if l.Line == n {
			return l
		}
	}
	return receiptLine{Line: n}
}

// verbose adds the receipt's counts to what String says.
func (a answer) verbose() string {
	r, err := a.receipt()
	if a.status != 202 || err != nil {
		return a.String()
	}
	s := fmt.Sprintf("202 accepted %d, duplicate %d, dead-lettered %d, refused %d", r.Accepted, r.Duplicate, r.DeadLettered, r.Refused)
	for _, l := range r.Lines {
		if l.Code != "" {
			s += fmt.Sprintf("; line %d %s %s", l.Line, l.Status, l.Code)
		}
	}
	return s
}

// refusal judges an answer that must be a refusal with the status and one of
// the codes. What is no answer at all, or says that the ingest could not take
// anything just now, is not-available.
func (a answer) refusal(status int, codes ...string) string {
	switch {
	case a.err != nil, a.closed, a.status == 503, a.status == 429 && status != 429:
		return NotAvailable
	}
	return judged(a.status == status && slices.Contains(codes, a.code))
}
