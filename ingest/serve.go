package ingest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"trustpack/evidence"
)

// Listen opens both ports. A busy one is an error that names it.
func (s *Server) Listen() error {
	var err error
	if s.publicLn, err = listen("ingest.listen", s.cfg().Listen); err != nil {
		return err
	}
	if s.adminLn, err = listen("ingest.admin_listen", s.cfg().AdminListen); err != nil {
		return errors.Join(err, s.publicLn.Close())
	}
	s.port = newPort(s, s.publicLn)
	s.public = s.httpServer(s.publicHandler())
	s.admin = s.httpServer(s.adminHandler())
	return nil
}

func listen(key, addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot listen on %s (is another process using the port, or is the address another machine's?): %w", key, addr, err)
	}
	return ln, nil
}

// Addrs are the addresses that Listen opened, host:port; empty before it.
func (s *Server) Addrs() (public, admin string) {
	if s.publicLn == nil || s.adminLn == nil {
		return "", ""
	}
	return s.publicLn.Addr().String(), s.adminLn.Addr().String()
}

// Serve answers until ctx ends or Close is called, opening the ports first
// where Listen was not called. When ctx ends it drains (see Close) and returns
// nil.
func (s *Server) Serve(ctx context.Context) error {
	if s.publicLn == nil {
		if err := s.Listen(); err != nil {
			return err
		}
	}
	ended := make(chan error, 3)
	go func() { ended <- s.port.serve() }()
	go func() { ended <- s.public.Serve(s.port.handed) }()
	go func() { ended <- s.admin.Serve(s.sessions.listener(s, s.adminLn, "admin")) }()
	s.log.Info("serving", "public", s.publicLn.Addr().String(), "admin", s.adminLn.Addr().String(), "instance", s.identity.Instance)
	timer := time.NewTicker(time.Second)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			return s.Close(closing)
		case err := <-ended:
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return fmt.Errorf("serving: %w", err)
		case <-timer.C:
			s.everySecond(ctx)
		}
	}
}

func (s *Server) everySecond(ctx context.Context) {
	var err error
	if s.o.Clock == evidence.ClockSystem {
		err = s.Tick(ctx, s.now())
	} else if s.durable() == nil {
		err = s.refusals.flush(true) // what was counted must not wait for a clock that may stand still
	}
	if err != nil && ctx.Err() == nil && s.durable() == nil && !s.closing.Load() {
		s.log.Error("periodic duties failed", "error", err)
	}
}

// Close stops taking connections, lets requests under way end until ctx does,
// writes what was only counted, signs the last checkpoints, keeps a snapshot of
// the state and closes the ledger. It may be called once more, to no effect.
func (s *Server) Close(ctx context.Context) error {
	if s.closing.Swap(true) {
		return nil
	}
	close(s.drains)
	var errs []error
	if s.port != nil {
		if err := s.port.drain(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("draining: %w", err))
		}
	}
	if s.public != nil {
		if err := s.inHand.drain(ctx, s.sessions.gone()); err != nil {
			errs = append(errs, fmt.Errorf("draining: %w", err))
		}
	}
	errs = append(errs, s.shutDown(ctx)...)
	for _, ln := range []net.Listener{s.publicLn, s.adminLn} {
		if ln != nil {
			if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	s.sessions.closeAll()
	s.outbox.close(ctx)
	s.ticking.Lock()
	defer s.ticking.Unlock()
	if s.durable() == nil {
		errs = append(errs, s.refusals.flush(true))
		_, err := s.record(s.entry(evidence.EntryIngestStopped, evidence.AuditEntry{}))
		errs = append(errs, err, s.publish(time.Time{}))
		s.saveSnapshot()
	}
	s.snapshots.running.Wait()
	s.apart.close(ctx)
	errs = append(errs, s.led.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing ingest: %w", err)
	}
	return nil
}

// shutDown ends net/http on both ports at once: each asks its clients over
// HTTP/2 to leave, and gives them a second for it.
func (s *Server) shutDown(ctx context.Context) []error {
	servers := []*http.Server{s.public, s.admin}
	errs := make([]error, len(servers))
	var ends sync.WaitGroup
	for i, srv := range servers {
		if srv == nil {
			continue
		}
		ends.Go(func() {
			if err := srv.Shutdown(ctx); err != nil {
				errs[i] = errors.Join(fmt.Errorf("draining: %w", err), srv.Close())
			}
		})
	}
	ends.Wait()
	return errs
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           s.counted(h),
		ReadHeaderTimeout: s.cfg().Timeouts.Header,
		ReadTimeout:       s.cfg().Timeouts.Header + s.cfg().Timeouts.Body,
		WriteTimeout:      s.writeTimeout(),
		IdleTimeout:       s.cfg().Timeouts.Idle,
		MaxHeaderBytes:    s.cfg().Limits.HeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if t, ok := c.(interface{ NetConn() net.Conn }); ok {
				if sess, ok := sessionBelow(t.NetConn()); ok {
					return context.WithValue(ctx, sessionKey{}, sess)
				}
			}
			return ctx
		},
	}
}

// writeTimeout is how long a client may take for its request and the answer.
func (s *Server) writeTimeout() time.Duration {
	return s.cfg().Timeouts.Header + s.cfg().Timeouts.Body + s.cfg().Timeouts.Answer
}

func newRunID() (string, error) {
	b := make([]byte, 5)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("making a run ID: %w", err)
	}
	return hex.EncodeToString(b), nil
}
