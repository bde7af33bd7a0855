package history

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// kill ends a user's history as a killed client does: nothing more is written.
func (p *pair) kill(u *user) {
	p.T.Helper()
	left := filepath.Join(p.T.TempDir(), "left")
	p.Must(os.CopyFS(left, os.DirFS(u.dir)))
	p.close(u)
	p.Must(errors.Join(os.RemoveAll(u.dir), os.Rename(left, u.dir)))
}

// restart opens a user's history again, and returns the notices.
func (p *pair) restart(u *user) string {
	p.T.Helper()
	h, notices, err := Open(p.config(u))
	p.Must(err)
	u.keep(h)
	return strings.Join(notices, "\n")
}

// TestKilledRun: what a killed client had not sent is FAILED at the next start, and what it had sent
// without an answer may have arrived. That is told once.
func TestKilledRun(t *testing.T) {
	for _, killed := range []bool{true, false} {
		p := newPair(t)
		never := p.record("never left", to(p.b))
		given := p.record("given up", to(p.b))
		p.Must(errors.Join(p.a.h.Pending(never, []string{"Bruno"}), p.a.h.Pending(given, []string{"Bruno"}), p.a.h.Failed(given.ID, "Bruno", "no")))
		went := p.record("went", to(p.b))
		p.Must(p.a.h.Pending(went, []string{"Bruno"}))
		p.SendRecords(went)
		p.Send("arrived")
		p.Receipt(2, 1)
		p.Send("left")
		want := "a client was killed, and of its messages are FAILED, because they did not leave from here: 1 to bruno; " +
			"PENDING, because they may have arrived: 1 to Bruno"
		status := "FAILED (" + neverSent + ")"
		if killed {
			p.kill(p.a)
		} else {
			p.close(p.a)
			want, status = "", "PENDING"
		}
		if got := p.restart(p.a); got != want {
			t.Errorf("killed %t: the next start says %q, want %q", killed, got, want)
		}
		for text, want := range map[string]string{
			"never left": status, "given up": "FAILED (no)", "went": "READ", "arrived": "DELIVERED", "left": "PENDING (" + left + ")",
		} {
			if got := p.status(text); got != want {
				t.Errorf("killed %t: %q is %s, want %s", killed, text, got, want)
			}
		}
		p.kill(p.a)
		if got := p.restart(p.a); got != "" {
			t.Errorf("killed %t: the start after that says %q", killed, got)
		}
		if r := verified(t, p.a.dir, p.Verifier); !r.OK() {
			t.Errorf("%+v", r.Findings)
		}
	}
}

// status is the progress of Ana's message with a text.
func (p *pair) status(text string) string {
	p.T.Helper()
	listing, err := Read(p.a.dir, Query{})
	p.Must(err)
	for _, m := range listing.Messages {
		if m.Text == text {
			d := m.Deliveries[0]
			if d.Reason == "" {
				return string(d.Status)
			}
			return string(d.Status) + " (" + d.Reason + ")"
		}
	}
	return "missing"
}

// TestAgainIsTrue: after an orderly end it is known what was shown. Only where a client was killed, or
// ended in the middle of showing, may a message have been shown that is not marked.
func TestAgainIsTrue(t *testing.T) {
	closed := func(p *pair) { p.close(p.b) }
	killed := func(p *pair) { p.kill(p.b) }
	unsure := func(p *pair) { p.b.h.Unsure(); p.close(p.b) }
	for name, c := range map[string]struct {
		ends  []func(*pair)
		again bool
	}{
		"closed":              {[]func(*pair){closed}, false},
		"closed twice":        {[]func(*pair){closed, closed}, false},
		"killed":              {[]func(*pair){killed}, true},
		"unsure":              {[]func(*pair){unsure}, true},
		"closed, then killed": {[]func(*pair){closed, killed}, true},
		"killed, then closed": {[]func(*pair){killed, closed}, true},
		"unsure, then closed": {[]func(*pair){unsure, closed, closed}, true},
	} {
		p := newPair(t)
		p.Send("shown", "seen", "neither")
		p.Must(errors.Join(p.b.h.Shown(p.Cb.T3, p.Cb.SendDirection(), 1), p.b.h.Seen(p.Cb.T3, p.Cb.SendDirection(), 2)))
		for i, end := range c.ends {
			end(p)
			p.Clock.Add(time.Second)
			if notices := p.restart(p.b); notices != "" {
				t.Errorf("%s: the next start says %q", name, notices)
			}
			if i < len(c.ends)-1 {
				p.b.h.Unshown() // and shows them
			}
		}
		left := p.b.h.Unshown()
		if len(left) != 2 || !left[0].Seen || !left[0].Again || left[1].Seen || left[1].Again != c.again {
			t.Errorf("%s: unshown is %+v, want again %t", name, left, c.again)
		}
		// What comes from now on has nothing to do with that.
		p.Clock.Add(time.Second)
		p.Connect()
		later := p.Send("later")[0]
		if p.b.h.Again(later) {
			t.Errorf("%s: a message of this run is told as one of an earlier one", name)
		}
		if r := verified(t, p.b.dir, p.Verifier); !r.OK() {
			t.Errorf("%s: %+v", name, r.Findings)
		}
	}
}

