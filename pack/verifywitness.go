package pack

import (
	"fmt"
	"strings"
	"time"

	"trustpack/ledger"
)

// checkWitnesses verifies the cosignatures that the checkpoints of the pack's
// logs carry by the witnesses whose keys were given. Where keys were given and
// none of them has cosigned any log, what was asked for was not checked.
func (v *verifier) checkWitnesses() {
	if len(v.o.Witnesses) == 0 {
		v.res.skip(checkWitness, "", "no key of a witness was given (--witness): that the logs showed the same to everybody rests on the vendor's word")
		return
	}
	heads, err := v.c.Logs()
	if err != nil {
		return // said by log.checkpoint
	}
	if len(heads) == 0 {
		v.res.skip(checkWitness, "", "the pack carries no log")
		return
	}
	var seen []string
	for _, h := range heads {
		path := logPath(h.Origin) + checkpointFile
		note, err := v.c.Read(path)
		if err != nil {
			continue // said by log.checkpoint
		}
		cosigned, err := ledger.Cosignatures(note, v.o.Witnesses)
		switch {
		case err != nil:
			v.res.fail(checkWitness, path, "cosignatures that hold under the keys of the witnesses given", err.Error())
		case len(cosigned) == 0:
			v.res.skip(checkWitness, path, "none of the given witnesses has cosigned it")
		}
		for _, c := range cosigned {
			seen = append(seen, fmt.Sprintf("%s of %d entries by %s at %s", h.Origin, h.Size, c.Witness, c.Time.Format(time.RFC3339)))
		}
	}
	if v.cosigned = len(seen) > 0; v.cosigned {
		v.res.pass(checkWitness, strings.Join(seen, "; "))
	}
}
