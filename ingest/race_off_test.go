//go:build !race

package ingest

// withRace says that the race detector runs.
const withRace = false
