package client

// accounts has the memory of what has arrived from each person and is not shown, or not READ, by
// identity: a person may have many names and connections. The engine's goroutine owns it.
type accounts struct {
	of  map[[32]byte]int
	all int
}

// MaxAllUnread bounds the bytes that are received from all people together and not READ.
const MaxAllUnread = 2 * MaxUnread

func (a *accounts) add(identity [32]byte, bytes int) {
	a.all += bytes
	if a.of[identity] += bytes; a.of[identity] == 0 {
		delete(a.of, identity)
	}
}

// full tells whether a person has more here than the rest that is left for all. Then nothing more
// is taken from that person. One person alone may have MaxUnread. A small account always has room.
func (a *accounts) full(identity [32]byte) bool { return a.of[identity] > MaxAllUnread-a.all }

// crowds tells whether DELIVERED is withheld from a person, so that the senders stop at their
// windows. Alone that is beyond half of MaxUnread, and the windows of several connections, some
// 9 MiB each as the receiver counts, fit between the two.
func (a *accounts) crowds(identity [32]byte) bool { return 3*a.of[identity] > MaxAllUnread-a.all }
