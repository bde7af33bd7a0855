package proto

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// readPEM reads all blocks of a text, each as its type and its bytes.
func readPEM(r io.Reader) (blocks []string, err error) {
	p := NewPEM(r)
	for {
		if err := p.Next(); err == io.EOF {
			return blocks, nil
		} else if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(p)
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, p.Type+" "+string(body))
	}
}

func TestPEM(t *testing.T) {
	const one, two = "-----BEGIN A-----\nb25l\n-----END A-----\n", "-----BEGIN B C-----\ndHdvIQ==\n-----END B C-----\n"
	long := strings.Repeat("x", 9000)
	wrapped := string(pem.EncodeToMemory(&pem.Block{Type: "A", Bytes: []byte(long)}))
	for name, c := range map[string]struct {
		text string
		want []string // nil is refused
		says string
	}{
		"empty":                   {"", []string{}, ""},
		"only text":               {"no block\nhere\n", []string{}, ""},
		"two":                     {one + two, []string{"A one", "B C two!"}, ""},
		"text between":            {"Root\n====\n" + one + "\nX\n=-----=\n" + two + "end", []string{"A one", "B C two!"}, ""},
		"CRLF":                    {strings.ReplaceAll(one+two, "\n", "\r\n"), []string{"A one", "B C two!"}, ""},
		"a byte order mark":       {"\ufeff" + one, []string{"A one"}, ""},
		"marks of joined files":   {"\ufeff" + one + "\ufeff" + two, []string{"A one", "B C two!"}, ""},
		"no newline at the end":   {strings.TrimSpace(one), []string{"A one"}, ""},
		"END and BEGIN on a line": {strings.TrimSpace(one) + two, []string{"A one", "B C two!"}, ""},
		"indented":                {"  " + strings.ReplaceAll(one, "\n", "\n\t "), []string{"A one"}, ""},
		"blanks at line ends":     {strings.ReplaceAll(one, "\n", " \t\n"), []string{"A one"}, ""},
		"empty lines inside":      {strings.ReplaceAll(one, "b25l", "\n\nb2\n\n5l\n"), []string{"A one"}, ""},
		"lines of odd lengths":    {strings.ReplaceAll(two, "dHdvIQ==", "d\nHdvI\nQ=\n="), []string{"B C two!"}, ""},
		"many lines":              {wrapped, []string{"A " + long}, ""},
		"one long line": {"-----BEGIN A-----\n" + base64.StdEncoding.EncodeToString([]byte(long)) + "\n-----END A-----\n" + two,
			[]string{"A " + long, "B C two!"}, ""},
		"an empty block": {"-----BEGIN A-----\n-----END A-----\n", []string{"A "}, ""},

		"a quoted block":          {one + "> " + two, nil, "line 4: a block in PEM does not begin or end as it must, on a line of its own"},
		"text before BEGIN":       {"Root:" + one, nil, "line 1: "},
		"base64 after BEGIN":      {"-----BEGIN A-----b25l\n-----END A-----\n", nil, "line 1: "},
		"BEGIN lacks a dash":      {one + two[1:], nil, "line 4: "},
		"BEGIN lacks dashes":      {one + "-----BEGIN B C\ndHdvIQ==\n-----END B C-----\n", nil, "line 4: "},
		"BEGIN of long dashes":    {"\u2014\u2013BEGIN A-----\nb25l\n-----END A-----\n", nil, "line 1: "},
		"BEGIN without a type":    {"-----BEGIN -----\nb25l\n-----END -----\n", nil, "line 1: "},
		"BEGIN in small letters":  {strings.ToLower(one), nil, "line 1: "},
		"text after END":          {strings.TrimSpace(one) + " and\n" + two, nil, "line 3: "},
		"END and BEGIN as one":    {strings.TrimSpace(one) + two[5:], nil, "line 3: "},
		"END of another type":     {strings.Replace(one, "END A", "END B", 1), nil, `line 3: the block that begins in line 1 does not end as it must`},
		"END lacks a dash":        {strings.Replace(one, "-----END", "----END", 1) + two, nil, "line 3: "},
		"no END, then another":    {"-----BEGIN A-----\nb25l\n" + two, nil, "line 3: "},
		"no END":                  {one + "-----BEGIN A-----\nb25l\n", nil, "line 5: the block that begins in line 4 does not end"},
		"END alone":               {"b25l\n-----END A-----\n", nil, "line 2: "},
		"a spoilt letter":         {strings.Replace(one, "5", "*", 1), nil, "line 2: the block that begins in line 1 is damaged: this is not base64"},
		"a lost letter":           {strings.Replace(one, "5", "", 1), nil, "line 3: the block that begins in line 1 is not whole"},
		"spare bits":              {strings.Replace(two, "Q==", "R==", 1), nil, "line 2: "},
		"goes on after its end":   {strings.Replace(two, "==\n", "==\nb25l\n", 1), nil, "line 3: "},
		"a header":                {strings.Replace(one, "b25l", "Proc-Type: 4,ENCRYPTED\n\nb25l", 1), nil, "line 2: "},
		"UTF-16":                  {"\xff\xfe-\x00-\x00-\x00-\x00-\x00B\x00E\x00", nil, "line 1: this is no text but bytes"},
		"UTF-16 behind":           {one + "\xff\xfe-\x00-\x00-\x00-\x00-\x00B\x00E\x00", nil, "line 4: this is no text but bytes"},
		"DER behind":              {one + "0\x82\x01\x00\x02", nil, "line 4: this is no text but bytes"},
		"a line of text too long": {long + one, nil, "line 1: a line of more than 4096 bytes"},
		"too much text":           {strings.Repeat(strings.Repeat("x", 1023)+"\n", 1025) + one, nil, "line 1025: more than 1048576 bytes"},
	} {
		for how, r := range map[string]io.Reader{"": strings.NewReader(c.text), ", byte by byte": iotest.OneByteReader(strings.NewReader(c.text))} {
			got, err := readPEM(r)
			switch {
			case c.want != nil && (err != nil || !slices.Equal(got, c.want)):
				t.Errorf("%s%s: %.60q, %v, want %.60q", name, how, got, err, c.want)
			case c.want == nil && (err == nil || !strings.HasPrefix(err.Error(), c.says)):
				t.Errorf("%s%s: %.60q, error %v, want %q", name, how, got, err, c.says)
			}
		}
	}

	failure := errors.New("the disk")
	if _, err := readPEM(io.MultiReader(strings.NewReader(one[:20]), iotest.ErrReader(failure))); err != failure {
		t.Errorf("an error of the file is %v", err)
	}
}

