// Command relay passes messages between ChatSecure clients.
package main

import (
	"os"

	"chatsecure"
)

// version is set when a release is built: -ldflags "-X main.version=...".
var version = "dev"

func main() { os.Exit(chatsecure.RelayMain(os.Args[1:], version, os.Stdout, os.Stderr)) }
