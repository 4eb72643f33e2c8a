package main

import (
	"trustpack/evidence"
	"trustpack/internal/locker"
)

// keptFor lists what was collected for a period or made in it, in the order in
// which it was entered. The times are those that the log's entries name.
func keptFor(l *locker.Locker, p evidence.Period) ([]evidence.Citation, error) {
	index, _, err := l.Index()
	if err != nil {
		return nil, err
	}
	var out []evidence.Citation
	for _, c := range index {
		touches := c.Window.From.Before(p.To) && p.From.Before(c.Window.To)
		if touches || p.Contains(c.CollectedAt) {
			out = append(out, evidence.Citation{ID: c.ID, Kind: c.Kind, CollectedAt: c.CollectedAt, Window: c.Window,
				Completeness: c.Completeness, Items: c.Items, Origin: c.Origin})
		}
	}
	return out, nil
}
