package ingest

import (
	"net/http"
	"unicode/utf8"
)

// Code is a stable problem code. It is what a device, an operator's tool, a
// refusal entry and a dead letter all use to say why.
type Code string

// The codes. Problems lists them with status and meaning.
const (
	CodeNoCertificate      Code = "auth.no-certificate"
	CodeUnknownCredential  Code = "auth.unknown-credential"
	CodeExpiredCredential  Code = "auth.expired-credential"
	CodeCredentialMismatch Code = "auth.credential-mismatch"
	CodeTokenNotAllowed    Code = "enrol.token-not-allowed"
	CodeTokenInURL         Code = "auth.token-in-url"
	CodeRevoked            Code = "auth.revoked"
	CodeQuarantined        Code = "auth.quarantined"
	CodeRetired            Code = "auth.retired"
	CodeForbidden          Code = "auth.forbidden"
	CodeTenantMismatch     Code = "tenant.mismatch"
	CodePlaintext          Code = "tls.plaintext"
	CodeTLSVersion         Code = "tls.version"
	CodeTLSCipher          Code = "tls.cipher"
	CodeBodyTooLarge       Code = "body.too-large"
	CodeTooManyLines       Code = "body.too-many-lines"
	CodeBodyMalformed      Code = "body.malformed"
	CodeMediaUnsupported   Code = "media.unsupported"
	CodeMethod             Code = "request.method"
	CodeNotFound           Code = "request.not-found"
	CodeInvalid            Code = "request.invalid"
	CodeConflict           Code = "request.conflict"
	CodeTooManyConns       Code = "connections.too-many"
	CodePortFull           Code = "connections.port-full"
	CodeEventMalformed     Code = "event.malformed"
	CodeEventTooDeep       Code = "event.too-deep"
	CodeEventTooLarge      Code = "event.too-large"
	CodeDeviceMismatch     Code = "device.mismatch"
	CodeUnknownType        Code = "schema.unknown-type"
	CodeSchemaViolation    Code = "schema.violation"
	CodeRangeViolation     Code = "range.violation"
	CodeTimeFuture         Code = "time.future"
	CodeTimeTooOld         Code = "time.too-old"
	CodeReplayConflict     Code = "replay.conflict"
	CodeReplayStale        Code = "replay.stale"
	CodeReplayPurged       Code = "replay.purged"
	CodeReplayForgotten    Code = "replay.forgotten"
	CodePayloadPurged      Code = "payload.purged"
	CodeLetterQuota        Code = "deadletter.quota"
	CodeRateDevice         Code = "rate.device"
	CodeRateTenant         Code = "rate.tenant"
	CodeRateSource         Code = "rate.source"
	CodeRateExport         Code = "rate.export"
	CodeApprovalSelf       Code = "approval.self"
	CodeLoginInvalid       Code = "login.invalid"
	CodeLoginUnlinked      Code = "login.unlinked"
	CodeLoginNoRole        Code = "login.no-role"
	CodeProviderSilent     Code = "login.provider-silent"
	CodeEnrolBadCode       Code = "enrol.bad-code"
	CodeEnrolBadCSR        Code = "enrol.bad-csr"
	CodeESTLinking         Code = "est.linking"
	CodeESTPending         Code = "est.pending"
	CodeESTNotRequested    Code = "est.not-requested"
	CodeCRLExpired         Code = "auth.crl-expired"
	CodeDurabilityLost     Code = "durability.lost"
	CodeLedgerRollback     Code = "ledger.rollback"
	CodeDraining           Code = "draining"
	CodeInternal           Code = "internal"
)

// ProblemInfo is one row of the table of problems.
type ProblemInfo struct {
	Code    Code
	Status  int    // HTTP status; 0 where there is no HTTP answer; 202 where one line of a batch is meant
	Scope   string // "request", "line" or "connection"
	Meaning string // for people
}

