package history

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"chatsecure/internal/state"
	"chatsecure/proto"
)

// The files of a history.
const (
	linesName = "lines.jsonl"
	indexName = "index"
	tableName = "ids"
	newSuffix = ".new" // of a table that is being made
)

// maxIndex bounds the file `index` in bytes.
const maxIndex = 64 << 20

// A table that has far more slots than its lines can have keys is made anew: to read it could take
// hours.
const (
	minSlots = 1 << 20
	minBytes = 16 // of lines for each slot: a key has more than 100, and three slots at most
)

// indexState is the content of the file `index`: the lines that the index covers, and what a client
// that starts must know of them besides the table.
type indexState struct {
	V        int            `json:"v"`
	Size     int64          `json:"size"`  // of the lines that it covers
	Last     int64          `json:"last"`  // the offset of the last of these
	Hash     []byte         `json:"hash"`  // and its SHA-256
	Seed     []byte         `json:"seed"`  // of the table that belongs to it
	Count    uint64         `json:"count"` // the keys in there, at least
	Doubt    int64          `json:"doubt"`
	Waiting  []int64        `json:"waiting"` // the offsets of lines with records that are not shown
	Accounts []accountState `json:"accounts"`
}

// indexFile is the index on the disk, opened for reading. It says nothing about the lines behind
// the ones that it covers.
type indexFile struct {
	indexState
	table *table
}

// openIndex opens the index in dir, or returns nil if it is missing or does not fit the lines. The
// caller closes it.
func openIndex(dir string, lines *os.File) *indexFile {
	return loadIndex(dir, lines, os.O_RDONLY, func(f *os.File) Store { return f })
}

// coveredSize returns the size of the lines that the index in dir covers; 0: there is no index.
func coveredSize(dir string) int64 {
	data, err := state.ReadFile(filepath.Join(dir, indexName), maxIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	var s indexState
	if err == nil {
		err = proto.Unmarshal(data, &s)
	}
	if err != nil {
		return 1
	}
	return max(s.Size, 1)
}

func loadIndex(dir string, lines *os.File, flag int, through func(*os.File) Store) *indexFile {
	data, err := state.ReadFile(filepath.Join(dir, indexName), maxIndex)
	if err != nil {
		return nil
	}
	x := new(indexFile)
	if proto.Unmarshal(data, &x.indexState) != nil || !x.fits(lines) {
		return nil
	}
	file, err := openFile(filepath.Join(dir, tableName), flag)
	if err != nil {
		return nil
	}
	if x.table, err = openTable(file, through(file)); err != nil ||
		!slices.Equal(x.table.seed[:], x.Seed) || x.table.count < x.Count ||
		x.table.slots() > max(minSlots, uint64(x.Size)/minBytes) {
		file.Close()
		return nil
	}
	return x
}

// fits reports whether the lines are the ones that the index covers, by the last one.
func (s *indexState) fits(lines *os.File) bool {
	info, err := lines.Stat()
	if err != nil || s.V != version || s.Last < 0 || s.Last >= s.Size || s.Size > info.Size() {
		return false
	}
	before := int64(-1)
	for _, offset := range s.Waiting {
		if offset <= before { // each line is read once
			return false
		}
		before = offset
	}
	for _, a := range s.Accounts {
		if !proto.IsHex(a.Identity, sha256.Size) {
			return false
		}
	}
	hash, whole := hashLine(lines, s.Last, s.Size)
	return whole && slices.Equal(hash[:], s.Hash)
}

// hashLine hashes a line without its newline. It reports whether exactly one line stands between
// the offsets.
func hashLine(lines io.ReaderAt, start, end int64) (hash [sha256.Size]byte, whole bool) {
	around := max(start-1, 0) // the newline before
	in := bufio.NewReader(io.NewSectionReader(lines, around, end-around))
	if start > 0 {
		if before, err := in.ReadByte(); err != nil || before != '\n' {
			return hash, false
		}
	}
	_, size, hash, err := nextLine(in)
	return hash, err == nil && size == end-start
}

// offset returns the offset of the line of a key, if that is among the lines that the index covers.
// The line is to be checked: damage to the index shows nowhere else.
func (x *indexFile) offset(key recordKey) (offset int64, ok bool) {
	e, err := x.table.get(key)
	return e.offset, err == nil && e.state != stateNone && e.offset < x.Size
}

func (x *indexFile) close() { x.table.close() }
