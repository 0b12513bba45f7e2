/* listen.h: what client.c needs of listen.c. The functions that others call are in client.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_NET_LISTEN_H
#define CKV_NET_LISTEN_H

#include "net/loop.h"

/* The loop that watches the listeners. */
void listen_init(Loop *loop);

#endif
