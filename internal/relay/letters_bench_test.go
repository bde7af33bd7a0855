package relay

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/contest"
	"chatsecure/testdata/lab/wire"
)

const (
	benchDevices = 8       // of people who are away, with a sender for each
	benchLetters = 400     // to each device
	benchLetter  = 2 << 10 // bytes
	benchOnWay   = 64      // letters of a sender that are not answered
)

// BenchmarkRelayLetters leaves letters of 2 KiB with the built relay, for people who are away, and
// hands them out: as fast as several people send at once, and as one who waits for each answer.
// Each letter that is kept is on the disk, as is each file of a program that does nothing else.
// Mosquitto has the same to do, and answers from memory. The processor time is that of the relay,
// and that of mosquitto.
func BenchmarkRelayLetters(b *testing.B) {
	key, err := lab.RSA2048.Generate()
	if err != nil {
		b.Fatal(err)
	}
	addr, pid := wire.ProgramIn(b, wire.Files(b), "-ciphers", crypto.SuiteMLKEM, "-letter-max", "1GiB")
	broker, brokerPid := contest.Mosquitto(b)
	turn := 0
	contest.Measure(b, func(report contest.Report) {
		turn++
		now := benchRelayLetters(b, addr, pid, turn, lab.WithKey(key))
		disk := benchDisk(b, b.TempDir(), benchLetters)
		now.report(report, "now")
		report("disk-one-by-one/s", disk)
		report("now/disk-one-by-one", now.oneByOne.rate/disk)
		if brokerPid != 0 {
			other := benchMosquitto(b, broker, brokerPid, turn)
			other.report(report, "mosquitto")
			report("now/mosquitto-one-by-one", now.oneByOne.rate/other.oneByOne.rate)
			report("now/mosquitto-taken", now.taken.rate/other.taken.rate)
			report("now/mosquitto-handed-out", now.handedOut.rate/other.handedOut.rate)
		}
	})
}

// benchPhase is the rate of letters a second, and the processor time of each in microseconds.
type benchPhase struct{ rate, cpu float64 }

type benchPhases struct{ oneByOne, taken, handedOut benchPhase }

func (p benchPhases) report(report contest.Report, who string) {
	for _, of := range []struct {
		name  string
		phase benchPhase
	}{{"one-by-one", p.oneByOne}, {"taken", p.taken}, {"handed-out", p.handedOut}} {
		report(who+"-"+of.name+"/s", of.phase.rate)
		report(who+"-"+of.name+"-cpu-us", of.phase.cpu)
	}
}

// benchMeasure measures work on n letters by a process.
func benchMeasure(b *testing.B, pid, n int, work func()) benchPhase {
	used, start := contest.Processor(b, pid), time.Now()
	work()
	return benchPhase{float64(n) / time.Since(start).Seconds(), (contest.Processor(b, pid) - used) / float64(n) / 1e3}
}

func benchRelayLetters(b *testing.B, addr string, pid, turn int, key lab.IssueOption) (p benchPhases) {
	connect := func(d *device, takes string) *wire.Client {
		c, err := d.dial(addr, takes)
		if err != nil {
			b.Fatal(err)
		}
		c.Conn.SetDeadline(time.Time{})
		c.Want(proto.TypeLetterEnd)
		return c
	}
	person := func(what string, i int) *device {
		name := fmt.Sprintf("%s%d-%d", what, turn, i)
		return newDevice(b, wire.Person(b, name, key), name)
	}
	var devices []*device
	var senders []*wire.Client
	for i := range benchDevices {
		d := person("to", i)
		connect(d, proto.TakesMessages).Close()
		devices = append(devices, d)
		senders = append(senders, connect(person("from", i), proto.TakesNone))
		defer senders[i].Close()
	}
	first := benchLines(senders[0], devices[0])
	p.oneByOne = benchMeasure(b, pid, benchLetters, func() { leaveMany(senders[0], first, 1) })
	lines := make([][][]byte, benchDevices)
	for i, c := range senders {
		lines[i] = benchLines(c, devices[i])
	}
	p.taken = benchMeasure(b, pid, benchDevices*benchLetters, func() {
		benchAll(func(i int) { leaveMany(senders[i], lines[i], benchOnWay) })
	})
	p.handedOut = benchMeasure(b, pid, (benchDevices+1)*benchLetters, func() {
		benchAll(func(i int) { collectMany(b, addr, devices[i], benchFor(i)) })
	})
	return p
}

// benchFor is the number of letters for a device: the first one has those that were left one by one.
func benchFor(i int) int {
	if i == 0 {
		return 2 * benchLetters
	}
	return benchLetters
}