// Problems is the table of every code, in the order of the documentation,
// which is generated from it.
func Problems() []ProblemInfo {
	return []ProblemInfo{
		{CodePlaintext, 400, "connection", "An HTTP request came in plaintext to a TLS port."},
		{CodeTLSVersion, 0, "connection", "The client offers no TLS version from 1.2 up."},
		{CodeTLSCipher, 0, "connection", "The client offers no forward-secret AEAD cipher suite."},
		{CodePortFull, 0, "connection", "The port holds as many connections as it may, or as many without a proven credential, of which the oldest makes room. It was closed without an answer."},
		{CodeNoCertificate, 401, "request", "No client certificate was shown, and no token."},
		{CodeUnknownCredential, 401, "request", "The certificate or token is not one that this ingest issued and knows."},
		{CodeExpiredCredential, 401, "request", "The certificate or token is expired, not yet valid, or replaced by another one, on the ingest's clock."},
		{CodeCredentialMismatch, 403, "request", "A connection speaks for one device; its certificate and the tokens that it brings are of more than one."},
		{CodeTokenInURL, 400, "request", "The URL holds a token, which is therefore no secret any more. Tokens are taken in the Authorization field alone."},
		{CodeRevoked, 403, "request", "The device has been revoked."},
		{CodeQuarantined, 403, "request", "The device is in quarantine."},
		{CodeRetired, 403, "request", "The device was retired, or moved to another tenant, where it has another credential."},
		{CodeForbidden, 403, "request", "The operator holds no role that may do this."},
		{CodeApprovalSelf, 403, "request", "Nobody approves their own request, and nobody approves twice."},
		{CodeLoginInvalid, 401, "request", "The ID token does not stand: signature, issuer, audience, times, nonce, or what the policy asks of it; or it was used before."},
		{CodeLoginUnlinked, 403, "request", "The identity at the provider belongs to no operator."},
		{CodeLoginNoRole, 403, "request", "None of the groups that the provider names gives a role."},
		{CodeProviderSilent, 503, "request", "The OpenID provider cannot be asked for its keys, so nobody can log in. Sessions, certificates and tokens are not touched."},
		{CodeTenantMismatch, 403, "request", "The request names a tenant other than the credential's."},
		{CodeEnrolBadCode, 403, "request", "The enrolment code is wrong, used or expired, or no such device waits for enrolment."},
		{CodeTokenNotAllowed, 403, "request", "The policy lets the device have no token; it enrols and renews with a certificate."},
		{CodeEnrolBadCSR, 422, "request", "The certificate request cannot be used: bad signature, a key weaker than P-256, Ed25519 or RSA 3072, or one that was certified for another device or generation."},
		{CodeESTLinking, 400, "request", "The certificate request is not linked to the TLS connection that brings it (RFC 7030, section 3.5)."},
		{CodeESTNotRequested, 403, "request", "Nobody requested the device that the bootstrap certificate names, and it may not ask for itself."},
		{CodeESTPending, 429, "request", "As many devices of this manufacturer's CA wait for approval as may."},
		{CodeCRLExpired, 401, "request", "The list of revoked certificates of the CA that issued the certificate is past its next update."},
		{CodeInvalid, 422, "request", "The request is well formed but a value in it cannot stand."},
		{CodeConflict, 409, "request", "What is asked does not fit the present state."},
		{CodeNotFound, 404, "request", "There is no such thing."},
		{CodePayloadPurged, 410, "request", "What a device sent was purged; the entry that commits to it stands."},
		{CodeMethod, 405, "request", "The path does not take this method."},
		{CodeMediaUnsupported, 415, "request", "Content-Type or Content-Encoding is not one that the path takes."},
		{CodeBodyMalformed, 400, "request", "The body cannot be read: cut short, bad compression, or no JSON where JSON must be."},
		{CodeBodyTooLarge, 413, "request", "The body, or what it decompresses to, is over the limit."},
		{CodeTooManyLines, 413, "request", "The request holds more events than the limit."},
		{CodeTooManyConns, 429, "request", "The device holds more open connections than the limit."},
		{CodeRateDevice, 429, "request", "The device sends faster than its rate, or has renewed its credential too often in 24 hours."},
		{CodeRateTenant, 429, "request", "The tenant's devices together send faster than its rate."},
		{CodeRateSource, 429, "request", "Too many attempts to enrol or to renew, or too many wrong tokens, from this address."},
		{CodeRateExport, 429, "request", "The operator has asked for as many exports in 24 hours as one may."},
		{CodeDurabilityLost, 503, "request", "The ingest can no longer make anything durable; it must be restarted."},
		{CodeLedgerRollback, 503, "request", "The ledger was taken back to an older copy than a witness or the copy of its checkpoints knows; nothing is taken until that is settled at a start."},
		{CodeDraining, 503, "request", "The ingest is about to end and begins nothing; send it again to its successor."},
		{CodeInternal, 500, "request", "The ingest failed; nothing was stored."},
		{CodeEventMalformed, 202, "line", "The line is no event: bad JSON, bad UTF-8, a key twice, a wanted key missing or of the wrong type. Kept as a dead letter."},
		{CodeEventTooDeep, 202, "line", "The event nests deeper than the limit. Kept as a dead letter."},
		{CodeEventTooLarge, 202, "line", "The line is longer than one log entry can hold. Refused."},
		{CodeDeviceMismatch, 202, "line", "The event names a device other than the credential's. Kept as a dead letter."},
		{CodeUnknownType, 202, "line", "There is no schema for the event's type. Kept as a dead letter."},
		{CodeSchemaViolation, 202, "line", "The event's data does not fit its schema. Kept as a dead letter."},
		{CodeRangeViolation, 202, "line", "A number is outside its range. Kept as a dead letter."},
		{CodeTimeFuture, 202, "line", "The device's time is too far ahead of the ingest's. Kept as a dead letter."},
		{CodeTimeTooOld, 202, "line", "The event is older than the policy takes. Kept as a dead letter."},
		{CodeReplayConflict, 202, "line", "The number was already used for another content. Refused, with an alert."},
		{CodeReplayStale, 202, "line", "The number lies before the replay window. Refused, since it cannot be told from a replay."},
		{CodeReplayPurged, 202, "line", "The number came before, and what it came with was purged, so the two cannot be compared. Refused; nothing of it is kept."},
		{CodeReplayForgotten, 202, "line", "The number came before, and where in the log is no longer kept, so the two cannot be compared. Refused; nothing of it is kept."},
		{CodeLetterQuota, 202, "line", "The line would be a dead letter and the tenant has as many open ones as it may. Refused, with an alert; nothing of it is kept."},
	}
}

