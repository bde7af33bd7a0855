package relay

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// remarks are what the log says of the revocation lists, each once until the next SIGHUP.
type remarks struct {
	mu      sync.Mutex        // guards the fields below
	issuers [][]byte          // certificates of the operator's bundle, in DER
	made    map[remark]bool   // of the lists at hand
	sources map[string]string // their files, with the authority
}

type remark struct{ source, number, text string }

// signers notes certificates with which signatures can be checked before a connection.
func (r *remarks) signers(issuers [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.issuers = issuers
}

// again has every remark made again.
func (r *remarks) again() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made = nil
}

// tell looks at the lists at hand. dir is the operator's directory, or "".
func (r *remarks) tell(log *slog.Logger, lists *trust.CRLStore, dir string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lists.CheckSignatures(r.issuers)
	made, sources := make(map[remark]bool), make(map[string]string)
	for _, l := range lists.List() {
		sources[l.Source] = proto.Visible(l.Name)
		for _, text := range []string{l.Remark(), overdue(l, now), future(l, now), refuted(l)} {
			key := remark{l.Source, l.Number, text}
			if text != "" && !r.made[key] && !made[key] {
				log.Warn("revocation list", "list", l.Source, "authority", sources[l.Source], "remark", text)
			}
			made[key] = true
		}
	}
	for source, authority := range r.sources {
		if _, held := sources[source]; held || filepath.Dir(source) != filepath.Clean(dir) {
			continue
		}
		if _, err := os.Lstat(source); errors.Is(err, fs.ErrNotExist) {
			log.Warn("revocation list is gone; it counts no more", "list", source, "authority", authority)
		}
	}
	r.made, r.sources = made, sources
}

func overdue(l trust.CRLInfo, now time.Time) string {
	if l.NextUpdate.IsZero() || now.Sub(l.NextUpdate) <= trust.ClockTolerance {
		return ""
	}
	return "overdue: it clears nobody since " + l.NextUpdate.UTC().Format(time.RFC3339) + ", when the next one was due"
}

func future(l trust.CRLInfo, now time.Time) string {
	if l.ThisUpdate.Sub(now) <= trust.ClockTolerance {
		return ""
	}
	return "from the future: it clears nobody before " + l.ThisUpdate.UTC().Format(time.RFC3339) + "; is the clock here right?"
}

func refuted(l trust.CRLInfo) string {
	if !l.Refuted {
		return ""
	}
	return "counts for nobody: no certificate of its authority at hand has made its signature"
}
