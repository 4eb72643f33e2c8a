package ingest

import "net"

// cut closes every connection that showed any of the fingerprints and says how
// many.
func (ss *sessions) cut(fingerprints ...string) int {
	found := map[*session]struct{}{}
	ss.mu.Lock()
	for _, fp := range fingerprints {
		for _, c := range ss.byKey[fp] {
			found[c] = struct{}{}
		}
		delete(ss.byKey, fp) // at once: each alone would have to be looked for among all the others
	}
	ss.mu.Unlock()
	for c := range found {
		if t, ok := c.Conn.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // what is queued for a cut connection shall not leave; closing follows in any case
		}
		_ = c.Close() // it may have been closed by the other side
	}
	return len(found)
}

// fingerprints are those of all credentials that the device has. The caller
// holds s.decide.
func (d *device) fingerprints() []string {
	var out []string
	for _, c := range d.record.Credentials {
		out = append(out, c.Fingerprint)
	}
	return out
}
