package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// runs are the lines of a script that run the program; what such a line looks
// for in its output may name a command without running it.
var (
	runs    = regexp.MustCompile(`^(\[[^\]]+\] )*([!?] )?(exec|exits \d|trustpack)\s`)
	program = regexp.MustCompile(`(?:^|[\s'"(])trustpack((?:\s+[^\s'";|&)>]+)+)`)
)

// TestEveryCommandIsRunByAScript walks the command tree and looks into the
// scripts for a line that runs each command.
func TestEveryCommandIsRunByAScript(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts were found: %v", err)
	}
	root := (&app{}).root()
	ran := map[string]bool{}
	for _, name := range scripts {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(body)) {
			if !runs.MatchString(line) {
				continue
			}
			for _, m := range program.FindAllStringSubmatch(line, -1) {
				if c, _, err := root.Find(strings.Fields(m[1])); err == nil {
					ran[c.CommandPath()] = true
				}
			}
		}
	}
	leaves := leafCommands(root)
	if len(leaves) < 60 {
		t.Fatalf("%d commands were found; the walk looks at the wrong thing", len(leaves))
	}
	for _, c := range leaves {
		if !ran[c.CommandPath()] {
			t.Errorf("no script runs '%s'", c.CommandPath())
		}
	}
}

// TestWrongArgumentsAreAdvisedOn gives every command nothing and more than it
// takes: no command takes both, and what is refused comes with advice.
func TestWrongArgumentsAreAdvisedOn(t *testing.T) {
	for _, c := range leafCommands((&app{}).root()) {
		if c.Args == nil {
			t.Errorf("'%s' does not say what arguments it takes", c.CommandPath())
			continue
		}
		if strings.Contains(c.Use, "…]") {
			continue // from none to any number
		}
		refused := 0
		for _, args := range [][]string{{}, slices.Repeat([]string{"x"}, 9)} {
			err := c.Args(c, args)
			if err == nil {
				continue
			}
			if refused++; !strings.Contains(hintOf(err), c.CommandPath()) {
				t.Errorf("'%s' with %d arguments: %v, and the hint is %q", c.CommandPath(), len(args), err, hintOf(err))
			}
		}
		if refused == 0 {
			t.Errorf("'%s' takes nothing as well as nine arguments", c.CommandPath())
		}
	}
}

// TestEveryReportHasJSON holds every command that lists or shows something to
// --json, by its name.
func TestEveryReportHasJSON(t *testing.T) {
	reports := []string{"list", "show", "search", "history", "diff", "verify", "assess", "drill", "trace", "fsck", "doctor", "collect", "who-could", "sample"}
	found := 0
	for _, c := range leafCommands((&app{}).root()) {
		if !slices.Contains(reports, c.Name()) {
			continue
		}
		found++
		if c.Flags().Lookup("json") == nil {
			t.Errorf("'%s' has no --json", c.CommandPath())
		}
	}
	if found < 20 {
		t.Fatalf("%d reports were found; the walk looks at the wrong thing", found)
	}
}

// leafCommands are those that users run; the others only hold them.
func leafCommands(c *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			out = append(out, leafCommands(sub)...)
		}
	}
	if len(out) == 0 || c.HasParent() && c.LocalNonPersistentFlags().HasFlags() {
		out = append(out, c)
	}
	return out
}
