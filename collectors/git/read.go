package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"trustpack/evidence"
)

// reading is what came of one repository: what it holds as a whole, and, read
// slice by slice, its commits of the window.
type reading struct {
	cfg        Repository
	sensitive  []glob
	from       opened
	history    *history
	host       codeHost
	window     []int // nodes of the window, by time
	classes    map[string]any
	owners     ownerFiles
	origins    origins
	tags       []evidence.Item
	repository evidence.Item
	refs       []byte
	tagObjects []byte // of all annotated tags, in the form of git cat-file --batch
	request    evidence.Request
	gaps       []evidence.Gap // of the repository as a whole
	late       []evidence.Gap // of single commits
}

func (r *reading) gap(what, format string, args ...any) {
	r.gaps = append(r.gaps, evidence.Gap{What: what, Reason: fmt.Sprintf(format, args...)})
}

// survey reads the shape of a repository's history and its tags. What fails is
// a gap, and there are no commits then.
func (c *Collector) survey(ctx context.Context, i int, p evidence.Period) *reading {
	cfg := c.config.Repositories[i]
	out := &reading{cfg: cfg, sensitive: c.sensitive[i], owners: ownerFiles{}, classes: map[string]any{classDirectPush: 0, classUnknown: 0}}
	out.request = evidence.Request{
		Method: "read", Target: "git repository " + cfg.Name, StartedAt: c.deps.Now().UTC(),
		Parameters: map[string]string{"branch": cfg.Branch, "window": p.String()},
	}
	if err := c.shape(ctx, out, p); err != nil {
		out.request.Error = err.Error()
		out.gap("repository "+cfg.Name, "%s", err)
		out.window = nil
	}
	out.request.EndedAt = c.deps.Now().UTC()
	return out
}

func (c *Collector) shape(ctx context.Context, out *reading, p evidence.Period) (err error) {
	cfg := out.cfg
	if out.from, err = open(cfg.Path); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.from.forget()) }() // it is opened anew for each slice
	repo := out.from.Repository
	out.request.Target = "git " + out.from.form + " " + cfg.Name
	if out.from.digest != "" {
		out.request.Parameters["bundle_sha256"] = out.from.digest
	}
	head, ref, err := branchHead(repo, cfg.Branch)
	if err != nil {
		return err
	}
	out.request.Parameters["head"] = head.String()
	shallow, err := repo.Storer.Shallow()
	if err != nil {
		return fmt.Errorf("reading the list of shallow commits: %w", err)
	}
	h, err := readHistory(ctx, repo.Storer, head, shallow, cfg.hosts)
	if err != nil {
		return err
	}
	if out.host, err = codeHostOf(repo, cfg, h); err != nil {
		return err
	}
	if len(shallow) > 0 {
		out.gap("repository "+cfg.Name+": history below "+shortList(hashes(shallow)),
			"the clone is shallow; fetch the rest with git fetch --unshallow")
	}
	for _, m := range h.missing {
		reason := "the object is not in the clone (a partial clone, or damage)"
		if slices.Contains(out.from.lacks, m) {
			reason = "the bundle builds on it and leaves it out; make one that holds the whole branch"
		}
		out.gap("repository "+cfg.Name+": commit "+m.String()+" and what it stands upon", "%s", reason)
	}
	out.history, out.window = h, h.window(p)
	if out.origins, err = originsOf(ctx, repo, cfg.Branch, h); err != nil {
		out.gap("repository "+cfg.Name+": its other branches", "%s", err)
	}
	c.tags(repo, cfg, h, out)
	out.refs = refsFile(head, ref, shallow)
	out.repository = evidence.Item{ID: cfg.Name, Attributes: map[string]any{
		"head": head.String(), "branch": cfg.Branch, "shallow": len(shallow) > 0,
		"commits_in_window": 0, "commits": len(h.nodes),
		"root_commits": plain(h.roots()), "rewritten_from": plain(c.rewritten(h, len(shallow) > 0 || len(h.missing) > 0, out)),
		"code_host": out.host.String(), "classes": out.classes, "source": out.from.form,
	}}
	return nil
}

// branchHead finds the branch: local first, then as origin had it.
func branchHead(repo *gogit.Repository, branch string) (plumbing.Hash, plumbing.ReferenceName, error) {
	for _, name := range []plumbing.ReferenceName{
		plumbing.NewBranchReferenceName(branch), plumbing.NewRemoteReferenceName("origin", branch),
	} {
		ref, err := repo.Reference(name, true)
		if err == nil {
			return ref.Hash(), name, nil
		}
		if !errors.Is(err, plumbing.ErrReferenceNotFound) {
			return plumbing.ZeroHash, "", fmt.Errorf("reading %s: %w", name, err)
		}
	}
	return plumbing.ZeroHash, "", fmt.Errorf("the clone has no branch %q, neither its own nor origin's", branch)
}

