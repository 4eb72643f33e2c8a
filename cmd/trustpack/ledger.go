package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"trustpack/internal/durable"
	"trustpack/ledger"
)

func (a *app) ledgerCommand() *cobra.Command {
	return group("ledger", "The verifiable logs: check, prove, export", a.ledgerFsck(), a.ledgerProve(), a.ledgerCheckpoint(), a.ledgerExport(), a.ledgerRestoreTest(), a.ledgerPayload(), a.ledgerPurge())
}

// entryIndex is a flag that takes the index of an entry as evidence writes it:
// decimal, with zeros before it.
type entryIndex int64

func (i *entryIndex) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return fmt.Errorf("%q is no index: want a number from 0", s)
	}
	*i = entryIndex(n)
	return nil
}

func (i *entryIndex) String() string { return strconv.FormatInt(int64(*i), 10) }

func (*entryIndex) Type() string { return "index" }

// ledgerDirs finds the ledgers in dir: dir itself, or those below it, such as
// in a state folder.
func ledgerDirs(dir string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "journal" {
			found = append(found, filepath.Dir(path))
			return fs.SkipDir
		}
		return nil
	})
	if err == nil && len(found) == 0 {
		err = hint(fmt.Errorf("there is no ledger in %s", dir), "name a ledger's folder (it holds journal/), or the state folder above it")
	}
	return found, err
}

