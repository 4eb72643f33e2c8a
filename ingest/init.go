package ingest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"trustpack/evidence"
	"trustpack/internal/durable"
	"trustpack/ledger"
)

// InitOptions say what Init makes.
type InitOptions struct {
	Instance   string // begins the origin of each log, such as "example.com/telemetry"
	Org        string // in the root certificate
	FirstAdmin string // name of the first operator, who gets the role admin
	Now        func() time.Time
	Clock      evidence.Clock // with Sample: signed into the first checkpoints
	Sample     bool
}

// identity is DIR/ingest.json: what an ingest is and stays.
type identity struct {
	Instance string `json:"instance"`
	Org      string `json:"org"`
}

// Init makes an ingest in dir: ca/ (root.crt and root.key), log.seed,
// ingest.json, the ledger with the first operator in its control log, and that
// operator's certificate and key as operators/NAME.crt and .key. Private files
// are readable by their owner alone. A directory that holds any of these is
// left as it is, with an error; a failure half-way removes what was made.
func Init(dir string, o InitOptions) (err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := o.check(); err != nil {
		return fmt.Errorf("initialising ingest: %w", err)
	}
	parts := []string{"ca", "log.seed", "ingest.json", "ledger", "operators"}
	for _, p := range parts {
		if _, err := os.Lstat(filepath.Join(dir, p)); err == nil {
			return fmt.Errorf("initialising ingest: %s is there already and is never overwritten", filepath.Join(dir, p))
		} else if !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("initialising ingest: %w", err)
		}
	}
	defer func() {
		if err == nil {
			return
		}
		err = fmt.Errorf("initialising ingest: %w", err)
		for _, p := range parts {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, p)))
		}
	}()
	return o.make(dir)
}

func (o InitOptions) check() error {
	switch {
	case o.Instance == "":
		return errors.New("give the instance a name, such as example.com/telemetry")
	case strings.TrimSpace(o.Org) == "" || len(o.Org) > 60:
		return errors.New("give the organisation's name, of 1 to 60 bytes")
	case !operatorForm.MatchString(o.FirstAdmin):
		return fmt.Errorf("first admin %q: want 1 to 64 letters, digits, dots, hyphens, underscores or @", o.FirstAdmin)
	}
	return nil
}

func (o InitOptions) make(dir string) error {
	now := o.Now()
	if err := os.MkdirAll(filepath.Join(dir, "operators"), 0o700); err != nil {
		return err
	}
	ca, err := createAuthority(filepath.Join(dir, "ca"), o.Org, now)
	if err != nil {
		return err
	}
	seed, err := ledger.NewSeed()
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(dir, "log.seed"), []byte(hex.EncodeToString(seed)+"\n"), 0o600); err != nil {
		return err
	}
	operator, err := o.firstOperator(dir, ca, now)
	if err != nil {
		return err
	}
	opts := Options{Now: o.Now, Clock: o.Clock, Sample: o.Sample}
	led, err := ledger.Open(filepath.Join(dir, "ledger"), ledgerOptions(opts, o.Instance, seed))
	if err != nil {
		return err
	}
	data, err := evidence.CanonicalJSON(evidence.AuditEntry{
		Type: evidence.EntryOperatorAdded, Time: now.UTC(), Actor: &evidence.Actor{Name: "host", Role: "host"},
		Target: operator.Name, Result: "done", Reason: "first administrator, made by init", Data: raw(operator),
	})
	if err == nil {
		_, err = led.Append(context.Background(), ledger.Entry{Log: controlLog, Data: data})
	}
	if err := errors.Join(err, led.Close()); err != nil {
		return err
	}
	return writeIdentity(dir, identity{o.Instance, o.Org})
}

// firstOperator makes the first admin's key and certificate.
func (o InitOptions) firstOperator(dir string, ca *authority, now time.Time) (evidence.Operator, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return evidence.Operator{}, err
	}
	cert, err := ca.operator(o.FirstAdmin, key.Public(), now, DefaultConfig().Certificates.Operator)
	if err != nil {
		return evidence.Operator{}, err
	}
	base := filepath.Join(dir, "operators", o.FirstAdmin)
	if err := writeKey(base+".key", key); err != nil {
		return evidence.Operator{}, err
	}
	if err := durable.WriteFile(base+".crt", certPEM(cert.Raw), 0o644); err != nil {
		return evidence.Operator{}, err
	}
	return evidence.Operator{
		Name: o.FirstAdmin, Roles: []string{RoleAdmin}, Fingerprint: fingerprintOf(cert.Raw), Serial: cert.SerialNumber.Text(16),
		Method: MethodCertificate, NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
	}, nil
}

func writeIdentity(dir string, id identity) error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, "ingest.json"), append(b, '\n'), 0o644)
}

func readIdentity(dir string) (identity, error) {
	var id identity
	b, err := os.ReadFile(filepath.Join(dir, "ingest.json"))
	if errors.Is(err, os.ErrNotExist) {
		return id, fmt.Errorf("%s is no ingest's folder: it has no ingest.json (make one with trustpack init)", dir)
	}
	if err != nil {
		return id, err
	}
	if err := json.Unmarshal(b, &id); err != nil || id.Instance == "" {
		return id, fmt.Errorf("%s is damaged: it must hold {\"instance\",\"org\"}", filepath.Join(dir, "ingest.json"))
	}
	return id, nil
}

// readSeed reads the key that signs the logs. What it holds never enters an
// error.
func readSeed(dir string) ([]byte, error) {
	path := filepath.Join(dir, "log.seed")
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the logs' signing seed: %w", err)
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(seed) != ledger.SeedSize {
		return nil, fmt.Errorf("reading the logs' signing seed: %s must hold %d hex digits", path, 2*ledger.SeedSize)
	}
	return seed, nil
}

var (
	operatorForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)
	tenantForm   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	deviceForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
)
