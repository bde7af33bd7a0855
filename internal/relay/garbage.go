package relay

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A relay has a few busy connections, or thousands that mostly rest, or has just
// been flooded with handshakes. Go's one default suits none of these. With little
// memory in use it collects every few thousand lines; with ten thousand connections
// it lets garbage double their memory.
const (
	// garbageFloor is the garbage in bytes that may gather beside a small heap.
	garbageFloor = 16 << 20
	// garbageLeast and garbageMost bound the garbage in per cent of the live heap.
	garbageLeast = 50
	garbageMost  = 400
	// quiet is the rate of allocation of a relay at rest, in bytes a second: the
	// keep-alives of ten thousand connections need a third of it.
	quiet = 8 << 20
	// tendEvery is the interval of the checks, and giveBackEvery the least time
	// between two returns of memory.
	tendEvery     = time.Second
	giveBackEvery = 30 * time.Second
)

// TendMemory adjusts the garbage collector to the live heap and returns memory to
// the system after a storm, until ctx ends.
func TendMemory(ctx context.Context) {
	const live, allocs, objects, free = 0, 1, 2, 3
	samples := []metrics.Sample{
		live:    {Name: "/gc/heap/live:bytes"},
		allocs:  {Name: "/gc/heap/allocs:bytes"},
		objects: {Name: "/memory/classes/heap/objects:bytes"},
		free:    {Name: "/memory/classes/heap/free:bytes"},
	}
	value := func(i int) uint64 {
		if samples[i].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return samples[i].Value.Uint64()
	}
	ticker := time.NewTicker(tendEvery)
	defer ticker.Stop()
	var percent int
	var allocated uint64
	var gaveBack time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		metrics.Read(samples)
		if p := garbagePercent(value(live)); p != percent {
			percent = p
			debug.SetGCPercent(p)
		}
		busy := value(allocs)-allocated > quiet
		allocated = value(allocs)
		spare := value(objects) + value(free) - min(value(live), value(objects)+value(free))
		if !busy && spare > value(live)/4+garbageFloor/4 && time.Since(gaveBack) > giveBackEvery {
			debug.FreeOSMemory()
			gaveBack = time.Now()
		}
	}
}

// garbagePercent returns the value of GOGC for a live heap of this size in bytes. It
// moves in steps, because every change stops the program for a moment.
func garbagePercent(live uint64) int {
	const step = 10
	p := garbageMost
	if live > 0 {
		p = int(min(garbageFloor*100/live, garbageMost))
	}
	return max(p/step*step, garbageLeast)
}
