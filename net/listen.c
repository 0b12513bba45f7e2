/* listen.c: listening sockets and the connections that come in by them: the rest of client.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/options.h"
#include "net/client.h"

/* Connections taken from one listener in one turn. */
#define ACCEPTS_MAX 1000

/* How long nothing is accepted after the process ran out of descriptors. */
#define ACCEPT_REST_MS 100

typedef struct Listener {
    int fd;
    Watch *watch;
    bool unix_socket, operator_socket;
    char *path; /* of a Unix socket */
} Listener;

static Loop *loop;
static GPtrArray *listeners;

void listen_init(Loop *the_loop)
{
    loop = the_loop;
    if (listeners == NULL) listeners = g_ptr_array_new(); /* kept: of a life before, in tests */
}

/* ---- accepting ---- */

static bool is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
        return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
    }
    if (address->ss_family != AF_INET6) return true;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
}

/* Answers a connection that can't stay, as far as its kernel buffer takes it, and ends it. */
static void turn_away(int fd, const char *text)
{
    ssize_t sent = write(fd, text, strlen(text));
    (void)sent;
    close(fd);
    client_stats.rejected++;
}

static const char protected_text[] =
    "-DENIED CKV is running in protected mode because no password is set: only connections from this machine are "
    "taken. To let others in, set instance-id and password (or requirepass id:password); or, if everyone who can reach "
    "this port may use it, protected-mode no.\r\n";

static bool is_protected(const struct sockaddr_storage *peer)
{
    return options.protected_mode && options.password[0] == '\0' && !is_loopback(peer);
}

static void set_tcp_options(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (options.tcp_keepalive == 0) return;
    /* As Redis: the first probe after that many seconds, the next ones in a third of it, dead after three. */
    int idle = (int)options.tcp_keepalive, interval = MAX(idle / 3, 1), probes = 3;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

static void admit(const Listener *listener, int fd, const struct sockaddr_storage *peer)
{
    /* The operator gets in even when clients have taken every place. */
    if ((int64_t)client_all()->len >= options.maxclients && !listener->operator_socket) {
        turn_away(fd, "-ERR max number of clients reached\r\n");
        return;
    }
    if (!listener->unix_socket && is_protected(peer)) {
        turn_away(fd, protected_text);
        return;
    }
    if (!listener->unix_socket) set_tcp_options(fd);
    client_stats.accepted++;
    client_adopt(fd, listener->unix_socket, listener->operator_socket);
}

static int64_t resume_accepting(void *context)
{
    (void)context;
    for (guint i = 0; i < listeners->len; i++)
        loop_want(loop, ((Listener *)listeners->pdata[i])->watch, LOOP_READ);
    return -1;
}

static void rest_from_accepting(int error)
{
    log_line(LOG_WARNING, "Can't accept connections: %s", g_strerror(error));
    for (guint i = 0; i < listeners->len; i++)
        loop_want(loop, ((Listener *)listeners->pdata[i])->watch, 0);
    loop_timer(loop, ACCEPT_REST_MS, resume_accepting, NULL);
}

static void listener_ready(int fd, unsigned ready, void *context)
{
    (void)ready;
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        struct sockaddr_storage peer = { 0 };
        socklen_t len = sizeof(peer);
        int accepted = accept4(fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted >= 0) {
            admit(context, accepted, &peer);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            rest_from_accepting(errno);
            return;
        }
        if (errno != EINTR && errno != ECONNABORTED) return;
    }
}

/* ---- listening ---- */

static void add_listener(int fd, bool unix_socket, bool operator_socket, const char *path)
{
    Listener *listener = g_new0(Listener, 1);
    *listener = (Listener){ .fd = fd, .unix_socket = unix_socket, .operator_socket = operator_socket };
    listener->path = g_strdup(path);
    listener->watch = loop_watch(loop, fd, LOOP_READ, listener_ready, listener);
    g_ptr_array_add(listeners, listener);
}

static int bound_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = { .v6 = { 0 } };
    socklen_t len = sizeof(address);
    if (getsockname(fd, &address.any, &len) != 0) return 0;
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

static void set_port(struct sockaddr *address, int port)
{
    if (address->sa_family == AF_INET6) {
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = htons((uint16_t)port);
    } else {
        ((struct sockaddr_in *)(void *)address)->sin_port = htons((uint16_t)port);
    }
}

/* A listening socket on one address, or -1 with errno set. */
static int listen_on(const struct addrinfo *info, int backlog)
{
    int on = 1, fd = socket(info->ai_family, info->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, info->ai_protocol);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (info->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, backlog) == 0) return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

