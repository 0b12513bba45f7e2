/* lookup.h: the addresses of a host's name, found in a thread, because it may take long. link.c calls it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_REPL_LOOKUP_H
#define CKV_REPL_LOOKUP_H

#include <netdb.h>
#include <stdint.h>

#include "net/loop.h"

typedef struct Lookup Lookup;

/* `done` is called in the loop, once. NULL: *error says why it can't begin (g_free): no descriptor or thread is left.
 */
Lookup *lookup_start(Loop *loop, const char *host, int64_t port, void (*done)(void *context), void *context,
                     char **error);
/* At any time, also inside of `done`, which isn't called after it. */
void lookup_free(Lookup *lookup);

/* Once it's done: the addresses, good until it's freed. NULL: *error says why there are none. */
const struct addrinfo *lookup_found(const Lookup *lookup, const char **error);

#endif
