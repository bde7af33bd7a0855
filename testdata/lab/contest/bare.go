package contest

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// bareEnv makes this program a bare relay.
const bareEnv = "CHATSECURE_BARE_RELAY"

// RunBare is the bare relay as a process of its own. In any other process it returns
// at once. town.Main calls it.
func RunBare() {
	if os.Getenv(bareEnv) == "" {
		return
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString(ln.Addr().String() + "\n")
	serveBare(ln)
	os.Exit(0)
}

// serveBare joins the connections in pairs. It copies each line of one to the other,
// and flushes when nothing more is there to read: the least that a relay can cost.
func serveBare(ln net.Listener) {
	for {
		one, err := ln.Accept()
		if err != nil {
			return
		}
		other, err := ln.Accept()
		if err != nil {
			one.Close()
			return
		}
		go copyLines(one, other)
		go copyLines(other, one)
	}
}

func copyLines(from, to net.Conn) {
	defer to.Close()
	r, w := bufio.NewReaderSize(from, 64<<10), bufio.NewWriterSize(to, 64<<10)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		w.Write(line)
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
	}
}

// Bare returns two connections that a bare relay in this process joins.
func Bare(b *testing.B) (one, other net.Conn) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	go serveBare(ln)
	return pair(b, ln.Addr().String())
}

// BareProgram returns two connections that a bare relay in another process joins.
func BareProgram(b *testing.B) (one, other net.Conn, pid int) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), bareEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	one, other = pair(b, strings.TrimSpace(addr))
	return one, other, cmd.Process.Pid
}

func pair(b *testing.B, addr string) (one, other net.Conn) {
	b.Helper()
	var ends [2]net.Conn
	for i := range ends {
		var err error
		if ends[i], err = net.Dial("tcp", addr); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { ends[i].Close() })
	}
	return ends[0], ends[1]
}
