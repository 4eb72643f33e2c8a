package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"trustpack/ingest"
)

// adminFlags say as whom, and where, the admin API is called.
type adminFlags struct{ as, cert, key, token, ca, url string }

// adminGroup is a group of commands that call the admin API.
func adminGroup(use, short string, f *adminFlags, subs ...*cobra.Command) *cobra.Command {
	cmd := group(use, short, subs...)
	f.add(cmd.PersistentFlags())
	return cmd
}

// add declares the flags.
func (f *adminFlags) add(p interface {
	StringVar(to *string, name, value, usage string)
}) {
	p.StringVar(&f.as, "as", "", "act as this operator, whose files are in state/ingest/operators (default: the only one there)")
	p.StringVar(&f.cert, "cert", "", "the operator's certificate `file`, instead of --as")
	p.StringVar(&f.key, "key", "", "the operator's private key `file`, instead of --as")
	p.StringVar(&f.token, "token-file", "", "`file` with the operator's token, or - for standard input, instead of --as; TRUSTPACK_OPERATOR_TOKEN may hold one too")
	p.StringVar(&f.ca, "ca", "", "root certificate of the ingest (default: state/ingest/ca/root.crt)")
	p.StringVar(&f.url, "url", "", "admin address (default: https:// and ingest.admin_listen)")
}

// admin makes a client of the admin API.
func (a *app) admin(f adminFlags) (*ingest.AdminClient, error) {
	cfg, err := a.loadConfig()
	if err != nil {
		return nil, err
	}
	o, err := a.adminOptions(cfg, f)
	if err != nil {
		return nil, err
	}
	return ingest.NewAdminClient(o)
}

// adminAddress says where the admin API is, and by which root it is known.
func (a *app) adminAddress(cfg *Config, f adminFlags) (ingest.ClientOptions, error) {
	o := ingest.ClientOptions{URL: f.url, Now: a.now}
	if o.URL == "" {
		o.URL = "https://" + cfg.Ingest.AdminListen
	}
	if f.ca == "" {
		f.ca = filepath.Join(cfg.ingestDir(), "ca", "root.crt")
	}
	var err error
	if o.CA, err = os.ReadFile(f.ca); err != nil {
		return o, fmt.Errorf("reading the ingest's root certificate: %w", err)
	}
	return o, nil
}

func (a *app) adminOptions(cfg *Config, f adminFlags) (ingest.ClientOptions, error) {
	o, err := a.adminAddress(cfg, f)
	if err != nil {
		return o, err
	}
	if o.Token, err = a.operatorToken(f); err != nil || o.Token != "" {
		return o, err
	}
	if f.as == "" && f.cert == "" && f.key == "" {
		if o.Token, err = sessionToken(cfg); err != nil || o.Token != "" {
			return o, err
		}
	}
	pair, err := a.operatorPair(cfg, f)
	o.Certificate = pair
	return o, err
}

// operatorPair reads the certificate and key of the operator that f names.
func (a *app) operatorPair(cfg *Config, f adminFlags) (*tls.Certificate, error) {
	if f.cert == "" && f.key == "" {
		dir := filepath.Join(cfg.ingestDir(), "operators")
		if f.as == "" {
			var err error
			if f.as, err = onlyOperator(dir); err != nil {
				return nil, err
			}
		}
		f.cert, f.key = filepath.Join(dir, f.as+".crt"), filepath.Join(dir, f.as+".key")
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint(fmt.Errorf("there are no files of operator %q: %w", f.as, err), "make an operator with 'trustpack operator add NAME --role ROLE', or name files with --cert and --key")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the operator's certificate and key: %w", err)
	}
	return &pair, nil
}

func onlyOperator(dir string) (string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "*.crt"))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", hint(fmt.Errorf("%s holds the certificates of %d operators", dir, len(found)), "say who acts with --as NAME")
	}
	name := filepath.Base(found[0])
	return name[:len(name)-len(".crt")], nil
}

// withAdmin runs do with a client of the admin API, and turns a refusal into
// an error that says why.
func (a *app) withAdmin(f *adminFlags, do func(*ingest.AdminClient) error) error {
	c, err := a.admin(*f)
	if err != nil {
		return err
	}
	defer c.Close()
	return refusal(do(c))
}

// refusal makes an answer of the ingest that says no exit 1: it was reached,
// and it refused.
func refusal(err error) error {
	var p *ingest.Problem
	if !errors.As(err, &p) {
		if errors.Is(err, syscall.ECONNREFUSED) {
			err = hint(err, "start the ingest with 'trustpack ingest serve', or name its address with --url")
		}
		return err
	}
	err = fmt.Errorf("the ingest refused: %w", err)
	if p.Code == ingest.CodeNoCertificate {
		err = hint(err, "give a certificate that this ingest has issued; one of another authority is not even shown to it")
	}
	if p.Code == ingest.CodeExpiredCredential || p.Code == ingest.CodeUnknownCredential {
		err = hint(err, "where this was a session, log in again with 'trustpack operator login'")
	}
	return &exitError{code: exitWrong, err: err}
}
