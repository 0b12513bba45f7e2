/* lookup.c: see lookup.h.
 *
 * Design. getaddrinfo can't be interrupted, so a look-up that is given up goes on: what it works on is freed by
 * whichever of the two, the thread and the loop, lets go of it last. The thread says that it's done by an eventfd.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "repl/lookup.h"

#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* What the thread works on. */
typedef struct Question {
    gint references; /* atomic */
    char *host;
    char service[24];
    int ready_fd;
    int failed; /* getaddrinfo's */
    struct addrinfo *found;
} Question;

struct Lookup {
    Loop *loop;
    Watch *watch;
    Question *question;
    void (*done)(void *context);
    void *context;
};

static void question_release(Question *question)
{
    if (!g_atomic_int_dec_and_test(&question->references)) return;
    if (question->found != NULL) freeaddrinfo(question->found);
    close(question->ready_fd);
    g_free(question->host);
    g_free(question);
}

static gpointer ask(gpointer at)
{
    Question *question = at;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    question->failed = getaddrinfo(question->host, question->service, &hints, &question->found);
    eventfd_write(question->ready_fd, 1);
    question_release(question);
    return NULL;
}

static void on_ready(int fd, unsigned ready, void *context)
{
    Lookup *lookup = context;
    eventfd_t count;
    (void)ready;
    if (eventfd_read(fd, &count) != 0) return;
    loop_want(lookup->loop, lookup->watch, 0);
    lookup->done(lookup->context);
}

/* Puts the question to a thread. False: *error says why not (g_free). */
static bool begin_asking(Question *question, char **error)
{
    g_autoptr(GError) refused = NULL;
    g_atomic_int_inc(&question->references);
    GThread *thread = g_thread_try_new("lookup", ask, question, &refused);
    if (thread != NULL) {
        g_thread_unref(thread);
        return true;
    }
    question_release(question); /* the thread's */
    *error = g_strdup(refused->message);
    return false;
}

Lookup *lookup_start(Loop *loop, const char *host, int64_t port, void (*done)(void *context), void *context,
                     char **error)
{
    int ready_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (ready_fd < 0) {
        *error = g_strdup(g_strerror(errno));
        return NULL;
    }
    Question *question = g_new0(Question, 1);
    question->references = 1;
    question->host = g_strdup(host);
    snprintf(question->service, sizeof(question->service), "%" G_GINT64_FORMAT, port);
    question->ready_fd = ready_fd;
    if (!begin_asking(question, error)) {
        question_release(question);
        return NULL;
    }
    Lookup *lookup = g_new(Lookup, 1);
    *lookup = (Lookup){ .loop = loop, .question = question, .done = done, .context = context };
    lookup->watch = loop_watch(loop, ready_fd, LOOP_READ, on_ready, lookup);
    return lookup;
}

void lookup_free(Lookup *lookup)
{
    if (lookup == NULL) return;
    loop_unwatch(lookup->loop, lookup->watch);
    question_release(lookup->question);
    g_free(lookup);
}

const struct addrinfo *lookup_found(const Lookup *lookup, const char **error)
{
    const Question *question = lookup->question;
    *error = question->failed == 0 ? NULL : gai_strerror(question->failed);
    return question->failed == 0 ? question->found : NULL;
}
