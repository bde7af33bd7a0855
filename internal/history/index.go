package history

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"chatsecure/internal/state"
	"chatsecure/proto"
)

// KnownLevel is the progress of a record that comes again.
type KnownLevel int

const (
	KnownNot    KnownLevel = iota // never stored
	KnownStored                   // stored: DELIVERED
	KnownShown                    // and shown: READ
)

// Tests make these smaller.
var (
	// flushEntries bounds the keys in memory that the table does not have yet.
	flushEntries = 64 << 10
	// flushBytes is the length of a tail that the next start may read again.
	flushBytes int64 = 256 << 10
	// tailBytes is the same after a client that was killed.
	tailBytes int64 = 64 << 20
)

// index knows of every line before end what the writing of further ones needs. It is in the table,
// up to base, and in memory. The History owns it, and holds the lock of the lines where it reads or
// writes the files.
type index struct {
	dir     string
	lines   *os.File // nil: nothing can be read again
	through func(*os.File) Store
	locked  bool // nobody else writes
	wrong   bool // the index is being learned anew
	light   bool // a one-shot sender's: of other lines than its own, the bundles alone

	table *table // nil: there is none yet
	own   bool   // it is new, and there is no index to it yet
	base  int64
	end   int64
	last  int64             // offset of the last line
	hash  [sha256.Size]byte // and its hash

	entries map[recordKey]entry // since base, and what was looked up
	most    int                 // so many are kept in memory
	convs   map[flow]*indexedConv
	unread  bool // one of them has records of the owner's that are not read
	before  lineBefore
	kept    []byte // the line that was read last, and its offset
	keptAt  int64
	doubt   int64 // unshown records of lines before this offset may have been shown

	since  int64              // Unix milliseconds, see Connected; 0: not connected yet
	theirs map[recordKey]bool // received since then by other clients, and not by this one

	receipts []int64 // offsets of letters with receipts that other clients have stored, see OthersReceipts

	accounts accounts
}

// indexedConv is a conversation by its flow with our direction.
type indexedConv struct {
	me, peer End
	run      string // of a letter: the client that has received it
	waiting  []waitingLine
	unread   []sentLine
}

// maxReceipts bounds the letters with receipts that nobody has asked for.
const maxReceipts = 1024

// waitingLine is a received line with records that are not marked shown.
type waitingLine struct {
	offset int64
	first  uint64 // seq
	ids    []recordKey
}

// lightly has the types of other clients' lines that a one-shot sender's index takes in.
var lightly = map[string]bool{
	lineBundle: true, lineConversation: true, linePending: true, lineSent: true, lineReceipt: true,
	lineLetterSent: true, lineLetterReceived: true, lineLetterReceipt: true,
}

// lineBefore is what counts of the line before. The other side's bundle comes right before the
// conversation, and a head right after its cause.
type lineBefore struct {
	bundle [sha256.Size]byte // its hash
	size   int64             // of that
	by     [32]byte          // the person who has caused the line
}

func newIndex(dir string, lines *os.File, through func(*os.File) Store) *index {
	return &index{
		dir: dir, lines: lines, through: through, most: flushEntries,
		entries: make(map[recordKey]entry), convs: make(map[flow]*indexedConv),
		theirs: make(map[recordKey]bool), accounts: newAccounts(),
	}
}

// load begins with the index on the disk, if it fits.
func (x *index) load() {
	disk := loadIndex(x.dir, x.lines, os.O_RDWR, x.through)
	if disk == nil {
		return
	}
	x.table, x.base, x.doubt = disk.table, disk.Size, disk.Doubt
	x.end, x.last, x.hash = disk.Size, disk.Last, [sha256.Size]byte(disk.Hash)
	x.accounts.restore(disk.Accounts)
	if x.light {
		return
	}
	for _, offset := range disk.Waiting {
		if !x.wait(offset) {
			x.relearn()
			return
		}
	}
}

