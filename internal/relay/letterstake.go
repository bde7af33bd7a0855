package relay

import (
	"bytes"
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// answered is a letter id that the relay knows: the same letter has the same answer.
type answered struct {
	sender [32]byte
	until  int64
	letter *letter // nil once it is erased
}

// erased is the id of a letter that was erased.
type erased struct {
	id [32]byte
	at int64 // Unix milliseconds
}

// The ids of erased letters are remembered for a day, of so many at most: a sender without an
// answer does not send the same letter for longer.
const (
	maxErased = 32 << 10
	erasedFor = 24 * time.Hour
)

// letter takes a letter into its mailbox. The answer comes once it is on the disk, and maybe
// after those to later lines.
func (c *conn) letter(req request) error {
	o, _, _, err := crypto.SplitLetter(req.body)
	if err != nil {
		return &refusal{told: tellable(err)}
	}
	if err := c.person.leave(c.relay.cfg.lettersAtOnce); err != nil {
		return err
	}
	l := c.relay.letters
	l.mu.Lock()
	defer l.mu.Unlock()
	lt := &letter{
		id: [32]byte(o.Letter), sender: c.identity, kind: kindOf(req.header.Kind), size: len(req.body), left: l.now(),
	}
	if known := l.ids[lt.id]; known != nil {
		return l.again(known, c, req.seq)
	}
	lt.box = l.boxes[boxKey{proto.MustHash(req.header.Identity), [32]byte(o.Mailbox)}]
	switch {
	case lt.box == nil || lt.box.end*1000 <= lt.left:
		return noMailbox()
	case lt.kind == texts && !lt.box.texts:
		return refuse(proto.NoMailbox, "that mailbox takes receipts alone")
	}
	if err := l.fits(lt); err != nil {
		return err
	}
	lt.until = min(lt.left+int64(l.cfg.LetterDays)*24*time.Hour.Milliseconds(), lt.box.end*1000)
	lt.body = bytes.Clone(req.body)
	lt.senders = []waiter{{c, req.seq}}
	l.number++
	lt.number = l.number
	l.enter(lt)
	l.unstored += lt.size
	l.storeLocked(job{letter: lt, box: lt.box})
	return nil
}

func noMailbox() *refusal {
	return &refusal{told: proto.Errorf(proto.NoMailbox, "that mailbox is not there any more")}
}

// leave refuses a letter of a person who has left too many of late.
func (p *person) leave(atOnce int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	next, ok := paced(p.letters, time.Now(), atOnce, time.Second/LettersASecond)
	if p.letters = next; !ok {
		return refuse(proto.Busy, "your connections together have left too many letters; try again in a second")
	}
	return nil
}

// again answers a letter that the relay has or had, or adds its line to those that wait for the
// answer.
func (l *letters) again(known *answered, c *conn, seq uint64) error {
	switch lt := known.letter; {
	case known.sender != c.identity:
		return refuse(proto.Malformed, "somebody else's letter has that id")
	case lt != nil && !lt.stored:
		lt.senders = append(lt.senders, waiter{c, seq})
	default:
		c.sayKept(seq, known.until)
	}
	return nil
}

func (c *conn) sayKept(seq uint64, until int64) {
	c.say(proto.UnsignedPayload(&proto.Header{Type: proto.TypeLetter, Done: proto.Kept, Answers: &seq, Until: until}), nil)
}

// enter puts a letter behind those in its box.
func (l *letters) enter(lt *letter) {
	p := &lt.box.piles[lt.kind]
	p.letters = append(p.letters, lt)
	l.ids[lt.id] = &answered{lt.sender, lt.until, lt}
	l.count(lt, 1)
}

// takeOut takes a letter out of its box. The caller removes its file.
func (l *letters) takeOut(lt *letter) {
	p := &lt.box.piles[lt.kind]
	at := slices.Index(p.letters, lt)
	p.letters = slices.Delete(p.letters, at, at+1)
	if at < p.given {
		p.given--
	}
	lt.gone = true
	lt.body = nil
	l.count(lt, -1)
	delete(l.ids, lt.id)
}

// remember keeps the answer to a letter that its receiver has.
func (l *letters) remember(lt *letter) {
	now := l.now()
	l.ids[lt.id] = &answered{sender: lt.sender, until: lt.until}
	l.erased = append(l.erased, erased{lt.id, now})
	l.forget(now)
}

// forget drops the answers that are too old, or too many.
func (l *letters) forget(now int64) {
	n := 0
	for n < len(l.erased) && (len(l.erased)-n > maxErased || now-l.erased[n].at > erasedFor.Milliseconds()) {
		if known := l.ids[l.erased[n].id]; known != nil && known.letter == nil {
			delete(l.ids, l.erased[n].id)
		}
		n++
	}
	l.erased = l.erased[n:]
}