// benchAll does the work for all devices at once.
func benchAll(work func(i int)) {
	var all sync.WaitGroup
	for i := range benchDevices {
		all.Go(func() { work(i) })
	}
	all.Wait()
}

// benchLines seals letters to a device.
func benchLines(c *wire.Client, to *device) (lines [][]byte) {
	for range benchLetters {
		p := letterTo(to, benchLetter)
		header := proto.MustMarshal(&proto.Header{Type: proto.TypeLetter, Kind: proto.LetterText, Identity: p.to})
		lines = append(lines, c.Line(proto.AppendPayload(nil, header, nil, p.body)))
	}
	return lines
}

// leaveMany leaves letters, so many of them on their way.
func leaveMany(c *wire.Client, lines [][]byte, onWay int) {
	places := make(chan struct{}, onWay)
	go func() {
		for _, line := range lines {
			places <- struct{}{}
			c.Conn.Write(line)
		}
	}()
	for range lines {
		m, err := c.Read()
		if err != nil || m.Done != proto.Kept {
			c.T.Errorf("%+v: %v", m.Header, err)
			return
		}
		<-places
	}
}

// collectMany collects so many letters.
func collectMany(b *testing.B, addr string, d *device, n int) {
	c, err := d.dial(addr, proto.TakesMessages)
	if err != nil {
		b.Error(err)
		return
	}
	defer c.Close()
	for range n {
		m, err := c.Read()
		if err != nil || m.Kind == "" {
			b.Errorf("%+v: %v", m.Header, err)
			return
		}
		o, _, _, _ := crypto.SplitLetter(m.Body)
		header := proto.MustMarshal(&proto.Header{
			Type: proto.TypeLetterAck, Letter: proto.FormatHash([32]byte(o.Letter)), Done: proto.Stored,
		})
		c.Conn.Write(c.Line(proto.AppendPayload(nil, header, nil, nil)))
	}
	if m, err := c.Read(); err != nil || m.Type != proto.TypeLetterEnd {
		b.Errorf("the end: %+v, %v", m.Header, err)
	}
}

// dial connects to a relay in another process, and collects the device's mailbox.
func (d *device) dial(addr, takes string) (*wire.Client, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	d.t.Cleanup(func() { conn.Close() })
	return wire.Handshake(d.t, conn, d.plan(takes))
}

// plan is a handshake that names the device's mailbox, and collects it.
func (d *device) plan(takes string) *wire.HandshakePlan {
	return &wire.HandshakePlan{
		Cred: d.cred, Takes: takes, Mailbox: d.box.Public(), Collects: [][]byte{d.hash()},
	}
}

// benchMosquitto has the broker do what benchRelayLetters has the relay do.
func benchMosquitto(b *testing.B, addr string, pid, turn int) (p benchPhases) {
	name := func(what string, i int) string { return fmt.Sprintf("%s%d-%d", what, turn, i) }
	texts := make([][]byte, benchLetters)
	for i := range texts {
		texts[i] = make([]byte, benchLetter)
		rand.Read(texts[i])
	}
	senders := make([]*contest.MQTT, benchDevices)
	for i := range senders {
		away := contest.DialMQTT(b, addr, name("to", i))
		away.Subscribe(name("topic", i))
		away.Close()
		senders[i] = contest.DialMQTT(b, addr, name("from", i))
		defer senders[i].Close()
	}
	p.oneByOne = benchMeasure(b, pid, benchLetters, func() { senders[0].Publish(name("topic", 0), texts, 1) })
	p.taken = benchMeasure(b, pid, benchDevices*benchLetters, func() {
		benchAll(func(i int) { senders[i].Publish(name("topic", i), texts, benchOnWay) })
	})
	p.handedOut = benchMeasure(b, pid, (benchDevices+1)*benchLetters, func() {
		benchAll(func(i int) {
			c := contest.DialMQTT(b, addr, name("to", i))
			defer c.Close()
			c.Take(benchFor(i))
		})
	})
	return p
}

// benchDisk stores n files one by one, each forced to the disk with its name as a letter is, and
// returns how many a second.
func benchDisk(b *testing.B, dir string, n int) float64 {
	text, start := make([]byte, benchLetter), time.Now()
	for i := range n {
		f, err := os.CreateTemp(dir, "")
		if err != nil {
			b.Fatal(err)
		}
		f.Write(text)
		err = errors.Join(f.Sync(), f.Close(), os.Rename(f.Name(), filepath.Join(dir, fmt.Sprint("letter", i))))
		if names, err2 := os.Open(dir); err == nil && err2 == nil {
			err = errors.Join(names.Sync(), names.Close())
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	return float64(n) / time.Since(start).Seconds()
}