// wait takes in a line that waits to be shown, as far as its records do. It reports false for
// anything else.
func (x *index) wait(offset int64) bool {
	typ, rest, _ := peekType(x.lineAt(offset))
	of, rest, ok := peekFlow(rest)
	of.direction = reverse(of.direction)
	if l, isLetter := peekLetter(x.lineAt(offset)); isLetter {
		of, rest, ok = l.flow(), l.rest, l.typ == lineLetterReceived
	} else {
		ok = ok && string(typ) == lineReceived
	}
	c := x.conv(of)
	if !ok || c == nil {
		return false
	}
	w := waitingLine{offset: offset}
	for id, seq := range peekRecords(rest) {
		if key, ok := parseKey(id); ok {
			w.first = seq - uint64(len(w.ids))
			w.ids = append(w.ids, key)
		}
	}
	if x.waits(w) {
		c.waiting = append(c.waiting, w)
	}
	return true
}

func (x *index) waits(w waitingLine) bool {
	return slices.ContainsFunc(w.ids, func(key recordKey) bool {
		return x.record(key).state != stateShown
	})
}

// look returns the entry of a key. The table is outside of this program, so the line that it tells
// of is checked. An index that is wrong is learned anew from the lines.
func (x *index) look(key recordKey, is func(line []byte) bool) entry {
	e, ok := x.entries[key]
	if ok || x.table == nil {
		return e
	}
	e, err := x.table.get(key)
	if err == nil && e.state != stateNone && e.offset < x.end {
		if !is(x.lineAt(e.offset)) {
			err = errTable
		}
	} else {
		e = entry{} // nothing, or another client's that has no line here yet
	}
	if err != nil && !x.wrong {
		x.wrong = true
		x.relearn()
		e = x.look(key, is)
		x.wrong = false
		return e
	}
	x.entries[key] = e
	return e
}

// forget removes the index on the disk, so that none is better than a wrong one.
func (x *index) forget() { os.Remove(filepath.Join(x.dir, indexName)) }

// relearn makes anew what is known of the lines up to end, after the index has turned out to be
// wrong. The next flush writes it.
func (x *index) relearn() {
	x.forget()
	y := newIndex(x.dir, x.lines, x.through)
	y.light, y.locked, y.wrong = x.light, x.locked, x.wrong
	if y.read(x.end) != nil {
		return // the lines cannot be read: the next one that is written will tell
	}
	if x.light {
		y.mineUnread()
		y.convs, y.accounts = x.convs, x.accounts
	}
	for of, c := range y.convs {
		if before := x.convs[of]; before != nil {
			*before = *c // a caller may be at it
			y.convs[of] = before
		}
	}
	y.end, y.last, y.hash, y.before = x.end, x.last, x.hash, x.before
	y.since, y.theirs, y.receipts = x.since, x.theirs, x.receipts
	x.close()
	*x = *y
}

// lineAt reads a line, nil if that is impossible. The last one is kept, since all its records are
// asked for.
func (x *index) lineAt(offset int64) []byte {
	if x.kept == nil || x.keptAt != offset {
		x.kept, _ = readLine(x.lines, offset)
		x.keptAt = offset
	}
	return x.kept
}

// put notes an entry, after look.
func (x *index) put(key recordKey, e entry) { x.entries[key] = e.merge(x.entries[key]) }

func (x *index) record(key recordKey) entry {
	return x.look(key, func(line []byte) bool {
		typ, rest, _ := peekType(line)
		return (string(typ) == lineReceived || string(typ) == lineLetterReceived) &&
			bytes.Contains(rest, hex.AppendEncode([]byte(recordStart), key[:]))
	})
}

func (x *index) bundle(hash [sha256.Size]byte) entry {
	return x.look(bundleKey(hash), func(line []byte) bool {
		found, ok := peekBundle(line)
		return ok && found == hash
	})
}

// conv returns a conversation, nil if it is not in the history.
func (x *index) conv(of flow) *indexedConv {
	if c := x.convs[of]; c != nil {
		return c
	}
	var c *indexedConv
	parse := func(line []byte) bool {
		if l, ok := peekLetter(line); ok && l.flow() == of {
			c = l.conv()
			return true
		}
		l, err := parseLine(line)
		if err != nil || l.Type != lineConversation ||
			of != (flow{[32]byte(l.Conversation), l.Direction}) {
			return false
		}
		c = &indexedConv{me: *l.Me, peer: *l.Peer}
		return true
	}
	e := x.look(conversationKey(of), parse)
	if c == nil && e.state != stateNone {
		parse(x.lineAt(e.offset))
	}
	if c != nil {
		x.convs[of] = c
	}
	return c
}

