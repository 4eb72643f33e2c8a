// Package controls judges collected evidence. The catalog is data: one YAML
// file per control, embedded, which states what must be true, which kinds of
// evidence it needs, its attributes as CEL expressions, and the cases that
// show each expression to pass and to fail. Assess applies a catalog to the
// evidence of one period.
//
// Judging is offline and repeatable: the same catalog, policy and evidence
// give the same findings, in the same order, whether the evidence comes
// straight from a collector or is read back from a pack.
//
// # Expressions
//
// A test sees `item` (the member of the population, a map with "id"),
// `policy` (the parameters that the file declares) and `period` (a map with
// timestamps "from" and "to" and "days", the list of UTC days such as
// "2026-07-01"), and calls
//
//	items(kind)               every item of a kind
//	lookup(kind, id)          the item with that ID, as an optional
//	where(kind, field, value) the items whose field has that value, or whose list holds it
//	values(kind, field)       the different values of a field, sorted
//	pending(kind)             unknown while the kind was read last before the period was over, then false
//	seconds(from, to)         the time between two RFC 3339 strings or timestamps
//	days(from, to)            the same in days
//
// beside CEL's own functions, optional types and string functions. All numbers
// are doubles. There is no clock, no network and no other side effect, and each
// evaluation has a cost limit.
//
// A runtime error, such as a field that the item lacks, makes the outcome
// "error", never "met"; so does a field that where or values looks into and
// some item lacks. A look-up into evidence that was not collected in full
// is unknown unless it finds what it asks for; a result that stays unknown is
// neither a pass nor an exception, and its attribute is "not-available". So a
// test that compares with period.to says `|| pending(kind)`: what it misses in a
// running period may still come.
//
// What has time until after the period's end is judged in the period in which
// that time ends. Its attribute says `looks_back`: how many days before the period
// (CEL over policy, rounded up) its items may have begun. It then sees the
// evidence from there on, which must have been collected for all of it, and its
// `when` lets through what falls due in the period. All other attributes see
// the period alone. LooksBack tells collectors how far to read.
package controls
