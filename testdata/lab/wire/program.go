package wire

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Program builds the relay, starts it as it ships, and returns its address and
// its process. It trusts Lab and is killed when the test ends.
func Program(t testing.TB) (addr string, pid int) {
	t.Helper()
	dir := Files(t)
	program, addrFile := filepath.Join(dir, "relay"), filepath.Join(dir, "addr")
	if out, err := exec.Command("go", "build", "-o", program, "chatsecure/cmd/relay").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(program, "-listen", "127.0.0.1:0", "-addr-file", addrFile,
		"-state", filepath.Join(dir, "state"), "-ca-bundle", filepath.Join(dir, "ca-bundle.pem"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	Until(t, "the relay's address", func() bool {
		text, err := os.ReadFile(addrFile)
		addr = strings.TrimSpace(string(text))
		return err == nil
	})
	return addr, cmd.Process.Pid
}
