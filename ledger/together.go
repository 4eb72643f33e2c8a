package ledger

import (
	"errors"
	"sync"
)

// To bring up a log takes a few syncs, which a file system answers together
// where they come together. So of many logs several are brought up at a time:
// one for each logsTogether of them, up to mostTogether.
const (
	logsTogether = 16
	mostTogether = 8
)

// bringUpAll brings up every log that has entries, and notes in at how far
// each then is. It begins none after one has failed.
func (l *Ledger) bringUpAll(at map[string]flushedLog) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards at and errs
		errs []error
	)
	logs := l.trees()
	next := make(chan *tree, len(logs))
	for _, t := range logs {
		if t.size() > 0 {
			next <- t
		}
	}
	close(next)
	for range min(mostTogether, 1+len(logs)/logsTogether) {
		wg.Go(func() {
			for t := range next {
				there, err := t.bringUp(l.fsys)
				mu.Lock()
				at[t.name] = there
				if err != nil {
					errs = append(errs, err)
				}
				failed := len(errs) > 0
				mu.Unlock()
				if failed {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
