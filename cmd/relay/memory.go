package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A relay has few connections that all talk, or thousands that mostly rest, or
// was just flooded with handshakes. Go's one default suits none: it collects
// every few thousand lines while little is alive, and lets garbage grow to the
// size of everything that ten thousand connections hold.
const (
	// garbageFloor is how many bytes of garbage may gather however little is
	// alive.
	garbageFloor = 16 << 20
	// garbageLeast and garbageMost bound it in per cent of what is alive.
	garbageLeast = 50
	garbageMost  = 400
	// quiet is how many bytes a second are allocated when nothing much goes on:
	// the keep-alives of ten thousand connections come to a third of it.
	quiet = 8 << 20
	// memoryLook is how often this is looked at, and memoryRest how long after
	// giving memory back nothing more is given.
	memoryLook = time.Second
	memoryRest = 30 * time.Second
)

// tendMemory adjusts the collector to what is alive and gives memory back to
// the system after a storm, until ctx ends.
func tendMemory(ctx context.Context) {
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
	ticker := time.NewTicker(memoryLook)
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
		if !busy && spare > value(live)/4+garbageFloor/4 && time.Since(gaveBack) > memoryRest {
			debug.FreeOSMemory()
			gaveBack = time.Now()
		}
	}
}

// garbagePercent is what GOGC is to be with that much alive. It goes in steps,
// because every change stops the program for a moment.
func garbagePercent(live uint64) int {
	const step = 10
	p := garbageMost
	if live > 0 {
		p = int(min(garbageFloor*100/live, garbageMost))
	}
	return max(p/step*step, garbageLeast)
}
