// Command client is how a person, or a shell script, talks over ChatSecure.
package main

import (
	"os"

	"chatsecure"
)

// version is set when a release is built: -ldflags "-X main.version=...".
var version = "dev"

func main() { os.Exit(chatsecure.ClientMain(os.Args[1:], version)) }
