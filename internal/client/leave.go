package client

import (
	"context"
	"time"

	"chatsecure/internal/history"
	"chatsecure/proto"
)

// Close ends the conversations, leaves the relay's list and waits, no longer
// than ctx, until the relay has the lines on their way. The key of the Credential
// that Dial was given stays the caller's to erase.
func (c *Client) Close(ctx context.Context) error {
	e := c.engine
	if err := e.do(ctx, e.leave); err == nil {
		select {
		case <-e.ended:
		case <-ctx.Done():
		}
	}
	e.abort()
	<-e.ended
	e.wg.Wait()
	return nil
}

// leave ends every conversation. finishLeaving tells the relay once it has
// taken the lines on their way.
func (e *engine) leave() {
	if e.leaving {
		return
	}
	e.leaving = true
	if e.link.sess == nil {
		e.end(nil)
		return
	}
	e.takeOutbox()
	e.takeMarks()
	e.inbox.receiptAt = time.Now()
	e.flushReceipts()
	for _, pc := range e.conns {
		if pc.conv == nil {
			continue
		}
		if s, err := pc.conv.SealEnd(e.now()); err == nil {
			e.sendTo(pc, proto.TypeDisconnect, s.Body, 0)
		}
	}
	if e.settled(history.StatusDelivered) {
		e.history.EndEarly() // the disk takes as long as the relay
	}
}

// finishLeaving says good-bye to the relay once nothing is un-acked.
func (e *engine) finishLeaving() {
	if !e.leaving || e.goodbye || e.link.sess == nil {
		return
	}
	for _, pc := range e.conns {
		if len(pc.lines.inflight) > 0 {
			return
		}
	}
	if e.letters.underWay() || len(e.collect.stored) > 0 || e.collect.syncs {
		return
	}
	if e.cfg.Takes != proto.TakesMessages && !e.collect.idle() {
		return // a short command takes the receipts that wait: its user may run no other
	}
	e.goodbye = true
	e.link.send(goodbyeLine, nil, nil)
	e.link.sess.finish()
}
