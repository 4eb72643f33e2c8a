package ingest

// nodeKind is what a JSON value is.
type nodeKind uint8

const (
	nodeNull nodeKind = iota
	nodeFalse
	nodeTrue
	nodeNumber
	nodeString
	nodeArray
	nodeObject
)

// node is one value, or one key, in the order in which they were read: an
// array's node is followed by those of its elements, an object's by those of
// its keys and values in turn.
type node struct {
	kind     nodeKind
	escaped  bool  // the text stands in scanner.text
	from, to int32 // of a string's text
	next     int32 // the node after this value and all that is in it
	count    int32 // of elements or members
	num      float64
}

// textOf gives the text of the string at node i. It allocates only where the
// string held escapes.
func (s *scanner) textOf(i int) string {
	n := &s.nodes[i]
	if n.escaped {
		return string(s.text[n.from:n.to])
	}
	return s.b[n.from:n.to]
}

// member gives the node of the value under key among the first count members
// of the object at node top; -1 where there is none.
func (s *scanner) member(top, count int, key string) int {
	i := top + 1
	for range count {
		if s.textOf(i) == key {
			return i + 1
		}
		i = int(s.nodes[i+1].next)
	}
	return -1
}

// lookup gives the number at path below node i, where one stands there.
func (s *scanner) lookup(i int, path []string) (float64, bool) {
	for _, key := range path {
		if s.nodes[i].kind != nodeObject {
			return 0, false
		}
		if i = s.member(i, int(s.nodes[i].count), key); i < 0 {
			return 0, false
		}
	}
	return s.nodes[i].num, s.nodes[i].kind == nodeNumber
}

// decode gives the value at node i as encoding/json would: for the library,
// which judges what the compiled checks cannot.
func (s *scanner) decode(i int) any {
	switch n := &s.nodes[i]; n.kind {
	case nodeFalse, nodeTrue:
		return n.kind == nodeTrue
	case nodeNumber:
		return n.num
	case nodeString:
		return s.textOf(i)
	case nodeArray:
		out := make([]any, 0, n.count)
		for e := i + 1; e < int(n.next); e = int(s.nodes[e].next) {
			out = append(out, s.decode(e))
		}
		return out
	case nodeObject:
		out := make(map[string]any, n.count)
		for k := i + 1; k < int(n.next); k = int(s.nodes[k+1].next) {
			out[s.textOf(k)] = s.decode(k + 1)
		}
		return out
	}
	return nil
}
