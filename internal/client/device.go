package client

import (
	"slices"
	"time"

	"chatsecure/internal/history"
	"chatsecure/proto"
)

// device is a connection that was lost, while its return is awaited. The records
// that it has not READ wait for it, and those that are sent meanwhile. It is
// known again by its bundle.
type device struct {
	bundle  [32]byte  // zero: it had proved nothing
	mailbox [32]byte  // that the bundle names, or zero
	ended   bool      // it said that it goes
	since   time.Time // by the patient clock
	bytes   int       // of records that were sent meanwhile
}

const (
	// deviceWait bounds the wait for a device: the longest time until its next attempt, and
	// the time of that. While this client has no relay, it does not count.
	deviceWait = backoffMax + proto.HandshakeTimeout
	// maxAway bounds the awaited devices of a user, and maxAwayBytes what is sent
	// meanwhile: twice what may be PENDING.
	maxAway      = 16
	maxAwayBytes = 2 * maxQueuedBytes
)

// lose awaits the device of a lost connection, if it takes messages.
func (u *user) lose(pc *peerConn, now time.Time) *device {
	if pc.takes != proto.TakesMessages {
		return nil
	}
	if len(u.away) == maxAway {
		u.away = slices.Delete(u.away, 0, 1)
	}
	dev := &device{bundle: pc.bundle, mailbox: pc.last, ended: pc.ending, since: now}
	u.away = append(u.away, dev)
	return dev
}

// keep has a record wait for each awaited device. A device too far behind is
// awaited no longer.
func (u *user) keep(r *recipient, now time.Time) {
	u.away = slices.DeleteFunc(u.away, func(dev *device) bool {
		dev.bytes += r.out.size
		return dev.bytes > maxAwayBytes
	})
	for _, dev := range u.away {
		u.orphans = append(u.orphans, &delivery{r: r, device: dev, since: now})
	}
}

func (u *user) awaits(dev *device) bool { return slices.Contains(u.away, dev) }

// settled tells whether an orphan waits for nothing: it is given up, or others have it and
// its device is not awaited.
func (u *user) settled(d *delivery) bool {
	return d.r.status == history.StatusFailed || d.r.has() && !u.awaits(d.device)
}

// find returns the awaited device that a connection has proved to be. another tells
// that it is none of them, and new here: perhaps a lost one that has made its key
// anew.
func (u *user) find(pc *peerConn) (own *device, another bool) {
	i := slices.IndexFunc(u.away, func(dev *device) bool { return dev.bundle == pc.bundle })
	if i >= 0 {
		own = u.away[i]
	}
	another = own == nil && !pc.adopted
	pc.adopted = true
	return own, another
}