// take takes in a line. It looks only at the parts that it needs: a start must not decode years of
// talk. ours tells that this client has written it.
func (x *index) take(line []byte, offset int64, ours bool) {
	typ, rest, ok := peekType(line)
	before := x.before
	x.before = lineBefore{}
	if !ok || x.light && !ours && !lightly[string(typ)] {
		return
	}
	from, size := cause{}, int64(len(line))
	var c *indexedConv
	switch string(typ) {
	case lineBundle:
		if hash, ok := peekBundle(line); ok {
			x.bundle(hash)
			x.put(bundleKey(hash), entry{offset, stateStored})
			x.before = lineBefore{bundle: hash, size: size}
		}
	case lineConversation:
		c = x.conversation(line, offset)
		if c != nil && before.bundle == [sha256.Size]byte(c.peer.Bundle) {
			size += before.size
		}
	case lineHead:
		from.by = before.by
	case lineRun:
		if reason := peekReason(rest); reason == runKilled || reason == runUnsure {
			x.doubt = offset
		}
	case lineShown, lineSeen:
		if of, rest, ok := peekFlow(rest); ok {
			x.mark(string(typ), flow{of.t3, reverse(of.direction)}, rest)
		}
	case linePending:
		if !x.light || !ours { // a sender has its own in memory
			x.mine(rest, offset)
		}
	case lineSent:
		if of, rest, ok := peekFlow(rest); ok && (!x.light || !ours) {
			if c := x.conv(of); c != nil {
				x.accounts.answered(c.peer.identity())
				c.sent(offset, rest)
				x.unread = true
			}
		}
	case lineLetterSent, lineLetterReceived, lineLetterReceipt:
		c, from.records = x.letter(line, offset, ours)
		if string(typ) == lineLetterReceipt && !ours {
			x.receipts = append(x.receipts[max(0, len(x.receipts)-maxReceipts+1):], offset)
		}
		switch {
		case c == nil:
		case string(typ) == lineLetterSent:
			c = nil // the owner has caused it
		case before.bundle == [sha256.Size]byte(c.peer.Bundle):
			size += before.size
		}
	case lineReceived, lineReceipt, lineEnd, lineGap:
		of, rest, ok := peekFlow(rest)
		if !ok {
			break
		}
		c = x.conv(flow{of.t3, reverse(of.direction)})
		switch string(typ) {
		case lineReceived:
			theirs := !ours && x.since != 0 && peekTime(line) >= x.since
			from.records = x.received(c, offset, rest, !theirs, theirs)
		case lineReceipt, lineEnd:
			c.read(rest)
		}
	}
	if c != nil {
		from.by = c.peer.identity()
		x.before.by = from.by
	}
	if from.by != [32]byte{} {
		x.accounts.charge(from, peekTime(line), size)
	}
}

// conversation takes in the line of a conversation.
func (x *index) conversation(line []byte, offset int64) *indexedConv {
	l, err := parseLine(line)
	if err != nil {
		return nil
	}
	of := flow{[32]byte(l.Conversation), l.Direction}
	if c := x.conv(of); c != nil {
		return c // it is there twice, which only verification needs to know
	}
	c := &indexedConv{me: *l.Me, peer: *l.Peer}
	x.convs[of] = c
	x.put(conversationKey(of), entry{offset, stateStored})
	if b := x.bundle([sha256.Size]byte(c.peer.Bundle)); b.state != stateNone {
		x.put(personKey(c.peer.identity()), entry{b.offset, stateLatest})
	}
	return c
}

// received takes in the records of a received line, and returns how many are new. Of theirs this
// client gets them by itself; those that are here it has.
func (x *index) received(c *indexedConv, offset int64, rest []byte, here, theirs bool) (added int) {
	w := waitingLine{offset: offset}
	for id, seq := range peekRecords(rest) {
		key, ok := parseKey(id)
		if !ok {
			continue
		}
		known := x.record(key).state != stateNone
		switch {
		case here:
			delete(x.theirs, key)
		case theirs && !known:
			x.theirs[key] = true
		}
		if !known {
			added++
		}
		x.put(key, entry{offset, stateStored})
		w.first = seq - uint64(len(w.ids))
		w.ids = append(w.ids, key)
	}
	if c != nil && x.waits(w) { // else it comes again
		c.waiting = append(c.waiting, w)
	}
	return added
}

