package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// The operator's uses of the names, in processes of their own.
const (
	// freeFile has the names that a running relay is asked to free: on each line a name
	// and its owner at that time, without whom the name would be freed whoever has it.
	freeFile = "free"
	freeLock = "free.lock"
)

// WriteNames writes a line for each name of a state directory: the name, folded, its
// owner's identity and the time of its first use, with tabs between. A relay may run.
func WriteNames(w io.Writer, dir string) error {
	g, err := openNames(dir)
	if err != nil {
		return err
	}
	var lines bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(g.names)) {
		o := g.names[name]
		fmt.Fprintf(&lines, "%s\t%s\t%s\n", name, proto.FormatHash(o.identity), time.Unix(o.since, 0).UTC().Format(time.RFC3339))
	}
	_, err = w.Write(lines.Bytes())
	return err
}

// openNames reads the names of a state directory, which a relay must have used.
func openNames(dir string) (*registry, error) {
	_, err := os.Stat(filepath.Join(dir, state.RelayKey))
	if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat(filepath.Join(dir, namesFile))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &fail.Error{
			Code: proto.Internal, Message: "no relay has used the state directory " + proto.Visible(dir), Err: err,
			Hint: "give the relay's own with -state; that of doc/chatsecure-relay.service is /var/lib/private/chatsecure-relay",
		}
	case err != nil:
		return nil, fmt.Errorf("state directory: %w", err)
	}
	return openRegistry(filepath.Join(dir, namesFile), slog.New(slog.DiscardHandler))
}

// Free makes a name nobody's, and says so. A relay that runs on the state directory frees the
// name when it reloads.
func Free(dir, name string) (says string, err error) {
	g, err := openNames(dir)
	if err != nil {
		return "", err
	}
	lock, err := lockFile(filepath.Join(dir, relayLock))
	switch {
	case err == nil:
		defer lock.Close()
		if g, err = openNames(dir); err != nil { // it may have changed since
			return "", err
		}
	case !errors.Is(err, syscall.EWOULDBLOCK):
		return "", err
	}
	folded := proto.FoldName(name)
	o, ok := g.names[folded]
	if !ok {
		return "", &fail.Error{
			Code: proto.NoSuchName, Message: "nobody has the name " + proto.Visible(name), Hint: "relay -names shows the names",
		}
	}
	name = proto.Visible(name)
	if lock != nil {
		if err := g.release(folded, o.identity); err != nil {
			return "", err
		}
		return name + " is free", freeLetters(dir, folded, o.identity)
	}
	before, err := askToFree(dir, folded, o)
	if before {
		return name + " is to be freed already: send the relay SIGHUP", err
	}
	return "a relay runs on this state directory: send it SIGHUP, and " + name + " is free", err
}

// freeLetters removes the boxes of a freed name's owner. No relay runs.
func freeLetters(dir, folded string, owner [32]byte) error {
	path := filepath.Join(dir, lettersDir)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	l, err := openLetters(&Config{Letters: true, Log: slog.New(slog.DiscardHandler), Now: time.Now}, path, nil)
	if err == nil {
		err = l.released(owner, folded)
	}
	return err
}

// askToFree puts a name into the file of names to free, and reports whether it was there before.
func askToFree(dir, folded string, o owner) (before bool, err error) {
	lock, err := lockFile(filepath.Join(dir, freeLock))
	if err != nil {
		return false, fmt.Errorf("%w; try again", err)
	}
	defer lock.Close()
	path := filepath.Join(dir, freeFile)
	asked, err := state.ReadFile(path, maxNamesFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	line := fmt.Sprintf("%s\t%s\n", folded, proto.FormatHash(o.identity))
	if slices.Contains(strings.SplitAfter(string(asked), "\n"), line) {
		return true, nil
	}
	return false, state.ReplaceFile(path, append(asked, line...))
}

// takeFreed frees the names in the file, and removes it once that is on the disk. A
// connection under such a name goes on, but nobody owns the name any more.
func (r *Relay) takeFreed() {
	path := filepath.Join(r.cfg.State, freeFile)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err := r.freeAll(path); err != nil {
		r.log.Error("names were not freed; send SIGHUP to try again", "file", path, "error", err)
	}
}

func (r *Relay) freeAll(path string) error {
	lock, err := lockFile(filepath.Join(r.cfg.State, freeLock))
	if err != nil {
		return err
	}
	defer lock.Close()
	text, err := state.ReadFile(path, maxNamesFile)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		name := proto.FoldName(words[0])
		identity, ok := r.names.owner(name)
		if len(words) > 1 && words[1] != proto.FormatHash(identity) {
			ok = false
		}
		if !ok {
			r.log.Warn("not freed: the name is nobody's, or somebody else's by now", "name", name)
			continue
		}
		if err := r.names.release(name, identity); err != nil {
			return err
		}
		r.letters.released(identity, name)
		r.log.Info("freed", "name", name, "identity", proto.FormatHash(identity))
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return state.SyncDir(r.cfg.State)
}
