package relay

import (
	"container/list"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"chatsecure/proto"
)

// The pace of failed handshakes. Each costs the relay a KEM key, and signatures of its
// own and of strangers, whether a card is behind it or not. So an address may fail
// MaxFailures times at once, and then once in FailureEvery. Its other work waits
// meanwhile, and no signature of it is checked. Success costs nothing: many people may
// share an address.
const (
	MaxFailures  = 64
	FailureEvery = 200 * time.Millisecond
	// RSAFailure is the cost of a failure that took one of the few RSA keys.
	RSAFailure = 8
	// maxDebt bounds the time for which an address has to wait after a storm.
	maxDebt = 2 * MaxFailures * FailureEvery
	// maxPaced bounds the work of an address that waits for the end of a debt. It would
	// not come in time for more, and each takes one of the places for handshakes.
	maxPaced = 40
	// maxAccounts bounds the addresses with failures, to some 2 MiB.
	maxAccounts = 16 << 10
)

// turns gives the processors that check certificates to the addresses in turn: one that
// has much work waits for itself.
type turns struct {
	credit time.Duration // how far an address may be in debt

	mu       sync.Mutex // guards the fields below
	idle     int        // workers
	accounts map[netip.Prefix]*account
	order    list.List   // of *account: those with waiting work, the next one first
	timer    *time.Timer // for the end of a debt, while a worker is idle
}

// account is an address with waiting work, or with failures that are not paid off.
type account struct {
	addr    netip.Prefix
	paid    time.Time     // when its failures will be paid off
	waiting []chan error  // each gets nil when its turn comes, or the reason why it does not
	place   *list.Element // in turns.order; nil without waiting work
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

// account returns the account of an address, a new one if need be.
func (t *turns) account(addr netip.Prefix) *account {
	a := t.accounts[addr]
	if a == nil {
		a = &account{addr: addr}
		t.accounts[addr] = a
	}
	return a
}

// settle forgets the account if there is nothing to remember.
func (t *turns) settle(a *account, now time.Time) {
	if len(a.waiting) == 0 && !a.paid.After(now) {
		delete(t.accounts, a.addr)
	}
}

// debt returns the time for which the address's work has to wait.
func (t *turns) debt(a *account, now time.Time) time.Duration {
	return max(0, a.paid.Sub(now.Add(t.credit)))
}

// take waits for a worker, until ctx ends. After success give must follow.
func (t *turns) take(ctx context.Context, addr netip.Prefix) error {
	turn := make(chan error, 1)
	t.mu.Lock()
	a := t.account(addr)
	a.waiting = append(a.waiting, turn)
	if a.place == nil {
		a.place = t.order.PushBack(a)
	}
	t.pace(a)
	t.shareOut()
	t.mu.Unlock()
	select {
	case err := <-turn:
		return err
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(a.waiting, turn); i >= 0 {
		t.drop(a, i)
	} else if <-turn == nil { // its turn came at this very moment
		t.idle++
		t.shareOut()
	}
	return errTooMuch
}

var errTooMuch = proto.Errorf(proto.Busy, "too many handshakes at once; try again")

// pace refuses the work that an address in debt has too much.
func (t *turns) pace(a *account) {
	for len(a.waiting) > maxPaced && t.debt(a, time.Now()) > 0 {
		last := len(a.waiting) - 1
		a.waiting[last] <- errTooMuch
		t.drop(a, last)
	}
}

// give ends the work that take began.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.idle++
	t.shareOut()
}

// fail charges an address for the failure of a handshake. For failed work it comes
// before give, so that the next work of the address is bought by none that is free.
func (t *turns) fail(addr netip.Prefix, cost int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if len(t.accounts) >= maxAccounts {
		t.forgetLocked(now)
	}
	if t.accounts[addr] == nil && len(t.accounts) >= maxAccounts {
		return
	}
	a := t.account(addr)
	if a.paid.Before(now) {
		a.paid = now
	}
	a.paid = a.paid.Add(time.Duration(cost) * FailureEvery)
	if most := now.Add(maxDebt); a.paid.After(most) {
		a.paid = most
	}
	t.pace(a)
}

// forget drops the accounts without waiting work whose failures are paid off.
func (t *turns) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forgetLocked(time.Now())
}

func (t *turns) forgetLocked(now time.Time) {
	for _, a := range t.accounts {
		t.settle(a, now)
	}
}

// drop takes the i-th waiting work out of the queue of its address. The address goes to
// the end of the order.
func (t *turns) drop(a *account, i int) {
	a.waiting = slices.Delete(a.waiting, i, i+1)
	if len(a.waiting) > 0 {
		t.order.MoveToBack(a.place)
		return
	}
	t.order.Remove(a.place)
	a.place = nil
	t.settle(a, time.Now())
}

// shareOut gives the idle workers to waiting work, and comes back when the first debt
// ends, if a worker stays idle.
func (t *turns) shareOut() {
	now, soonest := time.Now(), time.Duration(0)
	for e := t.order.Front(); e != nil && t.idle > 0; {
		a := e.Value.(*account)
		e = e.Next()
		if debt := t.debt(a, now); debt > 0 {
			if soonest == 0 || debt < soonest {
				soonest = debt
			}
			continue
		}
		turn := a.waiting[0]
		t.drop(a, 0)
		t.idle--
		turn <- nil
		if e == nil {
			e = t.order.Front()
		}
	}
	if t.idle > 0 && soonest > 0 {
		t.timer.Reset(soonest)
	}
}