// mark takes in that records up to a number are shown, or only seen.
func (x *index) mark(typ string, of flow, rest []byte) {
	digits, ok := bytes.CutPrefix(rest, []byte(`,"seq":`))
	seq, _, isNumber := peekNumber(digits)
	c := x.conv(of)
	if !ok || !isNumber || c == nil {
		return
	}
	as := stateSeen
	if typ == lineShown {
		as = stateShown
		x.accounts.read(c.peer.identity())
	}
	for _, w := range c.waiting {
		for i, key := range w.ids {
			if w.first+uint64(i) <= seq {
				x.record(key)
				x.put(key, entry{w.offset, as})
			}
		}
	}
	if as == stateShown {
		c.waiting = slices.DeleteFunc(c.waiting, func(w waitingLine) bool {
			return w.first+uint64(len(w.ids)) <= seq+1
		})
	}
}

// wrote takes in a line that has been written at the end.
func (x *index) wrote(line []byte) {
	x.take(line, x.end, true)
	x.last, x.end, x.hash = x.end, x.end+int64(len(line))+1, sha256.Sum256(line)
	if len(x.entries) < x.most || x.lines == nil || x.light {
		return
	}
	if x.end-x.base < tailBytes {
		x.retry(x.relieve()) // memory is bounded, and no disk is waited for
	} else {
		x.retry(x.flush())
	}
}

// level tells how far a record has got.
func (x *index) level(key recordKey) KnownLevel {
	state := x.record(key).state
	switch {
	case state == stateNone, x.theirs[key]:
		return KnownNot
	case state == stateShown:
		return KnownShown
	}
	return KnownStored
}

// catchUp takes in the lines behind end, as far as they are whole. Where these are many, keys go to
// the table on the way.
func (x *index) catchUp() error {
	before := x.end
	err := x.read(1 << 62)
	whole := true
	if err == nil && x.end > before {
		x.hash, whole = hashLine(x.lines, x.last, x.end)
	}
	if !whole {
		err = errors.New("its end cannot be read again")
	}
	return err
}

// read takes in the lines between end and an offset.
func (x *index) read(to int64) error {
	lines := io.NewSectionReader(x.lines, 0, to)
	return eachLine(lines, x.end, func(line []byte, offset, next int64) {
		x.take(line, offset, false)
		x.last, x.end = offset, next
		if len(x.entries) >= x.most && x.locked && !x.light {
			x.retry(x.spill())
		}
	})
}

// retry waits with the next try to write the index, where one has failed: nothing but memory needs
// it.
func (x *index) retry(err error) {
	if err != nil {
		x.most *= 2
	} else {
		x.most = flushEntries
	}
}

// eachLine calls each with every line from an offset on, without its newline, and with the offset
// of the next. A line that is longer than any can be is nil: only verification minds it.
func eachLine(r io.ReaderAt, from int64, each func(line []byte, offset, next int64)) error {
	in := bufio.NewReaderSize(io.NewSectionReader(r, from, 1<<62), 256<<10)
	var long []byte
	for next := from; ; {
		part, err := in.ReadSlice('\n')
		next += int64(len(part))
		if len(long) > 0 || err == bufio.ErrBufferFull {
			if next-from <= MaxLine+1 {
				long = append(long, part...)
			}
			part = long
		}
		switch {
		case err == bufio.ErrBufferFull:
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case next-from > MaxLine+1:
			each(nil, from, next)
			from, long = next, long[:0]
		default:
			each(part[:len(part)-1], from, next)
			from, long = next, long[:0]
		}
	}
}

