package main

import (
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trustpack/evidence"
	"trustpack/ingest"
	"trustpack/internal/durable"
)

func (a *app) tenantCommand() *cobra.Command {
	var f adminFlags
	return adminGroup("tenant", "Tenants of the ingest", &f, a.tenantAdd(&f), a.tenantList(&f))
}

func (a *app) tenantAdd(f *adminFlags) *cobra.Command {
	var name, reason string
	cmd := &cobra.Command{
		Use: "add ID", Short: "Add a tenant, whose telemetry gets a log of its own", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				if err := c.AddTenant(cmd.Context(), evidence.Tenant{ID: args[0], Name: name}, reason); err != nil {
					return err
				}
				_, err := fmt.Fprintf(a.out, "added tenant %s\n", args[0])
				return err
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "the tenant's name for people")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log")
	return cmd
}

func (a *app) tenantList(f *adminFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the tenants", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				tenants, err := c.Tenants(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(append([]evidence.Tenant{}, tenants...))
				}
				rows := [][]string{{"TENANT", "NAME"}}
				for _, t := range tenants {
					rows = append(rows, []string{t.ID, t.Name})
				}
				return a.table(rows)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (a *app) operatorCommand() *cobra.Command {
	var f adminFlags
	return adminGroup("operator", "People who may act on the ingest", &f, a.operatorAdd(&f), a.operatorRemove(&f), a.operatorList(&f),
		a.operatorTokenCommand(&f), a.operatorLogin(&f), a.operatorLogout(&f), a.operatorSessions(&f), a.breakGlassCommand(&f), a.operatorRoles(&f), a.operatorChanges(&f),
		a.operatorDecide(&f, "approve", "Let an operator have the roles that somebody else asked for", "approved", (*ingest.AdminClient).ApproveRoles),
		a.operatorDecide(&f, "decline", "Refuse a role change", "declined", (*ingest.AdminClient).DeclineRoles))
}

func (a *app) operatorAdd(f *adminFlags) *cobra.Command {
	var roles []string
	var reason, out, tokenOut, identity string
	var minutes int
	cmd := &cobra.Command{
		Use: "add NAME --role ROLE", Short: "Add an operator: makes a key here and has the ingest certify it", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if identity != "" {
				return a.withAdmin(f, func(c *ingest.AdminClient) error {
					if err := c.AddOperatorByIdentity(cmd.Context(), args[0], identity, reason); err != nil {
						return err
					}
					_, err := fmt.Fprintf(a.out, "added operator %s, who logs in at the provider as %s\n", args[0], identity)
					return err
				})
			}
			if tokenOut != "" {
				return a.operatorAddToken(cmd.Context(), f, args[0], roles, minutes, reason, tokenOut)
			}
			if out == "" {
				cfg, err := a.loadConfig()
				if err != nil {
					return err
				}
				out = filepath.Join(cfg.ingestDir(), "operators", args[0])
			}
			for _, path := range []string{out + ".crt", out + ".key"} {
				if err := mustNotExist(path); err != nil {
					return err
				}
			}
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				pair, err := c.AddOperator(cmd.Context(), args[0], roles, reason)
				if err != nil {
					return err
				}
				if err := writePair(out, pair); err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "added operator %s (%s)\ncertificate: %s.crt\nprivate key: %s.key\n", args[0], strings.Join(roles, ", "), out, out)
				if err != nil {
					return err
				}
				return a.sayPending(cmd.Context(), c, args[0])
			})
		},
	}
	cmd.Flags().StringSliceVar(&roles, "role", nil, "admin, provisioner, approver, support, exporter or auditor; may be given again")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log")
	cmd.Flags().StringVar(&tokenOut, "token", "", "have the ingest make a token instead of a certificate, and write it to this `file`")
	cmd.Flags().IntVar(&minutes, "minutes", 0, "how long the token can be used (default: tokens.operator_max)")
	cmd.Flags().StringVar(&identity, "oidc", "", "the operator logs in at the OpenID provider, which knows him as this `identity` (the claim oidc.name_claim); his groups give the roles")
	cmd.Flags().StringVar(&out, "out", "", "write OUT.crt and OUT.key (default: where --as NAME finds them)")
	for _, other := range []string{"role", "token", "out"} {
		cmd.MarkFlagsMutuallyExclusive("oidc", other)
	}
	return cmd
}

func (a *app) operatorRemove(f *adminFlags) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "remove NAME", Short: "Take an operator's rights", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				if err := c.RemoveOperator(cmd.Context(), args[0], reason); err != nil {
					return err
				}
				_, err := fmt.Fprintf(a.out, "removed operator %s\n", args[0])
				return err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log")
	return cmd
}

func (a *app) operatorList(f *adminFlags) *cobra.Command {
	var asJSON bool
	var then pastFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List the operators and their roles, or who could do something in the past", Args: cobra.NoArgs,
		Long: listLong,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if then.asked() {
				return a.whoCould(cmd.Context(), f, then, asJSON)
			}
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				operators, err := c.Operators(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(append([]evidence.Operator{}, operators...))
				}
				rows := [][]string{{"OPERATOR", "ROLES", "CREDENTIAL"}}
				for _, o := range operators {
					rows = append(rows, []string{o.Name, strings.Join(o.Roles, " "), o.Fingerprint})
				}
				return a.table(rows)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	then.add(cmd)
	return cmd
}

// writePair writes OUT.crt and OUT.key; it overwrites neither.
func writePair(out string, pair *tls.Certificate) error {
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return errors.New("the private key cannot sign")
	}
	key, err := ingest.KeyPEM(signer)
	if err != nil {
		return err
	}
	for _, path := range []string{out + ".crt", out + ".key"} {
		if err := mustNotExist(path); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o700); err != nil {
		return err
	}
	if err := durable.WriteFile(out+".key", key, 0o600); err != nil {
		return err
	}
	return durable.WriteFile(out+".crt", ingest.CertificatePEM(pair), 0o644)
}

func stamp(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
