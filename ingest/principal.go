package ingest

import (
	"net/http"
	"strings"
)

// identifyOperator finds the operator that calls: by the bearer token of the
// request, or else by the certificate of the connection. Where both are shown
// they must be of one operator, so that nobody acts as two.
func (s *Server) identifyOperator(c *call, a *adminCall) *Problem {
	if p := tokenInURL(a.r); p != nil {
		return p
	}
	token, given, p := bearer(a.r)
	switch {
	case p != nil:
		return p
	case !given:
		return s.operatorByCertificate(c, a)
	case strings.HasPrefix(token, operatorTokenBegins):
		p = s.operatorByToken(a, token)
	case strings.Count(token, ".") == 2:
		p = problem(CodeUnknownCredential, "an ID token opens nothing; it is exchanged for a session at POST "+adminPath+"login")
	default:
		p = problem(CodeUnknownCredential, "the bearer token is none of an operator")
	}
	if p != nil {
		return p
	}
	return s.sameAsCertificate(c, a)
}

// bearer is the token of the request's Authorization field (RFC 6750, section
// 2.1), the only place in which one is taken.
func bearer(r *http.Request) (token string, given bool, p *Problem) {
	fields := r.Header["Authorization"]
	if len(fields) == 0 {
		return "", false, nil
	}
	scheme, token, ok := strings.Cut(fields[0], " ")
	token = strings.Trim(token, " ")
	if len(fields) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || strings.ContainsAny(token, " ,\t") {
		return "", true, problem(CodeUnknownCredential, "Authorization must be given once, as Bearer and a token")
	}
	return token, true, nil
}

// sameAsCertificate refuses a token over a connection whose certificate is
// somebody else's.
func (s *Server) sameAsCertificate(c *call, a *adminCall) *Problem {
	if c.sess == nil {
		return nil
	}
	if c.sess.fingerprint == "" {
		s.sessions.vouch(c.sess)
		return nil
	}
	if d, op := s.st.byFingerprint(c.sess.fingerprint); d != nil || op != nil && op.Name != a.op.Name {
		return problem(CodeForbidden, "the connection's certificate and the token are not of one operator")
	}
	return nil
}
