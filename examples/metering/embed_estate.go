package metering

import (
	"embed"
	"io/fs"
)

//go:embed aws rollouts hawkbit documents
var estateFiles embed.FS

// AWSReplies holds exchanges for internal/httpreplay: the vendor's AWS account,
// 111122223333, with all regions that AWS enables by default and log groups in
// eu-central-1 and eu-west-1.
func AWSReplies() fs.FS { return estate("aws") }

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
