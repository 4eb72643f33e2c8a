package evidence

import (
	"fmt"
	"time"
)

// Stage is one of the five trust stages by which a pack is organised.
type Stage string

// The stages, in the order of the evidence pack.
const (
	StageIdentity     Stage = "identity"
	StageTransport    Stage = "transport"
	StageProcessing   Stage = "processing"
	StageStorage      Stage = "storage-retention"
	StageAuditability Stage = "auditability"
)

// Stages lists them in order.
func Stages() []Stage {
	return []Stage{StageIdentity, StageTransport, StageProcessing, StageStorage, StageAuditability}
}

// Title is the stage's name for people.
func (s Stage) Title() string {
	switch s {
	case StageIdentity:
		return "Identity"
	case StageTransport:
		return "Transport"
	case StageProcessing:
		return "Processing"
	case StageStorage:
		return "Storage & Retention"
	case StageAuditability:
		return "Auditability"
	}
	return string(s)
}

// Dir is the stage's folder under data/ in a pack, "1-identity" and so on;
// empty for a word that is no stage.
func (s Stage) Dir() string {
	for i, st := range Stages() {
		if st == s {
			return string(rune('1'+i)) + "-" + string(s)
		}
	}
	return ""
}

// Criterion is a SOC 2 criterion by ID (AICPA TSC 2017, points of focus
// revised 2022), such as "CC8.1". The AICPA's text is not reproduced.
type Criterion string

// Control is what must be true, as the catalog states it.
type Control struct {
	ID         string      `json:"id"`
	Title      string      `json:"title"`
	Stage      Stage       `json:"stage"`
	Criteria   []Criterion `json:"criteria"`
	Objective  string      `json:"objective"`          // what must be true, in our words
	Guidance   string      `json:"guidance,omitempty"` // how to mend an exception
	Kinds      []Kind      `json:"kinds"`              // evidence that it needs
	Attributes []Attribute `json:"attributes"`         //
	Source     string      `json:"source,omitempty"`   // file the control was read from, relative to its catalog
	SHA256     string      `json:"sha256,omitempty"`   // hex digest of that file
}

// Attribute is one test of a control.
type Attribute struct {
	ID    string `json:"id"`              // unique in the control, such as "approver-not-requester"
	Title string `json:"title"`           // what is tested, for people
	Kind  Kind   `json:"kind"`            // the population that is tested item by item
	When  string `json:"when,omitempty"`  // CEL over item: which items are tested; all where empty
	Test  string `json:"test"`            // CEL over item: true where the item conforms
	Scope string `json:"scope,omitempty"` // "item" (default) or "population": one test over the whole
}

// Outcome is what came of testing a control, an attribute or an item.
type Outcome string

// The outcomes. Absence has its own and never counts as met.
const (
	OutcomeMet           Outcome = "met"
	OutcomeException     Outcome = "exception"
	OutcomeNotAvailable  Outcome = "not-available"
	OutcomeNotApplicable Outcome = "not-applicable"
	OutcomeError         Outcome = "error"
)

// Finding is the outcome of one control over one period.
type Finding struct {
	Control    string             `json:"control"`
	Period     Period             `json:"period"`
	Outcome    Outcome            `json:"outcome"`
	Reason     string             `json:"reason"`           // one sentence for people
	Population int                `json:"population"`       // items tested one by one, each once; where only whole populations were tested, the number of those tests
	Attributes []AttributeFinding `json:"attributes"`       //
	Exceptions []Exception        `json:"exceptions"`       // never nil in JSON
	Evidence   []Citation         `json:"evidence"`         // what was judged
	Sample     bool               `json:"sample,omitempty"` // some evidence is recorded sample data
	Clock      Clock              `json:"clock,omitempty"`  // "simulated" where some evidence carries simulated time
}

// AttributeFinding is the outcome of one attribute over its population.
type AttributeFinding struct {
	ID      string  `json:"id"`
	Title   string  `json:"title"`
	Kind    Kind    `json:"kind"`
	Outcome Outcome `json:"outcome"`
	Reason  string  `json:"reason"`
	Tested  int     `json:"tested"`
	Passed  int     `json:"passed"`
	Failed  int     `json:"failed"`
	Errors  int     `json:"errors,omitempty"`
}

// Exception is one item that does not conform, or could not be tested.
type Exception struct {
	Attribute string  `json:"attribute"`
	Kind      Kind    `json:"kind"`
	Item      string  `json:"item"`             // the item's ID; empty for a test over the whole population
	Outcome   Outcome `json:"outcome"`          // exception, or error
	Detail    string  `json:"detail"`           // for people
	Waiver    string  `json:"waiver,omitempty"` // ID of the waiver that accepts it
}

// Citation points at collected evidence.
type Citation struct {
	ID           string            `json:"id"` // the locker's, which is the digest of the record
	Kind         Kind              `json:"kind"`
	CollectedAt  time.Time         `json:"collected_at"`
	Window       Period            `json:"window"`
	Completeness CompletenessState `json:"completeness"`
	Items        int               `json:"items"`
	Origin       Origin            `json:"origin"`
}

// LeftOut is a collection that touches a period, was made before its own
// window began, and so is evidence of nothing in it. It stands in the evidence
// log and in no pack; nobody may take what it spoke of for collected.
type LeftOut struct {
	Citation
	Collector string `json:"collector"`
	System    string `json:"system"`
	Account   string `json:"account,omitempty"`
	LogEntry  int64  `json:"log_entry"` // its index in the evidence log
}

// Why says why it is left out.
func (l LeftOut) Why() string {
	return fmt.Sprintf("it was collected at %s, before its window %s began", l.CollectedAt.UTC().Format(time.RFC3339), l.Window)
}

// Collected is evidence as the locker keeps it: with the ID under which it
// was logged. ID is the lower-case hex SHA-256 of the canonical JSON of its
// record (see RecordOf).
type Collected struct {
	ID string
	Evidence
}
