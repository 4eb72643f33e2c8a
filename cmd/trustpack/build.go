package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"trustpack/collectors/telemetry"
	"trustpack/controls"
	"trustpack/evidence"
	"trustpack/internal/locker"
	"trustpack/internal/tsa"
	"trustpack/ledger"
	"trustpack/pack"
	"trustpack/templates"
)

// buildPack judges the period's evidence, renders what people read, and
// writes the signed pack to out. The evidence log is cited at the checkpoint
// that the last collection made, so that building again gives the same bytes.
// With breakChain the logs need not continue those of the pack before.
func (a *app) buildPack(ctx context.Context, cfg *Config, p evidence.Period, out string, signer pack.Signer, breakChain bool) (built pack.Built, err error) {
	lock, err := a.openLocker(cfg)
	if err != nil {
		return pack.Built{}, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	of, err := a.evidenceOf(lock, p)
	if err != nil {
		return pack.Built{}, err
	}
	defer a.frugal(rawBytes(of.evidence))()
	content, err := a.packContent(cfg, of, lock, p)
	if err != nil {
		return pack.Built{}, err
	}
	if content.Timestamp, err = timestamper(ctx, cfg); err != nil {
		return pack.Built{}, err
	}
	draft, at, err := a.draft(lock, &content, of.entries, signer.Public(), breakChain)
	if err != nil {
		return pack.Built{}, err
	}
	heads, err := encodeHeads(content.Logs)
	if err != nil {
		return pack.Built{}, err
	}
	digest := sha256.New()
	err = writeWhole(out, func(w io.Writer) error {
		if built, err = draft.Write(io.MultiWriter(untilDone{ctx, w}, digest), signer); err != nil {
			return err
		}
		// Entered before anybody can have the file: its number is never given
		// to another pack.
		_, err = lock.PutPack(ctx, locker.PackBuilt{
			Time: asOf(content.Evidence), Period: p, Sequence: at.sequence, Previous: at.previous,
			PackJSON: built.PackJSONSHA256, SHA256: hex.EncodeToString(digest.Sum(nil)),
		}, heads)
		return err
	})
	if err == nil {
		_, err = lock.Ledger().Checkpoint(locker.LogName)
	}
	return built, err
}

// untilDone writes until its context is done: an interrupted pack is never
// finished.
type untilDone struct {
	ctx context.Context
	w   io.Writer
}

func (u untilDone) Write(p []byte) (int, error) {
	if err := context.Cause(u.ctx); err != nil {
		return 0, err
	}
	return u.w.Write(p)
}

// draft makes the pack at the first place where it stands already, or else at
// the end of the chain, and gives content the logs that prove it there.
func (a *app) draft(lock *locker.Locker, content *pack.Content, entries []locker.Collected, key pack.PublicKey, breakChain bool) (*pack.Draft, place, error) {
	at, again, err := places(lock, content.Period)
	if err != nil {
		return nil, place{}, err
	}
	for i, there := range at {
		if content.Logs, err = excerpts(lock, content.Evidence, entries, content.Period, there); err != nil {
			return nil, place{}, err
		}
		isNew := i >= len(again)
		if err := follow(content.Logs, there); isNew && err != nil {
			if !breakChain {
				return nil, place{}, err
			}
			a.progress("warning: %v", err)
		}
		content.Sequence, content.Previous = there.sequence, there.previous
		draft, err := pack.Prepare(*content, key)
		if err != nil {
			return nil, place{}, err
		}
		packJSON, err := draft.PackJSONSHA256()
		if err != nil || isNew || packJSON == again[i] {
			return draft, there, err
		}
	}
	return nil, place{}, errEarlier(content.Period)
}

// timestamper asks the configured time stamp authority; nil where none is.
func timestamper(ctx context.Context, cfg *Config) (func([]byte) ([]byte, error), error) {
	c := tsa.Client{URL: cfg.Pack.TSA.URL}
	if c.URL == "" {
		return nil, nil
	}
	if cfg.Pack.TSA.Roots != "" {
		var err error
		if c.Roots, err = readCertificates(cfg.path(cfg.Pack.TSA.Roots)); err != nil {
			return nil, fmt.Errorf("pack.tsa.roots: %w", err)
		}
	}
	return stampBy(ctx, c, "try again, or build with --no-timestamp"), nil
}

// stampBy asks an authority; where it does not answer, advice says what to do.
func stampBy(ctx context.Context, c tsa.Client, advice string) func([]byte) ([]byte, error) {
	return func(signature []byte) ([]byte, error) {
		reply, err := c.Stamp(ctx, signature)
		if err != nil {
			return nil, hint(err, "%s", advice)
		}
		return reply, nil
	}
}

// rawBytes is the size of the replies, which most of a pack is made of.
func rawBytes(collected []evidence.Collected) (n int64) {
	for _, c := range collected {
		for _, r := range c.Raw {
			n += int64(len(r.Body))
			if r.Kept != nil {
				n += r.Kept.Size
			}
		}
	}
	return n
}

// packContent gathers everything that a pack of the period is made from but the
// logs, whose excerpts depend on its place. The populations are in memory, since
// controls are judged over them and the report shows them; raw replies are read from the locker when the pack is written.
func (a *app) packContent(cfg *Config, of ofPeriod, lock *locker.Locker, p evidence.Period) (pack.Content, error) {
	collected := of.evidence
	if len(collected) == 0 {
		return pack.Content{}, hint(fmt.Errorf("nothing was collected for %s", p), "run 'trustpack collect --period %s' first", p)
	}
	catalog, err := loadCatalog(cfg.path(cfg.Catalog))
	if err != nil {
		return pack.Content{}, err
	}
	assessed, err := catalog.Assess(controls.Input{Period: p, Evidence: collected, LeftOut: of.leftOut, Policy: cfg.Policy})
	if err != nil {
		return pack.Content{}, fmt.Errorf("assessing %s: %w", p, err)
	}
	secret, err := secretFile(cfg.saltFile(), randomSecret)
	if err != nil {
		return pack.Content{}, fmt.Errorf("reading the pack secret: %w", err)
	}
	c := pack.Content{
		Organisation: cfg.Organisation, System: cfg.System, Tool: tool(), Period: p,
		Identity: cfg.Pack.Identity, RequiredRoles: cfg.Pack.RequiredRoles,
		Sample: cfg.Sample || anySample(collected), Clock: clockOf(cfg.Clock, collected),
		CatalogSHA256: catalog.SHA256(), CatalogFiles: catalog.Files(),
		Controls: catalog.Controls(), Findings: assessed.Findings, Evidence: collected, Secret: secret,
		Open: lock.Open,
	}
	view, err := viewOf(c)
	if err != nil {
		return pack.Content{}, err
	}
	view.LeftOut = of.leftOut
	if c.Extra, err = rendered(view); err != nil {
		return pack.Content{}, err
	}
	if len(of.leftOut) > 0 {
		list, err := evidence.CanonicalJSON(of.leftOut)
		if err != nil {
			return pack.Content{}, err
		}
		c.Extra = append(c.Extra, pack.File{Path: leftOutFile, MediaType: "application/json", Body: append(list, '\n')})
	}
	if cfg.Policy == nil {
		cfg.Policy = map[string]any{}
	}
	policy, err := evidence.CanonicalJSON(cfg.Policy)
	c.Extra = append(c.Extra, pack.File{Path: policyFile, MediaType: "application/json", Body: append(policy, '\n')})
	return c, err
}

// excerpts are the evidence log's, proving each collection and the growth from
// the pack before, and the logs of the ingest as the telemetry collector last
// brought them.
func excerpts(lock *locker.Locker, collected []evidence.Collected, entries []locker.Collected, p evidence.Period, at place) ([]ledger.Excerpt, error) {
	own, err := lock.Excerpt(entries, p, sizes(at.logs)[lock.Ledger().Origin(locker.LogName)])
	if err != nil {
		return nil, err
	}
	out := []ledger.Excerpt{own}
	latest := lastCheckpoints(collected)
	if latest == nil {
		return out, nil
	}
	rec, err := lock.Record(latest.ID)
	if err != nil {
		return nil, err
	}
	digests := map[string]string{}
	var names []string
	for _, raw := range rec.RawFiles {
		names, digests[raw.Name] = append(names, raw.Name), raw.SHA256
	}
	theirs, err := telemetry.Excerpts(names, func(name string) ([]byte, error) { return lock.Read(digests[name]) })
	if err != nil {
		return nil, fmt.Errorf("evidence %s (%s): %w", latest.ID, latest.Kind, err)
	}
	return append(out, theirs...), nil
}

// lastCheckpoints is the last whole collection of the ingest's checkpoints, or
// the last where none is whole: a later run that failed must not take the logs
// out of the pack.
func lastCheckpoints(collected []evidence.Collected) *evidence.Collected {
	var last *evidence.Collected
	for i, e := range collected {
		if e.Kind != telemetry.KindCheckpoints {
			continue
		}
		whole := e.Completeness.State == evidence.Complete
		if last != nil {
			lastWhole := last.Completeness.State == evidence.Complete
			if lastWhole && !whole || lastWhole == whole && e.CollectedAt.Before(last.CollectedAt) {
				continue
			}
		}
		last = &collected[i]
	}
	return last
}

// rendered makes the report, the workbook and the statements.
func rendered(v templates.View) ([]pack.File, error) {
	files := []struct {
		path, media string
		render      func(io.Writer, templates.View) error
	}{
		{"data/report/index.html", "text/html", templates.Report},
		{"data/report/workbook.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", templates.Workbook},
		{"data/statements/scope-and-trust.md", "text/markdown", templates.ScopeStatement},
		{"data/statements/scope-and-trust.html", "text/html", templates.ScopeStatementHTML},
	}
	var out []pack.File
	for _, f := range files {
		var buf bytes.Buffer
		if err := f.render(&buf, v); err != nil {
			return nil, fmt.Errorf("rendering %s: %w", f.path, err)
		}
		out = append(out, pack.File{Path: f.path, MediaType: f.media, DerivedFrom: []string{"data/exceptions.json"}, Body: buf.Bytes()})
	}
	return out, nil
}

// clockOf is simulated where the configuration or any evidence says so: what
// was collected on a simulated clock keeps that label when the configuration
// no longer bears it.
func clockOf(configured evidence.Clock, collected []evidence.Collected) evidence.Clock {
	for _, e := range collected {
		if e.Provenance.Clock != evidence.ClockSystem {
			return evidence.ClockSimulated
		}
	}
	return configured
}

func anySample(collected []evidence.Collected) bool {
	for _, e := range collected {
		if e.Provenance.Origin != evidence.OriginLive {
			return true
		}
	}
	return false
}
