package command

import (
	"os"
	"testing"

	"chatsecure/testdata/lab/town"
)

func TestMain(m *testing.M) { os.Exit(town.Main(m)) }
