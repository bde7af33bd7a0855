package state

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

var (
	fingerprintA = strings.Repeat("0a", 32)
	fingerprintB = strings.Repeat("0b", 32)
)

func KnownBob() KnownPeer {
	return KnownPeer{
		V: knownVersion, Name: "bob", Identity: [32]byte{1}, Accepted: true, CommonName: "BOB \"<&>\" EXEMPLO", Leaf: [32]byte{2},
		First: time.Date(2026, 11, 22, 9, 58, 20, 0, time.UTC),
	}
}

func TestKnownSurvives(t *testing.T) {
	s := mustState(t)
	if _, ok := s.KnownRelay("relay:1"); ok {
		t.Error("a relay is known from the start")
	}
	if err := s.SetKnownRelay("relay:1", fingerprintA); err != nil {
		t.Fatal(err)
	}
	bob := KnownBob()
	if err := s.SetKnownPeer(bob); err != nil {
		t.Fatal(err)
	}
	again, err := OpenReadOnly(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := again.KnownRelay("relay:1"); !ok || got != fingerprintA {
		t.Errorf("the relay is %q %v", got, ok)
	}
	if got, ok := again.KnownPeer("bob"); !ok || !reflect.DeepEqual(*got, bob) {
		t.Errorf("bob is %+v %v", got, ok)
	}
	for _, file := range []string{relaysFile, PeersFile} {
		info, err := os.Stat(filepath.Join(s.Dir(), file))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", file, info.Mode(), err)
		}
	}
	const line = `{"v":1,"name":"bob","accepted":true,"identity":"01` // readable, and in the order of PROTOCOL.md
	data, err := os.ReadFile(filepath.Join(s.Dir(), PeersFile))
	if err != nil || !strings.HasPrefix(string(data), line) || !strings.HasSuffix(string(data), `"first":"2026-11-22T09:58:20Z"}`+"\n") {
		t.Errorf("the line is %s %v", data, err)
	}
}

// TestKnownIsNotReplaced: row 5, for relays and people. Only accept takes another key or person,
// and only the one that it names.
func TestKnownIsNotReplaced(t *testing.T) {
	s := mustState(t)
	if before, err := s.AcceptRelay("relay:1", strings.ToUpper(fingerprintA)); before != "" || err != nil {
		t.Fatal(before, err)
	}
	if err := s.SetKnownRelay("relay:1", fingerprintB); fail.ExitStatus(err) != 4 {
		t.Errorf("a known key was replaced without being asked for: %v", err)
	}
	if got, _ := s.KnownRelay("relay:1"); got != fingerprintA {
		t.Errorf("a refused key is known: %s", got)
	}
	if before, err := s.AcceptRelay("relay:1", fingerprintB); before != fingerprintA || err != nil {
		t.Errorf("before it was %s %v", before, err)
	}
	if relays := s.KnownRelays(); len(relays) != 1 || relays[0].Fingerprint != fingerprintB {
		t.Errorf("after accepting, known are %+v", relays)
	}

	bob := KnownBob()
	if err := s.SetKnownPeer(bob); err != nil {
		t.Fatal(err)
	}
	mallory := bob
	mallory.Identity, mallory.CommonName = [32]byte{9}, "M"
	if err := s.SetKnownPeer(mallory); fail.ExitStatus(err) != 4 || !strings.Contains(fail.AsError(err).Advice(), fmt.Sprintf("%x", mallory.Identity)) {
		t.Errorf("another person under the name: %v", err)
	}
	if got, _ := s.KnownPeer("bob"); got.Identity != bob.Identity {
		t.Errorf("a refused person is known: %+v", got)
	}
	if before, err := s.AcceptPeer("Bob", mallory.Identity); err != nil || !reflect.DeepEqual(*before, bob) {
		t.Errorf("before it was %+v %v", before, err)
	}
	now, _ := s.KnownPeer("bob")
	if now.Identity != mallory.Identity || now.CommonName != "" || !now.Accepted || !now.First.After(bob.First) {
		t.Errorf("accepted is %+v", now)
	}
}

