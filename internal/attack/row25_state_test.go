package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chatsecure/testdata/lab/disk"
	"chatsecure/testdata/lab/town"
)

// TestAttack25StateDirectory: a state directory that others could change, or that cannot be
// written, is refused before the card signs and the relay hears of it.
func TestAttack25StateDirectory(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	w.Must("", "alice", "list")
	mkdir := func(name string, mode os.FileMode) string {
		dir := w.Path(name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	link := w.Path("link")
	if err := os.Symlink(w.Path("state-alice"), link); err != nil {
		t.Fatal(err)
	}
	w.Fails(1, "alice", []string{"-state", link, "list"}, "symbolic link")
	w.Fails(1, "alice", []string{"-state", link + "/", "list"}, "symbolic link")
	w.Fails(1, "alice", []string{"-state", link, "history"}, "symbolic link")
	w.Fails(1, "alice", []string{"-state", link, "history", "-verify"}, "symbolic link")
	w.Fails(1, "alice", []string{"-state", mkdir("open", 0o777), "list"}, "written by others")
	w.Fails(1, "alice", []string{"-state", mkdir("group", 0o770), "list"}, "written by others")
	w.Fails(1, "alice", []string{"-state", filepath.Join("/dev/null", "state"), "list"}, "/dev/null")
	inside := mkdir("inside", 0o700)
	if err := os.Symlink(w.Path("state-alice", "history"), filepath.Join(inside, "history")); err != nil {
		t.Fatal(err)
	}
	r := w.Run("", "alice", "-state", inside, "send", "bob", "hello")
	if r.Status != 1 || !strings.Contains(r.Stderr, "client: hint: ") {
		t.Errorf("a history that is a link: %+v", r)
	}
	if os.Geteuid() == 0 {
		theirs := mkdir("theirs", 0o700)
		if err := os.Chown(theirs, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		w.Fails(1, "alice", []string{"-state", theirs, "list"}, "belongs to another user")
	} else {
		fmt.Fprintf(os.Stderr, "*** %s: NOT TESTED with a directory of another user's, since only root can make one ***\n", t.Name())
		w.Fails(1, "alice", []string{"-state", mkdir("closed", 0o500), "list"}, "permission denied")
	}
	if readOnly := disk.Mount(t, w.Path("read-only"), 256); readOnly != nil {
		readOnly.ReadOnly()
		w.Fails(1, "alice", []string{"-state", readOnly.Dir, "list"}, "read-only")
	}
	w.Must("", "alice", "list")
}