// Problem is an RFC 9457 problem. It is an error, so that what refuses a
// request can return it.
type Problem struct {
	Type   string `json:"type"` // "urn:trustpack:problem:" + code
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   Code   `json:"code"`
	Detail string `json:"detail,omitempty"`
	// Rows says of each row of many what is wrong with it, where that is why.
	Rows []RowProblem `json:"rows,omitempty"`

	retryAfter int // seconds; 0: none

	// What the refusal entry says beyond the answer.
	claimed, tenant, device string
}

func (p *Problem) Error() string {
	if p.Detail == "" {
		return string(p.Code) + ": " + p.Title
	}
	return string(p.Code) + ": " + p.Detail
}

// problem makes the problem for code as the table has it.
func problem(code Code, detail string) *Problem {
	for _, p := range Problems() {
		if p.Code == code {
			return &Problem{Type: "urn:trustpack:problem:" + string(code), Title: p.Meaning, Status: p.Status, Code: code, Detail: detail}
		}
	}
	return &Problem{Type: "about:blank", Title: "unlisted problem", Status: 500, Code: code, Detail: detail}
}

// write sends the problem as application/problem+json.
func (p *Problem) write(w http.ResponseWriter) {
	var to reply
	to.problem(p)
	to.write(w)
}

// clip shortens text from outside for a message.
func clip(s string) string {
	s = withoutTokens(s)
	if len(s) <= 80 {
		return s
	}
	cut := 80
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