// TestAcceptedBeforeMet: an identity that was compared by another way is accepted before the
// person is met, and stays so when the certificate fills in the rest.
func TestAcceptedBeforeMet(t *testing.T) {
	s := mustState(t)
	bob := KnownBob()
	if before, err := s.AcceptPeer("BOB", bob.Identity); before != nil || err != nil {
		t.Fatal(before, err)
	}
	if now, ok := s.KnownPeer("bob"); !ok || !now.Accepted || now.Leaf != [32]byte{} {
		t.Errorf("accepted is %+v", now)
	}
	other := bob
	other.Identity = [32]byte{9}
	if err := s.SetKnownPeer(other); fail.ExitStatus(err) != 4 {
		t.Errorf("somebody else was met under the name: %v", err)
	}
	bob.Accepted = false
	if err := s.SetKnownPeer(bob); err != nil {
		t.Fatal(err)
	}
	if now, _ := s.KnownPeer("bob"); !now.Accepted || now.CommonName != bob.CommonName || now.Leaf != bob.Leaf {
		t.Errorf("after the meeting: %+v", now)
	}
}

func TestKnownPeerIsSeenThenAccepted(t *testing.T) {
	s := mustState(t)
	seen := KnownBob()
	seen.Accepted = false
	if err := s.SetKnownPeer(seen); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AcceptPeer("bob", seen.Identity); err != nil {
		t.Fatal(err)
	}
	if now, _ := s.KnownPeer("bob"); !reflect.DeepEqual(*now, KnownBob()) {
		t.Errorf("accepted is %+v", now)
	}
	// A client that does not know of the acceptance does not take it back.
	seen.Leaf = [32]byte{7}
	if err := s.SetKnownPeer(seen); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.KnownPeer("bob"); !got.Accepted || got.Leaf != seen.Leaf {
		t.Errorf("after a renewed card: %+v", got)
	}
	if ok, err := s.ForgetPeer("BOB"); !ok || err != nil {
		t.Errorf("forget: %v %v", ok, err)
	}
	if _, ok := s.KnownPeer("bob"); ok {
		t.Error("bob is not forgotten")
	}
	if ok, err := s.ForgetPeer("bob"); ok || err != nil {
		t.Errorf("forget again: %v %v", ok, err)
	}
	if ok, err := s.ForgetRelay("relay:1"); ok || err != nil {
		t.Errorf("forget a relay that is not known: %v %v", ok, err)
	}
}

