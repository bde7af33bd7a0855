package contest

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Mosquitto starts an MQTT broker that keeps messages for subscribers who are away, without a bound
// on their number. It answers from memory: its file is written at its end. Where mosquitto is not
// installed, pid is 0.
func Mosquitto(b *testing.B) (addr string, pid int) {
	b.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			b.Log("mosquitto is not installed: no comparison with it (apt-get install mosquitto)")
			return "", 0
		}
	}
	dir := b.TempDir()
	for range 20 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		port := ln.Addr().(*net.TCPAddr).Port
		ln.Close()
		file := filepath.Join(dir, "conf")
		conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location %s/\n"+
			"max_queued_messages 0\nmax_inflight_messages %d\nlog_type error\nuser root\n", port, dir, mqttWindow)
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			b.Fatal(err)
		}
		cmd := exec.Command(program, "-c", file)
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		addr = fmt.Sprintf("127.0.0.1:%d", port)
		for range 200 {
			if conn, err := net.Dial("tcp", addr); err == nil {
				conn.Close()
				return addr, cmd.Process.Pid
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	b.Fatal("mosquitto does not listen")
	return "", 0
}

// mqttWindow is the number of messages on their way to a subscriber.
const mqttWindow = 128

// The packets of MQTT 3.1.1 that are used here.
const (
	mqttConnect   = 0x10
	mqttConnAck   = 0x20
	mqttPublish   = 0x32 // with quality 1: answered
	mqttPubAck    = 0x40
	mqttSubscribe = 0x82
	mqttSubAck    = 0x90
)

// MQTT is a connection to a broker with a session that outlives it.
type MQTT struct {
	b    *testing.B
	conn net.Conn
	r    *bufio.Reader
}

// DialMQTT connects and goes on with the session of a name.
func DialMQTT(b *testing.B, addr, name string) *MQTT {
	b.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	m := &MQTT{b, conn, bufio.NewReaderSize(conn, 64<<10)}
	const level, keepSession, keepAlive = 4, 0, 0
	body := append(mqttString("MQTT"), level, keepSession, 0, keepAlive)
	m.write(mqttConnect, append(body, mqttString(name)...))
	m.want(mqttConnAck)
	return m
}

// Subscribe subscribes to a topic with quality 1.
func (m *MQTT) Subscribe(topic string) {
	m.b.Helper()
	m.write(mqttSubscribe, append(append([]byte{0, 1}, mqttString(topic)...), 1))
	m.want(mqttSubAck)
}

// Publish publishes messages with quality 1, so many of them on their way, until all are answered.
func (m *MQTT) Publish(topic string, messages [][]byte, onWay int) {
	places := make(chan struct{}, onWay)
	go func() {
		for i, text := range messages {
			places <- struct{}{}
			body := binary.BigEndian.AppendUint16(mqttString(topic), uint16(i+1))
			m.write(mqttPublish, append(body, text...))
		}
	}()
	for range messages {
		m.want(mqttPubAck)
		<-places
	}
}

// Take takes and answers so many messages.
func (m *MQTT) Take(n int) {
	for range n {
		_, body := m.read()
		if len(body) < 2 {
			return
		}
		id := body[2+binary.BigEndian.Uint16(body):]
		m.write(mqttPubAck, id[:2])
	}
}

// Close ends the connection, and not the session.
func (m *MQTT) Close() { m.conn.Close() }

func mqttString(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

func (m *MQTT) write(kind byte, body []byte) {
	packet := binary.AppendUvarint([]byte{kind}, uint64(len(body)))
	m.conn.Write(append(packet, body...))
}

func (m *MQTT) read() (kind byte, body []byte) {
	kind, err := m.r.ReadByte()
	size, err2 := binary.ReadUvarint(m.r)
	if err == nil && err2 == nil {
		body = make([]byte, size)
		_, err = io.ReadFull(m.r, body)
	}
	if err != nil {
		m.b.Errorf("mosquitto: %v", err)
	}
	return kind, body
}

func (m *MQTT) want(kind byte) {
	m.b.Helper()
	if got, _ := m.read(); got != kind {
		m.b.Errorf("mosquitto answers with a packet of type %#x, and not %#x", got, kind)
	}
}
