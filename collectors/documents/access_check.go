package documents

import (
	"context"
	"fmt"
	"strings"

	"trustpack/evidence"
)

// CheckAccess reads the folder as Collect does and keeps nothing of it.
func (c *collector) CheckAccess(ctx context.Context) ([]evidence.AccessCheck, error) {
	r := c.read(ctx)
	check := func(kind evidence.Kind, what string, t trace) evidence.AccessCheck {
		out := evidence.AccessCheck{
			Source: c.Name(), Target: "folder " + baseName(c.config.Folder), Permission: "the folder: read", For: what,
			Kinds: []evidence.Kind{kind}, State: evidence.AccessGranted,
		}
		if len(t.gaps) > 0 {
			var said []string
			for _, g := range t.gaps {
				said = append(said, g.What+": "+strings.TrimPrefix(g.Reason, g.What+":"))
			}
			out.State, out.Said = evidence.AccessLacking, strings.Join(said, "; ")
		}
		return out
	}
	out := []evidence.AccessCheck{
		check(KindDocuments, "documents with front matter", r.documents),
		check(KindAccessReviews, "access reviews and their decisions", r.reviews),
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reading the documents: %w", err)
	}
	return out, nil
}
