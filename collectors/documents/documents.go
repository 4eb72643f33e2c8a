// Package documents collects what people write and sign off: runbooks, tabletop
// and restore records, policies, incident records and access reviews. They are
// Markdown files with YAML front matter in one folder.
//
//	---
//	title: Runbook for an ingestion outage
//	type: runbook
//	owner: ben.okafor
//	reviewer: anna.berg
//	reviewed: 2026-05-12
//	next_review: 2027-05-12
//	effective: 2026-05-18
//	controls: [AU-11]
//	---
//	The text follows.
//
// A date is a day in UTC. The effective date is what the document says of
// itself; when a file was uploaded proves nothing and is not read.
package documents

import (
	"context"
	"errors"
	"fmt"
	"time"

	"trustpack/evidence"
)

// The kinds of evidence that this collector brings back.
const (
	KindDocuments     evidence.Kind = "documents.documents"
	KindAccessReviews evidence.Kind = "documents.access-reviews"
)

// Config is the section `documents` of the configuration.
type Config struct {
	// Folder holds the documents; every *.md file in it and below it is one.
	// Files and folders whose name begins with a dot are passed over.
	Folder string `yaml:"folder"`
	// Sample says that the documents are an example's, not the vendor's own.
	Sample bool `yaml:"sample"`
}

// Deps is what the collector needs from its caller.
type Deps struct {
	Tool     string           // "trustpack 0.1.0"
	Now      func() time.Time // default time.Now
	Clock    evidence.Clock   // whose time Now gives; default the system's
	Progress func(string)     // told what is being read; may be nil
}

type collector struct {
	config Config
	deps   Deps
}

// New makes the collector. It fails where the configuration names no folder;
// a folder that cannot be read is a gap in the evidence.
func New(c Config, d Deps) (evidence.Collector, error) {
	if c.Folder == "" {
		return nil, errors.New("documents: folder is missing: name the folder that holds the documents")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Clock == "" {
		d.Clock = evidence.ClockSystem
	}
	if d.Progress == nil {
		d.Progress = func(string) {}
	}
	return &collector{c, d}, nil
}

func (c *collector) Name() string { return "documents" }

func (c *collector) Kinds() []evidence.Kind {
	return []evidence.Kind{KindDocuments, KindAccessReviews}
}

// Collect reads the folder once and makes both kinds of it.
func (c *collector) Collect(ctx context.Context, p evidence.Period) ([]evidence.Evidence, error) {
	at := c.deps.Now().UTC()
	c.deps.Progress("reading documents in " + c.config.Folder)
	r := c.read(ctx)
	docs := c.evidence(KindDocuments, p, at, r.documents)
	docs.Snapshot = true
	reviews := c.evidence(KindAccessReviews, p, at, r.reviews)
	for _, d := range r.found {
		docs.Population.Items = append(docs.Population.Items, d.item(p, at))
	}
	for _, d := range r.decisions {
		if d.touches(p) {
			reviews.Population.Items = append(reviews.Population.Items, d.item())
		}
	}
	docs.Completeness = completeness(len(docs.Population.Items), r.documents.gaps)
	reviews.Completeness = completeness(len(reviews.Population.Items), r.reviews.gaps)
	return []evidence.Evidence{docs, reviews}, nil
}

func (c *collector) evidence(kind evidence.Kind, p evidence.Period, at time.Time, t trace) evidence.Evidence {
	origin := evidence.OriginLive
	if c.config.Sample {
		origin = evidence.OriginSample
	}
	return evidence.Evidence{
		Kind: kind, Collector: c.Name(), CollectedAt: at, Window: p,
		Provenance: evidence.Provenance{
			System:    "documents",
			Account:   baseName(c.config.Folder),
			Principal: "unknown: a folder asks for no credential",
			Tool:      c.deps.Tool, Origin: origin, Clock: c.deps.Clock,
			Requests: t.requests,
		},
		Raw: t.raw,
	}
}

func completeness(got int, gaps []evidence.Gap) evidence.Completeness {
	c := evidence.Completeness{State: evidence.Complete, Basis: "read-to-end", Got: got, Gaps: gaps}
	if len(gaps) > 0 {
		c.State = evidence.Incomplete
		c.Note = fmt.Sprintf("%d of the folder's files or rows could not be used", len(gaps))
	}
	return c
}
