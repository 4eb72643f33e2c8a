package metering

import (
	_ "embed"
	"fmt"
	"io"
	"text/template"
)

//go:embed trustpack.yaml.tmpl
var configTemplate string

// Endpoints is where the services of one run of the example are.
type Endpoints struct {
	PublicAddr, AdminAddr         string // host:port
	GitHubURL, AWSURL, HawkBitURL string
}

// WriteConfig writes the example's trustpack.yaml.
func (f *Fleet) WriteConfig(w io.Writer, e Endpoints) error {
	t, err := template.New("trustpack.yaml").Option("missingkey=error").Parse(configTemplate)
	if err != nil {
		return fmt.Errorf("reading the example's configuration: %w", err)
	}
	return t.Execute(w, struct {
		Endpoints
		Organisation, System string
	}{e, f.Organisation, f.System})
}
