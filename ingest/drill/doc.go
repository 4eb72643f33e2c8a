// Package drill attacks a running ingest from outside and records that each
// attack is refused. It uses the ingest's public ports only: the device port,
// and the admin API with the credentials of two operators. It needs no
// shortcut that an operator would not have.
//
// The attacks are made by canary devices in two canary tenants, which the
// runner provisions itself. Where an attack takes other roles than the two
// operators have, a canary operator makes it. When the runner is done it revokes
// and removes them, and resolves the alerts that they caused. No drill touches a tenant, a device or data of
// anybody else, and each sends a bounded number of requests, so that a drill
// can run beside production.
//
// A drill says passed only where it saw the refusal that it expects, in the
// form that the ingest promises: a status and problem code, or a TLS alert.
// Where the refusal also means that nothing is stored, the drill reads the
// tenant's log through the admin API and counts. Whatever could not be looked
// at is not-available, with the reason.
//
// LogEntry names the entry that the ingest wrote about the refusal. It is
// found by what the request carried (request ID, credential, claimed tenant,
// path, source), and left empty where no entry or more than one fits.
//
// Some drills need time to pass: a canary asks for a certificate of a few
// seconds and shows it when those are over, and another, of a type whose
// silence is noticed in seconds, falls silent. They begin first and end last.
//
// That a drill fails where it must is tested against the ingest itself, of
// which one guard after the other is left out; see TestEachGuardLeftOut.
package drill
