// Package pack makes and verifies the signed evidence pack: one zip file that
// opens with any unzip, is checked with standard tools, and verifies offline
// for years against nothing but a public key that reached the verifier by
// another way. FORMAT.md is its specification.
//
// The verifier is kept small on purpose: it reaches the standard library,
// x/crypto/ssh and x/mod's transparency log code, and no network.
package pack

import (
	"io"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// Content is what a pack is built from. The same content and key give the
// same bytes, but for a timestamp.
type Content struct {
	Organisation, System, Tool string   // one line each
	Identity                   string   // of the vendor, as he signs; empty: none is given
	RequiredRoles              []string // whose signatures the pack needs to be whole; the vendor's is always among them
	Period                     evidence.Period
	Sequence                   int    // 1 for an organisation's first pack
	Previous                   string // hex SHA-256 of the previous pack's pack.json (Built.PackJSONSHA256); empty for the first

	Sample bool           // recorded sample data is among the evidence
	Clock  evidence.Clock // ClockSimulated where any time is simulated

	CatalogSHA256 string
	CatalogFiles  map[string][]byte // by path within the catalog

	Controls []evidence.Control
	Findings []evidence.Finding
	Evidence []evidence.Collected // whole; where Open is given, raw replies and populations may be left out
	Extra    []File               // reports, statements, workbook
	Logs     []ledger.Excerpt     // with the evidence.collected entries of Evidence among the records
	Secret   []byte               // at least 16 bytes, kept by the vendor; salts the manifest's lines

	// Timestamp asks a time stamp authority for a DER TimeStampResp over the
	// vendor's signature, which makes each pack another; nil: none is asked.
	Timestamp func(signature []byte) ([]byte, error)

	// Open opens the record, population or raw reply with this SHA-256 (hex).
	// Where it is given, they are read from it, more than once, and are never all
	// in memory; where it is nil, Evidence holds them.
	Open func(sha256 string) (io.ReadCloser, error)
}

// File is a file of the pack's data/ that Build does not make itself.
type File struct {
	Path        string // under data/, and not where Build puts its own
	MediaType   string
	Stage       evidence.Stage
	Controls    []string
	Kind        string
	DerivedFrom []string
	Body        []byte
	Open        func() (io.ReadCloser, error) // instead of Body; opened twice, for the same bytes
}

// Built says what Build has written.
type Built struct {
	PackJSONSHA256 string // hex; the next pack's Previous
	TreeRoot       string // hex
	Files          int64  // that the manifest lists
	Entries        int    // of the archive
	Bytes          int64  // of the archive
	Fingerprint    string // OpenSSH's, of the key that signed

	Timestamp time.Time // genTime of the timestamp of the signature; zero where there is none
}
