package crypto

// MyIdentity returns the identity under which this side of the conversation
// stands: that of its own bundle.
func (c *Conversation) MyIdentity() [32]byte { return c.local.Identity }

// MyBundle and TheirBundle return the hashes of both bundles of the
// conversation.
func (c *Conversation) MyBundle() [32]byte    { return c.myHash }
func (c *Conversation) TheirBundle() [32]byte { return c.peerHash }
