package evidence

import (
	"encoding/json"
	"time"
)

// AuditEntry is one entry of an ingest's control log, as JSON: an admin act,
// a refusal, a config version, an alert, a drill result, a closed day's books.
// The registry and every count are the fold of these, so no change can exist
// without its entry. Empty fields are left out.
type AuditEntry struct {
	Type       string          `json:"type"`
	Time       time.Time       `json:"time"` // when the ingest decided, on its clock
	Actor      *Actor          `json:"actor,omitempty"`
	RequestID  string          `json:"request_id,omitempty"`
	Tenant     string          `json:"tenant,omitempty"`
	Device     string          `json:"device,omitempty"`
	Generation int             `json:"generation,omitempty"`
	Target     string          `json:"target,omitempty"` // what was acted on where it is no device: tenant, operator, alert, config
	Result     string          `json:"result,omitempty"` // "done" or "refused"
	Reason     string          `json:"reason,omitempty"`
	Ticket     string          `json:"ticket,omitempty"`
	Grant      string          `json:"grant,omitempty"` // ID of the support grant, or of the break-glass, under which an act was done
	Before     json.RawMessage `json:"before,omitempty"`
	After      json.RawMessage `json:"after,omitempty"`
	Data       json.RawMessage `json:"data,omitempty"` // what the type says; see the constants
}

// Actor is the operator who acted, in the role under which it was allowed.
type Actor struct {
	Name       string `json:"name"`
	Role       string `json:"role"`
	Credential string `json:"credential,omitempty"` // "sha256:<hex>" of the certificate, or of the token's text
}

// Types of AuditEntry. The comment gives the shape of Data.
const (
	EntryIngestStarted    = "ingest.started"             // {"instance","version","config_sha256"}
	EntryIngestStopped    = "ingest.stopped"             // none
	EntryConfigApplied    = "config.applied"             // ConfigApplied
	EntryConfigRefused    = "config.refused"             // {"error"}: a configuration that could not take effect; the one before it stays in force
	EntryLedgerHeld       = "ledger.held"                // LedgerHeld: at each start, where a copy or witnesses are configured
	EntryRollbackTaken    = "ledger.rollback-accepted"   // RollbackAccepted; Reason is set
	EntryClockChecked     = "clock.checked"              // ClockCheck: at the start, each hour, and when the clock jumps
	EntryTenantAdded      = "tenant.added"               // Tenant
	EntryOperatorAdded    = "operator.added"             // Operator
	EntryOperatorRemoved  = "operator.removed"           // Operator
	EntryOperatorIssued   = "operator.credential-issued" // {"name","fingerprint","method","not_before","not_after","old_until"}: a further credential; others of its method end at old_until
	EntryOperatorLogin    = "operator.login"             // {"name","roles","groups","issuer","subject_sha256","until","fingerprint","source","linked"}: a session of roles that the groups give
	EntryOperatorLogout   = "operator.logout"            // {"name","fingerprint","why"}: "logout" or "ended"
	EntryDeviceRequested  = "device.requested"           // Device (state requested), with "expires" and, of one of many asked for at once, "batch"
	EntryDeviceApproved   = "device.approved"            // {"enrolment_code_sha256","expires"}
	EntryDeviceIssued     = "device.issued"              // Credential
	EntryDeviceActivated  = "device.activated"           // {"fingerprint","source"}: first valid contact
	EntryQuarantined      = "device.quarantined"         // none; Reason and Ticket are set
	EntryReleased         = "device.released"            // none
	EntryRevoked          = "device.revoked"             // none; Reason and Ticket are set
	EntrySessionsCut      = "device.sessions-cut"        // {"decision_index","connections","elapsed_ms"}: after a quarantine, revocation, retirement or transfer
	EntryRoleRequested    = "role.change-requested"      // {"id","name","roles"}: all the roles that the operator is to hold
	EntryRoleApproved     = "role.change-approved"       // {"id","name","roles"}: which he now holds
	EntryRoleDeclined     = "role.change-declined"       // {"id","name","roles"}; Reason is set
	EntryRoleChanged      = "role.changed"               // {"name","roles"}: which took effect without a second person
	EntryGrantRequested   = "grant.requested"            // {"id","operator","tenant","actions","minutes"}; Reason is set
	EntryGrantApproved    = "grant.approved"             // {"id","from","until"}
	EntryGrantDeclined    = "grant.declined"             // {"id"}; Reason is set
	EntryGrantEnded       = "grant.ended"                // {"id","why"}: "expired", without Actor, or "revoked"
	EntrySupportRead      = "support.read"               // {"action","path","query"}: what was read under a grant, which Grant names
	EntryBreakGlassOpened = "breakglass.opened"          // {"id","operator","role","until"}: a role taken in an emergency; Reason is set
	EntryBreakGlassClosed = "breakglass.closed"          // {"id","why"}: "expired", without Actor, or "closed"
	EntryRefusal          = "refusal"                    // Refusal
	EntryAdminRefused     = "admin.refused"              // {"method","path","status","code"}
	EntryAlertRaised      = "alert.raised"               // Alert
	EntryAlertAcked       = "alert.acknowledged"         // {"id"}
	EntryAlertResolved    = "alert.resolved"             // {"id","resolution"}; no Actor where the condition ended by itself
	EntryGap              = "gap.recorded"               // {"boot","from_seq","to_seq"}: numbers that never came
	EntryCredentialSeen   = "credential.seen"            // {"fingerprint","source"}: the first time from this source address
	EntryBooksClosed      = "books.closed"               // Books
	EntryDrill            = "drill.result"               // DrillResult
	EntryDrillsStarted    = "drills.started"             // DrillRun, as it begins; its results follow
	EntryDrillsEnded      = "drills.ended"               // DrillRun
	EntryLetterReplayed   = "deadletter.replayed"        // {"index","rules"}: of the dead letter in the tenant's log, and the rules that now took it
	EntryLetterDiscarded  = "deadletter.discarded"       // {"index"}; Reason is set
	EntryExportRequested  = "export.requested"           // Export
	EntryExportApproved   = "export.approved"            // {"id"}
	EntryExportDeclined   = "export.declined"            // {"id"}; Reason is set
	EntryExport           = "export.completed"           // {"id","requester","approver","scope","rows","bytes","sha256","destination","format"}: each time that the file left
	EntryPurgeRequested   = "purge.requested"            // {"id","asked","purge"}: payloads of Tenant from before asked; purge says what it would erase
	EntryPurged           = "purge.completed"            // {"id","asked","requester","approver","purge"}: purge says what was erased, {"log","before","first_day","last_day","days","first","end","count","bytes","commitments_sha256"}
)

