package main

import (
	"bufio"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"trustpack/ingest"
	"trustpack/internal/durable"
	"trustpack/internal/strictyaml"
	"trustpack/pack"
	"trustpack/templates"
)

//go:embed init.yaml.tmpl
var initTemplate string

//go:embed init.schema.json
var initSchema []byte

// answers are what init must know.
type answers struct {
	Organisation string `yaml:"organisation"`
	System       string `yaml:"system"`
	Instance     string `yaml:"instance"`
	Admin        string `yaml:"admin"`
}

func (a *app) initCommand() *cobra.Command {
	var given answers
	var file string
	cmd := &cobra.Command{
		Use:   "init [DIR] --org NAME --system NAME",
		Short: "Write a configuration, keys and document templates to begin with",
		Long: `Writes into DIR (default: here) a commented trustpack.yaml, the vendor's signing
key, the ingest's certificate authority with a first administrator, an example
schema, and documents to begin from. What exists is never overwritten.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			if file != "" {
				data, err := os.ReadFile(file)
				if err != nil {
					return fmt.Errorf("reading answers: %w", err)
				}
				if err := strictyaml.Decode(file, data, &given); err != nil {
					return err
				}
			}
			if err := a.ask(&given); err != nil {
				return err
			}
			return a.initialise(dir, given)
		},
	}
	f := cmd.Flags()
	f.StringVar(&given.Organisation, "org", "", "the organisation's name")
	f.StringVar(&given.System, "system", "", "the system's name")
	f.StringVar(&given.Instance, "instance", "", "begins the origin of every log, such as example.com/telemetry (default: made from the names)")
	f.StringVar(&given.Admin, "admin", "", "name of the first administrator of the ingest (default admin)")
	f.StringVar(&file, "answers", "", "a YAML `file` with organisation, system, instance and admin")
	return cmd
}

// ask fills what is missing from the terminal, or says what to give.
func (a *app) ask(given *answers) error {
	in, isFile := a.in.(*os.File)
	terminal := isFile && term.IsTerminal(int(in.Fd()))
	reader := bufio.NewReader(a.in)
	for _, q := range []struct {
		value      *string
		text, flag string
	}{{&given.Organisation, "organisation", "--org"}, {&given.System, "system", "--system"}} {
		if *q.value != "" {
			continue
		}
		if !terminal {
			return hint(fmt.Errorf("the %s is not given", q.text), "give %s, or --answers FILE", q.flag)
		}
		if _, err := fmt.Fprintf(a.err, "name of the %s: ", q.text); err != nil {
			return err
		}
		line, err := reader.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if *q.value = strings.TrimSpace(line); *q.value == "" {
			return fmt.Errorf("the %s is not given", q.text)
		}
	}
	if given.Instance == "" {
		given.Instance = slug(given.Organisation) + "/" + slug(given.System)
	}
	if given.Admin == "" {
		given.Admin = "admin"
	}
	if !instanceForm.MatchString(given.Instance) {
		return fmt.Errorf("instance %q: want a name such as example.com/telemetry", given.Instance)
	}
	return nil
}

// slug makes a name fit for a log's origin.
func slug(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	if out := strings.Trim(b.String(), "-"); out != "" {
		return out
	}
	return "trustpack"
}

// initialise writes everything, after it has made sure that nothing is there.
func (a *app) initialise(dir string, given answers) error {
	state := filepath.Join(dir, "state", "ingest")
	docs, err := templates.Documents(a.now())
	if err != nil {
		return err
	}
	files := map[string][]byte{filepath.Join(dir, "schemas", "example.v1.schema.json"): initSchema}
	for name, data := range docs {
		files[filepath.Join(dir, "documents", name)] = data
	}
	if files[filepath.Join(dir, "trustpack.yaml")], err = configFile(given); err != nil {
		return err
	}
	key := filepath.Join(dir, "vendor.key")
	pub := filepath.Join(dir, "vendor.pub")
	names := []string{key, pub, state}
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := mustNotExist(name); err != nil {
			return err
		}
	}
	if err := a.makeAll(given, files, key, pub, state); err != nil {
		return errors.Join(err, removeAll(names))
	}
	for _, name := range names {
		if _, err := fmt.Fprintf(a.out, "wrote %s\n", name); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(a.out, "next: put your event schemas into %s, then run 'trustpack ingest serve --config %s'\n",
		filepath.Join(dir, "schemas"), filepath.Join(dir, "trustpack.yaml"))
	return err
}

// makeAll makes the ingest, the files and the vendor's key, in this order: the
// ingest is the most particular about what it is given.
func (a *app) makeAll(given answers, files map[string][]byte, key, pub, state string) error {
	if err := ingest.Init(state, ingest.InitOptions{Instance: given.Instance, Org: given.Organisation, FirstAdmin: given.Admin, Now: a.now}); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := durable.WriteFile(name, data, 0o644); err != nil {
			return err
		}
	}
	return writeKey(key, pub, pack.Ed25519, slug(given.Organisation))
}

// removeAll takes back what a failed init has made, none of which was there
// before it.
func removeAll(names []string) error {
	var errs []error
	for _, name := range names {
		if _, err := os.Lstat(name); err == nil { // on a read-only disk nothing was made, and removing nothing fails
			errs = append(errs, os.RemoveAll(name))
		}
	}
	return errors.Join(errs...)
}

func configFile(given answers) ([]byte, error) {
	t, err := template.New("trustpack.yaml").Funcs(template.FuncMap{"quote": strconv.Quote}).Option("missingkey=error").Parse(initTemplate)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	if err := t.Execute(&buf, given); err != nil {
		return nil, fmt.Errorf("writing configuration: %w", err)
	}
	return buf.Bytes(), nil
}
