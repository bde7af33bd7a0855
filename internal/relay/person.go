package relay

import (
	"sync"
	"time"

	"chatsecure/proto"
)

// MaxOfPerson bounds the connections of one person. People have a few devices, and
// scripts with a connection each. More connections come from a faulty loop, or
// from somebody who wants all the places.
const MaxOfPerson = 256

// The budget for requests to the relay. Its unit is one listed connection: some
// 170 bytes and a third of a microsecond, with sealing. All connections of a
// person share one budget, so further connections bring no more.
const (
	// Budget is the cost that a person may owe at once: two lists of all
	// connections of a full relay, and a thousand single names. A few clients ask
	// for so much when they come back after the relay was away.
	Budget = 50_000
	// BudgetRate is the cost that each second pays off: a page of a list, or 200
	// questions about one name. It keeps the questions of one person below a fiftieth
	// of a processor and some 400 KiB/s of lists.
	BudgetRate = 2000
	// RequestCost is the cost of any request, without its list: the check of its
	// signature takes longer than many entries, and its answer is a sealed line.
	RequestCost = 8
	// ReleaseCost is the cost of giving a name up. It pays for two files of names: one
	// without the name, and one with it when somebody takes it again. The files grow
	// with the names of the relay, so every ReleaseNames of them add a unit.
	ReleaseCost  = 200
	ReleaseNames = 10
)

// person is the account that the connections of one identity share.
type person struct {
	conns int // live connections; guarded by hub.mu

	mu    sync.Mutex // guards the fields below
	spent int64      // owed for requests at the second as
	as    int64      // of the relay's clock

	letters time.Time // until then the letters left are paid off
}

// owes returns the cost that is not paid off yet. p.mu is held.
func (p *person) owes(now int64) int64 {
	return max(0, p.spent-(now-p.as)*BudgetRate)
}

// spend charges the cost of a request, or refuses it while earlier costs exceed the
// budget. So even a list that costs more than the whole budget is sometimes
// answered.
func (p *person) spend(now, cost int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	owed := p.owes(now)
	if over := owed - Budget; over > 0 {
		return refuse(proto.Busy,
			"your connections together have asked the relay for too much; try again in %d s", (over+BudgetRate-1)/BudgetRate)
	}
	p.spent, p.as = owed+cost, now
	return nil
}

// idle tells whether the person can be forgotten. hub.mu is held.
func (p *person) idle(now int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns == 0 && p.owes(now) == 0 && p.letters.Before(time.Now())
}

// mayAsk refuses a request while the person is over the budget, before the check of
// its signature.
func (c *conn) mayAsk() error { return c.person.spend(c.relay.seconds.Load(), 0) }

// spend charges a request, with the cost of its answer's entries.
func (c *conn) spend(entries int) error {
	return c.person.spend(c.relay.seconds.Load(), int64(RequestCost+entries))
}
