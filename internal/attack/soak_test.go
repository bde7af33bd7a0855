//go:build soak

package attack

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/town"
)

// The soak: `make soak`, for CHATSECURE_SOAK of time. Each of these clients is a process of the
// built client. Some stay from beginning to end; the others come, talk, pipe, and leave or are
// killed.
const (
	soakReceivers = 40 // stay and receive
	soakTalkers   = 10 // stay and talk to those who stay
	soakMovers    = 150
)

// soak is one run. The seed decides which client does what with whom, not when it gets to it.
type soak struct {
	town      *town.Town
	ledger    *soakLedger
	residents []string
	everybody []string
	stop      chan struct{} // closed at the end
	running   atomic.Int64
	starts    atomic.Int64
}

func (s *soak) over() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// rest waits, at most until the end.
func (s *soak) rest(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.stop:
	}
}

// soakSettings reads the environment that make soak sets.
func soakSettings(t *testing.T) (length time.Duration, seed uint64) {
	t.Helper()
	length, err := time.ParseDuration(os.Getenv("CHATSECURE_SOAK"))
	if err != nil || length < 2*time.Minute {
		t.Fatalf("CHATSECURE_SOAK says how long, at least 2m: make soak SOAK=1h (%v)", err)
	}
	seed = rand.Uint64()
	if text := os.Getenv("CHATSECURE_SOAK_SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return length, seed
}

func TestSoak(t *testing.T) {
	length, seed := soakSettings(t)
	fmt.Printf("soak: %v with %d clients, CHATSECURE_SOAK_SEED=%d\n", length, soakReceivers+soakTalkers+soakMovers, seed)
	meter := newSoakMeter(t)
	s := &soak{ledger: newSoakLedger(), stop: make(chan struct{})}
	names := s.settle(t)
	s.town.Must("", "m000", "list") // the first client makes the relay create its lasting state
	before := s.relayAtRest(t, meter)

	begin := time.Now()
	var staying, moving sync.WaitGroup
	var stayers []*soakClient
	for i, name := range s.residents {
		var c *soakClient
		if i < soakReceivers {
			c = s.talk(name, "recv")
		} else {
			c = s.talk(name)
			staying.Go(func() { s.chat(c, rand.New(rand.NewPCG(seed, uint64(i)))) })
		}
		stayers = append(stayers, c)
	}
	for i := range soakMovers {
		moving.Go(newSoakMover(s, i, seed).rounds)
	}
	relay, clients := s.watch(t, meter, stayers, begin, length)

	close(s.stop)
	moving.Wait()
	staying.Wait()
	for i, c := range stayers {
		if i < soakReceivers {
			c.terminate()
		}
		c.end(0)
	}
	s.backTo(t, meter, before)
	s.town.Stop()
	s.cost(t, time.Since(begin))

	judged := soakAllowed
	if length < 3*soakWarm {
		fmt.Printf("*** soak: %v is too short to judge memory: only goroutines and descriptors are looked at ***\n", length)
		judged = soakAllowed[soakMemory:]
	}
	relay.flat(t, judged)
	clients.flat(t, judged)
	s.ledger.check(t, s.town, names)
}

// settle makes the town and returns the names of its people.
func (s *soak) settle(t *testing.T) (names []string) {
	t.Helper()
	holders := make(map[string][]lab.IssueOption)
	add := func(name string) {
		holders[name] = []lab.IssueOption{lab.P256}
		names = append(names, name)
	}
	for i := range soakReceivers + soakTalkers {
		name := fmt.Sprintf("s%03d", i)
		add(name)
		s.residents = append(s.residents, name)
	}
	s.everybody = append(s.everybody, s.residents...)
	for i := range soakMovers {
		add(fmt.Sprintf("m%03d", i))
		add(fmt.Sprintf("p%03d", i))
		s.everybody = append(s.everybody, fmt.Sprintf("m%03d", i))
	}
	s.town = town.New(t, holders)
	return names
}

// chat makes a client that stays talk to others that stay.
func (s *soak) chat(c *soakClient, rng *rand.Rand) {
	s.rest(5 * time.Second) // until the others are there
	for !s.over() {
		if to := s.residents[rng.IntN(len(s.residents))]; to != c.name {
			c.say("%s: %s is still here, %x", to, c.name, rng.Uint64())
		}
		s.rest(2*time.Second + time.Duration(rng.Int64N(int64(4*time.Second))))
	}
}

// soakWarm is the time until everybody has come once and talked to most others. Only a run several
// times as long tells anything about memory.
const soakWarm = 10 * time.Minute

// watch measures until the end and reports every minute. It leaves the warm-up out of the series.
func (s *soak) watch(t *testing.T, meter *soakMeter, stayers []*soakClient,
	begin time.Time, length time.Duration) (relay, clients *soakSeries) {
	t.Helper()
	relay, clients = &soakSeries{what: "relay"}, &soakSeries{what: fmt.Sprintf("the %d clients that stay", len(stayers))}
	var pids []int
	for _, c := range stayers {
		pids = append(pids, c.cmd.Process.Pid)
	}
	ticker := time.NewTicker(length / 360)
	defer ticker.Stop()
	warm := min(soakWarm, length/2)
	said := begin
	for now := range ticker.C {
		elapsed := now.Sub(begin)
		if elapsed > length {
			return relay, clients
		}
		if elapsed < 5*time.Second {
			continue // the signal kills a process that has just started
		}
		r, err := meter.read(s.town.Pid)
		if err != nil {
			t.Fatalf("relay: %v", err)
		}
		c, err := meter.read(pids...)
		if err != nil {
			s.ledger.fault("a client that stays: %v", err)
			continue
		}
		c.messages = s.ledger.received(s.residents)
		if elapsed > warm {
			relay.readings, clients.readings = append(relay.readings, r), append(clients.readings, c)
		}
		if now.Sub(said) >= min(time.Minute, length/6) {
			said = now
			s.ledger.mu.Lock()
			fmt.Printf("soak: %v: %d clients run, %d have been started; %d messages sent, %d shown, %d pipes, %d wrong\n"+
				"soak:   relay: %v\nsoak:   stay:  %v\n", elapsed.Round(time.Second),
				s.running.Load(), s.starts.Load(), s.ledger.counts["sent"], s.ledger.counts["shown"],
				s.ledger.counts["pipes"], s.ledger.counts["wrong"], r, c)
			s.ledger.mu.Unlock()
		}
	}
	return relay, clients
}

// relayAtRest reads the relay until two readings agree.
func (s *soak) relayAtRest(t *testing.T, meter *soakMeter) soakReading {
	t.Helper()
	last := soakReading{}
	for deadline := time.Now().Add(town.Patience); ; time.Sleep(100 * time.Millisecond) { // nothing tells that it is idle
		r, err := meter.read(s.town.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if r.goroutines == last.goroutines && r.descriptors == last.descriptors {
			return r
		}
		if last = r; time.Now().After(deadline) {
			t.Fatalf("the relay does not come to rest: %v", r)
		}
	}
}

// backTo fails the test unless the relay, after all have left, has no more goroutines and
// descriptors than before they came.
func (s *soak) backTo(t *testing.T, meter *soakMeter, before soakReading) {
	t.Helper()
	var now soakReading
	for deadline := time.Now().Add(town.Patience); ; time.Sleep(100 * time.Millisecond) { // nothing tells that it is idle
		now = s.relayAtRest(t, meter)
		if now.goroutines <= before.goroutines && now.descriptors <= before.descriptors {
			t.Logf("relay, before anybody came: %v; when all had left: %v", before, now)
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("relay, before anybody came: %v; when all had left: %v", before, now)
			return
		}
	}
}

// cost reports the processor time.
func (s *soak) cost(t *testing.T, wall time.Duration) {
	t.Helper()
	var sum float64
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
	}
	t.Logf("%d clients started; %.0f s of processor in %.0f s, that is %.2f processors, with the building",
		s.starts.Load(), sum, wall.Seconds(), sum/wall.Seconds())
}