func (a *app) ledgerFsck() *cobra.Command {
	var keys []string
	var state stateCheck
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "fsck DIR",
		Short: "Derive every hash of the ledgers in DIR again and compare",
		Long: `Reads every entry of every log in DIR, derives leaf hashes, tiles and roots
again, and compares them with what is stored and with every signed checkpoint.
Without --log-key the signatures are checked under the keys stored beside them,
which shows that nothing was garbled, not who signed.

With --state the registry, the operators, the books and every other number of an
ingest are made again from the logs alone, and held against the snapshot from
which it starts, where its seed is beside the ledger. --state-of FILE holds them
against what the running ingest said ('trustpack ingest state --json'), at the
moment at which it said so.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			pinned, err := pinnedKeys(keys)
			if err != nil {
				return err
			}
			dirs, err := ledgerDirs(args[0])
			if err != nil {
				return err
			}
			var reports []ledger.Report
			wrong := 0
			seen := map[string]bool{} // origins of the logs that are there
			for _, dir := range dirs {
				r, err := ledger.Fsck(dir, ledger.FsckOptions{VerifierKeys: keysByLog(pinned)})
				if err != nil {
					return err
				}
				for _, l := range r.Logs {
					seen[l.Origin] = true
				}
				reports = append(reports, r)
				wrong += len(r.Problems)
			}
			if asJSON && !state.wanted() {
				err = a.printJSON(reports)
			} else if !asJSON {
				err = a.printFsck(reports)
			}
			if err != nil {
				return err
			}
			if wrong > 0 {
				return &exitError{code: exitWrong}
			}
			if state.wanted() {
				if err := a.fsckState(state, dirs, reports, asJSON); err != nil {
					return err
				}
			}
			return a.unusedKeys(pinned, seen, args[0])
		},
	}
	cmd.Flags().StringArrayVar(&keys, "log-key", nil, "verifier key of a log: a `file`, or the key itself")
	cmd.Flags().BoolVar(&state.on, "state", false, "make the registry and all numbers again from the logs")
	cmd.Flags().StringVar(&state.of, "state-of", "", "hold them against what the ingest said in this `file`; implies --state")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

// pinnedKeys reads verifier keys by origin.
func pinnedKeys(args []string) (map[string]string, error) {
	keys := map[string]string{}
	for _, arg := range args {
		lines, err := readLogKeys(arg)
		if err != nil {
			return nil, err
		}
		for _, line := range lines {
			origin, _, _ := strings.Cut(line, "+")
			keys[origin] = line
		}
	}
	return keys, nil
}

// keysByLog gives the keys by the name of their log, the last part of its
// origin.
func keysByLog(pinned map[string]string) map[string]string {
	out := map[string]string{}
	for origin, key := range pinned {
		out[origin[strings.LastIndex(origin, "/")+1:]] = key
	}
	return out
}

// unusedKeys names the keys of logs that were not seen in dir. Where all of
// them are, nothing was checked under any key, which is never exit 0.
func (a *app) unusedKeys(pinned map[string]string, seen map[string]bool, dir string) error {
	unused := 0
	for _, origin := range slices.Sorted(maps.Keys(pinned)) {
		if !seen[origin] {
			unused++
			a.progress("not checked: a key was given for %s, and no such log is in %s", origin, dir)
		}
	}
	if unused > 0 && unused == len(pinned) {
		return &exitError{code: exitInconclusive, err: errors.New("none of the keys given is of a log that is there, so no signature was checked under them")}
	}
	return nil
}

func (a *app) printFsck(reports []ledger.Report) error {
	rows := [][]string{{"LOG", "ENTRIES", "CHECKPOINTS", "KEY", "ROOT"}}
	var problems, sizes []string
	for _, r := range reports {
		for _, l := range r.Logs {
			rows = append(rows, []string{l.Log, fmt.Sprint(l.Size), fmt.Sprint(l.Checkpoints), l.Key, l.Root})
		}
		for _, p := range r.Problems {
			problems = append(problems, filepath.Join(r.Dir, p.String()))
		}
		sizes = append(sizes, fmt.Sprintf("%s: %d entries, %.0f a second", r.Dir, r.Entries, r.EntriesPerSecond))
	}
	if err := a.table(rows); err != nil {
		return err
	}
	for _, line := range slices.Concat(sizes, problems) {
		if _, err := fmt.Fprintln(a.out, plainText(line)); err != nil {
			return err
		}
	}
	verdict := "fsck: OK"
	if len(problems) > 0 {
		verdict = fmt.Sprintf("fsck: FAILED, %d problems", len(problems))
	}
	_, err := fmt.Fprintln(a.out, verdict)
	return err
}

// openLog opens the one ledger in dir that holds the log, to read.
func openLog(dir, log string) (*ledger.Ledger, error) {
	dirs, err := ledgerDirs(dir)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, d := range dirs {
		instance, err := ledger.InstanceOf(d)
		if errors.Is(err, ledger.ErrNotFound) {
			continue // it has no checkpoint, so there is nothing to prove
		}
		if err != nil {
			return nil, err
		}
		l, err := ledger.OpenReadOnly(d, ledger.Options{Instance: instance})
		if err != nil {
			return nil, err
		}
		if slices.Contains(l.Logs(), log) {
			return l, nil
		}
		for _, n := range l.Logs() {
			names[n] = true
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	return nil, hint(fmt.Errorf("there is no log %q in %s", log, dir), "it holds %s", strings.Join(slices.Sorted(maps.Keys(names)), ", "))
}

// withLog runs do over a log that no process is writing to.
func withLog(dir, log string, do func(*ledger.Ledger) error) error {
	l, err := openLog(dir, log)
	if err != nil {
		return err
	}
	return errors.Join(do(l), l.Close())
}

func (a *app) ledgerProve() *cobra.Command {
	var log, out string
	var index int64
	cmd := &cobra.Command{
		Use:   "prove DIR --log NAME --index N",
		Short: "Prove that an entry stands in a log: a c2sp.org/tlog-proof, and the entry",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return withLog(args[0], log, func(l *ledger.Ledger) error {
				excerpt, err := l.Excerpt(log, 0, []int64{index})
				if err != nil {
					return err
				}
				record := excerpt.Records[0]
				if out == "" {
					_, err := fmt.Fprint(a.out, record.Proof)
					return err
				}
				if err := durable.WriteFile(out+".tlog-proof", []byte(record.Proof), 0o644); err != nil {
					return err
				}
				if err := durable.WriteFile(out+".entry", record.Entry, 0o644); err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "proof: %s.tlog-proof\nentry: %s.entry\n", out, out)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&log, "log", "", "the log's name")
	cmd.Flags().Var((*entryIndex)(&index), "index", "the entry, counted from 0")
	cmd.Flags().StringVar(&out, "out", "", "write FILE.tlog-proof and FILE.entry instead of printing the proof")
	return cmd
}

func (a *app) ledgerCheckpoint() *cobra.Command {
	var log string
	cmd := &cobra.Command{
		Use:   "checkpoint DIR --log NAME",
		Short: "Print the last signed checkpoint of a log",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return withLog(args[0], log, func(l *ledger.Ledger) error {
				note, err := l.LastCheckpoint(log)
				if err != nil {
					return err
				}
				_, err = a.out.Write(note)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&log, "log", "", "the log's name")
	return cmd
}

func (a *app) ledgerExport() *cobra.Command {
	var log, key string
	cmd := &cobra.Command{
		Use:   "export DIR OUT --log NAME",
		Short: "Write a log as files in the C2SP tlog-tiles layout, for other tools",
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			return withLog(args[0], log, func(l *ledger.Ledger) error {
				if err := l.Export(log, args[1]); err != nil {
					return err
				}
				if key == "" {
					return nil
				}
				vkey, err := l.VerifierKey(log)
				if err != nil {
					return err
				}
				return durable.WriteFile(key, []byte(vkey+"\n"), 0o644)
			})
		},
	}
	cmd.Flags().StringVar(&log, "log", "", "the log's name")
	cmd.Flags().StringVar(&key, "vkey", "", "also write the log's verifier key to this `file`")
	return cmd
}
