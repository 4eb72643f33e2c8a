package git

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// glob matches slash paths from the repository's root: "*" and "?" stay within
// one part of the path, "**" spans parts. A pattern without a slash matches
// the last part anywhere, as in .gitattributes.
type glob struct{ re *regexp.Regexp }

func compileGlobs(patterns []string) ([]glob, error) {
	var out []glob
	for _, p := range patterns {
		if strings.Trim(p, "/") == "" {
			return nil, errors.New("an empty pattern")
		}
		re, err := regexp.Compile(globExpr(p))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", p, err)
		}
		out = append(out, glob{re})
	}
	return out, nil
}

func globExpr(p string) string {
	var b strings.Builder
	b.WriteString(`\A`)
	if !strings.Contains(strings.TrimSuffix(p, "/"), "/") {
		b.WriteString(`(?:.*/)?`)
	}
	p = strings.TrimPrefix(p, "/")
	if strings.HasSuffix(p, "/") {
		p += "**" // a folder is all that is in it
	}
	for len(p) > 0 {
		switch {
		case strings.HasPrefix(p, "**/"):
			b.WriteString(`(?:.*/)?`)
			p = p[3:]
		case strings.HasPrefix(p, "**"):
			b.WriteString(`.*`)
			p = p[2:]
		case p[0] == '*':
			b.WriteString(`[^/]*`)
			p = p[1:]
		case p[0] == '?':
			b.WriteString(`[^/]`)
			p = p[1:]
		default:
			end := strings.IndexAny(p, "*?")
			if end < 0 {
				end = len(p)
			}
			b.WriteString(regexp.QuoteMeta(p[:end]))
			p = p[end:]
		}
	}
	b.WriteString(`\z`)
	return "(?s)" + b.String()
}

func matching(globs []glob, paths []string) []string {
	var out []string
	for _, p := range paths {
		for _, g := range globs {
			if g.re.MatchString(p) {
				out = append(out, p)
				break
			}
		}
	}
	return out
}
