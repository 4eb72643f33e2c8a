package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"trustpack/ingest"
	"trustpack/internal/durable"
)

func (a *app) deviceCommand() *cobra.Command {
	var f adminFlags
	cmd := adminGroup("device", "Devices: registry, enrolment, and a reference client", &f,
		a.deviceRequest(&f), a.deviceApprove(&f), a.deviceList(&f), a.deviceShow(&f),
		a.deviceRotate(&f), a.deviceDue(&f),
		a.deviceDecide(&f, "quarantine", "Shut a device out for now", (*ingest.AdminClient).QuarantineDevice),
		a.deviceDecide(&f, "release", "Let a quarantined device in again", (*ingest.AdminClient).ReleaseDevice),
		a.deviceDecide(&f, "revoke", "Shut a device out for good", (*ingest.AdminClient).RevokeDevice),
		a.deviceDecide(&f, "retire", "Take a device out of service for good", (*ingest.AdminClient).RetireDevice),
		a.deviceDecline(&f), a.deviceTransfer(&f), a.deviceTransferApprove(&f),
		a.deviceTransferDecline(&f), a.deviceTransfers(&f), a.deviceReceipt(&f))
	cmd.AddCommand(a.deviceEnrol(), a.deviceRenew(), a.deviceSend())
	return cmd
}

