package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// entry completes a control entry of the type with the time.
func (s *Server) entry(typ string, e evidence.AuditEntry) evidence.AuditEntry {
	e.Type, e.Time = typ, s.now()
	return e
}

// record makes control entries durable and applies them. Where what an entry
// says was decided from the state, the caller holds s.decide; where it changes
// a device's life, the device's flow too.
func (s *Server) record(entries ...evidence.AuditEntry) ([]int64, error) {
	change := s.snapshots.begin()
	defer change.end()
	return s.recordWithin(entries...)
}

// recordWithin is record within a change.
func (s *Server) recordWithin(entries ...evidence.AuditEntry) ([]int64, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	batch := make([]ledger.Entry, len(entries))
	for i := range entries {
		data, err := evidence.CanonicalJSON(&entries[i])
		if err != nil {
			return nil, err
		}
		batch[i] = ledger.Entry{Log: controlLog, Data: data}
	}
	positions, err := s.append(batch)
	if err != nil {
		return nil, err
	}
	noted := false
	defer func() {
		if !noted {
			s.snapshots.unsound.Store(true)
		}
	}()
	indexes := make([]int64, len(entries))
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	for i := range entries {
		indexes[i] = positions[i].Index
		if err := s.st.apply(indexes[i], &entries[i]); err != nil {
			return nil, fmt.Errorf("applying control entry %d: %w", indexes[i], err)
		}
	}
	noted = true
	s.outbox.noted(entries)
	return indexes, nil
}

// append makes entries durable. A failure is final: what was appended may or
// may not be on disk, so nothing more is taken until a restart has looked.
func (s *Server) append(batch []ledger.Entry) ([]ledger.Position, error) {
	return s.appendTo(nil, batch)
}

// appendTo is append that puts the positions behind those it is given.
func (s *Server) appendTo(positions []ledger.Position, batch []ledger.Entry) ([]ledger.Position, error) {
	if err := s.lost.Load(); err != nil {
		return nil, *err
	}
	began := time.Now()
	positions, err := s.led.AppendTo(context.Background(), positions, batch)
	s.appends.add(began)
	if err != nil && s.led.Err() != nil {
		s.lose(err)
	}
	return positions, err
}

// durable is nil while the ingest can make things durable.
func (s *Server) durable() error {
	if err := s.lost.Load(); err != nil {
		return *err
	}
	err := s.led.Err() // it may have failed between two appends, in files of its own
	if err != nil {
		s.lose(err)
	}
	return err
}

// lose says once that nothing more can be made durable.
func (s *Server) lose(err error) {
	if s.lost.CompareAndSwap(nil, &err) {
		s.log.Error("durability lost: nothing is taken any more until a restart", "error", err)
	}
}

// failure is the problem for an error of our own: 503 where durability is
// lost, else 500. The cause goes to the process's log and not to the client.
func (s *Server) failure(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	if err := s.durable(); err != nil {
		return lostProblem(err)
	}
	s.log.Error("request failed", "error", err)
	return problem(CodeInternal, "")
}

// lostProblem is the answer once nothing can be made durable any more.
func lostProblem(err error) *Problem {
	if errors.Is(err, ledger.ErrRollback) {
		return problem(CodeLedgerRollback, "")
	}
	return problem(CodeDurabilityLost, "")
}

// raw encodes data that always encodes: structs of strings, numbers and times.
func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("ingest: encoding entry data: " + err.Error()) // a type that cannot be encoded is a fault in the program
	}
	return b
}
