package ingest

import (
	"io"
	"net/http"
)

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok\n") }

// readyz is 200 while the ingest can make things durable.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	switch {
	case s.durable() != nil:
		plain(w, http.StatusServiceUnavailable, "durability lost\n")
	case s.closing.Load():
		plain(w, http.StatusServiceUnavailable, "draining\n")
	default:
		plain(w, http.StatusOK, "ready\n")
	}
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // a prober that is gone misses nothing
}
