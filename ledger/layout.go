package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Folders names the folders that hold what was appended to the log, below the
// ledger's own and with forward slashes: that of its tiles, that of its
// payloads where it has any, and last the journal, which holds each entry of
// every log until it stands in the log's own files.
func (l *Ledger) Folders(log string) ([]string, error) {
	if _, err := l.find(log); err != nil {
		return nil, fmt.Errorf("listing folders: %w", err)
	}
	var out []string
	for _, folder := range []string{logsDir + "/" + log, payloadsDir + "/" + log, journalDir} {
		_, err := l.fsys.ReadDir(filepath.Join(l.dir, filepath.FromSlash(folder)))
		switch {
		case errors.Is(err, fs.ErrNotExist): // nothing was flushed, or nothing has a payload
		case err != nil:
			return nil, fmt.Errorf("listing folders: %w", err)
		default:
			out = append(out, folder)
		}
	}
	return out, nil
}
