// Package evidence is the vocabulary that every other package speaks: what a
// collector brought back, how it is known to be whole, what a control asks of
// it, and what came out. It holds no behaviour beyond what those words mean
// and reaches the standard library alone.
package evidence

import (
	"context"
	"io"
	"time"
)

// Kind names one sort of evidence, "<collector>.<population>", for example
// "github.pull-requests". Controls ask for evidence by kind.
type Kind string

// Collector brings back evidence from one source.
//
// Collect returns one Evidence for each kind that it could ask for, also when
// the source answered in part or not at all: what is missing is a Gap in the
// evidence's Completeness, never an absent element. The error is for what
// makes the whole run meaningless (a configuration that cannot be used);
// evidence returned beside an error is still kept.
type Collector interface {
	Name() string
	Kinds() []Kind
	Collect(ctx context.Context, p Period) ([]Evidence, error)
}

// Evidence is what a collector brought back for one kind in one run.
type Evidence struct {
	Kind        Kind      `json:"kind"`
	Collector   string    `json:"collector"`
	CollectedAt time.Time `json:"collected_at"`
	Window      Period    `json:"window"`
	// Snapshot says that the population is the state at CollectedAt rather than
	// the events of Window; a later snapshot replaces an earlier one.
	Snapshot bool `json:"snapshot,omitempty"`

	Provenance   Provenance   `json:"provenance"`
	Completeness Completeness `json:"completeness"`

	// Population is stored beside the record as population.jsonl, one
	// canonical JSON line an item; Raw as one file a reply.
	Population Population `json:"-"`
	Raw        []RawReply `json:"-"`
}

// Provenance says where evidence came from and who asked, so that an auditor
// can judge it as information produced by the entity.
type Provenance struct {
	System    string    `json:"system"`            // "github", "aws", "trustpack-ingest", "git", …
	Account   string    `json:"account,omitempty"` // organisation, account number, repository
	Principal string    `json:"principal"`         // who the credential is; "unknown: why" where the source will not say
	Tool      string    `json:"tool"`              // "trustpack 0.1.0"
	Origin    Origin    `json:"origin"`            // live, or recorded sample data
	Clock     Clock     `json:"clock"`             // whose time the times here are
	Requests  []Request `json:"requests"`
}

// Origin tells evidence of a live source from recorded sample data.
type Origin string

// The origins. Anything but OriginLive is labelled wherever it is shown.
const (
	OriginLive   Origin = "live"
	OriginSample Origin = "recorded-sample"
)

// Clock tells the system's clock from a simulated one.
type Clock string

// The clocks. Anything but ClockSystem is labelled wherever a time is shown.
const (
	ClockSystem    Clock = "system"
	ClockSimulated Clock = "simulated"
)

// Request is one exchange with the source.
type Request struct {
	Method      string            `json:"method"`                 // HTTP method, or the SDK's operation
	Target      string            `json:"target"`                 // URL without secrets, file path, or service
	Parameters  map[string]string `json:"parameters,omitempty"`   // secrets replaced by "redacted"
	StartedAt   time.Time         `json:"started_at"`             //
	EndedAt     time.Time         `json:"ended_at"`               //
	Page        int               `json:"page,omitempty"`         // from 1 where the source pages
	Status      int               `json:"status,omitempty"`       // HTTP status; 0 where there was no answer
	RequestID   string            `json:"request_id,omitempty"`   // the source's own
	ReplySHA256 string            `json:"reply_sha256,omitempty"` // hex; the RawReply with this digest
	Redactions  []string          `json:"redactions,omitempty"`   // what was taken out of the reply before keeping it
	Error       string            `json:"error,omitempty"`        // why there is no usable reply
}

// RawReply is one reply byte for byte, after the redactions that its Request
// names. Name is a relative slash path, unique within the evidence. Where a
// Store has the bytes already, Body is nil and Kept says which they are.
type RawReply struct {
	Name string
	Body []byte
	Kept *Kept
}

// Kept names bytes that a Store has.
type Kept struct {
	SHA256 string // hex
	Size   int64
}

// Store keeps bytes by their digest: replies that are too many for memory go
// there as they come. What was kept is durable before anything may cite it.
type Store interface {
	// Keep gives the hex SHA-256 of body, under which Open finds it.
	Keep(body []byte) (digest string, err error)
	// Open gives an error that is fs.ErrNotExist where nothing has that digest.
	// Reading to the end fails where the bytes have changed.
	Open(digest string) (io.ReadCloser, error)
}

// Streamer is a Collector whose evidence of a long window may be too much for
// memory. It hands over each Evidence as it is made; several of one kind have
// windows that join to the whole.
type Streamer interface {
	Collector
	// Stream ends with the first error of keep.
	Stream(ctx context.Context, p Period, keep func(Evidence) error) error
}

// CompletenessState says whether the population is known to be whole.
type CompletenessState string

// The states. Only Complete lets a control be judged over the population.
const (
	Complete   CompletenessState = "complete"
	Incomplete CompletenessState = "incomplete"
)

// Completeness says how it is known that nothing is missing.
type Completeness struct {
	State    CompletenessState `json:"state"`
	Basis    string            `json:"basis"`              // "source-total", "read-to-end", "verified-log", "reconciled", "cannot-be-known"
	Expected *int              `json:"expected,omitempty"` // the source's own total where it gives one
	Got      int               `json:"got"`
	Gaps     []Gap             `json:"gaps,omitempty"`
	Note     string            `json:"note,omitempty"`
}

// Gap is one named thing that could not be read: a page, a region, an
// account, a repository, a range of days.
type Gap struct {
	What   string `json:"what"`
	Reason string `json:"reason"`
}

// Population is every item of a kind in the window, sorted by ID.
type Population struct {
	Items []Item
}

// Item is one member of a population. Its line in population.jsonl is the
// canonical JSON object of Attributes with "id" added; Attributes hold only
// what JSON holds (string, bool, float64 or int, nil, []any, map[string]any),
// times as RFC 3339 strings in UTC.
type Item struct {
	ID         string
	Attributes map[string]any
}
