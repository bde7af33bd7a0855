package chatsecure

import (
	"sync"

	"chatsecure/proto"
)

// relayMaxOfPerson bounds the connections of one person. People have a few
// devices, and scripts of which each has a connection of its own; beyond that
// it is a loop that went wrong, or somebody who wants all the places.
const relayMaxOfPerson = 256

// What requests to the relay may cost, in connections listed: some 170 bytes and
// a third of a microsecond each, with sealing. It is counted for all
// connections of a person together, so that more of them give no more.
const (
	// relayBudget is what a person may have asked for at once: two lists of
	// all that a relay has room for and a thousand single names more, as a few
	// clients ask that come back after the relay was away.
	relayBudget = 50_000
	// relayBudgetRate is what is paid off each second: a page of a list, or
	// 200 questions about one name. It keeps what one person takes below a
	// fiftieth of a processor and some 400 KiB/s of lists, or 2 MiB/s of
	// bundles that are as long as they may be.
	relayBudgetRate = 2000
	// relayRequestCost is what a request costs beside what is listed: a
	// signature to check takes longer than many entries, and an answer is a
	// sealed line.
	relayRequestCost = 8
	// relayWhoisCost is what a connection in an answer to whois costs: its
	// bundle has some 5 KiB, and at most 27.
	relayWhoisCost = 32
)

// relayPerson is what the connections of one identity share.
type relayPerson struct {
	conns int // how many there are; guarded by hub.mu

	mu    sync.Mutex // guards what follows
	spent int64      // what requests have cost and time has not paid off
	as    int64      // second of the relay's clock at which it was so much
}

// owes returns what is not paid off. p.mu is held.
func (p *relayPerson) owes(now int64) int64 {
	return max(0, p.spent-(now-p.as)*relayBudgetRate)
}

// spend takes what a request costs, or refuses it while what was asked before
// is over the budget: so even a list that costs more than the whole budget is
// answered sometimes.
func (p *relayPerson) spend(now, cost int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	owed := p.owes(now)
	if over := owed - relayBudget; over > 0 {
		return relayRefuse(proto.Busy, "your connections together have asked the relay for too much; try again in %d s", (over+relayBudgetRate-1)/relayBudgetRate)
	}
	p.spent, p.as = owed+cost, now
	return nil
}

// idle tells whether nothing is to be remembered of the person. hub.mu is held.
func (p *relayPerson) idle(now int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns == 0 && p.owes(now) == 0
}

// mayAsk refuses a request of one who has asked for too much already, before
// its signature is checked.
func (c *relayConn) mayAsk() error { return c.person.spend(c.relay.seconds.Load(), 0) }

// spend takes what a request costs whose answer has so many entries' worth.
func (c *relayConn) spend(entries int) error {
	return c.person.spend(c.relay.seconds.Load(), int64(relayRequestCost+entries))
}
