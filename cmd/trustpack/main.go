// Command trustpack ingests telemetry verifiably, collects evidence of how it
// was handled, and builds and verifies signed evidence packs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// version is the release; the linker may replace it.
var version = "0.1.0"

// tool names the program in provenance and packs.
func tool() string { return "trustpack " + version }

// Exit codes, the same for every command.
const (
	exitOK           = 0 // done, and what was checked is fine
	exitWrong        = 1 // what was checked is wrong
	exitUsage        = 2 // usage, or input or output failed
	exitInconclusive = 3 // it could not be checked
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // what does not heed the first signal ends at the second
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// app is what every command shares: where to write, and whose time it is.
type app struct {
	in       io.Reader
	out, err io.Writer
	now      func() time.Time
	getenv   func(string) string
	config   string // path of trustpack.yaml
}

// run is the program without the process: it returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	a := &app{in: in, out: out, err: errOut, now: time.Now, getenv: os.Getenv}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var ended *exitError
	if !errors.As(err, &ended) {
		ended = &exitError{code: exitUsage, err: err}
	}
	if ended.err != nil {
		fmt.Fprintf(errOut, "trustpack: error: %v\n", ended.err)
	}
	if h := hintOf(err); h != "" {
		fmt.Fprintf(errOut, "trustpack: hint: %s\n", h)
	}
	return ended.code
}

// exitError ends the program with a code. With a nil err nothing more is
// said: the command has already printed its result.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// hinted is an error with advice on what to do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// hint adds advice to err.
func hint(err error, format string, a ...any) error {
	return hinted{err, fmt.Sprintf(format, a...)}
}

func hintOf(err error) string {
	var h hinted
	if errors.As(err, &h) {
		return h.hint
	}
	return ""
}

// root builds the command tree.
func (a *app) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trustpack",
		Short: "Verifiable telemetry and signed compliance evidence",
		Long: `trustpack runs a verifiable telemetry ingest beside your platform, collects
evidence of how devices, changes, logs and access were handled, and builds a
signed evidence pack that an auditor checks offline.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&a.config, "config", "trustpack.yaml", "the configuration `file`")
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return hint(err, "see '%s --help'", c.CommandPath())
	})
	cmd.AddCommand(
		a.demoCommand(), a.initCommand(), a.doctorCommand(), a.caCommand(), a.ingestCommand(), a.tenantCommand(), a.deviceCommand(), a.operatorCommand(), a.grantCommand(),
		a.alertCommand(), a.deadLetterCommand(), a.exportCommand(), a.configCommand(), a.collectCommand(), a.evidenceCommand(), a.assessCommand(), a.controlsCommand(),
		a.packCommand(), a.verifyCommand(), a.sampleCommand(), a.ledgerCommand(), a.benchCommand(), a.keygenCommand(), a.versionCommand(),
	)
	adviseOnArgs(cmd)
	return cmd
}

// adviseOnArgs makes a wrong count of arguments, of any command, say how the
// command is called.
func adviseOnArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			err := check(c, args)
			if err == nil || hintOf(err) != "" {
				return err
			}
			return hint(err, "usage: %s; see '%s --help'", c.UseLine(), c.CommandPath())
		}
	}
	for _, sub := range cmd.Commands() {
		adviseOnArgs(sub)
	}
}

// group is a command that only holds others; alone it is a usage error, so
// that a misspelt verb never exits 0.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return hint(fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath()), "see '%s --help'", cmd.CommandPath())
			}
			return hint(fmt.Errorf("%s needs a command", cmd.CommandPath()), "see '%s --help'", cmd.CommandPath())
		},
	}
	cmd.AddCommand(subs...)
	return cmd
}
