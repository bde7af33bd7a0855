package attack

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// TestRowsAreListed: the package comment names every file of a row, and no other.
func TestRowsAreListed(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("row*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for i, file := range files {
		files[i] = regexp.MustCompile(`row[0-9]{2}_[a-z]+`).FindString(file)
	}
	listed := regexp.MustCompile(`row[0-9]{2}_[a-z]+`).FindAllString(string(doc), -1)
	slices.Sort(files)
	slices.Sort(listed)
	if files, listed = slices.Compact(files), slices.Compact(listed); !slices.Equal(files, listed) {
		t.Errorf("the comment lists\n%q, and there are\n%q", listed, files)
	}
}
