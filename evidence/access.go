package evidence

import "context"

// AccessState says whether a source lets somebody read.
type AccessState string

// The states of an access.
const (
	AccessGranted AccessState = "granted"
	AccessLacking AccessState = "lacking"
	AccessUnknown AccessState = "unknown" // the source could not be asked, or gave no clear answer
)

// AccessCheck is what came of asking a source whether it lets a collector read
// what it needs.
type AccessCheck struct {
	Source     string      `json:"source"`     // the collector's name
	Principal  string      `json:"principal"`  // who the credential is; empty where the source asks for none
	Target     string      `json:"target"`     // what was asked about: a repository, an organisation
	Permission string      `json:"permission"` // as the source calls it
	For        string      `json:"for"`        // what is read with it
	Kinds      []Kind      `json:"kinds"`      // incomplete without it
	State      AccessState `json:"state"`
	Said       string      `json:"said"` // the source's answer where it is not granted; a note where it grants more than is needed
}

// AccessChecker is a Collector that can ask beforehand, reading nothing that it
// keeps. The error is only ever the context's.
type AccessChecker interface {
	Collector
	CheckAccess(ctx context.Context) ([]AccessCheck, error)
}
