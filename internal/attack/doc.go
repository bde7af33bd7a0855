// Package attack tries attacks and faults on relay and client together: in this
// process, and as the built programs. It consists of tests. An attack that one
// package can be tried with alone stands in that package, under the number of its
// row (TestRow12..., TestAttack12...).
//
// The rows, and where this package tries them:
//
// A malicious relay or network
//
//  1. Key substitution: row01_substitution
//  2. Identity misbinding: row02_misbinding
//  3. A handshake moved elsewhere, phases swapped: row03_moved
//  4. Connect forwarded or replayed to another relay: row04_forwarded
//  5. The relay's key changed: row05_relay
//  6. Downgrade of suites: row06_suites
//  7. Replay of lines: row07_replay
//  8. Lines reordered or dropped: row08_drop, row08_leaving
//  9. Reflection: row09_reflection
//  10. Splicing of conversations, types and directions: row10_splice, row10_pipe, row10_body
//  11. Forged receipts and records: row11_read, row11_receipt
//  12. Every byte flipped, every field spoiled: row12_relay, row12_peer
//  13. A ghost under Bob's name: row13_ghost
//  14. Different messages to different members: row14_equivocation
//  15. Lies in list and whois: row15_lies
//
// Keys and certificates
//
//  16. A leaked ephemeral key: package crypto alone
//  17. Leaked memory: row17_erased
//  18. A leaked K: row18_leaked
//  19. Malformed and weak keys: row19_keys
//  20. Certificates: row20_programs and row20_lists on hierarchies of row20_openssl, row20_renewed
//  21. The card: package card alone
//
// Bad input
//
//  22. Lines that no parser should take: row22_relay, row22_peer, row22_halfopen
//  23. Texts that a terminal would act on: row23_terminal, row23_certificates
//  24. Names: row24_names
//  25. Paths, disks, damaged histories: row25_state, row25_disk, row25_history, row25_letters
//
// Load and loss
//
//  26. Receivers that never read, floods: row26_answers, row26_window, row26_leaks, row26_load, row26_looks,
//     row26_strangers, row26_callers, row26_refused
//  27. The relay killed, the transport lost: row27_relay, row27_transport
//  28. The client killed: row28_kills; everybody, with letters: row28_letters
//  29. Two clients on one state directory: row29_two, row29_letters
//  30. Wrong clocks: row30_clock; times that are minted: row30_judged
//
// Letters
//
//  31. A relay that lies about letters, and a thief of its disk: row31_letters
//  32. Letters that no client would leave: row32_letters
//
// No row names the eavesdropper, bad networks (network) and the soak. The other
// files hold what two sides do without an attack: talk, pipe, wait, requests,
// renew, ending, siblings, refusedline, fetchpeers, pending; secondclient, a client of
// another make; protocol, PROTOCOL.md against the code.
package attack
