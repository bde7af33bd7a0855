package client

import (
	"encoding/binary"
	"hash/maphash"
	"reflect"
	"slices"
	"strings"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/history"
)

// fingerprint hashes the engine's whole knowledge of other people, and the known
// peers. Two equal ones of one engine mean that only time has passed between.
func (c *scheduledClient) fingerprint() uint64 {
	var f fingerprinter
	f.h.SetSeed(fingerprintSeed)
	f.seen = map[uintptr]bool{}
	for _, v := range [...]any{c.e.conns, c.e.users, c.e.inbox.pending, c.e.cfg.State.KnownPeers()} {
		f.walk(reflect.ValueOf(v))
	}
	return f.h.Sum64()
}

var fingerprintSeed = maphash.MakeSeed()

type fingerprinter struct {
	h    maphash.Hash
	seen map[uintptr]bool
}

// Values that never change, and times.
var fingerprintSkips = []reflect.Type{
	reflect.TypeFor[trust.Person](), reflect.TypeFor[trust.Bundle](), reflect.TypeFor[crypto.Local](),
	reflect.TypeFor[crypto.Record](), reflect.TypeFor[time.Time](), reflect.TypeFor[history.Party](),
}

func (f *fingerprinter) number(n uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	f.h.Write(b[:])
}

func (f *fingerprinter) walk(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		f.number(uint64(v.Pointer()))
		elem := v.Type().Elem()
		ours := strings.HasPrefix(elem.PkgPath(), "chatsecure")
		if v.IsNil() || f.seen[v.Pointer()] || !ours || slices.Contains(fingerprintSkips, elem) {
			return
		}
		f.seen[v.Pointer()] = true
		f.walk(v.Elem())
	case reflect.Interface:
		if !v.IsNil() {
			f.walk(v.Elem())
		}
	case reflect.Struct:
		if slices.Contains(fingerprintSkips, v.Type()) {
			return
		}
		for i := range v.NumField() {
			f.walk(v.Field(i))
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(mapKey(a), mapKey(b)) })
		f.number(uint64(len(keys)))
		for _, k := range keys {
			f.h.WriteString(mapKey(k))
			f.walk(v.MapIndex(k))
		}
	case reflect.Slice, reflect.Array:
		f.number(uint64(v.Len()))
		for i := range v.Len() {
			f.walk(v.Index(i))
		}
	case reflect.String:
		f.h.WriteString(v.String())
		f.number(uint64(v.Len()))
	case reflect.Bool:
		f.number(map[bool]uint64{true: 1}[v.Bool()])
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		f.number(uint64(v.Int()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		f.number(v.Uint())
	default:
		panic("a field of kind " + v.Kind().String())
	}
}

// mapKey is a key as a string: a name, an id or a hash.
func mapKey(k reflect.Value) string {
	if k.Kind() == reflect.String {
		return k.String()
	}
	b := make([]byte, k.Len())
	for i := range b {
		b[i] = byte(k.Index(i).Uint())
	}
	return string(b)
}
