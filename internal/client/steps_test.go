package client

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// stepEngine is an engine whose steps only start: the test ends them.
func stepEngine(t *testing.T) (e *engine, pair *wire.Pair, started *[]*step) {
	t.Helper()
	pair = wire.NewPair(t)
	known, err := state.Open(t.TempDir(), pair.A.End.Name)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &Config{
		Name: pair.A.End.Name, Takes: proto.TakesMessages, State: known, Verifier: pair.Verifier, Offers: OfferBurst, Callers: CallerBurst, Strangers: StrangersRecords,
		Credential: &state.Credential{Key: pair.A.Local.Key, Bundle: pair.A.Local.Bundle}, Ciphers: []string{crypto.SuiteMLKEM},
		Timeout: time.Second, Now: pair.Clock.Now,
	}
	e = newEngine(cfg, newEventQueue(), pair.A.Local.Identity)
	e.history = history.NewOn(pair.Clock.Now, keepsNothing{})
	t.Cleanup(func() {
		if e.fatal == nil {
			e.history.Close()
		}
	})
	e.begin(newSession(noConn{}, pair.A.End.Conn, new(crypto.Hop), nil))
	started = new([]*step)
	e.start = func(s *step) { *started = append(*started, s) }
	return e, pair, started
}

// asker is a new connection of a name, with a handshake for the worker.
func asker(e *engine, n int, name string) *peerConn {
	pc := e.connFor(fmt.Sprintf("%016x", n), name)
	e.shakeStep(pc, &step{attempt: new([32]byte), done: func(*step) {}})
	return pc
}

// TestStepsTakeTurns: a name with many connections delays another name by one step, and one
// step of a name is at work at a time. Strangers delay nobody who is accepted.
func TestStepsTakeTurns(t *testing.T) {
	e, _, started := stepEngine(t)
	e.userFor("friend").accepted = true
	n := 0
	ask := func(name string, times int) {
		for range times {
			asker(e, n, name)
			n++
		}
	}
	e.userFor("greedy").met = true // once, and not accepted
	e.userFor("greedy").person = new(trust.Person)
	ask("greedy", 5)
	ask("modest", 1)
	ask("other", 1)
	ask("greedy", 1)
	ask("friend", 2)
	var order []string
	for i := 0; i < len(*started); i++ {
		s := (*started)[i]
		order = append(order, s.name)
		e.finish(s)
	}
	want := []string{"greedy", "modest", "friend", "greedy", "other", "friend", "greedy", "greedy", "greedy", "greedy"}
	if !slices.Equal(order, want) {
		t.Errorf("they are computed in the order %q, want %q", order, want)
	}
}

// TestFullLaneGivesWay: where too many handshakes wait, the last of the greediest name gives way
// and is told so.
func TestFullLaneGivesWay(t *testing.T) {
	e, _, _ := stepEngine(t)
	modest := make([]*peerConn, laneWorkers+MaxQueued-3)
	for i := range modest {
		modest[i] = asker(e, i, fmt.Sprint("stranger", i))
	}
	var greedy []*peerConn
	for i := range 4 {
		greedy = append(greedy, asker(e, 1000+i, "greedy"))
	}
	for i, pc := range modest {
		if pc.shake.step == nil {
			t.Errorf("stranger %d has given way", i)
		}
	}
	if got := len(e.lanes.strangers.queue); got != MaxQueued {
		t.Errorf("%d handshakes wait, want %d", got, MaxQueued)
	}
	if greedy[0].shake.step == nil || greedy[3].shake.step != nil {
		t.Errorf("of the greedy one's, the last has not given way alone")
	}
	told := 0
	for _, out := range e.link.sess.queue {
		header, _, _, err := proto.SplitPayload(slices.Concat(out.head, out.body))
		if err != nil {
			t.Fatal(err)
		}
		if h, err := proto.ParseClientHeader(header); err != nil || h.Code == proto.Busy && h.DstID == greedy[3].id {
			told++
		}
	}
	if told != 1 {
		t.Errorf("the one that gives way is told %d times", told)
	}
}

// TestLateStepIsErased: the secrets that a step has made for a connection that is gone are
// erased, whether the step had been started or not.
func TestLateStepIsErased(t *testing.T) {
	for _, c := range []struct {
		what string
		gone func(e *engine, pc *peerConn)
	}{
		{"the connection is gone", func(e *engine, pc *peerConn) { e.dropConn(pc.id, "a test") }},
		{"the client leaves", func(e *engine, _ *peerConn) { e.leaving = true }},
		{"the name is spelt in another way", func(_ *engine, pc *peerConn) { pc.name = "BRUNO" }},
	} {
		t.Run(c.what, func(t *testing.T) {
			e, pair, started := stepEngine(t)
			pc := e.connFor("00000000000000b0", pair.B.End.Name)
			_, p1, err := crypto.Initiate(pair.B.Local, pc.end(), e.myEnd())
			if err != nil {
				t.Fatal(err)
			}
			e.onPhase1(pc, p1)
			proof := (*started)[0]
			proof.work(proof)
			e.finish(proof)
			if len(*started) != 2 {
				t.Fatalf("%d steps are started: %v", len(*started), proof.err)
			}
			s := (*started)[1]
			s.work(s)
			if s.resp == nil {
				t.Fatalf("p1 is not answered: %v", s.err)
			}
			root := secretsOf(s.resp)
			c.gone(e, pc)
			e.finish(s)
			if pc.shake.resp != nil || pc.shake.step != nil {
				t.Error("the connection has the handshake")
			}
			if len(root) == 0 || slices.ContainsFunc(root, func(b byte) bool { return b != 0 }) {
				t.Errorf("the secret is %x", root)
			}
		})
	}
}

