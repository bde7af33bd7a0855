package relay

import (
	"errors"
	"io/fs"
	"slices"
	"syscall"
	"time"

	"chatsecure/proto"
)

// collector hands letters to a connection that listed their mailboxes.
type collector struct {
	conn *conn

	// Guarded by letters.mu.
	boxes   []*box
	ends    []letterEnd          // to be said
	onWay   map[[32]byte]*letter // handed out and not answered, by id
	bytes   int                  // of these
	reading bool                 // a goroutine reads letters for it
	left    bool
}

// letterEnd is the end of a mailbox that a connection waits for: it comes once all letters up
// to that number are handed out.
type letterEnd struct {
	mailbox [32]byte
	box     *box // nil without one of the connection's person
	number  uint64
}

// collect begins to hand out what waits in the mailboxes that a connection has listed.
func (l *letters) collect(c *conn, mailboxes [][]byte) {
	if len(mailboxes) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := &collector{conn: c, onWay: make(map[[32]byte]*letter)}
	c.collector = k
	for _, hash := range mailboxes {
		end := letterEnd{mailbox: [32]byte(hash), number: l.number}
		if b := l.boxes[boxKey{c.identity, end.mailbox}]; b != nil {
			end.box = b
			k.boxes = append(k.boxes, b)
			for kind := range b.piles {
				if kind == receipts || c.takes == proto.TakesMessages {
					b.piles[kind].takers = append(b.piles[kind].takers, k)
				}
			}
		}
		k.ends = append(k.ends, end)
	}
	l.hand(k)
}

// left ends the collecting of a connection. Somebody else gets what it has not answered.
func (l *letters) left(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := c.collector
	if k == nil {
		return
	}
	k.left = true
	for _, b := range k.boxes {
		for kind := range b.piles {
			p := &b.piles[kind]
			at := slices.Index(p.takers, k)
			if at < 0 {
				continue
			}
			p.takers = slices.Delete(p.takers, at, at+1)
			if at > 0 {
				continue
			}
			p.given = 0
			if len(p.takers) > 0 {
				l.hand(p.takers[0])
			}
		}
	}
}

// hand hands out letters up to the next one that has to be read from the disk, which a
// goroutine of its own does.
func (l *letters) hand(k *collector) {
	for !k.reading && !k.left {
		lt := k.next()
		l.sayEnds(k)
		switch {
		case lt == nil || !k.fits(lt):
			return
		case lt.body == nil:
			k.reading = true
			l.spawn(func() { l.read(k) })
		default:
			k.give(lt, lt.body)
		}
	}
}

// read hands out letters from the disk.
func (l *letters) read(k *collector) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !k.left {
		lt := k.next()
		l.sayEnds(k)
		if lt == nil || !k.fits(lt) {
			break
		}
		body := lt.body
		if body == nil {
			l.mu.Unlock()
			var err error
			if body, err = readLetter(lt); isShort(err) {
				time.Sleep(readAgain)
			}
			l.mu.Lock()
			if lt != k.next() {
				continue // it is gone, or is another's now
			}
			if isShort(err) { // which is not the letter's fault
				l.complainLocked(err)
				continue
			}
			if err != nil {
				l.takeOut(lt)
				if !errors.Is(err, fs.ErrNotExist) {
					setAside(lt.path())
				}
				l.log.Error("a letter cannot be read; it is left out", "file", lt.path(), "error", err)
				continue
			}
		}
		k.give(lt, body)
	}
	k.reading = false
}

// readAgain is the time between two tries to read a letter while the relay lacks files.
const readAgain = 100 * time.Millisecond

// isShort tells that the machine, or this program, has no file or memory left just now.
func isShort(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// next returns the next letter for a connection, or nil.
func (k *collector) next() (first *letter) {
	for _, b := range k.boxes {
		for kind := range b.piles {
			if lt := b.piles[kind].next(k); lt != nil && (first == nil || lt.number < first.number) {
				first = lt
			}
		}
	}
	if first != nil && !first.stored {
		return nil // the order is that of coming
	}
	return first
}

// next returns the first letter of a pile that is to be handed to k, on the disk or not.
func (p *pile) next(k *collector) *letter {
	if len(p.takers) == 0 || p.takers[0] != k || p.given == len(p.letters) {
		return nil
	}
	return p.letters[p.given]
}

// fits reports whether the window has room for a letter.
func (k *collector) fits(lt *letter) bool {
	return len(k.onWay) < proto.RelayMessages && k.bytes+lt.size <= proto.RelayWindow
}

// give hands out the next letter.
func (k *collector) give(lt *letter, body []byte) {
	lt.box.piles[lt.kind].given++
	k.onWay[lt.id] = lt
	k.bytes += lt.size
	k.conn.say(proto.UnsignedPayload(&proto.Header{
		Type: proto.TypeLetter, Kind: kindNames[lt.kind], Identity: proto.FormatHash(lt.sender), Left: lt.left,
	}), body)
}

// sayEnds says which mailboxes have been handed out.
func (l *letters) sayEnds(k *collector) {
	k.ends = slices.DeleteFunc(k.ends, func(end letterEnd) bool {
		left := l.now()
		if b := end.box; b != nil && !b.gone {
			for kind := range b.piles {
				if lt := b.piles[kind].next(k); lt != nil && lt.number <= end.number {
					return false
				}
			}
			left = min(left, b.oldestLeft(k))
		}
		k.conn.say(proto.UnsignedPayload(&proto.Header{
			Type: proto.TypeLetterEnd, Mailbox: proto.FormatHash(end.mailbox), Left: left,
		}), nil)
		return true
	})
}

// oldestLeft returns the least time of the letters that were not handed to k: later ones, those
// of a kind that k does not take, and those that wait for another connection's answer. The
// receiver must not take the box for empty before it has them.
func (b *box) oldestLeft(k *collector) int64 {
	oldest := int64(1<<63 - 1)
	for kind := range b.piles {
		p := &b.piles[kind]
		rest := p.letters
		if len(p.takers) > 0 && p.takers[0] == k {
			rest = rest[p.given:]
		}
		for _, lt := range rest {
			oldest = min(oldest, lt.left)
		}
	}
	return oldest
}

// letterAck takes the answer to a letter that was handed out.
func (c *conn) letterAck(req request) error {
	if len(req.body) > 0 {
		return proto.Errorf(proto.Malformed, "a %s with a body", req.header.Type)
	}
	l, id := c.relay.letters, proto.MustHash(req.header.Letter)
	l.mu.Lock()
	var lt *letter
	if c.collector != nil {
		lt = c.collector.onWay[id]
	}
	if lt == nil {
		l.mu.Unlock()
		return proto.Errorf(proto.Malformed, "an answer to a letter that is not on its way to this connection")
	}
	delete(c.collector.onWay, id)
	c.collector.bytes -= lt.size
	erase := !lt.gone && req.header.Done != proto.Later
	if erase {
		l.takeOut(lt)
		l.remember(lt)
	}
	l.hand(c.collector)
	l.mu.Unlock()
	if erase {
		l.erase(lt)
	}
	return nil
}
