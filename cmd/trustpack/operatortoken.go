package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"trustpack/ingest"
	"trustpack/internal/durable"
)

// operatorToken is the token with which the admin API is called; empty where a
// certificate is shown. It is never taken from a flag's value, which other
// users of the machine can see.
func (a *app) operatorToken(f adminFlags) (string, error) {
	if f.as != "" || f.cert != "" || f.key != "" {
		if f.token != "" {
			return "", errors.New("--token-file stands beside --as, --cert or --key: give one of them")
		}
		return "", nil
	}
	text := a.getenv("TRUSTPACK_OPERATOR_TOKEN")
	if f.token != "" {
		b, err := a.readFileOr(f.token)
		if err != nil {
			return "", fmt.Errorf("reading the operator's token: %w", err)
		}
		if text = strings.TrimSpace(string(b)); text == "" {
			return "", fmt.Errorf("%s holds no token", f.token)
		}
	}
	return strings.TrimSpace(text), nil
}

// operatorAddToken adds an operator who proves himself with a token.
func (a *app) operatorAddToken(ctx context.Context, f *adminFlags, name string, roles []string, minutes int, reason, out string) error {
	if err := mustNotExist(out); err != nil {
		return err
	}
	return a.withAdmin(f, func(c *ingest.AdminClient) error {
		t, err := c.AddOperatorWithToken(ctx, name, roles, minutes, reason)
		if err != nil {
			return err
		}
		if err := writeToken(out, t); err != nil {
			return err
		}
		if _, err = fmt.Fprintf(a.out, "added operator %s (%s)\ntoken, valid until %s: %s\n", name, strings.Join(roles, ", "), stamp(&t.NotAfter), out); err != nil {
			return err
		}
		return a.sayPending(ctx, c, name)
	})
}

func writeToken(out string, t ingest.OperatorToken) error {
	if err := durable.WriteFile(out, []byte(t.Token+"\n"), 0o600); err != nil {
		return fmt.Errorf("the token was made, but could not be written and is lost; have another made: %w", err)
	}
	return nil
}

func (a *app) operatorTokenCommand(f *adminFlags) *cobra.Command {
	var r ingest.TokenRequest
	var out string
	cmd := &cobra.Command{
		Use: "token [NAME] --out FILE", Short: "Give an operator a token; without NAME, the next one for the token that is used",
		Long: `Gives another operator a token, or, without NAME, whoever calls with a token the
next one. The tokens before it can be used for the overlap, and then no more: with
none they end at once, which is how a lost token is made useless. It is written to
FILE and nowhere else; the ingest keeps its SHA-256.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return hint(errors.New("there is no file to write the token to"), "name one with --out FILE")
			}
			if err := mustNotExist(out); err != nil {
				return err
			}
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				var t ingest.OperatorToken
				var err error
				if len(args) == 1 {
					t, err = c.IssueToken(cmd.Context(), args[0], r)
				} else {
					t, err = c.RotateToken(cmd.Context(), r)
				}
				if err != nil {
					return err
				}
				if err := writeToken(out, t); err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "token, valid from %s until %s: %s\n", stamp(&t.NotBefore), stamp(&t.NotAfter), out)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the `file` to write; one that exists is not overwritten")
	cmd.Flags().IntVar(&r.Minutes, "minutes", 0, "how long it can be used (default: tokens.operator_max)")
	cmd.Flags().IntVar(&r.OverlapMinutes, "overlap", 0, "minutes for which the tokens before it can still be used")
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why, for the log")
	return cmd
}
