package git

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// Limits on the header of a bundle: a branch, a tag or a pull request a line.
const (
	maxBundleLine  = 64 << 10
	maxBundleLines = 1 << 20
)

// bundleHeader is what stands before the pack: gitformat-bundle, versions 2
// and 3.
type bundleHeader struct {
	lacks []plumbing.Hash // what the bundle builds on and leaves out
	refs  []*plumbing.Reference
	size  int64 // of the header in bytes
}

// openBundle unpacks a bundle into a bare repository in dir, which must be
// empty, and gives the digest of the file. A pack that is damaged, or not
// whole, is an error.
func openBundle(name, dir string) (bundleHeader, string, error) {
	fail := func(err error) (bundleHeader, string, error) {
		return bundleHeader{}, "", fmt.Errorf("reading the bundle: %w", err)
	}
	f, err := os.Open(name)
	if err != nil {
		return fail(err)
	}
	defer f.Close() // it was only read
	h, err := readBundleHeader(bufio.NewReader(f))
	if err != nil {
		return fail(err)
	}
	digest, err := checkBundle(f, h.size)
	if err != nil {
		return fail(err)
	}
	repo, err := gogit.PlainInit(dir, true)
	if err != nil {
		return fail(err)
	}
	if _, err := f.Seek(h.size, io.SeekStart); err != nil {
		return fail(err)
	}
	if err := packfile.UpdateObjectStorage(repo.Storer, f); errors.Is(err, packfile.ErrEmptyPackfile) {
		// the prerequisites alone: what is missing is named by whoever reads
	} else if err != nil {
		if len(h.lacks) > 0 {
			err = fmt.Errorf("it leaves out what it builds on (%s); make one that holds the whole branch: %w", shortList(hashes(h.lacks)), err)
		}
		return fail(err)
	}
	for _, ref := range h.refs {
		if err := repo.Storer.SetReference(ref); err != nil {
			return fail(err)
		}
	}
	return h, digest, nil
}

func readBundleHeader(r *bufio.Reader) (bundleHeader, error) {
	var h bundleHeader
	line := func() (string, error) {
		var out []byte
		for {
			part, err := r.ReadSlice('\n')
			out = append(out, part...)
			if errors.Is(err, bufio.ErrBufferFull) && len(out) <= maxBundleLine {
				continue
			}
			if err != nil || len(out) > maxBundleLine {
				return "", errors.Join(errors.New("its header is cut off, or has a line that is too long"), err)
			}
			h.size += int64(len(out))
			return string(out[:len(out)-1]), nil
		}
	}
	magic, err := line()
	if err != nil || magic != "# v2 git bundle" && magic != "# v3 git bundle" {
		return h, errors.New("it is no git bundle of version 2 or 3")
	}
	for range maxBundleLines {
		text, err := line()
		if err != nil {
			return h, err
		}
		switch {
		case text == "":
			return h, nil
		case strings.HasPrefix(text, "@"):
			key, value, _ := strings.Cut(text[1:], "=")
			if key != "filter" && text != "@object-format=sha1" {
				return h, fmt.Errorf("its capability %s=%s is not supported", key, value)
			}
		case strings.HasPrefix(text, "-"):
			id, _, _ := strings.Cut(text[1:], " ")
			if !plumbing.IsHash(id) {
				return h, fmt.Errorf("what it builds on is %q, not a commit", id)
			}
			h.lacks = append(h.lacks, plumbing.NewHash(id))
		default:
			id, ref, _ := strings.Cut(text, " ")
			if !plumbing.IsHash(id) || !strings.HasPrefix(ref, "refs/") && ref != "HEAD" {
				return h, fmt.Errorf("its header has the line %q, which is no ref", text)
			}
			if err := plumbing.ReferenceName(ref).Validate(); err != nil {
				return h, fmt.Errorf("its ref %q: %w", ref, err)
			}
			h.refs = append(h.refs, plumbing.NewReferenceFromStrings(ref, id))
		}
	}
	return h, fmt.Errorf("its header has more than %d lines", maxBundleLines)
}

// checkBundle holds the pack, which begins at size, to the SHA-1 at its end,
// and gives the SHA-256 of the whole file in hex.
func checkBundle(f *os.File, size int64) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	const end = sha1.Size
	if info.Size() < size+end {
		return "", errors.New("it has no pack; it is cut off")
	}
	whole, pack, last := sha256.New(), sha1.New(), make([]byte, end)
	for _, part := range []struct {
		at, n int64
		to    io.Writer
	}{{0, size, io.Discard}, {size, info.Size() - size - end, pack}} {
		if _, err := io.Copy(io.MultiWriter(whole, part.to), io.NewSectionReader(f, part.at, part.n)); err != nil {
			return "", err
		}
	}
	if _, err := f.ReadAt(last, info.Size()-end); err != nil {
		return "", err
	}
	whole.Write(last)
	if !bytes.Equal(pack.Sum(nil), last) {
		return "", errors.New("its pack does not have the checksum at its end; it is damaged or cut off")
	}
	return hex.EncodeToString(whole.Sum(nil)), nil
}
