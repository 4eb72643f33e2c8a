package pack

import "hash/maphash"

// twins looks for names that a nameSet would refuse, holding a hash of each
// rather than the names. It may suspect names that are distinct, but lets no
// clash pass.
type twins struct {
	seed   maphash.Seed
	files  map[uint64]struct{} // folded names
	dirs   map[uint64]uint64   // folded folders → folders
	last   string
	folded []byte
}

func newTwins() *twins {
	return &twins{seed: maphash.MakeSeed(), files: map[uint64]struct{}{}, dirs: map[uint64]uint64{}}
}

// add takes in a name and reports whether it may clash with one before.
// Letters other than ASCII, which no name may have, count as distinct.
func (t *twins) add(name string) bool {
	suspect, same := false, 0
	for same < len(name) && same < len(t.last) && name[same] == t.last[same] {
		same++
	}
	t.last = name
	t.folded = t.folded[:0]
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c == '/' && i >= same { // a shorter folder was taken in with the last name
			h := maphash.Bytes(t.seed, t.folded)
			dir := maphash.String(t.seed, name[:i])
			if other, ok := t.dirs[h]; ok && other != dir {
				suspect = true
			}
			if _, ok := t.files[h]; ok {
				suspect = true
			}
			t.dirs[h] = dir
		}
		t.folded = append(t.folded, c)
	}
	h := maphash.Bytes(t.seed, t.folded)
	if _, ok := t.dirs[h]; ok {
		suspect = true
	}
	if _, ok := t.files[h]; ok {
		suspect = true
	}
	t.files[h] = struct{}{}
	return suspect
}
