// Package metering is the example vendor, Lindenau Metering GmbH, an invented
// firm whose system GridPulse reads electricity and heat meters for two
// invented customers. It holds the fleet, what each device measures in the
// third quarter of 2026, when it uploads that, and what the operators do in
// the same time, so that a demo can take a real ingest through the quarter.
//
// Nothing here is random: all numbers come from integer arithmetic over
// fleet.yaml and a generator seeded by the device's ID, so each run gives the
// same bytes on every machine.
package metering
