package ingest

// guard names one thing that the ingest refuses or raises, so that a test can
// leave it out and see which drills notice. Only a build with the tag
// "weakened" can: in any other, off is constantly false, and neither the names
// nor the code behind them are in the program.
type guard string

const (
	guardServerCert     guard = "server-certificate"    // the one shown to devices is valid
	guardPlaintext      guard = "plaintext"             // no HTTP without TLS
	guardTLSVersion     guard = "tls-version"           // no TLS before 1.2
	guardTLSCipher      guard = "tls-cipher"            // no suite without forward secrecy and AEAD
	guardNoCertificate  guard = "no-certificate"        // no events of nobody
	guardChain          guard = "chain"                 // whose name a certificate says is not believed, but who signed it
	guardToken          guard = "token"                 // no certificate makes up for a token that is another's
	guardExpiry         guard = "expiry"                // no certificate beyond its dates
	guardRevocation     guard = "revocation"            // nothing of a revoked device
	guardQuarantine     guard = "quarantine"            // nothing of one in quarantine
	guardTenantPath     guard = "tenant-in-path"        // no other tenant in the path
	guardTenantHeader   guard = "tenant-in-header"      // in a header
	guardTenantPayload  guard = "tenant-in-payload"     // in an event
	guardDevicePayload  guard = "device-in-payload"     // no other device in an event
	guardStatusTenant   guard = "status-of-tenant"      // no device sees another tenant's status
	guardDeviceAdmin    guard = "device-as-operator"    // no device calls the admin API
	guardRoles          guard = "roles"                 // operators do what their roles may
	guardGrantExpiry    guard = "grant-expiry"          // no support beyond its time
	guardGrantTenant    guard = "grant-tenant"          // nor in another tenant
	guardSelfApproval   guard = "self-approval"         // nobody approves what he asked for
	guardMedia          guard = "media"                 // no body of another Content-Type
	guardBodySize       guard = "body-size"             // no body over the limit
	guardUnpackedSize   guard = "unpacked-size"         // none that unpacks to more
	guardLines          guard = "lines"                 // no more lines than the limit
	guardDepth          guard = "depth"                 // no deeper nesting
	guardUnfinished     guard = "unfinished-json"       // no event that has no end
	guardUTF8           guard = "utf-8"                 // no string of other bytes
	guardDuplicateKeys  guard = "duplicate-keys"        // no key twice
	guardNumbers        guard = "numbers"               // no number that is none, or too large
	guardLetters        guard = "dead-letters"          // what is not accepted is kept
	guardDuplicates     guard = "duplicates"            // no event twice
	guardConflicts      guard = "conflicts"             // no other event under a number that was used
	guardStale          guard = "stale-numbers"         // no number before the window
	guardFuture         guard = "time-ahead"            // no event from the future
	guardPast           guard = "time-behind"           // none that is too old
	guardRates          guard = "rates"                 // no more than the rates
	guardRateApart      guard = "rates-apart"           // nobody pays for another's flood
	guardSilence        guard = "silence"               // a silent device raises an alert
	guardExportApproval guard = "export-approval"       // no large export without another's approval
	guardExportSpike    guard = "export-spike"          // many exported rows raise an alert
	guardRefusals       guard = "refusals-are-recorded" // each refusal is an entry
)
