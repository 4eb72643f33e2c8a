package ingest

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"trustpack/evidence"
)

// crlFor is from one list of revoked certificates to the next at the latest;
// crlAge is after what time another one is made, whether something was revoked
// or not, so that a list that is fetched is good for nearly a day.
const (
	crlFor = day
	crlAge = time.Hour
)

// Paths of the lists of revoked certificates: the one that the ingest makes,
// and the one that the root has signed when it was taken offline.
const (
	crlPath     = "/crl/issuing.crl"
	crlRootPath = "/crl/root.crl"
)

// withdrawn is a certificate that may not be used any more before its end.
type withdrawn struct {
	Serial string // hexadecimal
	At     time.Time
	Until  time.Time // its end; zero where an older version did not write it down
}

// ownCRL is the list that was made last.
type ownCRL struct {
	mu     sync.Mutex
	der    []byte
	made   time.Time
	after  int64 // how many withdrawals it knows
	number int64
}

// Reasons of RFC 5280, section 5.3.1.
const (
	crlUnspecified = 0
	crlSuperseded  = 4
	crlCeased      = 5
)

// revocationList gives the list, DER: the one before while nothing was revoked
// since and it is younger than crlAge.
func (s *Server) revocationList() ([]byte, error) {
	l := &s.crl
	l.mu.Lock()
	defer l.mu.Unlock()
	now, after := s.now(), s.st.withdrawals.Load()
	if l.der != nil && l.after == after && now.Sub(l.made) < crlAge {
		return l.der, nil
	}
	entries := s.revokedEntries(now)
	// Numbers rise with the time, over restarts too (RFC 5280, section 5.2.3).
	l.number = max(l.number+1, now.UnixNano())
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(l.number), ThisUpdate: now.UTC(), NextUpdate: now.Add(crlFor).UTC(), RevokedCertificateEntries: entries,
	}, s.ca.issuer, s.ca.key)
	if err != nil {
		return nil, fmt.Errorf("making the list of revoked certificates: %w", err)
	}
	l.der, l.made, l.after = der, now, after
	return der, nil
}

// noteWithdrawal counts the entries after which another list is due.
func (st *state) noteWithdrawal(typ string) {
	switch typ {
	case evidence.EntryRevoked, evidence.EntryDeviceRetired, evidence.EntryTransferred, evidence.EntryCredentialDead, evidence.EntryOperatorAdded, evidence.EntryOperatorRemoved:
		st.withdrawals.Add(1)
	}
}

// revokedEntries are the certificates of the built-in CA that are not past
// their end and may not be used any more: those of revoked and retired devices,
// those that another one has replaced, and those of operators who were removed
// or given another one. Sorted by serial number.
func (s *Server) revokedEntries(now time.Time) []x509.RevocationListEntry {
	var out []x509.RevocationListEntry
	add := func(w withdrawn, reason int) {
		serial, ok := new(big.Int).SetString(w.Serial, 16)
		if !ok || serial.Sign() <= 0 || !w.Until.IsZero() && now.After(w.Until) {
			return
		}
		out = append(out, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: w.At.UTC().Truncate(time.Second), ReasonCode: reason})
	}
	s.st.mu.RLock()
	for _, d := range s.st.devices {
		for i := range d.record.Credentials {
			c := &d.record.Credentials[i]
			if c.Method != MethodCertificate || c.Issuer != "" {
				continue
			}
			switch {
			case d.record.State == evidence.DeviceRevoked && d.decision != nil:
				add(withdrawn{c.Serial, d.decision.DecidedAt, c.NotAfter}, crlUnspecified)
			case d.record.State == evidence.DeviceRetired && d.decision != nil:
				add(withdrawn{c.Serial, d.decision.DecidedAt, c.NotAfter}, crlCeased)
			case c.Retired == whyRotated:
				add(withdrawn{c.Serial, c.Ends, c.NotAfter}, crlSuperseded)
			}
		}
	}
	for _, o := range s.st.operators {
		for _, w := range o.withdrawn {
			add(w, crlUnspecified)
		}
	}
	s.st.mu.RUnlock()
	slices.SortFunc(out, func(a, b x509.RevocationListEntry) int { return a.SerialNumber.Cmp(b.SerialNumber) })
	return out
}

// serveCRL gives the list to anybody: what it says is no secret.
func (s *Server) serveCRL(w http.ResponseWriter, r *http.Request) {
	c := s.begin(w, r)
	der, p := s.crlFile(r.URL.Path)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", http.MethodGet)
		p = problem(CodeMethod, "use GET")
	}
	if p != nil {
		s.answer(w, c, p)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/pkix-crl")
	h.Set("Cache-Control", "max-age=60")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(der) // a client that is gone asks again
}

func (s *Server) crlFile(path string) ([]byte, *Problem) {
	switch path {
	case crlPath:
		der, err := s.revocationList()
		if err != nil {
			return nil, s.failure(err)
		}
		return der, nil
	case crlRootPath:
		text, err := os.ReadFile(filepath.Join(s.ca.dir, "root.crl"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, problem(CodeNotFound, "the root is the issuing CA")
		}
		block, _ := pem.Decode(text)
		if err != nil || block == nil {
			return nil, s.failure(fmt.Errorf("reading the root's list of revoked certificates: %w", errors.Join(err, errors.New("root.crl holds no PEM"))))
		}
		return block.Bytes, nil
	}
	return nil, problem(CodeNotFound, "")
}

// crlURLs is where certificates say that the list is: where the configuration
// says, or at its first hostname. Where it names none, nobody outside could
// resolve it.
func (s *Server) crlURLs() []string {
	c := s.cfg()
	if c.Certificates.CRLURL != "" {
		return []string{c.Certificates.CRLURL}
	}
	if len(c.Hostnames) == 0 {
		return nil
	}
	_, port, err := net.SplitHostPort(c.Listen)
	if s.publicLn != nil {
		_, port, err = net.SplitHostPort(s.publicLn.Addr().String())
	}
	if err != nil {
		return nil
	}
	return []string{"https://" + net.JoinHostPort(c.Hostnames[0], port) + crlPath}
}
