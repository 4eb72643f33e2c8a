// Package verifier holds the second verifier of packs, plain JavaScript written
// from FORMAT.md alone, and puts it into one page that runs from a file, with
// no network and no build step. Node runs the same modules (cli.mjs).
package verifier

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"regexp"
	"strings"
)

//go:embed *.mjs page.html page.css
var sources embed.FS

// entry is the module that the page begins with.
const entry = "page.mjs"

var (
	importLine = regexp.MustCompile(`(?m)^import \{ ([A-Za-z0-9_, ]+) \} from "\./([a-z0-9]+\.mjs)";\n`)
	exportWord = regexp.MustCompile(`(?m)^export ((?:async )?(?:function\*?|class|const) ([A-Za-z0-9_]+))`)
	leftOver   = regexp.MustCompile(`(?m)^(?:import|export)\b.*$`)
)

// Page makes the page: HTML in UTF-8 with style and script inside and a policy
// that lets nothing else run and nothing be reached.
func Page() ([]byte, error) {
	script, err := script()
	if err != nil {
		return nil, fmt.Errorf("making the page: %w", err)
	}
	frame, err := sources.ReadFile("page.html")
	if err != nil {
		return nil, fmt.Errorf("making the page: %w", err)
	}
	style, err := sources.ReadFile("page.css")
	if err != nil {
		return nil, fmt.Errorf("making the page: %w", err)
	}
	policy := fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; base-uri 'none'; form-action 'none'", hashSource(script), hashSource(string(style)))
	page := strings.NewReplacer("{{policy}}", html.EscapeString(policy), "{{style}}", string(style), "{{script}}", script).Replace(string(frame))
	return []byte(page), nil
}

// hashSource is a source of a Content-Security-Policy that lets this very text
// run (CSP Level 3, section 2.3.1).
func hashSource(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// script puts the modules one after the other, each in a function of its own
// and after those that it imports. A page from a file may not import modules;
// their text stays as it is but for import and export.
func script() (string, error) {
	var b strings.Builder
	b.WriteString("\n\"use strict\";\nconst modules = {};\n")
	if err := appendModule(&b, entry, map[string]bool{}); err != nil {
		return "", err
	}
	if out := b.String(); !strings.Contains(strings.ToLower(out), "</script") && !strings.Contains(out, "<!--") {
		return out, nil
	}
	return "", errors.New("the script holds a text that would end it within the page")
}

func appendModule(b *strings.Builder, name string, done map[string]bool) error {
	if done[name] {
		return nil
	}
	done[name] = true
	text, err := sources.ReadFile(name)
	if err != nil {
		return err
	}
	source := string(text)
	for _, m := range importLine.FindAllStringSubmatch(source, -1) {
		if err := appendModule(b, m[2], done); err != nil {
			return err
		}
	}
	var names []string
	for _, m := range exportWord.FindAllStringSubmatch(source, -1) {
		names = append(names, m[2])
	}
	source = importLine.ReplaceAllString(source, "const { $1 } = modules[\"$2\"];\n")
	source = exportWord.ReplaceAllString(source, "$1")
	if line := leftOver.FindString(source); line != "" {
		return fmt.Errorf("%s: %q is a form of import or export that the page does not know", name, line)
	}
	fmt.Fprintf(b, "\n// ---- %s ----\nmodules[%q] = (() => {\n%s\nreturn { %s };\n})();\n", name, name, strings.Trim(source, "\n"), strings.Join(names, ", "))
	return nil
}
