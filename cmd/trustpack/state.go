package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"trustpack/ingest"
	"trustpack/ledger"
)

func (a *app) ingestState() *cobra.Command {
	var f adminFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "state", Short: "What the running ingest knows, in numbers that its logs must give again", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(&f, func(c *ingest.AdminClient) error {
				sum, err := c.State(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(sum)
				}
				return a.printState(sum)
			})
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON, which 'ledger fsck --state-of' reads")
	return cmd
}

// stateCheck is what fsck is to do about the state.
type stateCheck struct {
	on bool
	of string // file with an ingest.StateSum
}

func (s stateCheck) wanted() bool { return s.on || s.of != "" }

// rebuiltState is one ledger's state, for --json.
type rebuiltState struct {
	Dir string `json:"dir"`
	ingest.Rebuilt
	// Said says whether it is what the ingest said: "agrees" or "differs";
	// empty where nothing was given to compare.
	Said string `json:"said,omitempty"`
}

// fsckState makes the state of each ingest's ledger again. Exit 1 where it is
// not what was said of it, 3 where there was nothing to make one of.
func (a *app) fsckState(check stateCheck, dirs []string, reports []ledger.Report, asJSON bool) error {
	var said *ingest.StateSum
	if check.of != "" {
		var err error
		if said, err = readStateSum(check.of); err != nil {
			return err
		}
	}
	states := []rebuiltState{}
	var wrong, undone []string
	for _, dir := range dirs {
		s := rebuiltState{Dir: dir}
		var err error
		if said != nil {
			s.Rebuilt, err = ingest.Rebuild(dir, said.Logs)
		} else {
			s.Rebuilt, err = ingest.Rebuild(dir, nil)
		}
		switch {
		case errors.Is(err, ingest.ErrNoIngest):
			continue
		case errors.Is(err, ingest.ErrShorter):
			wrong = append(wrong, err.Error())
			continue
		case err != nil:
			return err
		}
		if s.Snapshot == ingest.SnapshotDiffers {
			wrong = append(wrong, dir+": "+s.SnapshotDetail)
		}
		if said != nil {
			s.Said = "agrees"
			if said.Version != s.Version {
				undone = append(undone, fmt.Sprintf("%s: the digest is of form %d, and this program's is of form %d", check.of, said.Version, s.Version))
				s.Said = ""
			} else if differences := differingNumbers(*said, s.StateSum); len(differences) > 0 {
				wrong = append(wrong, differences...)
				s.Said = "differs"
			}
		}
		states = append(states, s)
	}
	if err := a.tellStates(states, reports, wrong, undone, asJSON); err != nil {
		return err
	}
	switch {
	case len(wrong) > 0:
		return &exitError{code: exitWrong}
	case len(states) == 0:
		return &exitError{code: exitInconclusive, err: errors.New("no state was made again: none of the ledgers is an ingest's")}
	case len(undone) > 0:
		return &exitError{code: exitInconclusive, err: errors.New(undone[0])}
	}
	return nil
}

func (a *app) tellStates(states []rebuiltState, reports []ledger.Report, wrong, undone []string, asJSON bool) error {
	if asJSON {
		return a.printJSON(map[string]any{"ledgers": reports, "states": states, "problems": append([]string{}, wrong...)})
	}
	for _, s := range states {
		if err := a.printState(s.StateSum); err != nil {
			return err
		}
		line := "snapshot: " + s.Snapshot
		if s.SnapshotDetail != "" {
			line += " (" + s.SnapshotDetail + ")"
		}
		if s.Said != "" {
			line += "; what the ingest said: " + s.Said
		}
		if _, err := fmt.Fprintln(a.out, plainText(line)); err != nil {
			return err
		}
	}
	verdict := "state: OK"
	if len(wrong) > 0 {
		verdict = fmt.Sprintf("state: FAILED, %d problems", len(wrong))
	} else if len(states) == 0 || len(undone) > 0 {
		verdict = "state: NOT CHECKED"
	}
	for _, line := range append(slices.Concat(wrong, undone), verdict) {
		if _, err := fmt.Fprintln(a.out, plainText(line)); err != nil {
			return err
		}
	}
	return nil
}

func readStateSum(path string) (*ingest.StateSum, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var sum ingest.StateSum
	if err := json.Unmarshal(b, &sum); err != nil || sum.SHA256 == "" || len(sum.Logs) == 0 {
		return nil, hint(fmt.Errorf("%s is not what 'trustpack ingest state --json' prints", path), "save it with 'trustpack ingest state --json > %s' while the ingest runs", path)
	}
	return &sum, nil
}

// differingNumbers names the numbers that are not the same, or says that only
// what the digest is over differs.
func differingNumbers(said, made ingest.StateSum) []string {
	if said.SHA256 == made.SHA256 && fmt.Sprint(said.Numbers) == fmt.Sprint(made.Numbers) {
		return nil
	}
	a, b := numbersOf(said), numbersOf(made)
	var out []string
	for _, key := range slices.Sorted(maps.Keys(a)) {
		if a[key] != b[key] {
			out = append(out, fmt.Sprintf("%s: the ingest said %s, its logs make %s", key, orNone(a[key]), orNone(b[key])))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(b)) {
		if _, ok := a[key]; !ok {
			out = append(out, fmt.Sprintf("%s: the ingest said nothing, its logs make %s", key, b[key]))
		}
	}
	if len(out) == 0 {
		out = []string{fmt.Sprintf("the numbers are the same, what they count is not: digest %s was said, the logs make %s", said.SHA256, made.SHA256)}
	}
	return out
}

func orNone(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// numbersOf lists the numbers by a path such as devices.active.
func numbersOf(sum ingest.StateSum) map[string]string {
	var tree any
	b, err := json.Marshal(sum.Numbers)
	if err == nil {
		err = json.Unmarshal(b, &tree)
	}
	if err != nil {
		return map[string]string{"numbers": err.Error()} // of plain maps and numbers, which always encode
	}
	out := map[string]string{}
	var walk func(path []string, v any)
	walk = func(path []string, v any) {
		if m, ok := v.(map[string]any); ok {
			for k, x := range m {
				walk(append(slices.Clone(path), k), x)
			}
			return
		}
		if n, ok := v.(float64); ok {
			out[strings.Join(path, ".")] = fmt.Sprintf("%.0f", n)
		}
	}
	walk(nil, tree)
	return out
}

func (a *app) printState(sum ingest.StateSum) error {
	numbers := numbersOf(sum)
	rows := [][]string{{"STATE", "NUMBER"}}
	for _, key := range slices.Sorted(maps.Keys(numbers)) {
		rows = append(rows, []string{key, numbers[key]})
	}
	for _, log := range slices.Sorted(maps.Keys(sum.Logs)) {
		rows = append(rows, []string{"log " + log, fmt.Sprint(sum.Logs[log])})
	}
	if err := a.table(rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "digest: %s\n", sum.SHA256)
	return err
}
