package chatsecure

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"chatsecure/crypto"
)

const (
	relayKeyFile = "relay.key"
	relayKeyType = "PRIVATE KEY" // PKCS #8 in PEM: RFC 7468, section 10
	// relayKeyMax bounds the key file in bytes: Ed25519 takes 119.
	relayKeyMax = 8 << 10
)

// RelayFingerprint returns the fingerprint of the relay whose state directory
// this is: 64 hexadecimal digits, lower case, by which clients know it. The
// key is made if there is none yet.
func RelayFingerprint(state string) (string, error) {
	key, err := loadRelayKey(state)
	if err != nil {
		return "", err
	}
	defer key.Erase()
	return crypto.Fingerprint(key.Public().SPKI()), nil
}

// loadRelayKey reads the relay's identity key, and makes one on the first
// start. Of two processes that start at once, both get the key of one.
func loadRelayKey(state string) (*crypto.Key, error) {
	if err := makeStateDir(state); err != nil {
		return nil, err
	}
	path := filepath.Join(state, relayKeyFile)
	key, err := readRelayKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key, err = crypto.GenerateKey(crypto.KeyEd25519)
	if err != nil {
		return nil, err
	}
	der := key.PKCS8()
	text := pem.EncodeToMemory(&pem.Block{Type: relayKeyType, Bytes: der})
	err = createStateFile(path, text)
	clear(der)
	clear(text)
	if err == nil {
		return key, nil
	}
	key.Erase()
	if errors.Is(err, fs.ErrExist) {
		return readRelayKey(path)
	}
	return nil, fmt.Errorf("relay key: %w", err)
}

func readRelayKey(path string) (*crypto.Key, error) {
	text, err := readStateFile(path, relayKeyMax)
	if err != nil {
		return nil, fmt.Errorf("relay key: %w", err)
	}
	defer clear(text)
	block, rest := pem.Decode(text)
	if block == nil || block.Type != relayKeyType || len(rest) > 0 {
		return nil, fmt.Errorf("relay key: %s is not one private key in PEM", path)
	}
	defer clear(block.Bytes)
	key, err := crypto.ParseKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("relay key: %s: %w", path, err)
	}
	return key, nil
}