// Entries of a device's end, and of its way to another tenant. The comment
// gives the shape of Data.
const (
	EntryDeviceRetired   = "device.retired"            // none; Reason is set
	EntryRequestExpired  = "device.request-expired"    // none; no Actor; Reason says what was not used in time
	EntryDeviceDeclined  = "device.declined"           // none; Reason is set
	EntryTransferAsked   = "device.transfer-requested" // {"id","to_tenant","site","fleet","expires"}
	EntryTransferConsent = "device.transfer-approved"  // {"id","approvals","needed"}: a consent after which more are needed
	EntryTransferRefused = "device.transfer-declined"  // {"id"}; no Actor where nobody decided in time
	EntryTransferred     = "device.transferred"        // {"id","to_tenant","to_generation","type","site","fleet","enrolment_code_sha256","expires"}: ends this binding (state retired) and makes the other (state approved)
)

// Entries of a device's credentials. The comment gives the shape of Data.
const (
	EntryTokenIssued     = "device.token-issued"       // Credential of method "token"; as device.issued
	EntryRotationOrdered = "device.rotation-ordered"   // {"enrolment_code_sha256","expires","approvals","needed"}: the code with the last consent that is needed
	EntryDeviceRotated   = "device.rotated"            // {"credential","replaces","old_until","by"}: credential stands beside the one of the fingerprint replaces, which dies at old_until; by is "device", "code", or "external", where a declared CA issued it
	EntryCredentialDead  = "device.credential-retired" // {"fingerprint","why"}: why is "rotated" or "expired"
)

// Types of AuditEntry of what follows from an alert. Reason of an
// acknowledgement holds what was said.
const (
	EntryAlertEscalated   = "alert.escalated"   // {"id","severity","within"}: nobody had acknowledged it by then
	EntryAlertDelivered   = "alert.delivered"   // {"id","to","kind","event","attempts","ticket"}: told to a webhook, or as a GitHub issue whose URL is ticket
	EntryAlertUndelivered = "alert.undelivered" // {"id","to","kind","event","attempts","error"}: given up
	EntryAlertResend      = "alert.resend"      // {"id","to","event"}: an operator has it told again
)

// CanaryPrefix begins the IDs of tenants that serve drills and are nobody's
// customers.
const CanaryPrefix = "canary-"

// CanarySilence is the type of a canary device that falls silent on purpose.
const CanarySilence = "canary-silence"

// Tenant is a customer whose devices report; its log is its own.
type Tenant struct {
	ID   string `json:"id"` // [a-z0-9][a-z0-9-]{0,62}
	Name string `json:"name,omitempty"`
}

// DeviceState is where a device stands in its life.
type DeviceState string

