package ingest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"trustpack/evidence"
	"trustpack/internal/durable"
	"trustpack/ledger"
)

// Options say how to open an ingest.
type Options struct {
	Dir    string // as Init made it
	Config Config
	// AppliedBy and ConfigReason stand in the log where Config differs from
	// the version before. Empty: "host", and that it was read at start.
	AppliedBy    string
	ConfigReason string
	// ReadConfig reads a configuration file, or, of nil, the one that the
	// ingest starts from. Without it a running ingest takes no other one.
	ReadConfig func(file []byte) (Config, error)
	Now        func() time.Time // nil is time.Now; also judges certificates
	Clock      evidence.Clock   // whose time Now tells; empty is the system's
	Sample     bool             // signed into each checkpoint
	Logger     *slog.Logger     // nil logs nothing
	Version    string           // of the program
	// AcceptRollback, where set, is why an operator goes on with a ledger that
	// was knowingly taken back to an older copy. It stands in the log.
	AcceptRollback string

	disk durable.FS // under the ledger, for tests; nil is the operating system's
}

// Server is an open ingest. Open makes one, Listen and Serve run it, Close
// ends it.
type Server struct {
	o        Options
	set      atomic.Pointer[settings] // in force; replaced as a whole, see apply.go
	identity identity
	log      *slog.Logger
	led      *ledger.Ledger
	ca       *authority
	st       *state
	sessions *sessions
	refusals *refusals
	metrics  *metrics
	started  time.Time

	// decide serialises decisions: it is held from looking at the registry,
	// operators, alerts or books until what was decided is durable and applied.
	decide sync.Mutex

	clock    atomic.Int64 // last time given out, nanoseconds
	lost     atomic.Pointer[error]
	requests atomic.Int64 // numbers request IDs
	run      string       // begins request IDs
	pieces   sync.Pool    // *[]byte to read bodies with
	scanners sync.Pool    // *scanner
	batches  sync.Pool    // *batch
	decoders sync.Pool    // *zstd.Decoder

	originBegins string // the origin of a tenant's log as a JSON string, up to the tenant

	dated atomic.Pointer[dateField]

	certificate  atomic.Pointer[tls.Certificate]
	certificated atomic.Bool // certificate is for the settings in force
	port         *port
	public       *http.Server
	admin        *http.Server
	publicLn     net.Listener
	adminLn      net.Listener
	sourceLimits sourceLimits
	crl          ownCRL
	tokenMisses  sourceLimits // of wrong tokens
	rotations    rotationsSeen
	ownClock     clockWatch
	apart        *apart
	acts         acts
	logins       *logins
	provider     *idProvider
	outbox       *outbox // nil until it is open
	closing      atomic.Bool
	drains       chan struct{} // closed when closing begins
	inHand       *inHand
	ticking      sync.Mutex
	snapshots    snapshots
	appends      longest
}

