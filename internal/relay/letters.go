package relay

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

const (
	// DefaultLetterDays is the default time for which the relay keeps a letter.
	DefaultLetterDays = 7
	// DefaultLetterMax is the default bound on all letters together, in bytes.
	DefaultLetterMax = 64 << 20
	// MaxLetterDays bounds the days: no mailbox lives longer.
	MaxLetterDays = int(trust.MaxMailbox / (24 * time.Hour))
	// MaxLetterMax bounds the bytes, and so the memory: a letter counts for 4 KiB at least, and
	// the relay remembers some 300 bytes of each.
	MaxLetterMax = 16 << 30
)

// letters keeps sealed letters for devices whose owners are away: PROTOCOL.md, "Letters".
// Each mailbox has a box, which is a directory. What a start finds in them is read into
// memory, without bundles and letters. The relay opens no letter.
type letters struct {
	cfg   *Config
	log   *slog.Logger
	dir   string
	spawn func(func()) // starts a goroutine for which a shutdown waits

	disk sync.Mutex // held while boxes are written and removed; taken before mu

	// mu guards the fields below, and boxes and letters. It is not held while the disk works.
	mu       sync.Mutex
	boxes    map[boxKey]*box
	people   map[[32]byte][]*box    // by owner
	paces    map[[32]byte]time.Time // until then an owner's changes of boxes are paid off
	ids      map[[32]byte]*answered
	erased   []erased // in order of time
	rooms    [kinds]room
	number   uint64    // of the last letter
	waiting  []job     // for the disk
	unstored int       // bytes of letters that wait for the disk
	storing  bool      // a goroutine stores what waits
	logged   time.Time // the last failed write in the log
}

// The kinds of letter. Each has its own place in a box, and quotas of its own.
const (
	texts = iota
	receipts
	kinds
)

var kindNames = [kinds]string{texts: proto.LetterText, receipts: proto.LetterReceipt}

func kindOf(name string) int { return slices.Index(kindNames[:], name) }

// boxKey names a box. Nothing proves that the owner of a bundle has the private key of the
// mailbox in it, so that each owner has a box of their own.
type boxKey struct{ owner, mailbox [32]byte }

// box holds the letters of one owner to one mailbox.
type box struct {
	boxKey
	path string

	// From the newest bundle that named the mailbox. While the file is damaged there is none.
	name    string     // folded
	leaf    [32]byte   // SHA-256 of the certificate
	issuers [][32]byte // the authorities above it
	bundle  [32]byte   // its hash
	begin   int64      // of the delegation, Unix seconds
	end     int64      // of the mailbox, Unix seconds

	texts      bool     // a connection that takes messages has named it
	before     [32]byte // the owner's mailbox that this one supersedes, or zero
	superseded bool

	fresh  *crypto.LetterBox // not on the disk yet
	onDisk bool              // its directory is
	gone   bool

	piles [kinds]pile
}

// pile holds the letters of one kind in a box.
type pile struct {
	letters []*letter    // in the order of their coming
	takers  []*collector // the oldest first, which alone gets them
	given   int          // so many letters were handed to the oldest taker, and are not erased
	room    room
}

// letter is one in a box. Its text is on the disk.
type letter struct {
	box         *box
	id, sender  [32]byte
	kind        int
	number      uint64 // in the order of coming; its file's name
	size        int    // in bytes
	left, until int64  // Unix milliseconds

	body    []byte // until it is stored and handed on, or nobody is there to take it
	stored  bool
	gone    bool
	senders []waiter // for the answer
}

// waiter is a line of a connection that waits for its answer.
type waiter struct {
	conn *conn
	seq  uint64
}

func openLetters(cfg *Config, dir string, spawn func(func())) (*letters, error) {
	l := &letters{
		cfg: cfg, log: cfg.Log, dir: dir, spawn: spawn,
		boxes: make(map[boxKey]*box), people: make(map[[32]byte][]*box),
		ids: make(map[[32]byte]*answered), paces: make(map[[32]byte]time.Time),
	}
	if !cfg.Letters {
		return l, nil
	}
	return l, l.load()
}

// The bounds on boxes. Mailboxes live for days, and whoever has a card can name new ones.
const (
	// maxBoxes bounds all of them: each takes some 12 KiB of the disk before its first letter.
	maxBoxes = 50_000
	// ReceiptBoxes bounds a person's boxes that only take receipts: each state directory from
	// which something was sent has one.
	ReceiptBoxes = 16
	// BoxesAtOnce and BoxEvery pace the changes of one person's boxes. Each costs several writes to
	// the disk, for which the letters of all wait. A device makes one a day.
	BoxesAtOnce = 64
	BoxEvery    = 10 * time.Second
)

