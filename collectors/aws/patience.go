package aws

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// mostSilent is how many addresses may give no answer before nothing more is
// asked of any.
const mostSilent = 3

// patience bounds what somebody who waits has to wait where nobody answers: an
// address that gave no answer is not asked again.
type patience struct {
	each   time.Duration // for one answer
	mu     sync.Mutex
	silent map[string]bool // by host
}

// patient is a transport with patience.
type patient struct {
	*patience
	next http.RoundTripper
}

// RoundTrip sends the request, unless there is no answer to be expected.
func (p patient) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := p.over(req.URL.Host); err != nil {
		return nil, err
	}
	resp, err := p.next.RoundTrip(req)
	var other *strange
	if err != nil && !errors.As(err, &other) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.silent[req.URL.Host] = true
	}
	return resp, err
}

func (p patient) over(host string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.silent[host]:
		return fmt.Errorf("not asked: %s gave no answer before", host)
	case len(p.silent) >= mostSilent:
		return fmt.Errorf("not asked: %d addresses gave no answer before", len(p.silent))
	}
	return nil
}
