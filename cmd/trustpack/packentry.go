package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/term"

	"trustpack/evidence"
	"trustpack/pack"
)

// shownEntry is which entry of a pack's log to show.
type shownEntry struct {
	log   string
	index int64
	keys  []string // verifier keys, or files or folders of them
}

// showEntry prints an entry's exact bytes, and what was and what was not
// checked of it beside them. Nothing is printed of an entry that is not proved.
func (a *app) showEntry(path string, e shownEntry, asJSON bool) error {
	if e.log == "" {
		return hint(errors.New("--log is not set"), "evidence names an entry by its log and its index: --log control --entry %d", e.index)
	}
	var keys []string
	for _, k := range e.keys {
		lines, err := readLogKeys(k)
		if err != nil {
			return err
		}
		keys = append(keys, lines...)
	}
	for _, k := range keys {
		if _, err := note.NewVerifier(k); err != nil {
			return fmt.Errorf("log key %q: %w", k, err)
		}
	}
	f, size, err := openSized(path)
	if err != nil {
		return err
	}
	defer f.Close()
	shown, err := pack.ShowEntry(f, size, pack.Limits{}, keys, e.log, e.index)
	var withheld *pack.WithheldError
	switch {
	case err == nil:
	case errors.As(err, &withheld):
		return &exitError{code: exitInconclusive, err: fmt.Errorf("reading %s: %w", path, err)}
	case errors.Is(err, pack.ErrNotHeld):
		return hint(fmt.Errorf("reading %s: %w", path, err), "'trustpack pack show %s' lists the logs; a pack holds the entries that its evidence cites", path)
	default:
		return &exitError{code: exitWrong, err: fmt.Errorf("reading %s: %w", path, err)}
	}
	if len(keys) > 0 && !shown.Signed {
		return &exitError{code: exitInconclusive, err: hint(fmt.Errorf("no key given is of the log %s, so the signature of its checkpoint was not checked", shown.Origin),
			"give --log-key the verifier key of that log, or leave it out and take the checkpoint on the pack's word")}
	}
	open := []string{"whether the pack is the vendor's, and whole: trustpack verify"}
	if !shown.Signed {
		open = append([]string{"who signed the checkpoint that says so: no --log-key was given"}, open...)
	}
	if asJSON {
		return a.printJSON(struct {
			pack.ShownEntry
			NotChecked []string `json:"not_checked"`
		}{shown, open})
	}
	if _, err := a.out.Write(entryText(shown.Entry, a.onTerminal())); err != nil {
		return err
	}
	a.progress("proved: entry %d of %s, SHA-256 %s, in a log of %d entries with the root %s", shown.Index, shown.Origin, evidence.SHA256Hex(shown.Entry), shown.Size, shown.Root)
	if shown.Signed {
		a.progress("proved: the checkpoint that says so is signed by the log, under the key given")
	}
	for _, what := range open {
		a.progress("not checked: %s", what)
	}
	return nil
}

// entryText is an entry as it stands; for a terminal it ends its line, and has
// no character in it that the terminal would heed.
func entryText(entry []byte, terminal bool) []byte {
	if !terminal {
		return entry
	}
	return []byte(plainText(strings.TrimSuffix(string(entry), "\n")) + "\n")
}

func (a *app) onTerminal() bool {
	f, ok := a.out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