// The states of a device.
const (
	DeviceRequested   DeviceState = "requested"
	DeviceApproved    DeviceState = "approved"
	DeviceIssued      DeviceState = "issued"
	DeviceActive      DeviceState = "active"
	DeviceQuarantined DeviceState = "quarantined"
	DeviceRevoked     DeviceState = "revoked"
	DeviceRetired     DeviceState = "retired"  // out of service in good order, or moved to another tenant
	DeviceDeclined    DeviceState = "declined" // an approver said no to the request
	DeviceExpired     DeviceState = "expired"  // the request, or its enrolment code, was not used in time
)

// Device is one device or gateway of one tenant. A device that is made again
// after a revocation has a new generation and inherits nothing.
type Device struct {
	Tenant      string       `json:"tenant"`
	ID          string       `json:"id"` // [A-Za-z0-9][A-Za-z0-9._-]{0,127}
	Generation  int          `json:"generation"`
	Type        string       `json:"type"`
	Site        string       `json:"site,omitempty"`
	Fleet       string       `json:"fleet,omitempty"`
	State       DeviceState  `json:"state"`
	Firmware    string       `json:"firmware,omitempty"` // as last reported
	Credentials []Credential `json:"credentials,omitempty"`
}

// Credential is what a device proves itself with, never the secret.
type Credential struct {
	Fingerprint string    `json:"fingerprint"`   // "sha256:<hex>" of the DER certificate, or of a token's text
	Method      string    `json:"method"`        // "x509" or "token"
	KeyType     string    `json:"key_type"`      // "ecdsa-p256", "ed25519", "rsa-3072", …; "token-256"
	Key         string    `json:"key,omitempty"` // "sha256:<hex>" of a certificate's SubjectPublicKeyInfo; empty in logs from before it was kept
	Serial      string    `json:"serial,omitempty"`
	Issuer      string    `json:"issuer,omitempty"` // name of the external CA; empty where the ingest's own issued it
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Ends        time.Time `json:"ends,omitzero"`     // in the registry: where it was replaced, the moment from which it is refused
	Retired     string    `json:"retired,omitempty"` // in the registry: why it is refused for good, "rotated" or "expired"
}

// Operator is a person who acts on the ingest.
type Operator struct {
	Name        string   `json:"name"`
	Roles       []string `json:"roles"`                 // admin, provisioner, approver, support, exporter, auditor
	Fingerprint string   `json:"fingerprint,omitempty"` // of the first credential: "sha256:<hex>" of the certificate, or of the token's text
	// Method of that credential: "x509", "token" or "oidc". Entries from before
	// there were others have none; they mean x509.
	Method    string    `json:"method,omitempty"`
	Serial    string    `json:"serial,omitempty"` // of the certificate, hexadecimal
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	OIDC      string    `json:"oidc,omitempty"` // name at the OpenID provider of whoever logs in there; roles are then those of each login
}

// Refusal is one or more requests that were turned away for one reason. The
// first is logged at once; like ones that follow within a second are counted.
// Those that hold events are in the log before their answer; of the others, a
// process that is killed may lose the count of its last second.
type Refusal struct {
	Code          string    `json:"code"`   // stable problem code, such as "tenant.mismatch"
	Status        int       `json:"status"` // HTTP status; 0 where the handshake or connection was refused
	Count         int64     `json:"count"`
	First         time.Time `json:"first"`
	Last          time.Time `json:"last"`
	ClaimedTenant string    `json:"claimed_tenant,omitempty"`
	Path          string    `json:"path,omitempty"`
	Fingerprint   string    `json:"fingerprint,omitempty"` // credential that was shown
	Source        string    `json:"source,omitempty"`      // IP address
	Detail        string    `json:"detail,omitempty"`
	Events        int64     `json:"events,omitempty"` // events refused with it where they could be counted; they stand in Books.Refused
}