func (a *app) deviceRequest(f *adminFlags) *cobra.Command {
	var r ingest.DeviceRequest
	var file string
	var partial, asJSON bool
	cmd := &cobra.Command{
		Use: "request (TENANT DEVICE --type TYPE --reason WHY | --csv FILE)", Short: "Ask for a device, or for many; somebody else approves them",
		Long: `Asks for a device. With --csv it asks for all devices of a CSV file in one call:
the first line names the columns tenant, device, type and reason, and, where
wanted, site and fleet. Each row that cannot stand is named with its line, and
then nothing is requested at all. With --partial the rows that stand are, the
others are named, and the exit is 1.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if file != "" {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if file != "" {
				return a.requestBatch(cmd, f, file, partial, asJSON)
			}
			r.Tenant, r.Device = args[0], args[1]
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				d, err := c.RequestDevice(cmd.Context(), r)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "requested %s/%s, generation %d\n", d.Tenant, d.ID, d.Generation)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&r.Type, "type", "", "the device's type")
	cmd.Flags().StringVar(&r.Site, "site", "", "where it is")
	cmd.Flags().StringVar(&r.Fleet, "fleet", "", "the fleet it belongs to")
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why it is needed")
	cmd.Flags().StringVar(&file, "csv", "", "ask for the devices of this `file`, or - for standard input")
	cmd.Flags().BoolVar(&partial, "partial", false, "with --csv: request the rows that stand even where others do not")
	cmd.Flags().BoolVar(&asJSON, "json", false, "with --csv: print as JSON")
	return cmd
}

func (a *app) deviceApprove(f *adminFlags) *cobra.Command {
	var reason, out, batch string
	cmd := &cobra.Command{
		Use: "approve (TENANT DEVICE | --batch ID) --code-out FILE", Short: "Approve a request, or a batch; the last approval gives a one-time enrolment code",
		Args: func(cmd *cobra.Command, args []string) error {
			if batch != "" {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if out != "" {
				if err := mustNotExist(out); err != nil {
					return err
				}
			}
			if batch != "" {
				return a.approveBatch(cmd, f, batch, reason, out)
			}
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				code, expires, err := c.ApproveDevice(cmd.Context(), args[0], args[1], reason)
				switch {
				case err != nil:
					return err
				case code == "":
					_, err = fmt.Fprintf(a.out, "approved %s/%s; another approval is needed\n", args[0], args[1])
				case out == "":
					_, err = fmt.Fprintf(a.out, "approved %s/%s; enrolment code, shown once, valid until %s:\n%s\n", args[0], args[1], stamp(&expires), code)
				default:
					if err := durable.WriteFile(out, []byte(code+"\n"), 0o600); err != nil {
						return fmt.Errorf("the device is approved, but its code could not be written and is lost; request it anew: %w", err)
					}
					_, err = fmt.Fprintf(a.out, "approved %s/%s; enrolment code, valid until %s, in %s\n", args[0], args[1], stamp(&expires), out)
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log")
	cmd.Flags().StringVar(&out, "code-out", "", "write the code to this `file` instead of printing it; of a batch, a CSV file of all codes")
	cmd.Flags().StringVar(&batch, "batch", "", "approve all devices that were requested in this batch and wait for it")
	return cmd
}

type decideFunc func(*ingest.AdminClient, context.Context, string, string, string, string) (ingest.DeviceRecord, error)

func (a *app) deviceDecide(f *adminFlags, verb, short string, decide decideFunc) *cobra.Command {
	var reason, ticket string
	cmd := &cobra.Command{
		Use: verb + " TENANT DEVICE --reason WHY --ticket ID", Short: short + "; its open connections feel it at once", Args: cobra.ExactArgs(2),
		RunE: a.runDecision(f, decide, &reason, &ticket),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	cmd.Flags().StringVar(&ticket, "ticket", "", "the ticket that this belongs to")
	return cmd
}

func (a *app) deviceDecline(f *adminFlags) *cobra.Command {
	return a.declining(f, "decline", "Say no to a request", (*ingest.AdminClient).DeclineDevice)
}

func (a *app) deviceTransferDecline(f *adminFlags) *cobra.Command {
	return a.declining(f, "transfer-decline", "Say no to a transfer, which changes nothing", (*ingest.AdminClient).DeclineTransfer)
}

func (a *app) declining(f *adminFlags, verb, short string, decide decideFunc) *cobra.Command {
	var reason, ticket string
	cmd := &cobra.Command{
		Use: verb + " TENANT DEVICE --reason WHY", Short: short, Args: cobra.ExactArgs(2),
		RunE: a.runDecision(f, decide, &reason, &ticket),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why not")
	cmd.Flags().StringVar(&ticket, "ticket", "", "the ticket that this belongs to")
	return cmd
}

func (a *app) runDecision(f *adminFlags, decide decideFunc, reason, ticket *string) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return a.withAdmin(f, func(c *ingest.AdminClient) error {
			d, err := decide(c, cmd.Context(), args[0], args[1], *reason, *ticket)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s/%s, generation %d, is now %s\n", d.Tenant, d.ID, d.Generation, d.State)
			return err
		})
	}
}

func (a *app) deviceList(f *adminFlags) *cobra.Command {
	var q ingest.DeviceQuery
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the devices, or those that are looked for", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				devices, err := c.FindDevices(cmd.Context(), q)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(append([]ingest.DeviceRecord{}, devices...))
				}
				rows := [][]string{{"TENANT", "DEVICE", "GEN", "TYPE", "FLEET", "STATE", "FIRMWARE", "LAST SEEN", "ACCEPTED"}}
				for _, d := range devices {
					rows = append(rows, []string{d.Tenant, d.ID, strconv.Itoa(d.Generation), d.Type, d.Fleet, string(d.State), d.Firmware, stamp(d.LastSeen), strconv.FormatInt(d.Accepted, 10)})
				}
				return a.table(rows)
			})
		},
	}
	cmd.Flags().StringVar(&q.Tenant, "tenant", "", "only this tenant's")
	cmd.Flags().StringVar((*string)(&q.State), "state", "", "only those in this state, such as requested or quarantined")
	cmd.Flags().StringVar(&q.Fleet, "fleet", "", "only those of this fleet")
	cmd.Flags().StringVar(&q.Site, "site", "", "only those at this site")
	cmd.Flags().StringVar(&q.Type, "type", "", "only those of this type")
	cmd.Flags().StringVar(&q.Prefix, "prefix", "", "only those whose ID begins so")
	cmd.Flags().StringVar(&q.Batch, "batch", "", "only those requested in this batch")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (a *app) deviceShow(f *adminFlags) *cobra.Command {
	return inJSON(&cobra.Command{
		Use: "show TENANT DEVICE", Short: "Show every generation of a device as JSON", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				devices, err := c.FindDevices(cmd.Context(), ingest.DeviceQuery{Tenant: args[0], Prefix: args[1]})
				if err != nil {
					return err
				}
				found := []ingest.DeviceRecord{}
				for _, d := range devices {
					if d.ID == args[1] {
						found = append(found, d)
					}
				}
				if len(found) == 0 {
					return fmt.Errorf("tenant %s has no device %s", args[0], args[1])
				}
				return a.printJSON(found)
			})
		},
	})
}

// deviceFlags say how a device reaches the ingest.
type deviceFlags struct{ url, cert, key, ca, token string }

func (d *deviceFlags) add(cmd *cobra.Command, withCredential bool) {
	cmd.Flags().StringVar(&d.url, "url", "", "device address of the ingest (default: https:// and ingest.listen)")
	cmd.Flags().StringVar(&d.ca, "ca", "", "root certificate of the ingest (default: state/ingest/ca/root.crt)")
	if withCredential {
		cmd.Flags().StringVar(&d.cert, "cert", "", "the device's certificate `file`")
		cmd.Flags().StringVar(&d.key, "key", "", "the device's private key `file`")
		cmd.Flags().StringVar(&d.token, "token-file", "", "`file` with the device's token, for one that has no certificate")
	}
}

// options fills in from the configuration what the flags leave out; a device
// that names everything needs no configuration.
func (a *app) deviceOptions(d deviceFlags) (ingest.ClientOptions, error) {
	o := ingest.ClientOptions{URL: d.url, Now: a.now}
	if d.url == "" || d.ca == "" {
		cfg, err := a.loadConfig()
		if err != nil {
			return o, err
		}
		if o.URL == "" {
			o.URL = "https://" + cfg.Ingest.Listen
		}
		if d.ca == "" {
			d.ca = filepath.Join(cfg.ingestDir(), "ca", "root.crt")
		}
	}
	var err error
	if o.CA, err = os.ReadFile(d.ca); err != nil {
		return o, fmt.Errorf("reading the ingest's root certificate: %w", err)
	}
	if d.token != "" {
		text, err := a.readFileOr(d.token)
		if err != nil {
			return o, fmt.Errorf("reading the device's token: %w", err)
		}
		o.Token = strings.TrimSpace(string(text))
	}
	if d.cert != "" || d.key != "" {
		pair, err := tls.LoadX509KeyPair(d.cert, d.key)
		if err != nil {
			return o, fmt.Errorf("reading the device's certificate and key: %w", err)
		}
		o.Certificate = &pair
	}
	return o, nil
}

func (a *app) deviceEnrol() *cobra.Command {
	var d deviceFlags
	var codeFile, out string
	var token bool
	cmd := &cobra.Command{
		Use: "enrol TENANT DEVICE --code-file FILE --out NAME", Short: "Exchange the one-time code for a certificate: NAME.crt, NAME.key, or for NAME.token", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				out = args[1]
			}
			for _, path := range credentialFiles(out, token) {
				if err := mustNotExist(path); err != nil {
					return err
				}
			}
			if codeFile == "" {
				return hint(errors.New("--code-file is not set"), "give the file that 'trustpack device approve --code-out' wrote, or - to read the code from standard input")
			}
			code, err := a.readFileOr(codeFile)
			if err != nil {
				return fmt.Errorf("reading the enrolment code: %w", err)
			}
			o, err := a.deviceOptions(d)
			if err != nil {
				return err
			}
			c, err := ingest.NewDeviceClient(o)
			if err != nil {
				return err
			}
			defer c.Close()
			if token {
				t, err := c.EnrolToken(cmd.Context(), args[0], args[1], strings.TrimSpace(string(code)))
				if err != nil {
					return refusal(err)
				}
				return a.keepToken(out, t)
			}
			pair, err := c.Enrol(cmd.Context(), args[0], args[1], strings.TrimSpace(string(code)))
			if err != nil {
				return refusal(err)
			}
			if err := writePair(out, pair); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "certificate: %s.crt\nprivate key: %s.key\n", out, out)
			return err
		},
	}
	d.add(cmd, false)
	cmd.Flags().StringVar(&codeFile, "code-file", "", "`file` with the one-time code, or - for standard input")
	cmd.Flags().StringVar(&out, "out", "", "name of the files (default: the device's)")
	cmd.Flags().BoolVar(&token, "token", false, "for a device that cannot do certificates, where tokens.allowed names its fleet or type")
	return cmd
}

// readFileOr reads a file, or standard input for "-".
func (a *app) readFileOr(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(a.in)
	}
	return os.ReadFile(name)
}
