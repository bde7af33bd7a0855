package relay

import (
	"cmp"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// byBegin orders boxes by the begin of their last delegations.
func byBegin(a, b *box) int { return cmp.Compare(a.begin, b.begin) }

// remove removes the boxes that match, with their letters. Letters that wait for the disk are
// refused. The log says how many boxes, and the reason.
func (l *letters) remove(why string, match func(*box) bool) error {
	if !l.any(match) {
		return nil // and no wait for the disk
	}
	l.disk.Lock()
	defer l.disk.Unlock()
	l.mu.Lock()
	var boxes []*box
	n := 0
	for _, b := range l.boxes {
		if match(b) {
			boxes = append(boxes, b)
			n += len(b.piles[texts].letters) + len(b.piles[receipts].letters)
		}
	}
	for _, b := range boxes {
		l.detach(b)
	}
	l.mu.Unlock()
	var err error
	for _, b := range boxes {
		err = errors.Join(err, l.removeDir(b))
	}
	if err != nil {
		l.log.Error("boxes of letters stay on the disk", "error", err)
	}
	l.log.Info("letters removed", "reason", why, "boxes", len(boxes), "letters", n)
	return err
}

func (l *letters) any(match func(*box) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.boxes {
		if match(b) {
			return true
		}
	}
	return false
}

// detach forgets a box. l.mu is held, and l.disk, so that no box of the same key is written
// before the directory is removed.
func (l *letters) detach(b *box) {
	b.gone = true
	delete(l.boxes, b.boxKey)
	l.people[b.owner] = slices.DeleteFunc(l.people[b.owner], func(other *box) bool { return other == b })
	if len(l.people[b.owner]) == 0 {
		delete(l.people, b.owner)
	}
	for kind := range b.piles {
		for _, lt := range slices.Clone(b.piles[kind].letters) {
			l.takeOut(lt)
		}
		for _, k := range b.piles[kind].takers {
			l.hand(k) // says the end
		}
	}
}

// removeDir removes a box's directory: all of it or, after a crash, none. The next start removes
// the rest of one that has another name already.
func (l *letters) removeDir(b *box) error {
	if !b.onDisk {
		return nil
	}
	temp, err := os.MkdirTemp(l.dir, state.Temp)
	if err == nil {
		err = os.Rename(b.path, filepath.Join(temp, boxFile))
	}
	if err == nil {
		err = os.RemoveAll(temp)
	}
	os.Remove(filepath.Dir(b.path)) // if it is empty
	return errors.Join(err, state.SyncDir(l.dir))
}

// expire removes the letters whose time is over, and the boxes of mailboxes that have ended.
func (l *letters) expire() {
	now := l.now()
	l.remove("the mailbox has ended", func(b *box) bool { return b.end*1000 < now })
	l.mu.Lock()
	l.forget(now)
	maps.DeleteFunc(l.paces, func(_ [32]byte, until time.Time) bool { return until.Before(time.Now()) })
	var old []*letter
	for _, known := range l.ids {
		if lt := known.letter; lt != nil && lt.stored && lt.until < now {
			old = append(old, lt)
		}
	}
	for _, lt := range old {
		l.takeOut(lt)
		l.remember(lt)
		for _, k := range lt.box.collectors() {
			l.hand(k)
		}
	}
	l.mu.Unlock()
	for _, lt := range old {
		l.erase(lt)
	}
	if len(old) > 0 {
		l.log.Info("letters removed", "reason", "not collected in time", "letters", len(old))
	}
}

// shutOut removes the boxes of people whom the relay does not serve.
func (l *letters) shutOut(g *group) {
	l.remove("the relay does not serve their owner", func(b *box) bool { return g.admit(b.owner, b.issuers) != nil })
}

// refused removes the boxes of somebody whom the relay does not serve, or those that a revoked
// certificate has named. A renewed card's stay.
func (l *letters) refused(told *proto.Error, person *trust.Person, bundle *trust.Bundle) {
	switch {
	case told.Code == proto.NotAllowed && person != nil:
		l.remove("the relay does not serve their owner", func(b *box) bool { return b.owner == person.Identity })
	case told.Code == proto.CertificateRevoked:
		leaf := leafHash(bundle)
		l.remove("the certificate is revoked", func(b *box) bool { return b.leaf == leaf })
	}
}

// released removes a person's boxes under a name, folded.
func (l *letters) released(owner [32]byte, name string) error {
	return l.remove("the name was given up", func(b *box) bool { return b.owner == owner && b.name == name })
}

// releasedBox removes the box of a person's mailbox.
func (l *letters) releasedBox(owner, mailbox [32]byte) error {
	return l.remove("its owner has released it", func(b *box) bool { return b.boxKey == boxKey{owner, mailbox} })
}
