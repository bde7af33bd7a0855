package attack

import (
	"bufio"
	"chatsecure/testdata/lab/leaks"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatsecure/internal/history"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

// loadSamples is the number of messages that a round times.
const loadSamples = 1000

// BenchmarkLoad has two people talk through the built relay while a process of its own loads the
// relay. p95-times is the 95th percentile of their times from Send to READ under the load, divided
// by that without, from alternating rounds. It should be at most 2. The load gets the processor
// time that the two people and the relay leave over: in reality its clients have their own
// machines, and only their cost to the relay counts. The amount done is reported, since an idle
// load proves nothing.
func BenchmarkLoad(b *testing.B) {
	for _, load := range loads {
		b.Run(load.name, func(b *testing.B) {
			town, pid := loadTown(b)
			alice, bob := town.client("alice", quiet), town.client("bob", quiet)
			_ = bob
			probe := func() (times []time.Duration) {
				ctx := context.Background()
				for range loadSamples {
					start := time.Now()
					if _, err := alice.Send(ctx, []string{"bob"}, strings.Repeat("x", wire.TextSize)); err != nil {
						b.Fatal(err)
					}
					if out := alice.Wait(ctx, history.StatusRead); len(out.Failed) > 0 {
						b.Fatal(out.Failed)
					}
					times = append(times, time.Since(start))
				}
				return times
			}
			probe() // warm
			var without, with []time.Duration
			var rss int64
			done, took := 0, time.Duration(0)
			for range b.N {
				for range load.rounds {
					without = append(without, probe()...)
					generator := startLoad(b, town, load.name)
					start := time.Now()
					with = append(with, probe()...)
					took += time.Since(start)
					rss = max(rss, leaks.Resident(b, pid))
					done += generator.stop(b)
				}
			}
			p95, p95with := percentile(without, 95), percentile(with, 95)
			b.ReportMetric(p95, "p95-us")
			b.ReportMetric(p95with, "loaded-p95-us")
			b.ReportMetric(p95with/p95, "p95-times")
			b.ReportMetric(percentile(with, 50)/percentile(without, 50), "p50-times")
			b.ReportMetric(float64(rss)/(1<<20), "relay-MiB")
			b.ReportMetric(float64(done)/took.Seconds(), load.counts+"/s")
		})
	}
}

// loadTown is a town with the built relay, and cards for the two people and those of the load.
func loadTown(b *testing.B) (town *localTown, pid int) {
	b.Helper()
	names := []string{"alice", "bob"}
	for i := range loadNames {
		names = append(names, loadName(i))
	}
	for _, name := range names {
		wire.Person(b, name, lab.P256)
	}
	town = &localTown{t: b, dir: b.TempDir(), pki: wire.Lab()}
	if err := town.pki.Write(filepath.Join(town.dir, "lab")); err != nil {
		b.Fatal(err)
	}
	town.addr, pid = wire.Program(b)
	return town, pid
}

// loadProcess is this program again, as the load on a relay.
type loadProcess struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
}

// startLoad returns when the load is there.
func startLoad(b *testing.B, town *localTown, name string) *loadProcess {
	b.Helper()
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	// Beside a process at nice 10, a waking process of normal priority still waits for the end of a
	// time slice of some milliseconds. Beside one of the idle class it does not.
	lower := []string{"chrt", "--idle", "0"}
	if _, err := exec.LookPath(lower[0]); err != nil {
		fmt.Fprintf(os.Stderr, "*** %v: the load is only made nice, and its own time slices are in p95-times ***\n", err)
		lower = []string{"nice", "-n", "19"}
	}
	p := &loadProcess{cmd: exec.Command(lower[0], append(lower[1:], program)...)}
	p.cmd.Env = append(os.Environ(), loadEnv+"="+name, loadEnv+"_RELAY="+town.addr, loadEnv+"_CARDS="+filepath.Join(town.dir, "lab"))
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	p.line(b, loadReady)
	return p
}

// line reads a word of the load's, and the number behind it.
func (p *loadProcess) line(b *testing.B, word string) (n int) {
	b.Helper()
	line, err := p.out.ReadString('\n')
	if err == nil {
		_, err = fmt.Sscanf(line, word+" %d\n", &n)
	}
	if err != nil {
		b.Fatalf("the load says %q: %v", line, err)
	}
	return n
}

// stop ends the load and returns the amount done.
func (p *loadProcess) stop(b *testing.B) int {
	b.Helper()
	p.stdin.Close()
	done := p.line(b, loadDone)
	if err := p.cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	return done
}
