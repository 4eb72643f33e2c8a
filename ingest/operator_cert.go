package ingest

// operatorByCertificate finds the operator by the certificate of the
// connection.
func (s *Server) operatorByCertificate(c *call, a *adminCall) *Problem {
	if c.sess == nil || c.sess.fingerprint == "" {
		return problem(CodeNoCertificate, "")
	}
	d, op := s.st.byFingerprint(c.sess.fingerprint)
	now := s.now()
	switch {
	case d != nil:
		if s.deviceAsOperator(a, d); a.op != nil {
			return nil
		}
		c.d = d // a device has no business here
		return problem(CodeForbidden, "a device's certificate opens nothing here")
	case op == nil:
		return problem(CodeUnknownCredential, "")
	case now.After(c.sess.notAfter) || now.Before(c.sess.notBefore):
		return problem(CodeExpiredCredential, "")
	}
	a.op, a.print = op, c.sess.fingerprint
	return nil
}