// TestRunsComeAndGo: clients that begin and end at once, without a line, are not in each other's way,
// and none is taken for a killed one.
func TestRunsComeAndGo(t *testing.T) {
	dir := t.TempDir()
	for range 40 { // a look at them takes a while
		h, _, err := Open(Config{Dir: dir, Owner: somebody})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				h, notices, err := Open(Config{Dir: dir, Owner: somebody})
				if err != nil || len(notices) > 0 {
					t.Error(err, notices)
					return
				}
				time.Sleep(rand.N(time.Millisecond)) // while others look
				if err := h.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if lines := chained(t, dir); len(lines) != 1 {
		t.Errorf("there are %q", types(lines))
	}
}

// TestRunOfGarbage: the file of a run costs no more than one can need.
func TestRunOfGarbage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, runPrefix+"0123456789abcdef")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Skip(err) // there are no sparse files here
	}
	h, _, err := Open(Config{Dir: dir, Owner: somebody})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

// TestRunReasonsOfTheProtocol: a client on the same directory knows the two reasons that mean
// something.
func TestRunReasonsOfTheProtocol(t *testing.T) {
	text, err := os.ReadFile("../../PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"`" + runKilled + "`", "`" + runUnsure + "`"} {
		if !strings.Contains(strings.Join(strings.Fields(string(text)), " "), want) {
			t.Errorf("PROTOCOL.md does not say %q", want)
		}
	}
}

// TestManyKilledRuns: a machine goes down with many clients, and some of their files are torn. What
// each leaves is told, and the lines are read once for all.
func TestManyKilledRuns(t *testing.T) {
	p := newPair(t)
	const many = 300
	var lost []string
	for i := range 3 {
		p.Must(p.a.h.Pending(p.record(fmt.Sprint("never left ", i), to(p.b)), []string{"Bruno"}))
		p.Send(fmt.Sprint("left ", i))
		lost = append(lost, fmt.Sprint("never left ", i))
		p.kill(p.a)
		left, err := os.ReadDir(p.a.dir)
		p.Must(err)
		for _, f := range left {
			if strings.HasPrefix(f.Name(), runPrefix) && i < 2 { // it is settled last
				p.Must(os.Rename(filepath.Join(p.a.dir, f.Name()), filepath.Join(p.a.dir, "later-"+f.Name())))
			}
		}
		if i < 2 {
			p.restart(p.a)
			p.A.End.Conn = fmt.Sprint("another ", i)
			p.Connect()
		}
	}
	left, err := filepath.Glob(filepath.Join(p.a.dir, "later-*"))
	p.Must(err)
	for _, path := range left {
		p.Must(os.Rename(path, strings.Replace(path, "later-", "", 1)))
	}
	for i := range many {
		content := []string{"", "garbage", "-1 sends\n", "0 shows\nconn", strings.Repeat("x", 999)}[i%5]
		p.Must(os.WriteFile(filepath.Join(p.a.dir, fmt.Sprintf("%s%016x", runPrefix, i)), []byte(content), 0o600))
	}
	for _, name := range []string{".new-123", "ids.new"} { // of an index
		p.Must(os.WriteFile(filepath.Join(p.a.dir, name), []byte("half"), 0o600))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	notices := p.restart(p.a)
	runtime.ReadMemStats(&after)
	if want := "FAILED, because they did not leave from here: 1 to bruno; PENDING, because they may have arrived: 1 to Bruno"; strings.Count(notices, want) != 3 {
		t.Errorf("it says %q", notices)
	}
	for _, text := range lost {
		if got := p.status(text); got != "FAILED ("+neverSent+")" {
			t.Errorf("%q is %s", text, got)
		}
	}
	// A reading of the lines takes a buffer of 256 KiB.
	if took := after.TotalAlloc - before.TotalAlloc; took > many*(64<<10) {
		t.Errorf("the start took %d KiB", took>>10)
	}
	files, err := os.ReadDir(p.a.dir)
	p.Must(err)
	for _, f := range files {
		if f.Name() != linesName && f.Name() != runPrefix+p.a.h.run.id {
			t.Errorf("%s is left", f.Name())
		}
	}
	if r := verified(t, p.a.dir, p.Verifier); !r.OK() {
		t.Errorf("%+v", r.Findings)
	}
}