// Open opens the ingest in o.Dir: it reads its identity and keys, compiles the
// schemas, recovers the ledger and folds the state. A configuration that
// differs from the one in force before becomes a new version, in the log.
func Open(o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Clock == "" {
		o.Clock = evidence.ClockSystem
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	s := &Server{o: o, log: o.Logger, sessions: newSessions(), ownClock: newClockWatch(o.Now), drains: make(chan struct{}), inHand: newInHand()}
	s.refusals = newRefusals(s)
	s.provider = newIDProvider(s.now)
	if err := s.open(); err != nil {
		if s.led != nil {
			if cerr := s.led.Close(); !errors.Is(err, ledger.ErrRollback) {
				err = errors.Join(err, cerr)
			}
		}
		return nil, fmt.Errorf("opening ingest: %w", err)
	}
	return s, nil
}

func (s *Server) open() (err error) {
	if s.identity, err = readIdentity(s.o.Dir); err != nil {
		return err
	}
	seed, err := readSeed(s.o.Dir)
	if err != nil {
		return err
	}
	if s.logins, err = newLogins(); err != nil {
		return err
	}
	if s.ca, err = openAuthority(filepath.Join(s.o.Dir, "ca")); err != nil {
		return err
	}
	s.ca.points = s.crlURLs
	rules, err := loadRules(s.o.Config)
	if err != nil {
		return err
	}
	if err := checkAlertTargets(s.o.Config.Alerts); err != nil {
		return err
	}
	outside, err := loadExternals(s.o.Config.ExternalCAs, s.now())
	if err != nil {
		return err
	}
	s.set.Store(&settings{s.o.Config, rules, outside})
	if s.run, err = newRunID(); err != nil {
		return err
	}
	lo := ledgerOptions(s.o, s.identity.Instance, seed)
	lo.Now = s.now // so that nothing is made durable before it was received
	if s.led, err = ledger.Open(filepath.Join(s.o.Dir, "ledger"), lo); err != nil {
		return err
	}
	if r := s.led.Recovery(); r.CutFile != "" {
		s.log.Warn("cut a torn end off the journal, of which nothing had been acknowledged", "file", r.CutFile, "offset", r.CutAt, "bytes", r.Cut)
	}
	if err := s.clearExports(); err != nil {
		return err
	}
	s.apart = newApart(s, s.o.Config.Ledger)
	held, err := s.apart.hold(context.Background())
	if err != nil {
		return err
	}
	missed, err := s.foldState()
	if err != nil {
		return err
	}
	s.started = s.now()
	s.originBegins = strings.TrimSuffix(string(appendString(nil, s.identity.Instance+"/")), `"`)
	s.metrics = newMetrics(s)
	if err := s.renewCertificate(); err != nil {
		return err
	}
	if err := s.enterStart(append(held, missed...)); err != nil {
		return err
	}
	if err := s.apart.putAside(s.started); err != nil {
		return err
	}
	s.apart.run()
	s.outbox = newOutbox(s)
	s.outbox.configure()
	return nil
}

// ledgerOptions label a sample in every checkpoint.
func ledgerOptions(o Options, instance string, seed []byte) ledger.Options {
	lo := ledger.Options{Instance: instance, Seed: seed, Now: o.Now}.On(o.disk)
	if o.Sample {
		lo.Extensions = []string{"sample=true clock=" + string(o.Clock)}
	}
	return lo
}

// enterStart logs the start, a changed configuration, what the ledger was held
// to, and gaps that a crash kept from being recorded.
func (s *Server) enterStart(more []evidence.AuditEntry) error {
	version, err := s.configVersion(s.set.Load())
	if err != nil {
		return err
	}
	entries := []evidence.AuditEntry{s.entry(evidence.EntryIngestStarted, evidence.AuditEntry{
		Data: raw(map[string]string{"instance": s.identity.Instance, "version": s.o.Version, "config_sha256": version.SHA256}),
	})}
	if version.SHA256 != s.st.config.SHA256 {
		by, reason := s.o.AppliedBy, s.o.ConfigReason
		if by == "" {
			by = "host"
		}
		if reason == "" {
			reason = "configuration file read at start"
		}
		if last := s.reverted(); last != nil {
			reason += fmt.Sprintf(", which version %d that %s applied is not in", last.Version, last.Actor)
			more = append(more, s.configReverted(last, version.Diff))
		}
		entries = append(entries, s.entry(evidence.EntryConfigApplied, evidence.AuditEntry{
			Actor: &evidence.Actor{Name: by, Role: "host"}, Target: "config", Reason: reason, Result: "done", Data: raw(version),
		}))
	}
	for _, e := range more {
		entries = append(entries, s.entry(e.Type, e))
	}
	_, err = s.record(entries...)
	return err
}

// now is the ingest's clock: it never runs back, so that books that were
// closed stay closed and decisions are in order.
func (s *Server) now() time.Time {
	t := s.o.Now().UnixNano()
	for {
		last := s.clock.Load()
		if t <= last {
			return time.Unix(0, last).UTC()
		}
		if s.clock.CompareAndSwap(last, t) {
			return time.Unix(0, t).UTC()
		}
	}
}

// Tick does what is due at now: a look at the process's own clock, counted refusals, heartbeats, alerts that nobody acknowledged, aged gaps,
// books of finished days, checkpoints, a snapshot of the state, the server certificate. Serve calls it
// every second where the clock is the system's; whoever drives another clock
// calls it himself. now must be what Options.Now tells, or earlier.
func (s *Server) Tick(ctx context.Context, now time.Time) error {
	s.ticking.Lock()
	defer s.ticking.Unlock()
	if err := s.durable(); err != nil {
		return err
	}
	now = now.UTC()
	for _, duty := range []func(time.Time) error{
		func(time.Time) error { return s.refusals.flush(s.o.Clock != evidence.ClockSystem) },
		s.endGrants, s.endBreakGlass, s.watchSystemClock, s.expireRequests, s.credentialDuties, s.watchExternals, s.heartbeats, s.escalateAlerts, s.ageGaps, s.closeBooks, s.publish, s.keepSnapshot,
		func(time.Time) error { return s.renewCertificate() },
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := duty(now); err != nil {
			return fmt.Errorf("periodic duties: %w", err)
		}
	}
	s.sourceLimits.forget(now)
	s.tokenMisses.forget(now)
	return nil
}

// publish signs a checkpoint of each log that has grown.
func (s *Server) publish(time.Time) error {
	err := s.led.PublishCheckpoints()
	s.apart.published()
	return err
}

// renewCertificate sees to it that the server's certificate fits and lives.
func (s *Server) renewCertificate() error {
	now := s.now()
	if c := s.certificate.Load(); c != nil && s.certificated.Load() && c.Leaf.NotAfter.Sub(now) > c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)/3 {
		return nil
	}
	return s.makeCertificate(now)
}

// makeCertificate makes the certificate that the next handshake shows. Where it
// cannot, the next periodic duties do it.
func (s *Server) makeCertificate(now time.Time) error {
	s.certificated.Store(true)
	c, err := s.ca.server(s.hosts(), now, s.cfg().Certificates.Server)
	if err != nil {
		s.certificated.Store(false)
		return err
	}
	s.certificate.Store(c)
	return nil
}

// hosts are the names and addresses that the server's certificate carries.
func (s *Server) hosts() []string {
	hosts := append([]string{}, s.cfg().Hostnames...)
	for _, addr := range []string{s.cfg().Listen, s.cfg().AdminListen} {
		if host, _, err := net.SplitHostPort(addr); err == nil && host != "" {
			if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
				hosts = append(hosts, host)
			}
		}
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		hosts = append(hosts, name)
	}
	return unique(append(hosts, "localhost", "127.0.0.1", "::1"))
}

func unique(in []string) []string {
	seen, out := map[string]bool{}, in[:0]
	for _, s := range in {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}
