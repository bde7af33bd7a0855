package client

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// link is the way to the relay: the present session, or the next attempt to
// have one. The engine's goroutine owns it.
type link struct {
	sess     *Session                        // nil while the relay is lost
	over     bool                            // sess has ended, and lines of it wait
	nextLine uint64                          // number of the next line in sess
	lastSent time.Time                       // of any line, for the keep-alive
	answers  map[uint64]func(Inbound, error) // takers of the relay's answers, by the request's line

	first   time.Duration // the first wait
	backoff time.Duration // the next one
	retryAt time.Time
	relays  uint64        // see State.RelaysRead, at the begin of the last attempt
	lostAt  time.Time     // zero while there is a session
	away    time.Duration // without a session before
	dialing bool

	unstored bool   // the history cannot be written: nobody dials
	told     string // the last reason why the relay is refused, or refuses, since there was a session
}

// Reconnection: 1 s doubling to 30 s, each drawn between half and all.
const (
	backoffMin = time.Second
	backoffMax = 30 * time.Second
)

// Payloads of a type and nothing else.
var (
	ackLine     = []byte(`{"type":"ack"}` + "\n\n")
	goodbyeLine = []byte(`{"type":"client-disconnect"}` + "\n\n")
)

func newLink(first time.Duration) link {
	return link{first: first, backoff: first, answers: map[uint64]func(Inbound, error){}}
}

// begin takes a session into use.
func (l *link) begin(sess *Session) {
	l.sess, l.nextLine, l.lastSent = sess, 0, time.Now()
	if !l.lostAt.IsZero() {
		l.away += time.Since(l.lostAt)
	}
	l.lostAt, l.retryAt, l.backoff, l.told = time.Time{}, time.Time{}, l.first, ""
}

// patient is a clock for the patience with people: it stands still while the relay is lost.
func (l *link) patient(now time.Time) time.Time {
	if !l.lostAt.IsZero() {
		now = l.lostAt
	}
	return now.Add(-l.away)
}

// close ends the session, if there is one, for a reason, and tells every
// request under way why there will be no answer.
func (l *link) close(reason error, told *fail.Error) {
	if l.sess != nil {
		l.sess.Fail(reason)
		l.sess.wg.Wait()
		l.sess, l.over = nil, false
	}
	answers := l.answers
	l.answers = map[uint64]func(Inbound, error){}
	for _, answer := range answers {
		answer(Inbound{}, told)
	}
}

// send queues a payload to the relay and returns its line's number. The caller
// changes head, body and sealed no more. sealed crosses beside the payload.
func (l *link) send(head, body, sealed []byte) uint64 {
	seq := l.nextLine
	l.nextLine++
	l.lastSent = time.Now()
	l.sess.Send(head, body, sealed)
	return seq
}

// request sends a request that the relay itself answers, signed by K. answer
// takes the answer, or the reason why there is none.
func (l *link) request(h *proto.Header, key *trust.Key, answer func(Inbound, error)) {
	if l.sess == nil {
		answer(Inbound{}, fail.Errorf(proto.Lost, "the relay is not connected just now"))
		return
	}
	header := proto.MustMarshal(h)
	sig := key.Sign(l.sess.sends.RequestSigns(l.nextLine, header))
	l.answers[l.nextLine] = answer
	l.send(proto.AppendPayload(nil, header, sig, nil), nil, nil)
}

// leave leaves a letter for an identity, in hex, at the relay. answer takes its answer, or the reason why there is none.
func (l *link) leave(kind, identity string, body []byte, answer func(Inbound, error)) {
	l.answers[l.nextLine] = answer
	l.send(proto.UnsignedPayload(&proto.Header{Type: proto.TypeLetter, Kind: kind, Identity: identity}), body, nil)
}

// answered hands an answer to its taker. The last page of a list ends the
// request.
func (l *link) answered(m Inbound) {
	line := *m.Header.Answers
	answer := l.answers[line]
	if answer == nil {
		return
	}
	if m.Header.Type != proto.TypeList || m.Header.Done != "" {
		delete(l.answers, line)
	}
	answer(m, nil)
}

// refused hands the relay's error about a request to its taker. It returns
// false if the line was no request.
func (l *link) refused(line uint64, err error) bool {
	answer := l.answers[line]
	if answer == nil {
		return false
	}
	delete(l.answers, line)
	answer(Inbound{}, err)
	return true
}

// scheduleRetry sets the time of the next attempt.
func (l *link) scheduleRetry() {
	half := l.backoff / 2
	l.retryAt = time.Now().Add(half + rand.N(half+1))
	l.backoff = min(2*l.backoff, backoffMax)
}

// lost drops the session and everything that rests on its connection ids.
func (e *engine) lost(err error) {
	e.link.close(err, fail.Errorf(proto.Lost, "the relay was lost before it answered"))
	e.collect.end()
	for id := range e.conns {
		e.dropConn(id, "the relay is lost")
	}
	if e.leaving {
		e.end(nil)
		return
	}
	if e.cfg.Takes == proto.TakesPipe {
		e.end(&fail.Error{Code: proto.Lost, Message: "the relay is lost, and the pipe with it: " + lostReason(err), Err: err})
		return
	}
	e.link.lostAt, e.link.relays = time.Now(), e.cfg.State.RelaysRead()
	e.link.scheduleRetry()
	e.event(Event{Type: EventLost, Err: &fail.Error{Code: proto.Lost, Message: "the relay is lost: " + lostReason(err), Err: err}})
}