// refsFile writes what the reading started from: the branch as git show-ref
// prints it, and the shallow commits, one a line.
func refsFile(head plumbing.Hash, ref plumbing.ReferenceName, shallow []plumbing.Hash) []byte {
	out := fmt.Appendf(nil, "%s %s\n", head, ref)
	for _, s := range shallow {
		out = fmt.Appendf(out, "%s shallow\n", s)
	}
	return out
}

// commit makes the item of one commit and appends its object to objects. An
// error beside an item says what is wrong with the item.
func (c *Collector) commit(repo *gogit.Repository, r *reading, n node, objects *bytes.Buffer) (evidence.Item, error) {
	encoded, err := repo.Storer.EncodedObject(plumbing.CommitObject, n.hash)
	if err != nil {
		return evidence.Item{}, fmt.Errorf("reading the object: %w", err)
	}
	commit, err := object.DecodeCommit(repo.Storer, encoded)
	if err != nil {
		return evidence.Item{}, fmt.Errorf("decoding the object: %w", err)
	}
	if err := appendObject(objects, encoded); err != nil {
		return evidence.Item{}, fmt.Errorf("reading the object: %w", err)
	}
	trailers := parseTrailers(commit.Message)
	subject, _, _ := strings.Cut(commit.Message, "\n")
	paths, mark, pathErr := changedPaths(repo.Storer, commit)
	if pathErr != nil {
		pathErr = fmt.Errorf("reading the paths it changes: %w", pathErr)
	}
	sig, sigErr := c.keys.checkCommit(commit)
	if sigErr != nil {
		sigErr = fmt.Errorf("reading the signature: %w", sigErr)
	}
	sensitive := matching(r.sensitive, paths)
	how, ref := r.origins.of(commit, mark, n.firstParent)
	came := arrival{host: r.host, firstParent: n.firstParent}
	if n.broughtBy >= 0 {
		came.broughtBy = r.history.nodes[n.broughtBy].hash.String()
	}
	came.of(commit, r.cfg)
	class, why := came.judge()
	if ref != "" {
		why += fmt.Sprintf("; it is the %s of %s", how, ref)
	}
	attrs := map[string]any{
		"repository": r.cfg.Name, "branch": r.cfg.Branch,
		"author_name": commit.Author.Name, "author_email": commit.Author.Email,
		"committer_name": commit.Committer.Name, "committer_email": commit.Committer.Email,
		"authored_at": stamp(commit.Author.When), "committed_at": stamp(commit.Committer.When),
		"dated_before_parents": n.backdated, "parents": plain(hashes(commit.ParentHashes)),
		"first_parent": n.firstParent, "how": how, "subject": subject,
		"co_authors": plain(coAuthors(trailers)), "trailers": trailers.plain(),
		"signature": sig.plain(), "paths": plain(paths), "sensitive_paths": plain(sensitive),
		"class": class, "why": why + "; " + hearsay(sig, trailers), "brought_by": came.broughtBy, "from_ref": ref,
	}
	ownErr := owned(commit, r.owners, paths, attrs)
	return evidence.Item{ID: n.hash.String(), Attributes: attrs}, errors.Join(pathErr, sigErr, ownErr)
}

// appendObject writes "<sha> commit <size>", the object, and a line feed.
func appendObject(w *bytes.Buffer, o plumbing.EncodedObject) error {
	r, err := o.Reader()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s %s %d\n", o.Hash(), o.Type(), o.Size())
	_, err = io.Copy(w, r)
	w.WriteByte('\n')
	return errors.Join(err, r.Close())
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func hashes(hs []plumbing.Hash) []string {
	var out []string
	for _, h := range hs {
		out = append(out, h.String())
	}
	return out
}

func shortList(names []string) string {
	all := slices.Sorted(slices.Values(names))
	if len(all) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:3], ", "), len(all)-3)
	}
	return strings.Join(all, ", ")
}

// plain makes a list of strings the list that an item holds, never nil.
func plain(ss []string) []any {
	out := make([]any, len(ss))
	for i, s := range ss {
		out[i] = s
	}
	return out
}

func slashed(p string) string { return strings.TrimRight(filepath.ToSlash(p), "/") }

// fileName makes a repository's name fit for a file.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '.' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
}
