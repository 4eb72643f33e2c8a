package pack

import (
	"errors"
	"fmt"
	"slices"

	"trustpack/ledger"
)

// HeadOf gives the head of a log that an excerpt ends at.
func HeadOf(e ledger.Excerpt) (AcceptedLog, error) {
	c, err := ledger.OpenCheckpoint([]byte(e.Checkpoint), e.VerifierKey)
	if err != nil {
		return AcceptedLog{}, fmt.Errorf("log %s: %w", e.Origin, err)
	}
	return AcceptedLog{Origin: c.Origin, Root: hashText(c.Root), Size: c.Size}, nil
}

// GrownFrom says why a verifier that kept the head of a log from the pack
// before would refuse a pack with these excerpts; nil where it would not. The
// excerpts themselves are held to be sound (Excerpt.Verify).
func GrownFrom(logs []ledger.Excerpt, kept AcceptedLog) error {
	i := slices.IndexFunc(logs, func(e ledger.Excerpt) bool { return e.Origin == kept.Origin })
	if i < 0 {
		return fmt.Errorf("log %s, of %d entries there, is missing", kept.Origin, kept.Size)
	}
	e := logs[i]
	head, err := HeadOf(e)
	if err != nil {
		return err
	}
	if head.Size < kept.Size {
		return fmt.Errorf("log %s has %d entries, and %d there", kept.Origin, head.Size, kept.Size)
	}
	root, err := provedRoot(e, head, kept.Size)
	if err == nil && root != kept.Root {
		err = fmt.Errorf("at %d entries its root is %s, and %s there: the log was written anew", kept.Size, root, kept.Root)
	}
	if err != nil {
		return fmt.Errorf("log %s: %w", kept.Origin, err)
	}
	return nil
}

// provedRoot gives the root that one of the excerpt's checkpoints has at that
// size.
func provedRoot(e ledger.Excerpt, head AcceptedLog, size int64) (string, error) {
	if size == 0 {
		return hashText((&treeBuilder{}).root()), nil
	}
	if size == head.Size {
		return head.Root, nil
	}
	if e.Previous != "" {
		c, err := ledger.OpenCheckpoint([]byte(e.Previous), e.VerifierKey)
		if err != nil {
			return "", err
		}
		if c.Size == size {
			return hashText(c.Root), nil
		}
	}
	for _, step := range e.History {
		if step.Size == size {
			return step.Root, nil
		}
	}
	return "", errors.New("no checkpoint of " + fmt.Sprint(size) + " entries, as cited there, is among those collected")
}