// readLine reads the line at an offset, without its newline.
func readLine(lines io.ReaderAt, offset int64) ([]byte, error) {
	for size := 4 << 10; ; size = MaxLine + 1 {
		b := make([]byte, size)
		n, err := lines.ReadAt(b, offset)
		if end := bytes.IndexByte(b[:n], '\n'); end >= 0 {
			return b[:end], nil
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		if size > MaxLine {
			return nil, errors.New("it is no line of the history")
		}
	}
}

// flush writes the index to the disk, as of end. The table may have more than `index` says, and
// never less: so a crash between any two steps costs nothing.
func (x *index) flush() error {
	for _, c := range x.convs { // what has come over several may be shown over one
		c.waiting = slices.DeleteFunc(c.waiting, func(w waitingLine) bool { return !x.waits(w) })
	}
	err := x.relieve()
	if err == nil {
		err = x.table.sync()
	}
	if err != nil {
		return err
	}
	s := indexState{
		V: version, Size: x.end, Last: x.last, Hash: x.hash[:],
		Seed: x.table.seed[:], Count: x.table.count,
		Doubt: x.doubt, Waiting: []int64{}, Accounts: x.accounts.all(),
	}
	for _, c := range x.convs {
		for _, w := range c.waiting {
			s.Waiting = append(s.Waiting, w.offset)
		}
	}
	slices.Sort(s.Waiting)
	err = state.ReplaceFile(filepath.Join(x.dir, indexName), proto.MustMarshal(&s))
	if err != nil {
		return err
	}
	x.base, x.own = x.end, false
	maps.DeleteFunc(x.convs, func(_ flow, c *indexedConv) bool { return len(c.waiting) == 0 })
	return nil
}

// relieve is spill, after what is known has been learned anew where the table is damaged.
func (x *index) relieve() error {
	err := x.spill()
	if errors.Is(err, errTable) {
		x.relearn()
		err = x.spill()
	}
	return err
}

// spill writes the entries in memory into the table, and does not wait for the disk.
func (x *index) spill() error {
	x.mineUnread()
	if err := x.reopen(uint64(len(x.entries))); err != nil {
		return err
	}
	t := x.table
	type keyAt struct {
		key  recordKey
		home uint64
	}
	var keys []keyAt
	for key, e := range x.entries {
		if e.state != stateNone {
			keys = append(keys, keyAt{key, t.home(key)})
		}
	}
	// Page by page.
	slices.SortFunc(keys, func(a, b keyAt) int { return cmp.Compare(a.home, b.home) })
	count := t.count
	t.count += uint64(len(keys)) // a crash leaves a table that seems fuller than it is
	err := t.writeHeader()
	t.count = count
	for _, k := range keys {
		if err == nil {
			err = t.put(k.key, x.entries[k.key])
		}
	}
	if err == nil {
		err = t.writePage()
	}
	if err == nil {
		err = t.writeHeader()
	}
	if err == nil {
		clear(x.entries)
	}
	t.page, t.dirty = nil, false
	return err
}

// reopen opens the table that is on the disk now, with room for more keys: another client may have
// put a larger one there. It is errTable if that does not have all that this one had.
func (x *index) reopen(more uint64) error {
	t := x.table
	if disk := loadIndex(x.dir, x.lines, os.O_RDWR, x.through); disk != nil && disk.Size >= x.base {
		t = disk.table
	} else if disk != nil {
		disk.close()
		return errTable
	} else if t != nil && !x.own {
		return errTable
	}
	bits := uint64(minBits)
	if t != nil {
		bits = t.bits
	}
	if larger := bitsFor(bits, t.used()+more); t == nil || larger > bits {
		grown, err := x.grow(t, larger)
		if t != nil && t != x.table {
			t.close()
		}
		if err != nil {
			return err
		}
		x.own = x.own || t == nil
		t = grown
	}
	if x.table != nil && x.table != t {
		x.table.close()
	}
	x.table = t
	return nil
}

// grow makes a new table with the keys of an older one, if there is one, and puts it in its place.
func (x *index) grow(from *table, bits uint64) (*table, error) {
	path := filepath.Join(x.dir, tableName)
	os.Remove(path + newSuffix) // a killed client's
	file, err := openFile(path+newSuffix, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err
	}
	seed := newSeed()
	if from != nil {
		seed = from.seed // so it fits `index` as it is
	}
	t, err := makeTable(file, x.through(file), seed, bits)
	if err == nil && from != nil {
		err = from.growInto(t)
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
		file.Close()
		return nil, err
	}
	return t, nil
}

func (x *index) close() {
	if x.table != nil {
		x.table.close()
		x.table = nil
	}
}
