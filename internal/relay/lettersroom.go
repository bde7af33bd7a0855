package relay

import "chatsecure/proto"

// The bounds on letters. Whoever leaves many has less and less of what is left, so that nobody
// can take the room of others.
const (
	// LetterLeast is the least size for which a letter counts: its file takes as much of the disk.
	LetterLeast = 4 << 10
	// BoxMax and BoxMaxReceipts bound the letters of one mailbox, and BoxPart those of one person
	// in it, by kind in bytes.
	BoxMax         = 16 << 20
	BoxMaxReceipts = 4 << 20
	BoxPart        = 4 << 20
	// RestPart is the part of what is left that one person may have.
	RestPart = 4
	// ReceiptsPart is the part of -letter-max that is for receipts.
	ReceiptsPart = 8
	// maxUnstored bounds the letters that wait for the disk, in bytes.
	maxUnstored = 16 << 20
	// LettersAtOnce and LettersASecond pace the letters of one person. Each costs several writes to
	// the disk.
	LettersAtOnce  = 1024
	LettersASecond = 32
)

// room counts the bytes of letters in a mailbox, or in the relay.
type room struct {
	used int64
	of   map[[32]byte]int64 // by sender
}

// takes reports whether there is room for a letter. Of what is left of max, its sender may have
// RestPart, and never more than most.
func (r *room) takes(sender [32]byte, size, max, most int64) bool {
	return r.of[sender]+size <= min((max-r.used)/RestPart, most)
}

// add counts a letter, or one less.
func (r *room) add(sender [32]byte, size int64) {
	if r.of == nil {
		r.of = make(map[[32]byte]int64)
	}
	r.used += size
	if r.of[sender] += size; r.of[sender] == 0 {
		delete(r.of, sender)
	}
}

// counts is the number of bytes for which a letter counts.
func (lt *letter) counts() int64 { return int64(max(lt.size, LetterLeast)) }

// count counts a letter in its box and in the relay, or takes it away for sign -1.
func (l *letters) count(lt *letter, sign int64) {
	lt.box.piles[lt.kind].room.add(lt.sender, sign*lt.counts())
	l.rooms[lt.kind].add(lt.sender, sign*lt.counts())
}

// fits refuses a letter for which there is no room. It says which room that is.
func (l *letters) fits(lt *letter) error {
	all, ofBox := l.cfg.LetterMax-l.cfg.LetterMax/ReceiptsPart, int64(BoxMax)
	if lt.kind == receipts {
		all, ofBox = l.cfg.LetterMax/ReceiptsPart, BoxMaxReceipts
	}
	mailbox, relay := &lt.box.piles[lt.kind].room, &l.rooms[lt.kind]
	switch size := lt.counts(); {
	case !mailbox.takes(lt.sender, size, ofBox, BoxPart) && mailbox.of[lt.sender] == 0:
		return refuse(proto.MailboxFull, "the mailbox is full: its owner has not collected %d bytes of letters", mailbox.used)
	case !mailbox.takes(lt.sender, size, ofBox, BoxPart):
		return refuse(proto.MailboxFull, "%d bytes of your letters wait in that mailbox, which is as much as one person may leave there",
			mailbox.of[lt.sender])
	case !relay.takes(lt.sender, size, all, all) && relay.of[lt.sender] == 0:
		return refuse(proto.Busy, "the relay is full of letters; try again later")
	case !relay.takes(lt.sender, size, all, all):
		return refuse(proto.Busy, "%d bytes of your letters wait at the relay, which is as much as one person may leave; try again later",
			relay.of[lt.sender])
	case l.unstored+lt.size > maxUnstored:
		return refuse(proto.Busy, cannotStore)
	}
	return nil
}

const cannotStore = "the relay cannot store letters just now; try again later"
