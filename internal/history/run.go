package history

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"chatsecure/crypto"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// The reasons of a run line. After a killed or unsure one, messages may have been shown without a
// mark.
const (
	runEnded   = "the client has ended, and what it has shown is marked"
	runUnsure  = "the client has ended while it was showing messages"
	runKilled  = "the client was killed"
	runsKilled = "the client was killed, and it showed no messages"
)

// neverSent is the reason of a message that a killed client had not sent.
const neverSent = "it had not left from here when the client was killed"

// A run is a running client in the file run-ID, which is locked as long as it runs. Its first line
// has the offset of the lines where it begins, and a role. Each further one has the id of a
// connection that it has had.
type run struct {
	id    string
	file  *os.File // nil: there is none
	size  int64
	conns []string
}

const runPrefix = "run-"

// maxRun bounds the file of a run in bytes: a line has less than 20.
const maxRun = 4 << 20

// The roles of a run.
const (
	runShows    = "shows"    // takes messages, and shows what has waited before it
	runReceives = "receives" // takes messages
	runSends    = "sends"    // takes none
)

// begin makes the file of a run. The lines are locked, so nobody takes it for a killed one.
func (r *run) begin(h *History, shows bool) error {
	var id [8]byte
	rand.Read(id[:])
	r.id = hex.EncodeToString(id[:])
	file, err := openFile(filepath.Join(h.cfg.Dir, runPrefix+r.id), os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	r.file = file
	role := runSends
	if shows {
		role = runShows
	} else if h.cfg.Receiving {
		role = runReceives
	}
	err = state.Flock(file, syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		err = r.add(fmt.Sprintf("%d %s\n", h.known.end, role))
	}
	if err != nil {
		r.remove()
		return fmt.Errorf("%s: %w", file.Name(), state.Cause(err))
	}
	return nil
}

func (r *run) add(line string) error {
	n, err := r.file.WriteAt([]byte(line), r.size)
	r.size += int64(n)
	return err
}

// connected notes a connection of the client's.
func (r *run) connected(conn string) error {
	if r.file == nil || slices.Contains(r.conns, conn) {
		return nil
	}
	r.conns = append(r.conns, conn)
	return r.add(proto.Visible(conn) + "\n")
}

// remove tells that the run is over, and all of it stands in the lines.
func (r *run) remove() {
	if r.file != nil {
		os.Remove(r.file.Name())
	}
}

// close releases the lock.
func (r *run) close() {
	if r.file != nil {
		r.file.Close()
	}
}

// otherRun is a run of another client.
type otherRun struct {
	id     string
	path   string
	offset int64
	role   string
	conns  map[string]bool

	// Of a killed one, as its lines have it.
	pending []string       // ids of records
	left    map[string]int // how many of its messages may have arrived, by name
}

// holds reports whether the running client has a received line in its hands: it has received it, or
// found it when it began, and shows it.
func (r *otherRun) holds(c *indexedConv, offset int64) bool {
	return r.conns[c.me.Conn] || r.id == c.run || r.role == runShows && offset < r.offset
}

// readRuns returns the runs of other clients, those that run and those that were killed. The lines
// are locked.
func (h *History) readRuns() (running, killed []*otherRun, err error) {
	entries, err := os.ReadDir(h.cfg.Dir)
	if err != nil {
		return nil, nil, err
	}
	for _, entry := range entries {
		if state.IsTemp(entry.Name()) || entry.Name() == tableName+newSuffix {
			// An index is written under the lock, so who wrote this was killed.
			os.Remove(filepath.Join(h.cfg.Dir, entry.Name()))
		}
		id, ok := strings.CutPrefix(entry.Name(), runPrefix)
		if !ok || !proto.IsHex(id, 8) {
			continue
		}
		r, held, err := h.readRun(id, filepath.Join(h.cfg.Dir, entry.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if held {
			running = append(running, r)
		} else {
			killed = append(killed, r)
		}
	}
	return running, killed, nil
}

// readRun reads one file. One that was torn is that of a client that received from the first line
// on.
func (h *History) readRun(id, path string) (r *otherRun, held bool, err error) {
	file, err := openFile(path, os.O_RDONLY)
	if err != nil {
		return nil, false, err
	}
	defer file.Close() // and with it the lock
	err = state.Flock(file, syscall.LOCK_EX|syscall.LOCK_NB)
	held = errors.Is(err, syscall.EWOULDBLOCK)
	if err != nil && !held {
		return nil, false, err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxRun))
	if err != nil {
		return nil, false, err
	}
	first, rest, _ := strings.Cut(string(data), "\n")
	offset, role, _ := strings.Cut(first, " ")
	r = &otherRun{id: id, path: path, role: role, conns: make(map[string]bool), left: make(map[string]int)}
	r.offset, err = strconv.ParseInt(offset, 10, 64)
	if err != nil || r.offset < 0 || r.offset > h.known.end {
		r.offset = 0
	}
	for conn := range strings.Lines(rest) {
		r.conns[strings.TrimSuffix(conn, "\n")] = true
	}
	return r, held, nil
}

// settleKilled ends the runs of killed clients: what they had not sent is FAILED. A notice tells of
// that, and of what may have arrived. It returns the clients that run.
func (h *History) settleKilled() (running []*otherRun, err error) {
	running, killed, err := h.readRuns()
	if err != nil {
		return nil, err
	}
	if len(killed) == 0 {
		return running, nil
	}
	t, err := h.readKilled(killed)
	if err != nil {
		return nil, err
	}
	for _, r := range killed {
		if err := h.settle(r, t.open); err != nil {
			return nil, err
		}
		if err := os.Remove(r.path); err != nil {
			return nil, err
		}
	}
	return running, nil
}

// settle ends one run. open has the names that pending records wait for.
func (h *History) settle(r *otherRun, open map[string][]string) error {
	failed := make(map[string]int)
	for _, id := range r.pending {
		for _, name := range open[id] {
			if h.cfg.Waiting != nil && h.cfg.Waiting(id, name) {
				continue // the next client sends its letter
			}
			if err := h.failed(id, name, neverSent); err != nil {
				return err
			}
			failed[name]++
		}
	}
	reason := runKilled
	if r.role == runSends {
		reason = runsKilled
	}
	if err := h.ran(r.id, reason); err != nil {
		return err
	}
	var parts []string
	if len(failed) > 0 {
		parts = append(parts, "FAILED, because they did not leave from here: "+counts(failed))
	}
	if len(r.left) > 0 {
		parts = append(parts, "PENDING, because they may have arrived: "+counts(r.left))
	}
	if len(parts) > 0 {
		h.tell("a client was killed, and of its messages are " + strings.Join(parts, "; "))
	}
	return nil
}

// killedRuns is what the lines of killed runs leave open.
type killedRuns struct {
	byID   map[string]*otherRun
	byConn map[string]*otherRun
	open   map[string][]string // the names that a pending record waits for, by its id
	convs  map[flow]*sentPart  // by our direction
}

// sentPart is our part of a conversation.
type sentPart struct {
	of        *otherRun // nil: no killed client's
	peer      string
	sent, got uint64 // got: the relay or the peer says so
}

// readKilled reads the lines since the first of the runs began: once for all, since a machine that
// goes down kills many.
func (h *History) readKilled(runs []*otherRun) (*killedRuns, error) {
	t := &killedRuns{
		byID: make(map[string]*otherRun), byConn: make(map[string]*otherRun),
		open: make(map[string][]string), convs: make(map[flow]*sentPart),
	}
	from := h.known.end
	for _, r := range runs {
		t.byID[r.id], from = r, min(from, r.offset)
		for conn := range r.conns {
			t.byConn[conn] = r
		}
	}
	err := eachLine(h.known.lines, from, func(line []byte, _, _ int64) { t.line(line) })
	for _, c := range t.convs {
		// What was sent again counts once, in the conversation with most of it.
		if c.of != nil && c.sent > c.got {
			c.of.left[c.peer] = max(c.of.left[c.peer], int(c.sent-c.got))
		}
	}
	return t, err
}

// line takes in one line. It decodes few.
func (t *killedRuns) line(line []byte) {
	typ, rest, ok := peekType(line)
	if !ok {
		return
	}
	switch string(typ) {
	case lineConversation, linePending, lineFailed, lineTaken:
		if l, err := parseLine(line); err == nil {
			t.parsed(l)
		}
	case lineLetterSent:
		if l, ok := peekLetter(line); ok {
			for id := range peekRecords(l.rest) {
				t.settled(id, l.name)
			}
		}
	case lineSent:
		if of, rest, ok := peekFlow(rest); ok && t.convs[of] != nil {
			for id, seq := range peekRecords(rest) {
				t.convs[of].sent = seq
				t.settled(id, t.convs[of].peer)
			}
		}
	case lineReceipt:
		of, rest, ok := peekFlow(rest)
		_, rest, found := bytes.Cut(rest, []byte(`,"receipt":{"delivered":`))
		if seq, _, isNumber := peekNumber(rest); ok && found && isNumber {
			t.got(flow{of.t3, reverse(of.direction)}, seq)
		}
	}
}

func (t *killedRuns) parsed(l *Line) {
	switch l.Type {
	case lineConversation:
		of := flow{[32]byte(l.Conversation), l.Direction}
		t.convs[of] = &sentPart{of: t.byConn[proto.Visible(l.Me.Conn)], peer: l.Peer.Name}
	case linePending:
		var r crypto.Record
		run := t.byID[l.Run]
		if run == nil || proto.Unmarshal(l.Record, &r) != nil || t.open[r.ID] != nil {
			return
		}
		for _, to := range r.To {
			t.open[r.ID] = append(t.open[r.ID], to.Name)
		}
		run.pending = append(run.pending, r.ID)
	case lineFailed:
		t.settled(l.ID, l.Name)
	case lineTaken:
		t.got(flow{[32]byte(l.Conversation), l.Direction}, l.Seq)
	}
}

// settled tells that a record does not wait for a name any more.
func (t *killedRuns) settled(id, name string) {
	if names := t.open[id]; names != nil {
		t.open[id] = slices.DeleteFunc(names, func(other string) bool {
			return proto.SameName(other, name)
		})
	}
}

func (t *killedRuns) got(of flow, seq uint64) {
	if c := t.convs[of]; c != nil {
		c.got = max(c.got, seq)
	}
}

// counts lists names with a number each.
func counts(of map[string]int) string {
	var parts []string
	for name, n := range of {
		parts = append(parts, fmt.Sprintf("%d to %s", n, proto.Visible(name)))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// ran writes down how a run ended. The file is locked.
func (h *History) ran(id, reason string) error {
	return h.line(lineRun, cause{}, func(b []byte) []byte {
		b = appendLineJSON(b, "run", quoteJSON(id))
		return appendLineJSON(b, "reason", quoteJSON(reason))
	})
}

func peekReason(rest []byte) string {
	_, rest, _ = bytes.Cut(rest, []byte(`,"reason":"`))
	reason, _, _ := cutQuote(rest)
	return string(reason)
}
