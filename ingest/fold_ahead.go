package ingest

import (
	"fmt"
	"iter"
	"runtime"
	"sync"
)

// foldChunk is how many entries are read and parsed together.
const foldChunk = 4096

// chunk is some entries that follow each other, parsed.
type chunk[T any] struct {
	from    int64 // index of the first
	entries []T
	err     error // what ended it
	done    chan struct{}
}

// parsed yields the entries from..to, in order, as parse makes them. Reading
// and parsing run ahead on all processors: only what order decides is left to
// the caller. A yielded chunk is good until the next one. Nothing of a chunk
// with an error is of use, and it is the last.
func parsed[T any](read func(from, to int64) iter.Seq2[[]byte, error], from, to int64, parse func([]byte) (T, error)) iter.Seq[*chunk[T]] {
	return func(yield func(*chunk[T]) bool) {
		ahead := runtime.GOMAXPROCS(0) + 1
		queue, used, stop := make(chan *chunk[T], ahead), make(chan *chunk[T], ahead+2), make(chan struct{})
		var reading sync.WaitGroup
		defer func() {
			close(stop)
			for range queue { // until nobody adds to it
			}
			reading.Wait()
		}()
		go func() {
			defer close(queue)
			for at := from; at < to; at += foldChunk {
				var c *chunk[T]
				select {
				case c = <-used:
				default:
					c = &chunk[T]{entries: make([]T, 0, min(foldChunk, to-at))}
				}
				c.from, c.entries, c.done = at, c.entries[:0], make(chan struct{})
				reading.Go(func() { c.fill(read, min(at+foldChunk, to), parse) })
				select {
				case queue <- c:
				case <-stop:
					return
				}
			}
		}()
		for c := range queue {
			<-c.done
			if !yield(c) || c.err != nil {
				return
			}
			select {
			case used <- c:
			default:
			}
		}
	}
}

func (c *chunk[T]) fill(read func(from, to int64) iter.Seq2[[]byte, error], to int64, parse func([]byte) (T, error)) {
	defer close(c.done)
	for data, err := range read(c.from, to) {
		var e T
		if err == nil {
			e, err = parse(data)
		}
		if err != nil {
			c.err = fmt.Errorf("entry %d: %w", c.from+int64(len(c.entries)), err)
			return
		}
		c.entries = append(c.entries, e)
	}
}
