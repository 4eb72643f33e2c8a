package ingest

import (
	"net/http"
	"strings"
)

// odd says what is wrong with a request that no client of the admin API makes,
// and that somebody in between could read otherwise than we do: a path that is
// not plain, or a field that asks for another method. Such a request is never
// led to what it may have meant; it is refused and recorded, also where it
// would have changed nothing.
func odd(r *http.Request) *Problem {
	escaped := strings.ToLower(r.URL.EscapedPath())
	for _, part := range []string{"%2f", "%5c", "%2e", "%00", "\\", "//"} {
		if strings.Contains(escaped, part) {
			return problem(CodeNotFound, "the path is not plain")
		}
	}
	for part := range strings.SplitSeq(r.URL.Path, "/") {
		if part == "." || part == ".." {
			return problem(CodeNotFound, "the path is not plain")
		}
	}
	if !strings.HasPrefix(r.URL.Path, "/") {
		return problem(CodeNotFound, "the target is no path")
	}
	for _, field := range []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "X-Original-Url", "X-Rewrite-Url"} {
		if len(r.Header[field]) > 0 {
			return problem(CodeInvalid, field+": a request says by its own method and path what it wants")
		}
	}
	return nil
}

// plainly leads what is odd past the routes to its refusal.
func (s *Server) plainly(routes http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := odd(r); p != nil {
			s.adminDo(w, r, "read", func(a *adminCall) (any, *Problem) {
				a.odd = true
				return nil, p
			})
			return
		}
		routes.ServeHTTP(w, r)
	})
}
