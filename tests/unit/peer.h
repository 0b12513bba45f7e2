/* peer.h: the other end of a server's connection, for tests that have a thread play the peers: so it checks with
 * g_assert.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_TESTS_UNIT_PEER_H
#define CKV_TESTS_UNIT_PEER_H

/* Connects to a port of 127.0.0.1. Reading from the descriptor, which is the caller's, fails after 20 s of silence. */
int peer_dial(int port);

#endif
