package documents

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"trustpack/evidence"
	"trustpack/internal/strictyaml"
)

// Types lists the document types that may be used.
func Types() []string {
	return []string{
		"access-review", "design", "incident", "log-review", "plan", "policy",
		"procedure", "restore-test", "runbook", "statement", "tabletop",
	}
}

// records are types that tell what happened once and so need no next review.
func records() []string {
	return []string{"access-review", "incident", "log-review", "restore-test", "tabletop"}
}

// frontMatter is what stands between the two lines "---" of a document.
type frontMatter struct {
	Title      string   `yaml:"title"`
	Type       string   `yaml:"type"` // one of Types
	Owner      string   `yaml:"owner"`
	Reviewer   string   `yaml:"reviewer"`
	Reviewed   day      `yaml:"reviewed"`
	NextReview day      `yaml:"next_review"` // may be left out of a record
	Effective  day      `yaml:"effective"`   // default: reviewed
	Controls   []string `yaml:"controls"`

	// Of tabletop exercises, restore tests and incidents.
	Held         day        `yaml:"held"`
	Participants []string   `yaml:"participants"`
	FollowUps    []followUp `yaml:"follow_ups"`

	Review *review `yaml:"review"` // of access reviews
}

// followUp is something that an exercise or a test left to be done.
type followUp struct {
	What   string `yaml:"what"`
	Owner  string `yaml:"owner"`
	Due    day    `yaml:"due"`
	Closed day    `yaml:"closed"` // empty while it is open
}

// day is a calendar day in UTC; the zero day is one that was left out.
type day struct{ time.Time }

// UnmarshalYAML reads 2026-07-31.
func (d *day) UnmarshalYAML(n *yaml.Node) error {
	t, err := time.Parse(time.DateOnly, n.Value)
	if err != nil {
		return fmt.Errorf("want a day such as 2026-07-31, got %q", n.Value)
	}
	d.Time = t
	return nil
}

func (d day) String() string {
	if d.IsZero() {
		return ""
	}
	return d.Format(time.DateOnly)
}

// rfc3339 is the day's first instant, or "" for a day that was left out.
func (d day) rfc3339() string {
	if d.IsZero() {
		return ""
	}
	return d.Format(time.RFC3339)
}

// document is one file that was read whole.
type document struct {
	name  string
	sha   string
	front frontMatter
}

// parse splits off the front matter and reads it strictly. Its errors name
// the file and the line in the file.
func parse(name string, body []byte) (document, error) {
	text := bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	lines := strings.SplitAfter(string(text), "\n")
	if strings.TrimRight(lines[0], " \r\n") != "---" {
		return document{}, fmt.Errorf("%s:1: no front matter: the first line of a document is \"---\"", name)
	}
	end := slices.IndexFunc(lines[1:], func(l string) bool { return strings.TrimRight(l, " \r\n") == "---" })
	if end < 0 {
		return document{}, fmt.Errorf("%s:%d: the front matter has no end: a line \"---\" closes it", name, len(lines))
	}
	d := document{name: name, sha: evidence.SHA256Hex(body)}
	// The first line stays, so that line numbers are the file's.
	if err := strictyaml.Decode(name, []byte(strings.Join(lines[:end+1], "")), &d.front); err != nil {
		return document{}, err
	}
	if err := d.front.check(); err != nil {
		return document{}, fmt.Errorf("%s:1: %w", name, err)
	}
	return d, nil
}

func (f frontMatter) check() error {
	for _, must := range []struct{ key, value string }{
		{"title", f.Title}, {"type", f.Type}, {"owner", f.Owner},
		{"reviewer", f.Reviewer}, {"reviewed", f.Reviewed.String()},
	} {
		if strings.TrimSpace(must.value) == "" {
			return fmt.Errorf("the front matter has no %s", must.key)
		}
	}
	if !slices.Contains(Types(), f.Type) {
		return fmt.Errorf("type %q is not known: want one of %s", f.Type, strings.Join(Types(), ", "))
	}
	if f.NextReview.IsZero() && !slices.Contains(records(), f.Type) {
		return fmt.Errorf("the front matter has no next_review, which a %s must have", f.Type)
	}
	if !f.NextReview.IsZero() && f.NextReview.Before(f.Reviewed.Time) {
		return errors.New("next_review is before reviewed")
	}
	if (f.Review != nil) != (f.Type == "access-review") {
		return errors.New("a document of type access-review has a section review, and no other has one")
	}
	for i, u := range f.FollowUps {
		if u.What == "" || u.Owner == "" {
			return fmt.Errorf("follow_ups[%d] needs what and owner", i)
		}
	}
	return nil
}

// item is the document as a member of the population. It has expired where
// its next review was due on a day that is over at the end of the period, or
// at the time of collection where that is earlier.
func (d document) item(p evidence.Period, at time.Time) evidence.Item {
	judged := at
	if !p.To.IsZero() && p.To.Before(at) {
		judged = p.To
	}
	effective := d.front.Effective
	if effective.IsZero() {
		effective = d.front.Reviewed
	}
	open := 0
	for _, u := range d.front.FollowUps {
		if u.Closed.IsZero() || u.Closed.After(judged) {
			open++
		}
	}
	expired := !d.front.NextReview.IsZero() && !d.front.NextReview.AddDate(0, 0, 1).After(judged)
	return evidence.Item{ID: d.name, Attributes: map[string]any{
		"title": d.front.Title, "type": d.front.Type,
		"owner": d.front.Owner, "reviewer": d.front.Reviewer,
		"reviewed":    d.front.Reviewed.rfc3339(),
		"next_review": d.front.NextReview.rfc3339(),
		"effective":   effective.rfc3339(),
		"held":        d.front.Held.rfc3339(),
		"controls":    list(d.front.Controls), "participants": list(d.front.Participants),
		"follow_ups": len(d.front.FollowUps), "follow_ups_open": open,
		"sha256": d.sha, "expired": expired,
	}}
}

func list(s []string) []any {
	out := make([]any, 0, len(s))
	for _, x := range s {
		out = append(out, x)
	}
	return out
}
