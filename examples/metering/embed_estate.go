package metering

import (
	"embed"
	"io/fs"
)

//go:embed rollouts hawkbit documents
var estateFiles embed.FS

// Rollouts holds the vendor's rollout files, in the schema of
// collectors/rollout.
func Rollouts() fs.FS { return estate("rollouts") }

// HawkBitReplies holds exchanges for internal/httpreplay: a hawkBit server with
// one rollout.
func HawkBitReplies() fs.FS { return estate("hawkbit") }

// Documents holds the vendor's documents and its access review, in the form
// that collectors/documents reads.
func Documents() fs.FS { return estate("documents") }

func estate(folder string) fs.FS {
	sub, err := fs.Sub(estateFiles, folder)
	if err != nil { // only for a name that is no path
		panic(err)
	}
	return sub
}