// TestHeldLinesAreBounded: lines wait in their order for a step of their connection's. Where
// too many wait, the connection with most is given up, and no other.
func TestHeldLinesAreBounded(t *testing.T) {
	e, _, _ := stepEngine(t)
	modest, greedy := asker(e, 1, "modest"), asker(e, 2, "greedy")
	body := make([]byte, 1<<20)
	line := func(pc *peerConn) {
		h := &proto.Header{Type: proto.TypeClientCom, Src: pc.name, SrcID: pc.id, Dst: e.cfg.Name, DstID: e.link.sess.ID}
		e.onInbound(Inbound{h, body}, true)
	}
	line(modest)
	most := 0
	for range MaxHeld/len(body) + 2 {
		if e.conns[greedy.id] == greedy {
			line(greedy)
		}
		most = max(most, e.held)
	}
	if most > MaxHeld || e.conns[greedy.id] != nil || e.conns[modest.id] != modest {
		t.Errorf("up to %d bytes wait, want at most %d, and then the greedy one gives way alone", most, MaxHeld)
	}
	if len(modest.held.lines) != 1 || e.held != modest.held.bytes || e.held == 0 {
		t.Errorf("%d lines of the modest one wait, and %d bytes in all", len(modest.held.lines), e.held)
	}
	e.finish(modest.shake.step)
	e.releaseHeld()
	if e.held != 0 || len(modest.held.lines) != 0 {
		t.Errorf("%d bytes wait for nothing", e.held)
	}
}

// TestLateAnswer: an answer to an attempt that was given up changes nothing for the next one,
// whose own answer still holds. One that was changed is told. A retry is an answer: the p1 for it has
// as long a time as the first.
func TestLateAnswer(t *testing.T) {
	e, pair, started := stepEngine(t)
	e.local.Suites = []string{crypto.SuiteMLKEM, crypto.SuiteRSA256}
	pc := e.connFor("00000000000000b0", pair.B.End.Name)
	pc.takes, pc.user.watching = proto.TakesMessages, true
	run := func() *step {
		s := (*started)[len(*started)-1]
		s.work(s)
		e.finish(s)
		return s
	}
	attempt := func() (p1 []byte) {
		pc.shake.again = time.Time{}
		e.approach(pc)
		return run().body
	}
	answer := func(p1 []byte, suites ...string) []byte {
		offer, err := crypto.ReadOffer(p1, pc.end(), e.myEnd())
		if err != nil {
			t.Fatal(err)
		}
		local := *pair.B.Local
		local.Suites = suites
		body, resp, _, err := offer.Answer(&local, nil, pair.Verifier.Verify)
		if err != nil {
			t.Fatal(err)
		}
		if resp != nil {
			resp.Erase()
		}
		return body
	}
	comes := func(body []byte) {
		pc.user.refusal = nil
		e.onClientConnect(&proto.Header{Type: proto.TypeClientConnect, Phase: 2, Src: pc.name, SrcID: pc.id}, body)
		run()
	}
	givenUp := [][]byte{attempt()}
	for range 2 {
		e.tickConn(pc, time.Now().Add(proto.PhaseTimeout+time.Second))
		givenUp = append(givenUp, attempt())
	}
	last := givenUp[2]
	for _, p1 := range givenUp[:2] {
		for _, suite := range []string{crypto.SuiteMLKEM, crypto.SuiteRSA256} { // p2, and a retry
			comes(answer(p1, suite))
			if pc.user.refusal != nil || pc.shake.init == nil {
				t.Errorf("a late answer with %s: %v, the attempt is there: %v", suite, pc.user.refusal, pc.shake.init != nil)
			}
		}
	}
	comes(answer(last, crypto.SuiteMLKEM))
	if pc.user.refusal != nil || pc.conv == nil {
		t.Errorf("the last answer: %v", pc.user.refusal)
	}
	e.breakConversation(pc, "a test")
	changed := bytes.Replace(answer(attempt(), crypto.SuiteMLKEM), []byte(`"data":"`), []byte(`"data":"A`), 1)
	comes(changed)
	if pc.user.refusal == nil || pc.shake.init != nil {
		t.Error("a changed answer is not told")
	}
	p1 := attempt()
	pc.shake.deadline = time.Now() // for the answer
	comes(answer(p1, crypto.SuiteRSA256))
	if e.tickConn(pc, time.Now().Add(proto.PhaseTimeout/2)); pc.shake.init == nil {
		t.Error("after a retry the attempt has no time of its own")
	}
}