func lostReason(err error) string {
	if err == nil {
		return "the connection ended"
	}
	return plainNetError(err).Error()
}

// tickLost dials again when it is time, or ends the client when it has been
// without a relay for too long.
func (e *engine) tickLost(now time.Time) {
	if e.link.unstored { // so this is no time without a relay
		e.link.away, e.link.lostAt = e.link.away+now.Sub(e.link.lostAt), now
	}
	switch {
	case e.leaving:
		e.end(nil)
	case !e.cfg.Persistent && now.Sub(e.link.lostAt) > e.cfg.Timeout:
		e.end(fail.Errorf(proto.Lost, "the relay at %s was lost and could not be reached again within %v", e.cfg.Relay, e.cfg.Timeout))
	case !e.link.dialing && e.retryNow(now) && !e.now().After(e.delegationEnd()):
		// Not under a delegation that has ended: the relay's refusal of it is final.
		if e.cfg.Persistent || e.link.unstored {
			err := e.history.Probe()
			if e.link.unstored = err != nil; err != nil {
				e.unstored(fail.AsError(err))
				e.link.scheduleRetry()
				return
			}
		}
		e.retry()
	}
}

// retryNow tells whether it is time for the next attempt. The acceptance of a relay's key brings it
// forward.
func (e *engine) retryNow(now time.Time) bool {
	return now.After(e.link.retryAt) || e.cfg.State.RelaysRead() != e.link.relays
}

// outlasts tells whether the client goes on although the history cannot be written: a prompt, and
// any receiver while another client holds the history.
func (e *engine) outlasts(err error) bool {
	held := e.cfg.Takes == proto.TakesMessages && history.Held(err)
	return !e.history.Broken() && (e.cfg.Persistent || held)
}

// unstored takes it that the history cannot be written. That ends the client, or it leaves the relay
// until it can: nothing goes or comes that is not stored.
func (e *engine) unstored(err *fail.Error) {
	if !e.outlasts(err) || beyondHelp(err) {
		e.end(err)
		return
	}
	e.link.unstored = true
	e.tellOnce(err)
	if e.link.sess != nil {
		e.link.sess.Fail(err)
	}
}

// dial makes one attempt to be connected to the relay.
func (e *engine) dial(ctx context.Context, cred *state.Credential) (*Session, error) {
	own, err := e.mailboxes(cred.Bundle)
	if err != nil {
		return nil, err
	}
	got, ok := e.cfg.early.take()
	if !ok {
		got.g, got.err = e.cfg.relay().Greet(ctx)
	}
	if got.err != nil {
		return nil, got.err
	}
	since := e.now()
	sess, err := got.g.Prove(cred, e.cfg.Takes, own, e.checkRelay)
	if err != nil {
		return nil, err
	}
	sess.since = since
	if err := e.rememberRelay(sess.fingerprint); err != nil {
		sess.Fail(nil)
		sess.wg.Wait()
		return nil, err
	}
	return sess, nil
}

// retry dials again in the background.
func (e *engine) retry() {
	e.link.dialing, e.link.relays = true, e.cfg.State.RelaysRead()
	cred := e.cfg.Credential
	e.wg.Go(func() {
		sess, err := e.dial(e.ctx, cred)
		if _, gone := os.Stat(e.cfg.State.Dir()); err != nil && errors.Is(gone, fs.ErrNotExist) {
			message := "the state directory " + proto.Visible(e.cfg.State.Dir()) + " is gone"
			err = &fail.Error{Code: proto.History, Message: message, Err: gone}
		}
		if !e.post(func() { e.retried(sess, cred, err) }) && sess != nil {
			sess.Fail(nil)
			sess.wg.Wait()
		}
	})
}

func (e *engine) retried(sess *Session, cred *state.Credential, err error) {
	e.link.dialing = false
	if e.leaving || cred != e.cfg.Credential { // renewed meanwhile
		if sess != nil {
			sess.Fail(nil)
		}
		return
	}
	if err == nil {
		e.history.Connected(sess.since)
		e.begin(sess)
		e.event(Event{Type: EventBack, Conn: sess.ID})
		return
	}
	var ask *errAskRelay
	if errors.As(err, &ask) {
		err = e.cfg.State.RelayUnknown(e.cfg.Relay, ask.fingerprint)
	}
	if final(err) || e.cfg.Persistent && fail.ExitStatus(err) != fail.ExitRelay {
		e.refused(fail.AsError(err))
	}
	e.link.scheduleRetry()
}

// beyondHelp tells whether a reason ends a prompt, too: its own certificate, or that its state
// directory is gone.
func beyondHelp(err *fail.Error) bool {
	return err.Code == proto.CertificateRevoked || err.Code == proto.CertificateExpired || errors.Is(err, fs.ErrNotExist)
}

// refused takes the reason why there is no connection to the relay, or soon none. It ends a
// command. A prompt stays and tries again, as others can mend most reasons: another key of the
// relay, a name, a group, a list. It tells each reason once.
func (e *engine) refused(err *fail.Error) {
	if !e.cfg.Persistent || beyondHelp(err) {
		e.end(err)
		return
	}
	e.tellOnce(err)
}

// tellOnce tells why there is no connection.
func (e *engine) tellOnce(err *fail.Error) {
	if e.link.told == err.Message {
		return
	}
	e.link.told = err.Message
	e.problem(&fail.Error{
		Code: err.Code, Message: err.Message + "; this client sends nothing meanwhile, and tries again", Hint: err.Advice(), Err: err,
	})
}
