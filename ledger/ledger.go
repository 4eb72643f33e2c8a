// Package ledger keeps verifiable logs: named sequences of entries, each the
// leaves of an RFC 6962 Merkle tree whose head is signed now and then as a
// checkpoint (c2sp.org/tlog-checkpoint).
package ledger
