package pack

import (
	"fmt"
	"slices"
	"strings"

	"trustpack/evidence"
)

const (
	logDir         = dataDir + "log/"
	logsName       = logDir + "logs.jsonl"
	catalogDir     = dataDir + "catalog/"
	strayDir       = dataDir + "evidence/" // collections that no control asks for
	exceptionsName = dataDir + "exceptions.json"

	controlFile    = "control.json"
	findingsFile   = "findings.json"
	referencesFile = "references.json"
	recordFile     = "evidence.json"
	populationFile = "population.jsonl"
	rawDir         = "raw/"

	kindControl    = "control"
	kindFindings   = "findings"
	kindReferences = "references"
	kindExceptions = "exceptions"
	kindCatalog    = "catalog"
	kindLog        = "log"
	kindTrust      = "trust"
	kindReadme     = "readme"

	typeJSON   = "application/json"
	typeJSONL  = "application/jsonl"
	typeText   = "text/plain"
	typeYAML   = "application/yaml"
	typeBinary = "application/octet-stream"
)

// evidenceLogSuffix ends the origin of the log that collections are entered
// in when they are made.
const evidenceLogSuffix = "/evidence"

// collectedEntry is the type of such an entry.
const collectedEntry = "evidence.collected"

func controlDir(c evidence.Control) string { return dataDir + c.Stage.Dir() + "/" + c.ID + "/" }

// collectionDir is the folder of one collection: its kind, when it was made,
// and the beginning of its ID.
func collectionDir(base string, c evidence.Collected) string {
	return base + escapeSegment(string(c.Kind)) + "/" + c.CollectedAt.UTC().Format("20060102T150405Z") + "-" + c.ID[:12] + "/"
}

// cutControl takes the folder of a control, with its slash, off a path in it.
func cutControl(path string) (folder, rest string, ok bool) {
	below, ok := strings.CutPrefix(path, dataDir)
	stage, below, ok2 := strings.Cut(below, "/")
	_, rest, ok3 := strings.Cut(below, "/")
	if !ok || !ok2 || !ok3 || len(stage) < 2 || evidence.Stage(stage[2:]).Dir() != stage {
		return "", "", false
	}
	return path[:len(path)-len(rest)], rest, true
}

// cutCollection takes the folder of a collection, with its slash, off a path
// in it.
func cutCollection(path string) (folder, rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, strayDir)
	if !ok {
		if _, rest, ok = cutControl(path); !ok {
			return "", "", false
		}
		if rest, ok = strings.CutPrefix(rest, "evidence/"); !ok {
			return "", "", false
		}
	}
	_, rest, _ = strings.Cut(rest, "/") // the kind
	_, rest, ok = strings.Cut(rest, "/")
	return path[:len(path)-len(rest)], rest, ok && rest != ""
}

// isRecord reports whether a path is that of a collection's evidence.json.
func isRecord(path string) bool {
	_, rest, ok := cutCollection(path)
	return ok && rest == recordFile
}

// isJudged reports whether a path is that of a file that stands in a control's
// folder itself.
func isJudged(path string) bool {
	_, rest, ok := cutControl(path)
	return ok && !strings.Contains(rest, "/")
}

func isControl(path string) bool {
	_, rest, ok := cutControl(path)
	return ok && rest == controlFile
}

// logPath is the folder of a log's files.
func logPath(origin string) string { return logDir + escapePath(origin) + "/" }

// ownFolder reports whether path is in a folder that Build fills itself.
func ownFolder(path string) bool {
	for _, stage := range evidence.Stages() {
		if strings.HasPrefix(path, dataDir+stage.Dir()+"/") {
			return true
		}
	}
	for _, dir := range []string{logDir, catalogDir, strayDir} {
		if strings.HasPrefix(path, dir) {
			return true
		}
	}
	return path == exceptionsName
}

// Reference points from a control to a collection that it was judged by.
type Reference struct {
	ID   string        `json:"id"`
	Kind evidence.Kind `json:"kind"`
	Path string        `json:"path"` // of its evidence.json
}

// citers gives for each collection the IDs of the controls that cite it: by a
// finding or, where no finding names it, by asking for its kind; in the
// controls' order.
func (c Content) citers() (map[string][]string, error) {
	known := map[string]bool{}
	for _, e := range c.Evidence {
		known[e.ID] = true
	}
	out := map[string][]string{}
	cite := func(id, control string) {
		if !slices.Contains(out[id], control) {
			out[id] = append(out[id], control)
		}
	}
	for _, control := range c.Controls {
		for _, f := range c.Findings {
			if f.Control != control.ID {
				continue
			}
			for _, cited := range f.Evidence {
				if !known[cited.ID] {
					return nil, fmt.Errorf("the finding of %s cites evidence %s (%s), which is not among the pack's", f.Control, cited.ID, cited.Kind)
				}
				cite(cited.ID, control.ID)
			}
		}
	}
	for _, e := range c.Evidence {
		if len(out[e.ID]) > 0 {
			continue
		}
		for _, control := range c.Controls {
			if slices.Contains(control.Kinds, e.Kind) {
				cite(e.ID, control.ID)
			}
		}
	}
	return out, nil
}
