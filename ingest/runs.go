package ingest

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
)

// run is where consecutive numbers stand in the tenant's log.
type run struct {
	seq, index, n int64
}

func (r run) holds(seq int64) bool { return seq >= r.seq && seq < r.seq+r.n }

// runs are at most maxRuns runs, by seq and not overlapping. There is one for
// nearly each request of a device, so they take most of what the ingest keeps
// of it: all but the last are packed, into four or five bytes where numbers
// follow each other and other devices' entries stand between. Each is three
// varints: how far seq is from the end of the run before, n, and how far index
// is from the end of that run's.
type runs struct {
	packed []byte
	from   place // where the first packed one begins
	to     place // where the last packed one ends
	last   run   // n is 0 where there is none
	count  int   // with the last
}

// place is a number and an index.
type place struct {
	seq, index int64
}

func (r run) end() place { return place{r.seq + r.n, r.index + r.n} }

// packRuns packs a list that is sorted by seq.
func packRuns(list []run) (p runs) {
	for _, r := range list {
		p.push(r)
	}
	return p
}

// all gives the runs by seq.
func (p *runs) all() iter.Seq[run] {
	return func(yield func(run) bool) {
		for at, rest := p.from, p.packed; len(rest) > 0; {
			r, used := unpackRun(rest, at)
			if !yield(r) {
				return
			}
			at, rest = r.end(), rest[used:]
		}
		if p.count > 0 {
			yield(p.last)
		}
	}
}

// unpackRun reads the first run of b, whose one before ended at the place.
func unpackRun(b []byte, at place) (r run, used int) {
	seq, k := binary.Varint(b)
	n, l := binary.Varint(b[k:])
	index, m := binary.Varint(b[k+l:])
	return run{at.seq + seq, at.index + index, n}, k + l + m
}

// find gives the run that holds seq.
func (p *runs) find(seq int64) (run, bool) {
	if p.count == 0 || seq >= p.last.seq {
		return p.last, p.last.holds(seq) // what is new, mostly
	}
	for r := range p.all() {
		if r.holds(seq) {
			return r, true
		}
		if r.seq > seq {
			break
		}
	}
	return run{}, false
}

// place notes that seq stands at index, joining it to the run that it
// continues. The first place of a number stands. Where a run had to make room,
// that one is given.
func (p *runs) place(seq, index int64) (gone run, full bool) {
	switch end := p.last.end(); {
	case p.count == 0 || seq >= end.seq && end != place{seq, index}:
		p.push(run{seq, index, 1})
	case end == place{seq, index}:
		p.last.n++
	default:
		if _, known := p.find(seq); !known {
			p.insert(run{seq, index, 1})
		}
	}
	if p.count <= maxRuns {
		return run{}, false
	}
	return p.drop(), true
}

// push adds a run behind all others.
func (p *runs) push(r run) {
	if p.count > 0 {
		if len(p.packed) == 0 {
			p.from = place{p.last.seq, p.last.index}
			p.to = p.from
		}
		b := binary.AppendVarint(p.packed, p.last.seq-p.to.seq)
		b = binary.AppendVarint(b, p.last.n)
		p.packed = binary.AppendVarint(b, p.last.index-p.to.index)
		p.to = p.last.end()
	}
	p.last = r
	p.count++
}

// drop takes the first run out; there are at least three. What is packed
// follows from the runs that are left alone, not from those that were there.
func (p *runs) drop() run {
	gone, k := unpackRun(p.packed, p.from)
	next, l := unpackRun(p.packed[k:], gone.end())
	head := append(binary.AppendVarint(append(p.packed[:0], 0), next.n), 0) // not longer than what it replaces
	p.packed = append(head, p.packed[k+l:]...)
	p.from = place{next.seq, next.index}
	p.count--
	return gone
}

// insert adds a run between others, joining it to the neighbours that it
// continues or that continue it.
func (p *runs) insert(r run) {
	list := slices.AppendSeq(make([]run, 0, p.count+1), p.all())
	i, _ := slices.BinarySearchFunc(list, r.seq, func(o run, seq int64) int { return cmp.Compare(o.seq, seq) })
	if i < len(list) && r.end() == (place{list[i].seq, list[i].index}) {
		r.n += list[i].n
		list = slices.Delete(list, i, i+1)
	}
	if i > 0 && list[i-1].end() == (place{r.seq, r.index}) {
		list[i-1].n += r.n
	} else {
		list = slices.Insert(list, i, r)
	}
	*p = packRuns(list)
}

// sound reports whether what is packed can be unpacked, and is as many runs as
// are counted.
func (p *runs) sound() bool {
	n, at := 1, p.from
	for rest := p.packed; len(rest) > 0; n++ {
		end := 0
		for range 3 {
			_, used := binary.Varint(rest[end:])
			if used <= 0 {
				return false
			}
			end += used
		}
		r, _ := unpackRun(rest, at)
		at, rest = r.end(), rest[end:]
	}
	return n == p.count && at == p.to
}
