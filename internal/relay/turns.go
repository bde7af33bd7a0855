package relay

import (
	"container/list"
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The account of failed handshakes. Each costs the relay a KEM key, and signatures of its
// own and of strangers, whether a card is behind it or not. An address may fail MaxFailures
// times at once, and then once in FailureEvery. Beyond that it is a debtor: others come
// first. Success costs nothing: many people may share an address.
const (
	MaxFailures  = 16
	FailureEvery = time.Second
	// RSAFailure is the cost of a failure that took one of the few RSA keys.
	RSAFailure = 8
	// maxDebt bounds the time for which an address is a debtor after a storm.
	maxDebt = time.Minute
	// DebtorsRest is the rest of all debtors after a piece of their work, in times of what it
	// took. So all together get a quarter of one worker.
	DebtorsRest = 3
	// maxAccounts bounds the addresses with failures, to some 2 MiB.
	maxAccounts = 16 << 10
)

// turns gives the processors that check certificates to the addresses in turn: one that
// has much work waits for itself. The work of debtors waits for that of all others.
type turns struct {
	credit time.Duration // how far an address may owe before it is a debtor

	mu        sync.Mutex // guards the fields below
	idle      int        // workers
	accounts  map[netip.Prefix]*account
	order     list.List   // of *account: those with waiting work, the next one first
	inspector account     // its work is always the next
	debtor    bool        // a worker is at a debtor's work
	rest      time.Time   // until then the work of debtors waits
	timer     *time.Timer // for the end of the rest, while a worker is idle
}

// account is an address with visitors, or with failures that are not paid off.
type account struct {
	addr     netip.Prefix
	key      chan struct{} // capacity 1: full while a visitor waits for an RSA key
	paid     atomic.Int64  // when its failures will be paid off, in Unix nanoseconds
	visitors int           // guarded by turns.mu
	waiting  [2][]*turn    // guarded by turns.mu: first visits, and those that go on
	place    *list.Element // in turns.order; nil without waiting work
}

// turn is a piece of work. Work of one address has no order: who fills it with his own
// cannot keep a neighbour waiting for all of that.
type turn struct {
	came   chan struct{} // closed when its turn comes
	debtor bool
	began  time.Time
}

func newTurns(workers, failures int) *turns {
	t := &turns{idle: workers, accounts: make(map[netip.Prefix]*account), credit: time.Duration(failures) * FailureEvery}
	t.timer = time.AfterFunc(time.Hour, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.shareOut()
	})
	t.timer.Stop()
	return t
}

// enter returns the account of a new visitor's address. leave must follow.
func (t *turns) enter(addr netip.Prefix) *account {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.accounts[addr]
	if a == nil {
		a = &account{addr: addr, key: make(chan struct{}, 1)}
		t.accounts[addr] = a
	}
	a.visitors++
	return a
}

func (t *turns) leave(a *account) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a.visitors--
	t.settle(a, time.Now())
}

// settle forgets an account if there is nothing to remember, or no room.
func (t *turns) settle(a *account, now time.Time) {
	if a.visitors == 0 && (a.paid.Load() <= now.UnixNano() || len(t.accounts) > maxAccounts) {
		delete(t.accounts, a.addr)
	}
}

// forget drops the accounts without visitors whose failures are paid off.
func (t *turns) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for _, a := range t.accounts {
		t.settle(a, now)
	}
}

// owes reports whether an address is a debtor.
func (t *turns) owes(a *account, now time.Time) bool {
	return a.paid.Load() > now.Add(t.credit).UnixNano()
}

// fail charges an address for the failure of a handshake. For failed work it comes
// before give, so that the next work of the address is bought by none that is free.
func (t *turns) fail(a *account, cost int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	paid := max(a.paid.Load(), now.UnixNano()) + int64(cost)*int64(FailureEvery)
	a.paid.Store(min(paid, now.Add(t.credit+maxDebt).UnixNano()))
}

// take waits for a worker, until ctx ends. After success give must follow. Work that goes on
// with a visit comes before new visits of the address.
func (t *turns) take(ctx context.Context, a *account, goesOn bool) (*turn, error) {
	turn, i := &turn{came: make(chan struct{})}, 0
	if goesOn {
		i = 1
	}
	t.mu.Lock()
	a.waiting[i] = append(a.waiting[i], turn)
	switch {
	case a.place != nil:
	case a == &t.inspector:
		a.place = t.order.PushFront(a)
	default:
		a.place = t.order.PushBack(a)
	}
	t.shareOut()
	t.mu.Unlock()
	select {
	case <-turn.came:
		return turn, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if at := slices.Index(a.waiting[i], turn); at >= 0 {
		t.drop(a, i, at)
	} else { // its turn came at this very moment
		t.giveLocked(turn)
	}
	return nil, ctx.Err()
}

// give ends the work that take began.
func (t *turns) give(turn *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.giveLocked(turn)
}

func (t *turns) giveLocked(turn *turn) {
	if turn.debtor {
		now := time.Now()
		t.debtor, t.rest = false, now.Add(DebtorsRest*now.Sub(turn.began))
	}
	t.idle++
	t.shareOut()
}

// drop takes work out of the queue of its address. The address goes to the end of the order.
func (t *turns) drop(a *account, i, at int) *turn {
	turn := a.waiting[i][at]
	a.waiting[i] = slices.Delete(a.waiting[i], at, at+1)
	if len(a.waiting[0])+len(a.waiting[1]) > 0 {
		t.order.MoveToBack(a.place)
	} else {
		t.order.Remove(a.place)
		a.place = nil
	}
	return turn
}

// next returns the account whose turn it is, or nil.
func (t *turns) next(now time.Time) (first *account) {
	for e := t.order.Front(); e != nil; e = e.Next() {
		switch a := e.Value.(*account); {
		case !t.owes(a, now):
			return a
		case first == nil:
			first = a
		}
	}
	switch {
	case t.debtor:
		return nil
	case first != nil && now.Before(t.rest):
		t.timer.Reset(t.rest.Sub(now))
		return nil
	}
	return first
}

// shareOut gives the idle workers to waiting work.
func (t *turns) shareOut() {
	for t.idle > 0 {
		now := time.Now()
		a := t.next(now)
		if a == nil {
			return
		}
		i := min(len(a.waiting[1]), 1)
		turn := t.drop(a, i, rand.N(len(a.waiting[i])))
		turn.began, turn.debtor = now, t.owes(a, now)
		t.debtor = t.debtor || turn.debtor
		t.idle--
		close(turn.came)
	}
}