// TestBlockedByIdentity: a block is for the identity, whatever name it uses, and for nobody else. It holds for other clients
// on the directory at once.
func TestBlockedByIdentity(t *testing.T) {
	s := mustState(t)
	other, err := Open(s.Dir(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	eve, asZoe, bob := KnownBob(), KnownBob(), KnownBob()
	eve.Name, asZoe.Name, asZoe.Accepted, bob.Identity = "eve", "zoe", false, [32]byte{3}
	for _, k := range []KnownPeer{eve, asZoe, bob} {
		if err := s.SetKnownPeer(k); err != nil {
			t.Fatal(err)
		}
	}
	if other.Blocked(eve.Identity) || !other.Accepted(eve.Identity) {
		t.Error("eve is blocked from the start")
	}
	for range 2 { // the second changes nothing
		who, accepted, err := s.Block("EVE", eve.Identity)
		if err != nil || who.Identity != eve.Identity || who.CommonName != eve.CommonName || !who.Blocked {
			t.Errorf("blocked is %+v %v", who, err)
		}
		if strings.Join(accepted, " ") != "eve" && other.Accepted(eve.Identity) {
			t.Errorf("accepted was %q", accepted)
		}
	}
	if !other.Blocked(eve.Identity) || other.Blocked(bob.Identity) || other.Accepted(eve.Identity) || !other.Accepted(bob.Identity) {
		t.Error("another client does not see the block, or sees too much")
	}
	if blocked := other.BlockedPeers(); len(blocked) != 1 || blocked[0].Name != "eve" || len(other.KnownPeers()) != 3 {
		t.Errorf("blocked are %+v, known are %+v", blocked, other.KnownPeers())
	}
	if err := other.SetKnownPeer(asZoe); fail.ExitStatus(err) != 4 {
		t.Errorf("the blocked person was met again: %v", err)
	}
	if _, err := other.AcceptPeer("nobody", eve.Identity); fail.ExitStatus(err) != 4 ||
		!strings.Contains(fail.AsError(err).Advice(), "client trust unblock eve "+proto.FormatHash(eve.Identity)) {
		t.Errorf("the blocked person was accepted, or the way back is not said: %v", err)
	}
	if ok, err := other.Unblock(eve.Identity); !ok || err != nil {
		t.Errorf("unblock: %v %v", ok, err)
	}
	if k, ok := s.KnownPeer("eve"); s.Blocked(eve.Identity) || !ok || k.Accepted || k.Blocked {
		t.Errorf("after unblock eve is %+v", k)
	}
	if ok, err := s.Unblock(eve.Identity); ok || err != nil {
		t.Errorf("unblock again: %v %v", ok, err)
	}
}

// TestNamesOfTheBlockedAreKept: nobody has a name of a blocked person without being accepted, until the name is forgotten.
func TestNamesOfTheBlockedAreKept(t *testing.T) {
	s := mustState(t)
	friend, asZoe, intruder := KnownBob(), KnownBob(), KnownBob()
	friend.Name, asZoe.Name, intruder.Name, intruder.Identity = "carl", "zoe", "carl", [32]byte{9}
	for _, k := range []KnownPeer{friend, asZoe} {
		if err := s.SetKnownPeer(k); err != nil {
			t.Fatal(err)
		}
	}
	// The intruder is blocked, and not the friend whose name is used.
	if who, accepted, err := s.Block("carl", intruder.Identity); err != nil || who.Identity != intruder.Identity || accepted != nil {
		t.Fatalf("blocked is %+v, accepted was %q: %v", who, accepted, err)
	}
	if k, _ := s.KnownPeer("carl"); k.Identity != friend.Identity || !k.Accepted || s.Blocked(friend.Identity) {
		t.Errorf("carl is %+v", k)
	}
	if blocked := s.BlockedAs("CARL"); len(blocked) != 1 || blocked[0].Identity != intruder.Identity {
		t.Errorf("blocked as carl are %+v", blocked)
	}
	// The friend is blocked too: neither name is free.
	if _, accepted, err := s.Block("carl", friend.Identity); err != nil || len(accepted) != 2 {
		t.Fatal(accepted, err)
	}
	if blocked := s.BlockedAs("carl"); len(blocked) != 2 {
		t.Errorf("blocked as carl are %+v", blocked)
	}
	newcomer := KnownBob()
	newcomer.Identity = [32]byte{7}
	for _, newcomer.Name = range []string{"carl", "zoe"} {
		err := s.SetKnownPeer(newcomer)
		if fail.ExitStatus(err) != 4 || !strings.Contains(err.Error(), "is another person than before") || !strings.Contains(err.Error(), "is blocked") {
			t.Errorf("a newcomer is %s: %v", newcomer.Name, err)
		}
	}
	// So is the name of somebody who was never met.
	if _, _, err := s.Block("dan", [32]byte{8}); err != nil {
		t.Fatal(err)
	}
	if newcomer.Name = "dan"; fail.ExitStatus(s.SetKnownPeer(newcomer)) != 4 {
		t.Error("a newcomer is dan")
	}
	if _, err := s.AcceptPeer("dan", newcomer.Identity); err != nil {
		t.Errorf("a newcomer cannot be accepted as dan: %v", err)
	}
	if ok, err := s.ForgetPeer("zoe"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if newcomer.Name = "zoe"; s.SetKnownPeer(newcomer) != nil || !s.Blocked(friend.Identity) {
		t.Error("a name that is forgotten is not free, or the block went with it")
	}
	if again, err := OpenReadOnly(s.Dir()); err != nil || len(again.BlockedPeers()) != 3 {
		t.Errorf("read again: %v", err)
	}
}

// TestSeenPeersAreBounded: people who have only been seen push out one another, and never
// somebody who was accepted or blocked.
func TestSeenPeersAreBounded(t *testing.T) {
	s := mustState(t)
	bob := KnownBob()
	if err := s.SetKnownPeer(bob); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	data, err := os.ReadFile(filepath.Join(s.Dir(), PeersFile))
	if err != nil {
		t.Fatal(err)
	}
	text.Write(data)
	eve := bob
	eve.Name, eve.Identity, eve.Accepted = "eve", [32]byte{3}, false
	blocked := newPeer(eve)
	blocked.Blocked = true
	text.Write(append(proto.MustMarshal(newPeer(eve)), '\n')) // the name that is kept
	text.Write(append(proto.MustMarshal(blocked), '\n'))
	stranger := func(i int) KnownPeer {
		first := bob.First.Add(time.Duration(i) * time.Second)
		return KnownPeer{Name: fmt.Sprintf("stranger%d", i), Identity: [32]byte{2, byte(i), byte(i >> 8)}, CommonName: "X", First: first}
	}
	for i := range maxSeen {
		k := stranger(i)
		text.Write(proto.MustMarshal(newPeer(k)))
		text.WriteByte('\n')
	}
	if err := os.WriteFile(filepath.Join(s.Dir(), PeersFile), text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := s.SetKnownPeer(stranger(maxSeen + i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := s.KnownPeer("bob"); !ok {
		t.Error("bob is forgotten")
	}
	if !s.Blocked(eve.Identity) {
		t.Error("strangers pushed a block out")
	}
	if k, ok := s.KnownPeer("eve"); !ok || !k.Blocked {
		t.Error("strangers pushed the name of a blocked person out")
	}
	if n := len(s.KnownPeers()); n != maxSeen+2 {
		t.Errorf("%d people are known", n)
	}
	for i, want := range map[int]bool{0: false, 2: false, 3: true, maxSeen + 2: true} {
		if _, ok := s.KnownPeer(stranger(i).Name); ok != want {
			t.Errorf("stranger%d is known: %v", i, ok)
		}
	}
	if _, err := OpenReadOnly(s.Dir()); err != nil {
		t.Error(err)
	}
}

// TestSeenNamesOfOnePerson: one person under many names pushes out their own names, and nobody's
// else.
func TestSeenNamesOfOnePerson(t *testing.T) {
	s := mustState(t)
	carol := KnownBob()
	carol.Name, carol.Accepted = "carol", false
	if err := s.SetKnownPeer(carol); err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxSeenNames {
		first := carol.First.Add(time.Duration(i+1) * time.Second)
		k := KnownPeer{Name: fmt.Sprintf("eve%d", i), Identity: [32]byte{7}, CommonName: "X", First: first}
		if err := s.SetKnownPeer(k); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.KnownPeers()); n != maxSeenNames+1 {
		t.Errorf("%d names are known", n)
	}
	for name, want := range map[string]bool{"carol": true, "eve0": false, fmt.Sprintf("eve%d", 3*maxSeenNames-1): true} {
		if _, ok := s.KnownPeer(name); ok != want {
			t.Errorf("%s is known: %v", name, ok)
		}
	}
}

// TestKnownFileHasABound: a file that is too long to be read again is not written.
func TestKnownFileHasABound(t *testing.T) {
	s := mustState(t)
	bob := KnownBob()
	if err := s.SetKnownPeer(bob); err != nil {
		t.Fatal(err)
	}
	carol := bob
	carol.Name, carol.CommonName = "carol", strings.Repeat("x", maxKnownFile)
	if e := fail.AsError(s.SetKnownPeer(carol)); e == nil || e.Code != proto.TooLong || e.Advice() == "" {
		t.Errorf("a file that is too long: %v", e)
	}
	if _, err := OpenReadOnly(s.Dir()); err != nil {
		t.Error(err)
	}
	if _, ok := s.KnownPeer("bob"); !ok {
		t.Error("bob is forgotten")
	}
}

// TestRow29KnownFiles: row 29. Two clients on one directory lose none of each other's
// entries.
func TestRow29KnownFiles(t *testing.T) {
	s := mustState(t)
	const clients, each = 4, 8
	var wg sync.WaitGroup
	for c := range clients {
		state, err := Open(s.Dir(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for i := range each {
				k := KnownBob()
				k.Name = fmt.Sprintf("peer-%d-%d", c, i)
				if err := state.SetKnownPeer(k); err != nil {
					t.Error(err)
				}
				if err := state.SetKnownRelay(fmt.Sprintf("relay-%d:%d", c, i), fingerprintA); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if peers, relays := len(s.KnownPeers()), len(s.KnownRelays()); peers != clients*each || relays != clients*each {
		t.Errorf("%d peers and %d relays of %d are known", peers, relays, clients*each)
	}
}

func TestKnownDamageIsSaid(t *testing.T) {
	good := mustState(t)
	if err := good.SetKnownPeer(KnownBob()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(good.Dir(), PeersFile))
	if err != nil {
		t.Fatal(err)
	}
	line := string(data)
	for name, content := range map[string]string{
		"cut off":           strings.TrimSuffix(line, "\n"),
		"half":              line[:len(line)/2],
		"garbage":           line + "garbage\n",
		"blank line":        line + "\n",
		"twice":             line + line,
		"spaces":            strings.Replace(line, ":", ": ", 1),
		"unknown field":     strings.Replace(line, `"v":1`, `"v":1,"x":1`, 1),
		"another version":   strings.Replace(line, `"v":1`, `"v":2`, 1),
		"short identity":    strings.Replace(line, `"identity":"01`, `"identity":"`, 1),
		"capital digits":    strings.Replace(line, `"identity":"01`, `"identity":"0A`, 1),
		"no such time":      strings.Replace(line, "2026-11-22", "2026-13-22", 1),
		"another zone":      strings.Replace(line, "20Z", "20+01:00", 1),
		"a name in capital": strings.Replace(line, `"name":"bob"`, `"name":"Bob"`, 1),
		"accepted, blocked": strings.Replace(line, `"accepted":true`, `"accepted":true,"blocked":true`, 1),
		"no name":           strings.Replace(line, `"name":"bob"`, `"name":"b b"`, 1),
	} {
		s := mustState(t)
		path := filepath.Join(s.Dir(), PeersFile)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(s.Dir(), "alice")
		if err == nil || !strings.Contains(err.Error(), path+", line ") || fail.AsError(err).Advice() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestKnownDamagedWhileOpen: the earlier content still counts, and the damaged file is
// not written over.
func TestKnownDamagedWhileOpen(t *testing.T) {
	s := mustState(t)
	if err := s.SetKnownPeer(KnownBob()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.Dir(), PeersFile)
	if err := os.WriteFile(path, []byte("garbage\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if k, ok := s.KnownPeer("bob"); !ok || k.Identity != KnownBob().Identity {
		t.Errorf("bob is a stranger now: %+v", k)
	}
	carol := KnownBob()
	carol.Name = "carol"
	if err := s.SetKnownPeer(carol); err == nil {
		t.Error("a damaged file was written over")
	}
	if data, _ := os.ReadFile(path); string(data) != "garbage\n" {
		t.Errorf("the file has %q now", data)
	}
}

func TestKnownFileOfOthersIsRefused(t *testing.T) {
	s := mustState(t)
	if err := s.SetKnownRelay("relay:1", fingerprintA); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.Dir(), relaysFile)
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.Dir(), "alice"); err == nil || !strings.Contains(fail.AsError(err).Advice(), "chmod 600") {
		t.Errorf("writable by others: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.Dir(), "alice"); err == nil {
		t.Error("a link was followed")
	}
}
