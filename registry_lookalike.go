package chatsecure

import "chatsecure/proto"

func registrySkeleton(folded string) string { return folded }

func registryCheckScripts(name string) error { _ = proto.NameInvalid; return nil }
