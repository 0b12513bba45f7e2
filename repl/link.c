/* link.c: see link.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "repl/link.h"

#include <errno.h>
#include <glib.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "repl/lookup.h"

struct Link {
    Loop *loop;
    Lookup *lookup; /* of the host's name; NULL: it's given by its address */
    Watch *watch;
    int fd;
    bool connecting, paused;
    Out out;
    const LinkHandlers *handlers;
};

static void update_wants(Link *link)
{
    unsigned wanted = link->paused || link->connecting ? 0 : LOOP_READ;
    if (link->connecting || link->out.bytes > 0) wanted |= LOOP_WRITE;
    loop_want(link->loop, link->watch, wanted);
}

/* False: it's broken, errno says why. */
static bool send_waiting(Link *link)
{
    while (link->out.bytes > 0) {
        const OutBlock *block = link->out.head;
        ssize_t sent = send(link->fd, block->data + link->out.sent, block->used - link->out.sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return errno == EAGAIN;
        out_consume(&link->out, (size_t)sent);
    }
    return true;
}

/* Whether the connection is there; if not, it's broken. */
static bool finish_connecting(Link *link)
{
    int error = 0;
    socklen_t len = sizeof(error);
    getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error != 0) {
        link->handlers->broken(g_strerror(error));
        return false;
    }
    link->connecting = false;
    update_wants(link);
    return true;
}

static void on_ready(int fd, unsigned ready, void *context)
{
    Link *link = context;
    (void)fd;
    if (link->connecting) {
        if (finish_connecting(link)) link->handlers->connected();
        return;
    }
    if ((ready & LOOP_WRITE) && !send_waiting(link)) {
        link->handlers->broken(g_strerror(errno));
        return;
    }
    update_wants(link);
    if ((ready & LOOP_READ) && !link->paused) link->handlers->readable();
}

/* A socket that connects, or -1 with errno. */
static int connect_to(const struct addrinfo *address)
{
    int one = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0 || errno == EINPROGRESS) return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

/* The same with the first of some addresses that will do. */
static int connect_to_any(const struct addrinfo *found)
{
    int fd = -1;
    for (const struct addrinfo *each = found; each != NULL && fd < 0; each = each->ai_next)
        fd = connect_to(each);
    return fd;
}

static void connect_link(Link *link, int fd)
{
    link->fd = fd;
    link->watch = loop_watch(link->loop, fd, LOOP_WRITE, on_ready, link);
}

static void on_found(void *context)
{
    Link *link = context;
    const char *error;
    const struct addrinfo *found = lookup_found(link->lookup, &error);
    int fd = connect_to_any(found);
    if (fd >= 0) {
        connect_link(link, fd);
    } else {
        link->handlers->broken(error != NULL ? error : g_strerror(errno));
    }
}

/* The addresses of a host that is given by its address; NULL: it's a name. */
static struct addrinfo *address_of(const char *host, int64_t port)
{
    char service[24];
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    snprintf(service, sizeof(service), "%" G_GINT64_FORMAT, port);
    return getaddrinfo(host, service, &hints, &found) == 0 ? found : NULL;
}

Link *link_open(Loop *loop, const char *host, int64_t port, const LinkHandlers *handlers, char **error)
{
    struct addrinfo *found = address_of(host, port);
    int fd = connect_to_any(found);
    if (found != NULL) {
        if (fd < 0) *error = g_strdup(g_strerror(errno));
        freeaddrinfo(found);
        if (fd < 0) return NULL;
    }
    Link *link = g_new(Link, 1);
    *link = (Link){ .loop = loop, .fd = -1, .connecting = true, .handlers = handlers };
    if (fd >= 0) {
        connect_link(link, fd);
    } else {
        link->lookup = lookup_start(loop, host, port, on_found, link, error);
        if (link->lookup == NULL) g_clear_pointer(&link, link_close);
    }
    return link;
}

void link_close(Link *link)
{
    lookup_free(link->lookup);
    if (link->watch != NULL) loop_unwatch(link->loop, link->watch);
    if (link->fd >= 0) close(link->fd);
    out_clear(&link->out);
    g_free(link);
}

void link_send(Link *link, const Slice *argv, int argc)
{
    reply_array(&link->out, (size_t)argc);
    for (int i = 0; i < argc; i++)
        reply_bulk(&link->out, argv[i]);
    update_wants(link);
}

void link_send_raw(Link *link, Slice bytes)
{
    out_write(&link->out, bytes.ptr, bytes.len);
    update_wants(link);
}

ssize_t link_read(Link *link, void *to, size_t len)
{
    ssize_t got;
    do {
        got = read(link->fd, to, len);
    } while (got < 0 && errno == EINTR);
    return got;
}

void link_pause(Link *link, bool paused)
{
    link->paused = paused;
    update_wants(link);
}

int link_fd(const Link *link)
{
    return link->fd;
}

const Out *link_out(const Link *link)
{
    return &link->out;
}

void link_save(const Link *link, Tape *tape)
{
    tape_put(tape, link->out.bytes);
    for (const OutBlock *block = link->out.head; block != NULL; block = block->next) {
        size_t skip = block == link->out.head ? link->out.sent : 0;
        tape_put_bytes(tape, block->data + skip, block->used - skip);
    }
}

Link *link_restore(Loop *loop, int fd, const LinkHandlers *handlers, TapeReader *tape)
{
    Link *link = g_new(Link, 1);
    *link = (Link){ .loop = loop, .fd = fd, .handlers = handlers };
    link->watch = loop_watch(loop, fd, 0, on_ready, link);
    Slice bytes = tape_get_text(tape);
    out_write(&link->out, bytes.ptr, bytes.len);
    update_wants(link);
    return link;
}
