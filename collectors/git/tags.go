package git

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"trustpack/evidence"
)

// maxTagChain is how many tags may point to one another before the commit.
const maxTagChain = 8

// tags reads every tag of the clone, as it is now: a tag can be moved, and a
// later collection then shows another commit. Those that the branch reaches
// are told from others.
func (c *Collector) tags(repo *gogit.Repository, cfg Repository, h *history, out *reading) {
	refs, err := repo.Tags()
	if err != nil {
		out.gap("repository "+cfg.Name+": tags", "%s", err)
		return
	}
	reached := map[plumbing.Hash]bool{}
	for _, n := range h.nodes {
		reached[n.hash] = true
	}
	var objects bytes.Buffer
	err = refs.ForEach(func(ref *plumbing.Reference) error {
		name := ref.Name().Short()
		attrs := map[string]any{
			"repository": cfg.Name, "tag": name, "object": ref.Hash().String(), "annotated": false, "tagger_name": "", "tagger_email": "", "tagged_at": "", "subject": "",
			"signature": signature{kind: "none", status: "none"}.plain(),
		}
		commit, err := c.peel(repo, name, ref.Hash(), attrs, &objects)
		if err != nil {
			out.gap("repository "+cfg.Name+": tag "+name, "%s", err)
			return nil // the other tags can still be read
		}
		attrs["commit"], attrs["on_branch"] = commit.String(), reached[commit]
		out.tags = append(out.tags, evidence.Item{ID: cfg.Name + "@" + name, Attributes: attrs})
		return nil
	})
	if err != nil {
		out.gap("repository "+cfg.Name+": tags", "%s", err)
	}
	out.tagObjects = objects.Bytes()
}

// peel follows a tag to its commit. The outermost tag object fills attrs. Where
// it bears another name than its ref, its signature says nothing of the ref:
// anybody who can push can point one at a tag that was signed for something else.
func (c *Collector) peel(repo *gogit.Repository, name string, at plumbing.Hash, attrs map[string]any, objects *bytes.Buffer) (plumbing.Hash, error) {
	for depth := range maxTagChain {
		encoded, err := repo.Storer.EncodedObject(plumbing.AnyObject, at)
		if err != nil {
			return at, fmt.Errorf("reading the object %s: %w", at, err)
		}
		switch encoded.Type() {
		case plumbing.CommitObject:
			return at, nil
		case plumbing.TagObject:
		default:
			return at, fmt.Errorf("it names a %s, not a commit", encoded.Type())
		}
		tag, err := object.DecodeTag(repo.Storer, encoded)
		if err != nil {
			return at, fmt.Errorf("decoding the tag object %s: %w", at, err)
		}
		if err := appendObject(objects, encoded); err != nil {
			return at, fmt.Errorf("reading the tag object %s: %w", at, err)
		}
		if depth == 0 {
			sig, err := c.keys.checkTag(tag)
			if err != nil {
				return at, fmt.Errorf("reading the signature: %w", err)
			}
			if sig.status == "verified" && tag.Name != name {
				sig.status, sig.detail = "bad", fmt.Sprintf("it is of the tag %q", tag.Name)
			}
			subject, _, _ := strings.Cut(tag.Message, "\n")
			attrs["annotated"], attrs["tagger_name"], attrs["tagger_email"], attrs["tagged_at"], attrs["subject"] = true, tag.Tagger.Name, tag.Tagger.Email, stamp(tag.Tagger.When), subject
			attrs["signature"] = sig.plain()
		}
		at = tag.Target
	}
	return at, errors.New("it is a tag of a tag of a tag, and so on")
}

// rewritten lists the earlier heads that the branch does not hold any more:
// its history was written anew, and what it says of earlier times is another
// story than the one that was collected then. Where the clone holds a part of
// the branch alone, that cannot be said, which is a gap.
func (c *Collector) rewritten(h *history, part bool, out *reading) []string {
	if c.deps.Heads == nil {
		return nil
	}
	heads := c.deps.Heads(out.cfg.Name, out.cfg.Branch)
	known := map[string]bool{}
	for _, head := range heads {
		known[head] = false
	}
	for _, n := range h.nodes {
		if _, asked := known[n.hash.String()]; asked {
			known[n.hash.String()] = true
		}
	}
	var gone []string
	for _, head := range heads {
		if !known[head] {
			gone = append(gone, head)
		}
	}
	if part && len(gone) > 0 {
		out.gap("repository "+out.cfg.Name+": whether its branch still holds "+shortList(gone), "the clone does not hold the whole branch")
		return nil
	}
	return gone
}