// Alert is a condition that somebody must look at.
type Alert struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`  // "device.silent", "fleet.silent", "replay.conflict", …
	Since   time.Time `json:"since"` // when the condition began, such as the last event before a silence
	Devices []string  `json:"devices,omitempty"`
	Detail  string    `json:"detail"`
}

// Books is the account of one tenant and UTC day, in events (lines), which
// must balance: Received = Accepted + Duplicate + DeadLettered + Refused. A
// request that was refused before its events were counted has none here: it is
// a Refusal alone.
type Books struct {
	Tenant       string `json:"tenant"`
	Day          string `json:"day"` // 2026-07-01, by received time
	Received     int64  `json:"received"`
	Accepted     int64  `json:"accepted"`
	Duplicate    int64  `json:"duplicate"`
	DeadLettered int64  `json:"dead_lettered"`
	Refused      int64  `json:"refused"`
	Replayed     int64  `json:"replayed,omitempty"` // of Received: dead letters replayed that day, which came from nobody anew
}

// Export is a file of one tenant's events that somebody asked for. Its rows are
// settled when it is asked for: what is received later is not in it.
type Export struct {
	ID            string    `json:"id"`
	Tenant        string    `json:"tenant"`
	From          time.Time `json:"from"` // by time of receipt, half open
	To            time.Time `json:"to"`
	Until         int64     `json:"until"` // entries of the tenant's log below this
	Device        string    `json:"device,omitempty"`
	EventType     string    `json:"event_type,omitempty"`
	Format        string    `json:"format"` // "ndjson" or "csv"
	Destination   string    `json:"destination"`
	Rows          int64     `json:"rows"`
	NeedsApproval bool      `json:"needs_approval"`
}

// LedgerHeld says to what the ledger was held when the ingest started, so that
// an older copy of its disk is noticed.
type LedgerHeld struct {
	Copy      *HeldTo  `json:"copy,omitempty"` // of the last checkpoints, on another disk
	Witnesses []HeldTo `json:"witnesses,omitempty"`
	Quorum    int      `json:"quorum"` // witnesses that had to agree
}

// HeldTo is what one that knows checkpoints said.
type HeldTo struct {
	Name string `json:"name"`
	// State is "agrees", "first-use" (it knew nothing yet), "unreachable",
	// "failed" (it answered, but not with what can be used) or "contradicts".
	State  string `json:"state"`
	Logs   int    `json:"logs"`             // that it agreed to
	Detail string `json:"detail,omitempty"` // why it does not agree
}

// RollbackAccepted is a log that an operator knowingly went on with after it
// was taken back to an older copy.
type RollbackAccepted struct {
	Log  string `json:"log"`
	By   string `json:"by"`   // who knows more of it
	Seen int64  `json:"seen"` // size of the tree known there
	Size int64  `json:"size"` // entries the log held
	What string `json:"what"`
}

// ClockCheck is what an ingest found of its own clock.
type ClockCheck struct {
	Wall       time.Time `json:"wall"`             // of the operating system
	SinceS     float64   `json:"since_s"`          // monotonic time since the check before; 0 in the first
	DriftMS    float64   `json:"drift_ms"`         // by which the wall clock went ahead of the monotonic one since then
	JumpMS     float64   `json:"jump_ms"`          // the same since the last look, about a second before, where it is a jump; else 0
	HeldMS     float64   `json:"held_ms"`          // by which the ingest's clock is ahead of the wall, which was set back: it stands still so long
	NTP        string    `json:"ntp"`              // "synchronised", "unsynchronised" or "unknown"
	NTPSource  string    `json:"ntp_source"`       // who says so: "adjtimex"; empty where nobody does
	OffsetUS   float64   `json:"offset_us"`        // the system's own estimate, where NTPSource says something
	MaxErrorUS float64   `json:"max_error_us"`     // its bound
	Detail     string    `json:"detail,omitempty"` // why NTP is unknown
}

// ConfigApplied is a version of the ingest's configuration taking effect.
type ConfigApplied struct {
	Version int             `json:"version"`
	SHA256  string          `json:"sha256"`
	Config  json.RawMessage `json:"config"`         // effective settings, no secrets
	Diff    []string        `json:"diff,omitempty"` // "limits.body_bytes: 1048576 -> 2097152"
}

// DrillResult is one attack and what became of it.
type DrillResult struct {
	ID        string    `json:"id"`      // "TR-02.replayed-batch"
	Control   string    `json:"control"` // "TR-02"
	What      string    `json:"what"`
	Sent      string    `json:"sent"`     // the request in one line, no secrets
	Expected  string    `json:"expected"` //
	Got       string    `json:"got"`
	Verdict   string    `json:"verdict"` // "passed", "failed", "not-available"
	StartedAt time.Time `json:"started_at"`
	LatencyMS float64   `json:"latency_ms"` // measured on the real monotonic clock
	LogEntry  string    `json:"log_entry"`  // "<log>/<index>" of the refusal it caused
}

// DrillRun is one scheduled run of the drills, as it begins and as it ends.
type DrillRun struct {
	Due       time.Time   `json:"due"`                  // when the schedule wanted it; names the run
	StartedAt time.Time   `json:"started_at"`           //
	EndedAt   time.Time   `json:"ended_at,omitzero"`    //
	Verdict   string      `json:"verdict,omitempty"`    // "passed", "failed", or "not-available" where one could not be made
	Passed    int         `json:"passed"`               // drills
	Failed    int         `json:"failed"`               //
	NotMade   int         `json:"not_available"`        //
	Why       string      `json:"why,omitempty"`        // it could not start, or was cut off
	Missed    []time.Time `json:"missed,omitempty"`     // when runs were due before this, and none was made; the last 100
	MissedAll int         `json:"missed_all,omitempty"` // how many those are
}