// TestLateRefusals: a refusal of an attempt that was given up ends no other one, and neither does one
// that names nothing, begun by us or by the peer. One of the present attempt ends it.
func TestLateRefusals(t *testing.T) {
	e, pair, started := stepEngine(t)
	e.cfg.Again = time.Minute
	pc := e.connFor("00000000000000b0", pair.B.End.Name)
	pc.takes = proto.TakesMessages
	run := func() (sent []byte) {
		t.Helper()
		for len(*started) > 0 {
			s := (*started)[0]
			*started = (*started)[1:]
			s.work(s)
			sent = s.body
			e.finish(s)
		}
		if sent == nil {
			t.Fatal("nothing was sent")
		}
		return sent
	}
	ours := func() []byte {
		pc.user.watching, pc.shake.again = true, time.Time{}
		e.approach(pc)
		pc.user.watching = false
		return run()
	}
	theirs := func() []byte {
		_, p1, err := crypto.Initiate(pair.B.Local, pc.end(), e.myEnd())
		if err != nil {
			t.Fatal(err)
		}
		e.onPhase1(pc, p1)
		run()
		return p1
	}
	refused := func(about []byte) {
		pc.user.refusal = nil
		h := &proto.Header{Type: proto.TypeError, Src: pc.name, SrcID: pc.id, Code: proto.DecryptFailed, Message: "no"}
		e.onInbound(Inbound{h, about}, true)
	}
	for what, begin := range map[string]func() []byte{"our attempt": ours, "the peer's": theirs} {
		first := sha256.Sum256(begin())
		e.tickConn(pc, time.Now().Add(proto.PhaseTimeout+time.Second))
		if pc.shake.underWay() {
			t.Fatalf("%s is not given up", what)
		}
		present := sha256.Sum256(begin())
		for late, about := range map[string][]byte{"of the former": first[:], "of nothing": nil, "of nought": make([]byte, 32)} {
			if refused(about); pc.user.refusal != nil || !pc.shake.underWay() {
				t.Errorf("%s: a refusal %s ends it: %v", what, late, pc.user.refusal)
				begin()
			}
		}
		if refused(present[:]); pc.shake.underWay() {
			t.Errorf("%s: its refusal does not end it", what)
		}
	}
}

// TestOwnAttemptGivesWayInSilence: a peer that has asked for nothing is told nothing when our own
// attempt finds no room. It begins anew later.
func TestOwnAttemptGivesWayInSilence(t *testing.T) {
	e, pair, _ := stepEngine(t)
	e.cfg.Again = time.Minute
	for i := range laneWorkers + MaxQueued {
		pc := e.connFor(fmt.Sprintf("%016x", 1000+i), fmt.Sprint("friend", i))
		pc.user.accepted = true
		e.shakeStep(pc, &step{done: func(*step) {}})
	}
	pc := e.connFor("00000000000000b0", pair.B.End.Name)
	pc.takes, pc.user.watching, pc.user.accepted = proto.TakesMessages, true, true
	e.shakeStep(e.connFor("00000000000000b1", pc.name), &step{done: func(*step) {}})
	sent := len(e.link.sess.queue)
	e.approach(pc)
	if pc.shake.step != nil || len(e.link.sess.queue) != sent || !pc.shake.again.After(time.Now()) {
		t.Errorf("the attempt waits: %v, %d lines are sent, it begins anew at %v", pc.shake.step != nil, len(e.link.sess.queue)-sent, pc.shake.again)
	}
}

// TestHeldLinesOfStrangers: a stranger with many connections, each of which holds less than an
// accepted person's, does not have that one given up.
func TestHeldLinesOfStrangers(t *testing.T) {
	e, _, _ := stepEngine(t)
	friend := asker(e, 1, "friend")
	friend.user.accepted = true
	line := func(pc *peerConn, size int) {
		h := &proto.Header{Type: proto.TypeClientCom, Src: pc.name, SrcID: pc.id, Dst: e.cfg.Name, DstID: e.link.sess.ID}
		e.onInbound(Inbound{h, make([]byte, size)}, true)
	}
	line(friend, 1<<20)
	for i := range MaxHeld >> 19 {
		line(asker(e, i+2, "stranger"), 1<<19)
		line(friend, 1)
	}
	if e.held > MaxHeld || e.conns[friend.id] != friend || len(friend.held.lines) == 0 {
		t.Errorf("%d bytes wait, want at most %d; the accepted person has %d lines here", e.held, MaxHeld, len(friend.held.lines))
	}
}
