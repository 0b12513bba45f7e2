/* floor.c: the least that a server can do: `floor PORT` answers on 127.0.0.1, as many PINGs as came in, without looking
 * at them. It receives and sends as ckv does: of all connections that have something, then to all of them. What
 * bench.py finds with it in a server's place no server can pass that receives and sends for each connection by itself.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST      "*1\r\n$4\r\nPING\r\n"
#define REPLY        "+PONG\r\n"
#define REQUEST_LEN  (sizeof(REQUEST) - 1)
#define REPLY_LEN    (sizeof(REPLY) - 1)
#define READY_MAX    256
#define REQUESTS_MAX 4096 /* that one receive may bring */
#define CLIENTS_MAX  65536

static char requests[REQUESTS_MAX * REQUEST_LEN], replies[(REQUESTS_MAX + 1) * REPLY_LEN];
static size_t begun[CLIENTS_MAX]; /* bytes of a request that hasn't come whole, by descriptor */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(int epoll, int fd)
{
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) die("socket");
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, SOMAXCONN) != 0) die("bind");
    return fd;
}

static void take_client(int epoll, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), on = 1;
    if (fd < 0) return;
    if (fd >= CLIENTS_MAX) {
        close(fd);
        return;
    }
    begun[fd] = 0;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    watch(epoll, fd);
}

/* How many requests are complete with what it received; the client is gone if none came. */
static size_t receive(int fd)
{
    ssize_t got = recv(fd, requests, sizeof(requests), 0);
    if (got <= 0) {
        close(fd);
        return 0;
    }
    size_t bytes = begun[fd] + (size_t)got;
    begun[fd] = bytes % REQUEST_LEN;
    return bytes / REQUEST_LEN;
}

static void turn(int epoll, int listener)
{
    struct epoll_event ready[READY_MAX];
    size_t due[READY_MAX];
    int count = epoll_wait(epoll, ready, READY_MAX, -1);
    for (int i = 0; i < count; i++) {
        due[i] = 0;
        if (ready[i].data.fd == listener) {
            take_client(epoll, listener);
        } else {
            due[i] = receive(ready[i].data.fd);
        }
    }
    for (int i = 0; i < count; i++) {
        size_t bytes = due[i] * REPLY_LEN;
        if (bytes > 0 && send(ready[i].data.fd, replies, bytes, MSG_NOSIGNAL) != (ssize_t)bytes) die("send");
    }
}

int main(int argc, char **argv)
{
    char *end = NULL;
    unsigned long port = argc == 2 ? strtoul(argv[1], &end, 10) : 0;
    if (port == 0 || port > UINT16_MAX || *end != '\0') {
        fprintf(stderr, "floor: usage: floor PORT\n");
        return 2;
    }
    for (size_t i = 0; i <= REQUESTS_MAX; i++)
        memcpy(replies + i * REPLY_LEN, REPLY, REPLY_LEN);
    int epoll = epoll_create1(0), listener = listen_on((uint16_t)port);
    if (epoll < 0) die("epoll_create1");
    watch(epoll, listener);
    for (;;)
        turn(epoll, listener);
}
