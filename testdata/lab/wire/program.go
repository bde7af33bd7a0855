package wire

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"chatsecure/testdata/lab/town"
)

// Program starts the built relay, and returns its address and its process. It
// trusts Lab and is killed when the test ends. town.Main removes the binary.
func Program(t testing.TB) (addr string, pid int) {
	t.Helper()
	return ProgramIn(t, Files(t))
}

// ProgramIn is Program for the lab that was written to dir, with more options.
func ProgramIn(t testing.TB, dir string, options ...string) (addr string, pid int) {
	t.Helper()
	bin, err := town.Binaries()
	if err != nil {
		t.Fatal(err)
	}
	addrFile := filepath.Join(dir, "addr")
	cmd := exec.Command(filepath.Join(bin, "relay"), append([]string{"-listen", "127.0.0.1:0", "-addr-file", addrFile,
		"-state", filepath.Join(dir, "state"), "-ca-bundle", filepath.Join(dir, "ca-bundle.pem")}, options...)...)
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
