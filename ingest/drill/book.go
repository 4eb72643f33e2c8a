package drill

import (
	"context"
	"fmt"

	"trustpack/evidence"
)

// RemoteBook is the Book of an ingest that another process runs, kept through
// its admin API as the target's operators.
func RemoteBook(t Target) (Book, error) {
	r, err := newRun(t)
	if err != nil {
		return nil, err
	}
	return remoteBook{r}, nil
}

type remoteBook struct{ r *run }

const runsPath = "/v1/admin/drills/runs"

func (b remoteBook) Last(ctx context.Context) (run evidence.DrillRun, open bool, err error) {
	var reply struct {
		Last evidence.DrillRun `json:"last"`
		Open bool              `json:"open"`
	}
	err = b.r.either(ctx, "GET", runsPath, nil, &reply)
	return reply.Last, reply.Open, err
}

func (b remoteBook) Started(ctx context.Context, run evidence.DrillRun) error {
	return b.post(ctx, "started", run)
}

func (b remoteBook) Ended(ctx context.Context, run evidence.DrillRun) error {
	return b.post(ctx, "ended", run)
}

func (b remoteBook) post(ctx context.Context, state string, run evidence.DrillRun) error {
	if err := b.r.either(ctx, "POST", runsPath, map[string]any{"state": state, "run": run}, nil); err != nil {
		return fmt.Errorf("entering a run of the drills: %w", err)
	}
	return nil
}
