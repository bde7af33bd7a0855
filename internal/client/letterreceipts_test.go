package client

import (
	"context"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// TestReceiptsWaitForCollection: a receipt waits a little while more letters are collected, so that
// one letter has the receipts for many. It waits no longer than one that says DELIVERED.
func TestReceiptsWaitForCollection(t *testing.T) {
	o := newOffice(t)
	o.noEnd = true
	alice, bob := o.comer("alice"), o.comer("bob").come(nil)
	to := &answersTo{of: &owingLetter{bundle: alice.user.Local.Bundle, key: o.boxes["alice"][0].Key, identity: alice.user.Local.Identity}}
	bob.e.do(t.Context(), func() {
		bob.e.oweByLetter(to, crypto.LevelRead)
		w := bob.e.letters.ways[wayOf(to.of.bundle)]
		due := w.owed.due
		if bob.e.receiptsDue(w, due) {
			t.Error("it goes before the last letter has come")
		}
		if !bob.e.receiptsDue(w, due.Add(deliveredDelay)) {
			t.Error("it waits for a relay without end")
		}
		clear(bob.e.collect.awaits)
		if !bob.e.receiptsDue(w, due) || bob.e.receiptsDue(w, due.Add(-1)) {
			t.Error("after the last letter it goes at another time")
		}
		w.owed = owedReceipts{}
	})
}

// TestBusyOfficeKeepsNobody: a client that leaves does not wait for a relay that is too busy for
// its receipts. The next one sends them.
func TestBusyOfficeKeepsNobody(t *testing.T) {
	o := newOffice(t)
	alice, bob := o.comer("alice").come(nil), o.comer("bob")
	for _, text := range []string{"one", "two"} {
		alice.write(text, "bob")
		alice.receipt(history.StatusKept)
	}
	refused := make(chan bool, 8)
	o.answer = func(kind string, _ []byte) *proto.Error {
		if kind != crypto.LetterReceipt {
			return nil
		}
		refused <- true
		return &proto.Error{Code: proto.Busy, Message: "not now"}
	}
	patient := func(cfg *Config) { cfg.Again = time.Hour }
	first := bob.come(patient)
	first.Shown(first.message("one"))
	<-refused
	first.Shown(first.message("two"))
	ctx, cancel := context.WithTimeout(t.Context(), wire.Timeout)
	defer cancel()
	first.e.do(ctx, first.e.leave)
	if err := first.e.await(ctx, func(time.Time) bool { return first.e.goodbye }); err != nil {
		t.Errorf("the client does not leave: %v", err)
	}
	first.goAway()
	o.mu.Lock()
	o.answer = nil
	o.mu.Unlock()
	bob.come(nil)
	alice.receipt(history.StatusRead)
	alice.receipt(history.StatusRead)
}
