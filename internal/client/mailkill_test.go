package client

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/disk"
	"chatsecure/testdata/lab/people"
)

// mailChild is the variable with the directory, the sync and the moment (before or after it) at
// which a child kills itself.
const mailChild = "MAIL_TEST_CHILD"

// TestMailKilled: a client is killed before and after each sync of a mailbox's life. The next one
// finds what was said to be there, takes over the letters that wait, and starts.
func TestMailKilled(t *testing.T) {
	if args := os.Getenv(mailChild); args != "" {
		mailKilledChild(t, strings.Split(args, " "))
		return
	}
	for at := 1; ; at++ {
		for _, moment := range []string{"before", "after"} {
			dir := t.TempDir()
			cmd := exec.Command(os.Args[0], "-test.run=^TestMailKilled$")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", mailChild, dir, at, moment))
			out, err := cmd.Output()
			if err == nil {
				if at < 15 { // fewer than the steps below have
					t.Fatalf("%d syncs in all: %s", at-1, out)
				}
				return
			}
			afterKill(t, fmt.Sprintf("killed %s sync %d", moment, at), dir, out)
		}
	}
}

// mailKilledChild says what it has done, a line each: before a step that takes something away, and after
// one that adds something.
func mailKilledChild(t *testing.T, args []string) {
	at, err := strconv.Atoi(args[1])
	if err != nil {
		t.Fatal(err)
	}
	s := newOutSceneIn(t, args[0], func() {
		calls := 0
		disk.SyncWith(t, func(f *os.File) error {
			if calls++; calls == at && args[2] == "before" {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
			err := f.Sync()
			if calls == at {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
			return err
		})
	})
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	check(s.m.named(s.ours, s.own.Hash()))
	fmt.Printf("named %x\n", s.ours)
	first, second := s.reserve(s.m), s.reserve(s.m)
	fmt.Printf("reserved 1\nreserved 2\n")
	fmt.Printf("answered 2\n")
	check(s.m.answered(second))
	anew, err := s.seal(1)
	check(err)
	check(s.m.replace(first, anew))
	check(s.m.emptied("relay", s.ours, people.Now, people.Now))
	fmt.Printf("empty\n")
	end := people.Now.Add(trust.MaxMailbox)
	fmt.Printf("erased %x\n", s.ours)
	check(s.m.emptied("relay", s.ours, end, end))
}

func afterKill(t *testing.T, when, dir string, said []byte) {
	t.Helper()
	var named, erased [32]byte
	empty := false
	var waits []uint64
	for in := bufio.NewScanner(bytes.NewReader(said)); in.Scan(); {
		word, what, _ := strings.Cut(in.Text(), " ")
		n, _ := strconv.ParseUint(what, 10, 64)
		switch word {
		case "named":
			named = proto.MustHash(what)
		case "reserved":
			waits = append(waits, n)
		case "answered":
			waits = slices.DeleteFunc(waits, func(w uint64) bool { return w == n })
		case "empty":
			empty = true
		case "erased":
			erased = proto.MustHash(what)
		}
	}
	m := openMail(dir)
	letters, _, err := m.claim()
	if err != nil {
		t.Errorf("%s: %v", when, err)
	}
	var found []uint64
	for _, o := range letters {
		found = append(found, o.h.N)
		o.release()
	}
	for _, n := range waits {
		if !slices.Contains(found, n) {
			t.Errorf("%s: letter %d is gone; there are %v", when, n, found)
		}
	}
	if named != [32]byte{} && erased == [32]byte{} {
		box, err := m.box(named)
		if err != nil || box == nil || len(box.log) == 0 || empty && !box.Empty("relay").Equal(people.Now) {
			t.Errorf("%s: the mailbox is %+v, %v", when, box, err)
		}
	}
	next, err := m.newest(people.Now.Add(time.Hour))
	if err != nil {
		t.Errorf("%s: the next start: %v", when, err)
		return
	}
	if named != [32]byte{} && erased == [32]byte{} && next.Hash != named {
		t.Errorf("%s: the next start makes another mailbox", when)
	}
	disk.NoStrays(t, m.dir)
	disk.NoStrays(t, filepath.Join(m.dir, outDir))
	for _, file := range files(t, dir) {
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode().Perm() != state.FileMode {
			t.Errorf("%s: %s has the mode %v", when, file, info.Mode())
		}
	}
}
