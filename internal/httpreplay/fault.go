package httpreplay

import "net/http"

// Fault spoils some replies, for tests of what a client makes of them.
type Fault struct {
	Method string // empty: any
	Path   string // "*" stands for any text; empty: any path
	From   int    // the first request to spoil among those that match, from 1; 0 is 1
	Times  int    // how many; 0: every one from there on

	Status  int               // sent in place of the recorded reply
	Headers map[string]string // with Status, such as Retry-After
	Body    string            // with Status
	Cut     bool              // instead: send the recorded reply and cut it off in mid-body
}

type armed struct {
	Fault
	matched int
}

// Inject arms a fault. Of several that are due for one request the first wins.
func (s *Server) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &armed{Fault: f})
}

func (s *Server) dueFault(r *http.Request) *Fault {
	var due *Fault
	for _, f := range s.faults {
		if f.Method != "" && f.Method != r.Method || f.Path != "" && !globMatch(f.Path, r.URL.Path) {
			continue
		}
		f.matched++
		from := max(f.From, 1)
		if f.matched >= from && (f.Times == 0 || f.matched < from+f.Times) && due == nil {
			due = &f.Fault
		}
	}
	return due
}