// TestPEMSkips: a block that nobody reads need not be base64, but must end.
func TestPEMSkips(t *testing.T) {
	const key = "-----BEGIN K-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END K-----\n-----BEGIN A-----\nb25l\n-----END A-----\n"
	p := NewPEM(strings.NewReader(key))
	for _, want := range []string{"K", "A"} {
		if err := p.Next(); err != nil || p.Type != want {
			t.Fatalf("%s, %v, want %s", p.Type, err, want)
		}
	}
	if body, err := io.ReadAll(p); err != nil || string(body) != "one" || p.Line != 6 {
		t.Errorf("in line %d is %q, %v", p.Line, body, err)
	}
	p = NewPEM(strings.NewReader(strings.Replace(key, "-----END K-----\n", "", 1)))
	if err := errors.Join(p.Next(), p.Next()); err == nil || !strings.HasPrefix(err.Error(), "line 5: ") {
		t.Errorf("a block without an end: %v", err)
	}
}

// FuzzPEM: each BEGIN of an accepted text is a block, and encoding/pem finds no other.
func FuzzPEM(f *testing.F) {
	for _, seed := range []string{"-----BEGIN A-----\nb25l\n-----END A-----\n", "-----BEGIN A-----\n-----END A----------BEGIN B-----\nAA==\n-----END B-----"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		blocks, err := readPEM(bytes.NewReader(text))
		slow, slowErr := readPEM(iotest.OneByteReader(bytes.NewReader(text)))
		if !slices.Equal(blocks, slow) || (err == nil) != (slowErr == nil) {
			t.Fatalf("%q %v, byte by byte %q %v", blocks, err, slow, slowErr)
		}
		if err != nil {
			return
		}
		if n := bytes.Count(text, []byte("-----BEGIN")); n != len(blocks) {
			t.Fatalf("%d of %d blocks were read", len(blocks), n)
		}
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			i := slices.Index(blocks, block.Type+" "+string(block.Bytes))
			if i < 0 {
				t.Fatalf("%s %q is missing", block.Type, block.Bytes)
			}
			blocks = blocks[i+1:]
		}
	})
}
