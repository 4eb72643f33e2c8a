package crashfs

import "io"

type file struct {
	fs   *FS
	node *node
	path string
}

func (f *file) ReadAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.crashed {
		return 0, ErrCrashed
	}
	if off >= int64(len(f.node.content)) {
		return 0, io.EOF
	}
	n := copy(b, f.node.content[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	written := 0
	err := f.fs.change("write "+f.path, func() error { f.node.put(b, off); written = len(b); return nil }, func() { written = len(b) / 2; f.node.put(b[:written], off) })
	return written, err
}

func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.fs.change("truncate "+f.path, func() error { f.node.truncate(size); return nil }, nil)
}

func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.fs.change("sync "+f.path, func() error { f.node.sync(); return nil }, func() { clear(f.node.dirty) })
}

func (f *file) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.crashed {
		return 0, ErrCrashed
	}
	return int64(len(f.node.content)), nil
}

func (f *file) Close() error { return nil }

// node is a file or directory. As in Linux, a failed sync leaves bytes behind
// that no later sync writes, since they are not held to be dirty any more.
type node struct {
	dir     bool
	content []byte // as read
	dirty   []bool // bytes of content that the next sync writes
	synced  []byte // as a crash leaves it
}

func (n *node) put(b []byte, off int64) {
	if grow := off + int64(len(b)) - int64(len(n.content)); grow > 0 {
		n.content = append(n.content, make([]byte, grow)...)
		n.dirty = append(n.dirty, make([]bool, grow)...)
	}
	for i := range b {
		n.content[off+int64(i)], n.dirty[off+int64(i)] = b[i], true
	}
}

func (n *node) truncate(size int64) {
	if grow := size - int64(len(n.content)); grow > 0 {
		n.put(make([]byte, grow), int64(len(n.content)))
	}
	n.content, n.dirty = n.content[:size:size], n.dirty[:size:size]
}

func (n *node) sync() {
	synced := make([]byte, len(n.content))
	copy(synced, n.synced)
	for i, dirty := range n.dirty {
		if dirty {
			synced[i] = n.content[i]
		}
	}
	n.synced = synced
	clear(n.dirty)
}
