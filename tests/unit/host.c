/* host.c: see host.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/host.h"

#include <glib.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/options.h"
#include "cmds/command.h"
#include "repl/master.h"
#include "store/checkpoint.h"

static char *directory;
static Manifest manifest;

bool host_enter_directory(void)
{
    directory = g_dir_make_tmp("ckv-test-XXXXXX", NULL);
    return directory != NULL && chdir(directory) == 0;
}

bool host_leave_directory(void)
{
    g_autofree char *path = g_steal_pointer(&directory), *remove = g_strdup_printf("rm -rf '%s'", path);
    return chdir("/") == 0 && system(remove) == 0;
}

void host_allow_threads(bool allowed)
{
    static pthread_attr_t usual;
    if (allowed) {
        g_assert(pthread_setattr_default_np(&usual) == 0);
        return;
    }
    pthread_attr_t huge; /* with stacks for which there's no room */
    g_assert(pthread_getattr_default_np(&usual) == 0);
    g_assert(pthread_attr_init(&huge) == 0);
    g_assert(pthread_attr_setstacksize(&huge, (size_t)1 << 47) == 0);
    g_assert(pthread_setattr_default_np(&huge) == 0);
    pthread_attr_destroy(&huge);
}

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

bool host_enter_checkpoints(Manifest *there)
{
    options_reset();
    clock_refresh();
    if (!host_enter_directory()) return false;
    manifest_init(there);
    table_set_secret(there->secret, sizeof(there->secret));
    g_autofree char *error = manifest_write(".", there);
    return error == NULL;
}

bool host_leave_checkpoints(Keyspace *ks, Manifest *there)
{
    checkpoint_forget_all();
    keyspace_free(ks);
    manifest_clear(there);
    return host_leave_directory();
}

Loop *host_start_checkpoints(Client **client)
{
    if (!host_enter_checkpoints(&manifest)) return NULL;
    Loop *loop = host_start();
    checkpoint_init(keyspace, &manifest, NULL);
    *client = host_client(NULL);
    return loop;
}

bool host_stop_checkpoints(void)
{
    client_shutdown();
    return host_leave_checkpoints(keyspace, &manifest);
}

char *host_take_reply(Client *client)
{
    GString *text = g_string_new(NULL);
    for (const OutBlock *b = client->out.head; b != NULL; b = b->next)
        g_string_append_len(text, b->data, b->used);
    out_clear(&client->out);
    return g_string_free(text, FALSE);
}