// name makes the box of the mailbox that a connection has brought, or refreshes it, and
// reports whether the device takes letters. After too many changes it leaves all as it is.
func (l *letters) name(owner [32]byte, hi *crypto.Hello, issuers [][32]byte) bool {
	if !l.cfg.Letters || len(hi.Mailbox) == 0 {
		return false
	}
	key := boxKey{owner, [32]byte(hi.Bundle.Mailbox)}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.boxes[key]
	switch {
	case hi.Bundle.MailboxEnd <= l.cfg.Now().Unix():
		return false
	case b == nil && len(l.boxes) >= maxBoxes:
		return false
	case !l.mayChange(owner, b, hi):
		return b != nil && b.texts
	case b == nil:
		b = &box{boxKey: key, path: l.boxPath(key)}
		l.insert(b)
	}
	takes := b.texts || hi.Takes == proto.TakesMessages
	newer := b.isOlder(hi.Bundle)
	if newer {
		b.refresh(hi.Bundle, issuers)
		b.fresh = &crypto.LetterBox{Key: slices.Clone(hi.Mailbox), Bundle: hi.Bundle}
	}
	if newer || takes != b.texts {
		b.texts = takes
		l.storeLocked(job{box: b})
	}
	l.supersede(owner, hi.Collects)
	l.dropOldest(owner)
	return b.texts
}

// mayChange counts a change of a box, or of none yet, unless it is one too many.
func (l *letters) mayChange(owner [32]byte, b *box, hi *crypto.Hello) bool {
	if b != nil && !b.isOlder(hi.Bundle) && (b.texts || hi.Takes != proto.TakesMessages) &&
		(len(hi.Collects) < 2 || b.before == [32]byte(hi.Collects[1])) {
		return true // nothing is written
	}
	next, ok := paced(l.paces[owner], time.Now(), BoxesAtOnce, BoxEvery)
	l.paces[owner] = next
	return ok
}

// isOlder tells whether a bundle is to take the place of the one in the box.
func (b *box) isOlder(bundle *trust.Bundle) bool {
	return bundle.NotBefore >= b.begin && bundle.Hash() != b.bundle
}

// refresh takes over what a bundle says of its mailbox.
func (b *box) refresh(bundle *trust.Bundle, issuers [][32]byte) {
	b.name, b.bundle, b.issuers = proto.FoldName(bundle.Name), bundle.Hash(), issuers
	b.leaf = leafHash(bundle)
	b.begin, b.end = bundle.NotBefore, bundle.MailboxEnd
}

// supersede notes which of its mailboxes a device holds for its newest one. Nothing is left in
// the one before, once the newest takes texts. A device that was set back to an older state
// names an older one again.
func (l *letters) supersede(owner [32]byte, collects [][]byte) {
	if len(collects) == 0 {
		return
	}
	newest := l.boxes[boxKey{owner, [32]byte(collects[0])}]
	if newest == nil || !newest.texts {
		return
	}
	for _, b := range l.people[owner] {
		if b.before == newest.mailbox {
			b.before = [32]byte{}
			l.storeLocked(job{box: b})
		}
	}
	newest.superseded = false
	if len(collects) == 1 || newest.before == [32]byte(collects[1]) {
		return
	}
	newest.before = [32]byte(collects[1])
	l.storeLocked(job{box: newest})
	l.markSuperseded(newest)
}

// markSuperseded marks the box that b supersedes.
func (l *letters) markSuperseded(b *box) {
	if old := l.boxes[boxKey{b.owner, b.before}]; old != nil {
		old.superseded = true
	}
}

// dropOldest keeps a person's boxes within their bounds. Those of each class go in the order of
// their last delegations.
func (l *letters) dropOldest(owner [32]byte) {
	classes := map[string][]*box{}
	for _, b := range l.people[owner] {
		classes[b.class()] = append(classes[b.class()], b)
	}
	for class, boxes := range classes {
		most := proto.MaxMailboxesTo
		if class == "receipts" {
			most = ReceiptBoxes
		}
		if len(boxes) <= most {
			continue
		}
		slices.SortStableFunc(boxes, byBegin)
		oldest := boxes[:len(boxes)-most]
		l.spawn(func() {
			l.remove("a newer one of its owner's took its place", func(b *box) bool { return slices.Contains(oldest, b) })
		})
	}
}

func (b *box) class() string {
	switch {
	case !b.texts:
		return "receipts"
	case b.superseded:
		return "superseded"
	}
	return "texts"
}

func (l *letters) insert(b *box) {
	l.boxes[b.boxKey] = b
	l.people[b.owner] = append(l.people[b.owner], b)
}

// now returns the relay's time in Unix milliseconds.
func (l *letters) now() int64 { return l.cfg.Now().UnixMilli() }
