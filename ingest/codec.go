package ingest

import (
	"cmp"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"time"
)

// errCodec says that bytes are not what a codec wrote.
var errCodec = errors.New("it cannot be read")

// codec writes the fields that it is shown or, where reading is set, fills
// them: so a thing is described once, for both ways. What it writes it does not
// touch. Numbers are varints.
type codec struct {
	b       []byte // written so far, or left to read
	reading bool
	err     error             // the first; what is filled after it means nothing
	names   map[string]string // read before, so that what many share is kept once
}

func (c *codec) fail() {
	if c.err == nil {
		c.err = errCodec
	}
	c.b = nil
}

func (c *codec) uint(v *uint64) {
	if !c.reading {
		c.b = binary.AppendUvarint(c.b, *v)
		return
	}
	n, used := binary.Uvarint(c.b)
	if used <= 0 {
		c.fail()
		return
	}
	*v, c.b = n, c.b[used:]
}

func (c *codec) int64(v *int64) {
	if !c.reading {
		c.b = binary.AppendVarint(c.b, *v)
		return
	}
	n, used := binary.Varint(c.b)
	if used <= 0 {
		c.fail()
		return
	}
	*v, c.b = n, c.b[used:]
}

func (c *codec) int(v *int) {
	n := int64(*v)
	if c.int64(&n); c.reading {
		*v = int(n)
	}
}

func (c *codec) uint32(v *uint32) {
	n := uint64(*v)
	if c.uint(&n); c.reading {
		if *v = uint32(n); uint64(*v) != n {
			c.fail()
		}
	}
}

func (c *codec) bool(v *bool) {
	n := uint64(0)
	if *v {
		n = 1
	}
	if c.uint(&n); c.reading {
		*v = n == 1
	}
}

// count writes a number of things, or reads one that the bytes left can hold
// at a byte each.
func (c *codec) count(n int) int {
	v := uint64(n)
	c.uint(&v)
	if c.reading && v > uint64(len(c.b)) {
		c.fail()
		return 0
	}
	return int(v)
}

// take gives the next n bytes, which the caller copies.
func (c *codec) take(n int) []byte {
	if n > len(c.b) {
		c.fail()
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *codec) text(v *string) {
	n := c.count(len(*v))
	if c.reading {
		*v = string(c.take(n))
	} else {
		c.b = append(c.b, *v...)
	}
}

// name is text that stands in many places.
func (c *codec) name(v *string) {
	if !c.reading {
		c.text(v)
		return
	}
	b := c.take(c.count(0))
	known, ok := c.names[string(b)]
	if !ok {
		if known = string(b); c.names == nil {
			c.names = map[string]string{}
		}
		c.names[known] = known
	}
	*v = known
}

// bytes keeps nil and empty apart, as listOf and tableOf do: the length is one
// more, and 0 is nil.
func (c *codec) bytes(v *[]byte) {
	n := 0
	if *v != nil {
		n = len(*v) + 1
	}
	n = c.count1(n)
	switch {
	case !c.reading:
		c.b = append(c.b, *v...)
	case n == 0:
		*v = nil
	default:
		*v = append([]byte{}, c.take(n-1)...)
	}
}

// count1 is count of a length that is one more.
func (c *codec) count1(n int) int {
	v := uint64(n)
	c.uint(&v)
	if c.reading && v > uint64(len(c.b))+1 {
		c.fail()
		return 0
	}
	return int(v)
}

// time keeps the moment and the offset from UTC.
func (c *codec) time(v *time.Time) {
	sec, nsec, zone := v.Unix(), int64(v.Nanosecond()), uint64(0)
	if v.Location() != time.UTC {
		_, offset := v.Zone()
		zone = uint64(offset+1<<20) + 1
	}
	c.int64(&sec)
	c.int64(&nsec)
	c.uint(&zone)
	if !c.reading {
		return
	}
	t := time.Unix(sec, nsec)
	if zone == 0 {
		*v = t.UTC()
	} else {
		*v = t.In(time.FixedZone("", int(zone-1)-1<<20))
	}
}

// listOf is a slice, with each for one element.
func listOf[T any](c *codec, v *[]T, each func(*codec, *T)) {
	n := 0
	if *v != nil {
		n = len(*v) + 1
	}
	n = c.count1(n)
	if c.reading {
		if *v = nil; n > 0 {
			*v = make([]T, n-1)
		}
	}
	for i := range *v {
		if each(c, &(*v)[i]); c.err != nil {
			return
		}
	}
}

// tableOf is a map, in the order of its keys.
func tableOf[K cmp.Ordered, V any](c *codec, v *map[K]V, key func(*codec, *K), each func(*codec, *V)) {
	if !c.reading {
		n := 0
		if *v != nil {
			n = len(*v) + 1
		}
		c.count1(n)
		for _, k := range slices.Sorted(maps.Keys(*v)) {
			value := (*v)[k]
			key(c, &k)
			each(c, &value)
		}
		return
	}
	n := c.count1(0)
	if *v = nil; n > 0 {
		*v = make(map[K]V, n-1)
	}
	for range n - 1 {
		var k K
		var value V
		key(c, &k)
		if each(c, &value); c.err != nil {
			return
		}
		(*v)[k] = value
	}
}

// optional is a pointer to one thing, or nil.
func optional[T any](c *codec, v **T, each func(*codec, *T)) {
	there := *v != nil
	c.bool(&there)
	if c.reading {
		if *v = nil; there {
			*v = new(T)
		}
	}
	if there {
		each(c, *v)
	}
}
