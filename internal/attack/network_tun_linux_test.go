package attack

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// tunLink passes IP packets between two TUN devices and treats them as its badLink says. The
// system's own TCP is at both ends, so a lost packet is really lost. It replaces netem on kernels
// without it.
type tunLink struct {
	badLink
	ends [2]*os.File

	mu     sync.Mutex
	free   [2]time.Time // the time at which each way's line is free again
	closed bool
	lost   int
	late   sync.WaitGroup // packets under way
}

// maxLate bounds a packet's wait for the line. Later packets are dropped, as by a router's queue.
const maxLate = 500 * time.Millisecond

func newTunLink(t *testing.T, ns namespaces, link badLink) error {
	t.Helper()
	l := &tunLink{badLink: link}
	peers := [2]string{clientEnd, relayEnd}
	for i, name := range []string{ns.relay, ns.clients} {
		device, err := openTun("cs" + name[len(name)-1:] + "%d")
		if err != nil {
			return fmt.Errorf("a TUN device: %w", err)
		}
		t.Cleanup(func() { device.file.Close() })
		l.ends[i] = device.file
		if err := ip("link", "set", device.name, "netns", name, "name", "bad"); err != nil {
			return err
		}
		if err := setUp(name, [2]string{relayEnd, clientEnd}[i]+"/32"); err != nil {
			return err
		}
		if err := ip("-n", name, "route", "add", peers[i], "dev", "bad"); err != nil {
			return err
		}
	}
	var pumps sync.WaitGroup
	for way := range l.ends {
		pumps.Go(func() { l.pump(way) })
	}
	t.Cleanup(func() {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		l.late.Wait()
		for _, end := range l.ends {
			end.Close()
		}
		pumps.Wait()
		if l.loss > 0 && l.lost == 0 && !t.Failed() {
			t.Errorf("the link lost nothing")
		}
	})
	return nil
}

// pump reads packets from one end until it is closed.
func (l *tunLink) pump(way int) {
	packet := make([]byte, 64<<10)
	for {
		n, err := l.ends[way].Read(packet)
		if err != nil {
			return
		}
		if rand.IntN(100) < l.loss {
			l.mu.Lock()
			l.lost++
			l.mu.Unlock()
			continue
		}
		l.later(way, append([]byte(nil), packet[:n]...))
	}
}

// later delivers a packet at the other end in its time.
func (l *tunLink) later(way int, packet []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.free[way].Before(now) {
		l.free[way] = now
	}
	if l.closed || l.free[way].Sub(now) > maxLate {
		return
	}
	if l.kbit > 0 {
		l.free[way] = l.free[way].Add(time.Duration(len(packet)*8) * time.Second / time.Duration(l.kbit*1000))
	}
	wait := l.free[way].Sub(now) + l.delay
	if l.jitter > 0 {
		wait += rand.N(2*l.jitter) - l.jitter
	}
	l.late.Add(1)
	time.AfterFunc(wait, func() {
		defer l.late.Done()
		l.ends[1-way].Write(packet)
	})
}

type tunDevice struct {
	file *os.File
	name string
}

// openTun makes a TUN device, which its close removes.
func openTun(pattern string) (tunDevice, error) {
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if err != nil {
		return tunDevice{}, err
	}
	var request [40]byte // struct ifreq
	copy(request[:syscall.IFNAMSIZ-1], pattern)
	binary.NativeEndian.PutUint16(request[syscall.IFNAMSIZ:], syscall.IFF_TUN|syscall.IFF_NO_PI)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TUNSETIFF, uintptr(unsafe.Pointer(&request))); errno != 0 {
		syscall.Close(fd)
		return tunDevice{}, errno
	}
	name := string(request[:syscall.IFNAMSIZ])
	for i := range name {
		if name[i] == 0 {
			name = name[:i]
			break
		}
	}
	return tunDevice{os.NewFile(uintptr(fd), name), name}, nil
}
