/* host.c: see host.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/host.h"

#include <glib.h>
#include <sys/socket.h>

#include "cmds/command.h"
#include "repl/master.h"

Loop *host_start(void)
{
    Loop *loop = loop_new(false);
    client_init(loop, (ClientHandlers){ .opened = command_opened,
                                        .closed = command_closed,
                                        .run = command_run_batch,
                                        .before_send = command_before_send,
                                        .drained = master_drained });
    command_init(keyspace_new(16));
    return loop;
}

Client *host_client(int *other_end)
{
    int ends[2];
    g_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    if (other_end != NULL) *other_end = ends[1];
    return client_adopt(ends[0], true, true);
}

char *host_take_reply(Client *client)
{
    GString *text = g_string_new(NULL);
    for (const OutBlock *b = client->out.head; b != NULL; b = b->next)
        g_string_append_len(text, b->data, b->used);
    out_clear(&client->out);
    return g_string_free(text, FALSE);
}
