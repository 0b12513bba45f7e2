/* hello.h: tells Sentinels of a planned switch: what others need of hello.c.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_HELLO_H
#define CKV_CMDS_HELLO_H

#include "base/slice.h"

/* A message that an operator's session published: if it's a Sentinel's hello, it is kept. Borrows both. */
void hello_heard(Slice channel, Slice message);

/* The master of the Sentinels that were heard of late is at this address from now on. They are told if they are
 * subscribed here. */
void hello_tell(const char *host, int port);

#endif
