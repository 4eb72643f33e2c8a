package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trustpack/ingest"
	"trustpack/internal/durable"
	"trustpack/internal/oidclogin"
)

// sessionFile holds the token of the session that this user logged in to.
func sessionFile(cfg *Config) string { return filepath.Join(cfg.ingestDir(), "operators", "session") }

// sessionToken is the session's token; empty where nobody has logged in.
func sessionToken(cfg *Config) (string, error) {
	b, err := os.ReadFile(sessionFile(cfg))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the session: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func (a *app) operatorLogin(f *adminFlags) *cobra.Command {
	var device bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "login", Short: "Log in at the OpenID provider that the ingest names", Args: cobra.NoArgs,
		Long: `Prints an address of the provider; open it in a browser on this machine, which the
provider sends back here. With --device it prints an address and a code, which can
be used on any device, where the provider has the device grant and ingest.oidc
takes it (device_grant). The session's token is written to
state/ingest/operators/session, which its owner alone can read; the other commands
use it until it ends, unless they are told who acts.

Roles are those that the groups give at the login. With --as, --cert and --key, or
--token-file, the login shows that credential too: do it once, so that the ingest
knows whom the identity belongs to. Else an admin adds you with 'trustpack
operator add NAME --oidc IDENTITY'.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			o, err := a.adminAddress(cfg, *f)
			if err != nil {
				return err
			}
			if o.Token, err = a.operatorToken(*f); err == nil && o.Token == "" && (f.as != "" || f.cert != "" || f.key != "") {
				o.Certificate, err = a.operatorPair(cfg, *f)
			}
			if err != nil {
				return err
			}
			c, err := ingest.NewAdminClient(o)
			if err != nil {
				return err
			}
			defer c.Close()
			if err := os.MkdirAll(filepath.Dir(sessionFile(cfg)), 0o700); err != nil {
				return fmt.Errorf("making the folder of the session: %w", err)
			}
			s, err := a.login(ctx, c, cfg, device)
			if err != nil {
				return refusal(err)
			}
			if err := durable.WriteFile(sessionFile(cfg), []byte(s.Token+"\n"), 0o600); err != nil {
				return fmt.Errorf("the login was made, but its session could not be written and is lost; log in again: %w", err)
			}
			_, err = fmt.Fprintf(a.out, "logged in as %s (%s) until %s\n", s.Name, strings.Join(s.Roles, ", "), stamp(&s.Until))
			return err
		},
	}
	cmd.Flags().BoolVar(&device, "device", false, "log in on another device (RFC 8628)")
	cmd.Flags().DurationVar(&wait, "wait", 5*time.Minute, "give up after")
	return cmd
}

func (a *app) login(ctx context.Context, c *ingest.AdminClient, cfg *Config, device bool) (ingest.OperatorSession, error) {
	terms, err := c.LoginTerms(ctx)
	if err != nil {
		return ingest.OperatorSession{}, err
	}
	t := oidclogin.Terms{Issuer: terms.Issuer, ClientID: terms.ClientID, Scopes: terms.Scopes, ACR: terms.ACR, Nonce: terms.Nonce}
	if path := cfg.Ingest.OIDC.ClientSecretFile; path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return ingest.OperatorSession{}, fmt.Errorf("reading ingest.oidc.client_secret_file: %w", err)
		}
		t.ClientSecret = strings.TrimSpace(string(b))
	}
	var idToken string
	switch {
	case device && !terms.DeviceGrant:
		return ingest.OperatorSession{}, hint(errors.New("the ingest does not take logins by the device grant"), "log in with a browser, or set ingest.oidc.device_grant")
	case device:
		idToken, err = oidclogin.Device(ctx, t, func(address, code, both string) error {
			_, err := fmt.Fprintf(a.out, "open %s on any device and enter the code %s\n", address, code)
			if err == nil && both != "" {
				_, err = fmt.Fprintf(a.out, "or open %s\n", both)
			}
			return err
		})
	default:
		idToken, err = oidclogin.Browser(ctx, t, func(address string) error {
			_, err := fmt.Fprintf(a.out, "open in a browser on this machine: %s\n", address)
			return err
		})
	}
	if err != nil {
		return ingest.OperatorSession{}, err
	}
	return c.Login(ctx, idToken)
}

func (a *app) operatorLogout(f *adminFlags) *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "End the session that 'operator login' began", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			token, err := sessionToken(cfg)
			if err != nil {
				return err
			}
			if token == "" {
				return errors.New("nobody has logged in here")
			}
			o, err := a.adminAddress(cfg, *f)
			if err != nil {
				return err
			}
			o.Token = token
			c, err := ingest.NewAdminClient(o)
			if err != nil {
				return err
			}
			defer c.Close()
			var p *ingest.Problem
			if err := c.Logout(cmd.Context()); err != nil && !(errors.As(err, &p) && (p.Code == ingest.CodeExpiredCredential || p.Code == ingest.CodeUnknownCredential)) {
				return refusal(err)
			}
			if err := os.Remove(sessionFile(cfg)); err != nil {
				return fmt.Errorf("the session has ended, but its file stays: %w", err)
			}
			_, err = fmt.Fprintln(a.out, "logged out")
			return err
		},
	}
}

func (a *app) operatorSessions(f *adminFlags) *cobra.Command {
	var end, reason string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "sessions", Short: "List the sessions that are open, or end one at once with --end", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				if end != "" {
					if err := c.EndSession(cmd.Context(), end, reason); err != nil {
						return err
					}
					_, err := fmt.Fprintf(a.out, "ended %s\n", end)
					return err
				}
				sessions, err := c.Sessions(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(append([]ingest.SessionInfo{}, sessions...))
				}
				rows := [][]string{{"SESSION", "OPERATOR", "ROLES", "FROM", "BEGUN", "UNTIL"}}
				for _, s := range sessions {
					rows = append(rows, []string{s.ID, s.Operator, strings.Join(s.Roles, " "), s.Source, stamp(&s.Begun), stamp(&s.Until)})
				}
				return a.table(rows)
			})
		},
	}
	cmd.Flags().StringVar(&end, "end", "", "end this `session`")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}
