package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"trustpack/evidence"
)

// sliceItems is about how many commits one evidence holds: a longer window
// comes in slices, so that memory is bounded whatever the window.
const sliceItems = 5000

// Collect reads every configured repository. One that cannot be read whole is a
// gap. The error is only ever the context's.
func (c *Collector) Collect(ctx context.Context, p evidence.Period) ([]evidence.Evidence, error) {
	var out []evidence.Evidence
	err := c.Stream(ctx, p, func(e evidence.Evidence) error { out = append(out, e); return nil })
	return out, err
}

// Stream hands over the commits, in slices of the window by committer time
// where they are many, then the repositories and their tags. The error is the
// context's, or that of keep.
func (c *Collector) Stream(ctx context.Context, p evidence.Period, keep func(evidence.Evidence) error) (err error) {
	var all []*reading
	defer func() {
		for _, r := range all {
			err = errors.Join(err, r.from.close())
		}
	}()
	for i, r := range c.config.Repositories {
		c.deps.Progress("git: reading " + r.Name)
		all = append(all, c.survey(ctx, i, p))
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("reading %s: %w", r.Name, err)
		}
	}
	ids := map[plumbing.Hash]bool{} // one commit may be in two clones
	for _, w := range slicesOf(p, all, c.slice) {
		commits := c.blank(KindCommits, w)
		for _, r := range all {
			req, objects, gaps := c.commits(ctx, r, p, w, ids, &commits.Population)
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("reading %s: %w", r.cfg.Name, err)
			}
			add(&commits, req, "commits/"+fileName(r.cfg.Name)+".objects", objects, append(gaps, r.gaps...))
		}
		finish(&commits)
		if err := keep(commits); err != nil {
			return err
		}
	}
	repos, tags := c.blank(KindRepository, p), c.blank(KindTags, p)
	repos.Snapshot, tags.Snapshot = true, true
	for _, r := range all {
		if err := r.from.close(); err != nil {
			r.gap("repository "+r.cfg.Name+": the folder that its bundle was unpacked in", "%s", err)
		}
		gaps := append(slices.Clone(r.gaps), r.late...)
		add(&repos, r.request, "refs/"+fileName(r.cfg.Name)+".txt", r.refs, gaps)
		add(&tags, r.request, "tags/"+fileName(r.cfg.Name)+".objects", r.tagObjects, gaps)
		tags.Population.Items = append(tags.Population.Items, r.tags...)
		if r.repository.ID != "" {
			repos.Population.Items = append(repos.Population.Items, r.repository)
		}
	}
	for _, e := range []evidence.Evidence{repos, tags} {
		finish(&e)
		if err := keep(e); err != nil {
			return err
		}
	}
	return nil
}

// slicesOf cuts the window so that about size commits fall into each part. Commits of one second stay together.
func slicesOf(p evidence.Period, all []*reading, size int) []evidence.Period {
	var times []int64
	for _, r := range all {
		for _, n := range r.window {
			times = append(times, r.time(n, p))
		}
	}
	slices.Sort(times)
	at, n := p.From, 0
	var out []evidence.Period
	for i, t := range times {
		if n >= size && t > times[i-1] {
			cut := time.Unix(t, 0).UTC()
			out = append(out, evidence.Period{From: at, To: cut})
			at, n = cut, 0
		}
		n++
	}
	return append(out, evidence.Period{From: at, To: p.To})
}

// time is when a commit counts as made: one dated before the window, that
// stands on commits of it, as the window begins.
func (r *reading) time(n int, p evidence.Period) int64 {
	return max(r.history.nodes[n].committed, p.From.Unix())
}

// commits adds a repository's commits of a slice to into.
func (c *Collector) commits(ctx context.Context, r *reading, p, slice evidence.Period, ids map[plumbing.Hash]bool, into *evidence.Population) (evidence.Request, []byte, []evidence.Gap) {
	req := r.request
	if req.Error != "" {
		return req, nil, nil
	}
	req.Parameters = maps.Clone(req.Parameters)
	req.Parameters["window"] = slice.String()
	var gaps []evidence.Gap
	gap := func(what string, err error) {
		gaps = append(gaps, evidence.Gap{What: what, Reason: err.Error()})
	}
	if err := r.from.again(); err != nil {
		gap("repository "+r.cfg.Name+": commits of "+slice.String(), err)
		r.late = append(r.late, gaps...)
		return req, nil, gaps
	}
	defer func() {
		if err := r.from.forget(); err != nil {
			r.late = append(r.late, evidence.Gap{What: "repository " + r.cfg.Name, Reason: err.Error()})
		}
	}()
	var objects bytes.Buffer
	from, to := slice.From.Unix(), slice.To.Unix()
	for _, n := range r.window {
		if t := r.time(n, p); t < from || t >= to || ctx.Err() != nil {
			continue
		}
		node := r.history.nodes[n]
		item, err := c.commit(r.from.Repository, r, node, &objects)
		if err != nil {
			gap("repository "+r.cfg.Name+": commit "+node.hash.String(), err)
		}
		if item.ID == "" {
			continue
		}
		if ids[node.hash] {
			item.ID += "@" + r.cfg.Name
		}
		if len(c.config.Repositories) > 1 {
			ids[node.hash] = true
		}
		into.Items = append(into.Items, item)
		class := item.Attributes["class"].(string)
		r.classes[class] = r.classes[class].(int) + 1
		r.repository.Attributes["commits_in_window"] = r.repository.Attributes["commits_in_window"].(int) + 1
	}
	req.EndedAt = c.deps.Now().UTC()
	r.late = append(r.late, gaps...)
	return req, objects.Bytes(), gaps
}