char *client_listen_tcp(const char *address, int *port, int backlog)
{
    char service[16];
    snprintf(service, sizeof(service), "%d", *port);
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *found;
    int failure = getaddrinfo(address, service, &hints, &found);
    if (failure != 0) return g_strdup_printf("can't listen on %s: %s", address, gai_strerror(failure));
    const char *shown = address == NULL ? "*" : address;
    char *message = NULL;
    int listening = 0, error = EADDRNOTAVAIL;
    for (const struct addrinfo *info = found; info != NULL && error != EADDRINUSE; info = info->ai_next) {
        set_port(info->ai_addr, *port); /* 0 has become the one that the address before took */
        int fd = listen_on(info, backlog);
        if (fd < 0) {
            error = errno;
            continue;
        }
        if (*port == 0) *port = bound_port(fd);
        add_listener(fd, false, false, NULL);
        listening++;
        if (address != NULL) break;
    }
    freeaddrinfo(found);
    if (error == EADDRINUSE) {
        message = g_strdup_printf("can't listen on %s, port %d: the port is in use", shown, *port);
    } else if (listening == 0) {
        message = g_strdup_printf("can't listen on %s, port %d: %s", shown, *port, g_strerror(error));
    }
    return message;
}

/* Whether somebody listens on the Unix socket. */
static bool answers(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    bool connected = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0;
    close(fd);
    return connected;
}

char *client_listen_unix(const char *path, int mode, bool operator_socket)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(address.sun_path)) {
        return g_strdup_printf("can't listen on %s: the path is longer than the %zu bytes that a Unix socket allows",
                               path, sizeof(address.sun_path) - 1);
    }
    memcpy(address.sun_path, path, strlen(path));
    struct stat there;
    if (lstat(path, &there) == 0 && !S_ISSOCK(there.st_mode))
        return g_strdup_printf("can't listen on %s: it's there, and no socket", path);
    if (answers(&address)) return g_strdup_printf("can't listen on %s: another server does", path);
    unlink(path); /* left by a server that didn't stop by itself */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    mode_t mask = umask(0777 & ~(mode_t)mode); /* nobody else may connect before the mode is set */
    bool listening = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
                     chmod(path, (mode_t)mode) == 0 && listen(fd, (int)options.tcp_backlog) == 0;
    int error = errno;
    umask(mask);
    if (!listening) {
        if (fd >= 0) close(fd);
        return g_strdup_printf("can't listen on %s: %s", path, g_strerror(error));
    }
    add_listener(fd, true, operator_socket, path);
    return NULL;
}

void client_save_listeners(Tape *tape, GArray *fds)
{
    tape_put(tape, listeners->len);
    for (guint i = 0; i < listeners->len; i++) {
        const Listener *listener = listeners->pdata[i];
        tape_put(tape, listener->unix_socket);
        tape_put(tape, listener->operator_socket);
        tape_put_string(tape, listener->path);
        g_array_append_val(fds, listener->fd);
    }
}

void client_restore_listeners(TapeReader *tape, const int *fds, size_t count)
{
    if (tape_get_count(tape) != count) tape->bad = true;
    for (size_t i = 0; i < count && !tape->bad; i++) {
        bool unix_socket = tape_get_bool(tape), operator_socket = tape_get_bool(tape);
        g_autofree char *path = tape_get_string(tape);
        add_listener(fds[i], unix_socket, operator_socket, path);
    }
}

void client_close_listeners(void)
{
    for (guint i = 0; i < listeners->len; i++) {
        Listener *listener = listeners->pdata[i];
        loop_unwatch(loop, listener->watch);
        close(listener->fd);
        if (listener->path != NULL) unlink(listener->path);
        g_free(listener->path);
        g_free(listener);
    }
    g_ptr_array_set_size(listeners, 0);
}

void client_peer_address(int fd, char *out)
{
    struct sockaddr_storage peer = { 0 };
    socklen_t len = sizeof(peer);
    char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 1], port[8];
    if (getpeername(fd, (struct sockaddr *)&peer, &len) != 0 ||
        getnameinfo((struct sockaddr *)&peer, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        snprintf(out, CLIENT_ADDRESS_CHARS, "?:0");
    } else {
        snprintf(out, CLIENT_ADDRESS_CHARS, peer.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    }
}

void client_address(const Client *client, char *out)
{
    struct sockaddr_un self = { 0 };
    socklen_t len = sizeof(self);
    if (!client->unix_socket) {
        client_peer_address(client->fd, out);
        return;
    }
    getsockname(client->fd, (struct sockaddr *)&self, &len);
    snprintf(out, CLIENT_ADDRESS_CHARS, "%.107s:0", self.sun_path);
}
