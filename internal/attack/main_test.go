package attack

import (
	"os"
	"testing"

	"chatsecure/testdata/lab/leaks"
	"chatsecure/testdata/lab/town"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(loadEnv); name != "" {
		os.Exit(runLoad(name))
	}
	os.Exit(leaks.CheckDescriptors(func() int { return town.Main(m) }))
}
