package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

// BenchmarkRelayRecheck has the relay check 500 connections again, with a certificate for
// each, after everything was read again. It measures the check, and the
// messages of two people before and during it.
func BenchmarkRelayRecheck(b *testing.B) {
	const people, samples = 500, 300
	key, err := lab.RSA2048.Generate()
	if err != nil {
		b.Fatal(err)
	}
	creds := make([]*wire.Cred, people)
	for i := range creds {
		name := fmt.Sprintf("user%d", i)
		creds[i] = wire.Delegate(b, wire.Person(b, name, lab.WithKey(key)), name)
	}
	rt := start(b, benchSuite)
	for _, cred := range creds {
		rt.Connect(cred, proto.TakesMessages)
	}
	ana, bruno := rt.Join("ana"), rt.Join("bruno")
	probe := func() (times []time.Duration) {
		for range samples {
			start := time.Now()
			ana.To(bruno, strings.Repeat("x", wire.TextSize))
			for m := bruno.Next(); m.Type != proto.TypeClientCom; m = bruno.Next() {
			}
			times = append(times, time.Since(start))
		}
		return times
	}
	var before, during []time.Duration
	took := time.Duration(0)
	for b.Loop() {
		before = append(before, probe()...)
		if problems := rt.identities.reload(); len(problems) > 0 {
			b.Fatal(problems)
		}
		start, done := time.Now(), make(chan struct{})
		go func() {
			rt.recheck(rt.hub.all())
			took += time.Since(start)
			close(done)
		}()
		for checking := true; checking; {
			select {
			case <-done:
				checking = false
			default:
				during = append(during, probe()...)
			}
		}
	}
	b.ReportMetric(float64(took.Microseconds())/float64(b.N*people), "us/person")
	b.ReportMetric(percentile(before, 95), "message-p95-us")
	b.ReportMetric(percentile(during, 95), "message-checking-p95-us")
}
