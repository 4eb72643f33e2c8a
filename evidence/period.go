package evidence

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Period is a half-open span of time in UTC: From is in it, To is not.
type Period struct {
	From, To time.Time
}

var (
	quarterForm = regexp.MustCompile(`^(\d{4})-Q([1-4])$`)
	monthForm   = regexp.MustCompile(`^(\d{4})-(\d{2})$`)
	rangeForm   = regexp.MustCompile(`^(\d{4}-\d{2}-\d{2})/(\d{4}-\d{2}-\d{2})$`)
)

// ParsePeriod reads "2026-Q3", "2026-07" or "2026-07-01/2026-10-01".
func ParsePeriod(s string) (Period, error) {
	bad := func() (Period, error) {
		return Period{}, fmt.Errorf("period %q: want a quarter (2026-Q3), a month (2026-07) or from/to days (2026-07-01/2026-10-01)", s)
	}
	if m := quarterForm.FindStringSubmatch(s); m != nil {
		year, _ := strconv.Atoi(m[1])
		q, _ := strconv.Atoi(m[2])
		from := time.Date(year, time.Month(3*q-2), 1, 0, 0, 0, 0, time.UTC)
		return Period{from, from.AddDate(0, 3, 0)}, nil
	}
	if m := monthForm.FindStringSubmatch(s); m != nil {
		from, err := time.Parse("2006-01", s)
		if err != nil {
			return bad()
		}
		return Period{from, from.AddDate(0, 1, 0)}, nil
	}
	if m := rangeForm.FindStringSubmatch(s); m != nil {
		from, err1 := time.Parse(time.DateOnly, m[1])
		to, err2 := time.Parse(time.DateOnly, m[2])
		if err1 != nil || err2 != nil {
			return bad()
		}
		if !from.Before(to) {
			return Period{}, fmt.Errorf("period %q: it ends before it begins; the first day is in the period, the last is not", s)
		}
		return Period{from, to}, nil
	}
	return bad()
}

// Contains reports whether t lies in the period.
func (p Period) Contains(t time.Time) bool {
	return !t.Before(p.From) && t.Before(p.To)
}

// IsZero reports whether the period is unset.
func (p Period) IsZero() bool { return p.From.IsZero() && p.To.IsZero() }

// String gives the shortest of the forms that ParsePeriod reads, or, where a
// bound is not midnight, both bounds in RFC 3339.
func (p Period) String() string {
	if p.IsZero() {
		return ""
	}
	from, to := p.From.UTC(), p.To.UTC()
	if !midnight(from) || !midnight(to) {
		return from.Format(time.RFC3339Nano) + "/" + to.Format(time.RFC3339Nano)
	}
	if from.Day() == 1 {
		if to.Equal(from.AddDate(0, 1, 0)) {
			return from.Format("2006-01")
		}
		if m := int(from.Month()); m%3 == 1 && to.Equal(from.AddDate(0, 3, 0)) {
			return fmt.Sprintf("%04d-Q%d", from.Year(), (m+2)/3)
		}
	}
	return from.Format(time.DateOnly) + "/" + to.Format(time.DateOnly)
}

func midnight(t time.Time) bool { return t.Truncate(24 * time.Hour).Equal(t) }

// MarshalJSON writes {"from":…,"to":…} in RFC 3339, UTC.
func (p Period) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		From time.Time `json:"from"`
		To   time.Time `json:"to"`
	}{p.From.UTC(), p.To.UTC()})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *Period) UnmarshalJSON(b []byte) error {
	var v struct {
		From time.Time `json:"from"`
		To   time.Time `json:"to"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	p.From, p.To = v.From.UTC(), v.To.UTC()
	return nil
}
