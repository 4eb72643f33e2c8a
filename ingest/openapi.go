package ingest

import _ "embed" // openapi.yaml

// openAPI is the description of the admin API, which openapi_test.go holds
// against what the handlers do.
//
//go:embed openapi.yaml
var openAPI []byte

func showOpenAPI(a *adminCall) (any, *Problem) {
	writeBytes(a.w, "application/yaml", openAPI)
	return nil, nil
}
