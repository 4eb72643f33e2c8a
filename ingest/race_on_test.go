//go:build race

package ingest

// withRace says that the race detector runs, which allocates itself and makes
// pools forget.
const withRace = true
