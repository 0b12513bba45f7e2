/* pinger.c: asks a server PING over and over and tells how long it had to wait: `pinger WHERE SECONDS`, or
 * until SIGTERM. WHERE is a Unix socket, or a port of 127.0.0.1; or "-": it asks nobody, and tells how much too late it
 * woke, so what the machine itself kept it waiting. It prints a line: pings; the longest, second longest and 99.9 %
 * wait in microseconds; and 1, or 0 if it had to wait its turn. Then, longest first, one for each wait that was long:
 * when it began, by the monotonic clock, and how long it was, in microseconds.
 *
 * It runs ahead of everything else on its core where it may (SCHED_FIFO), so that the load beside it isn't measured.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_US  200
#define PRIORITY  50 /* any would do against the load, which has none */
#define PINGS_MAX 2000000
#define LONG_US   500

typedef struct Wait {
    int64_t start_us;
    int32_t us;
} Wait;

static volatile sig_atomic_t told_to_stop;

static void on_signal(int number)
{
    (void)number;
    told_to_stop = 1;
}

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static int connect_to(const char *where)
{
    char *end;
    struct sockaddr_un local = { .sun_family = AF_UNIX };
    struct sockaddr_in tcp = { .sin_family = AF_INET,
                               .sin_port = htons((uint16_t)strtoul(where, &end, 10)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    bool by_port = *end == '\0';
    snprintf(local.sun_path, sizeof(local.sun_path), "%s", where);
    const struct sockaddr *address = by_port ? (struct sockaddr *)&tcp : (struct sockaddr *)&local;
    int fd = socket(address->sa_family, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, address, by_port ? sizeof(tcp) : sizeof(local)) != 0) {
        perror(where);
        exit(1);
    }
    return fd;
}

static Wait ping(int fd)
{
    static const char request[] = "*1\r\n$4\r\nPING\r\n";
    char reply[64];
    int64_t start = now_us();
    if (write(fd, request, sizeof(request) - 1) < 0 || read(fd, reply, sizeof(reply)) <= 0) {
        perror("PING");
        exit(1);
    }
    return (Wait){ start, (int32_t)(now_us() - start) };
}

/* How much longer than PAUSE_US it slept. */
static Wait nap(void)
{
    int64_t due = now_us() + PAUSE_US;
    usleep(PAUSE_US);
    return (Wait){ due, (int32_t)(now_us() - due) };
}

static int longer_first(const void *a, const void *b)
{
    int32_t x = ((const Wait *)a)->us, y = ((const Wait *)b)->us;
    return (x < y) - (x > y);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: pinger WHERE SECONDS\n");
        return 2;
    }
    sigaction(SIGTERM, &(struct sigaction){ .sa_handler = on_signal, .sa_flags = SA_RESTART }, NULL);
    bool first = sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){ .sched_priority = PRIORITY }) == 0;
    bool asks = strcmp(argv[1], "-") != 0;
    int fd = asks ? connect_to(argv[1]) : -1;
    int64_t end = now_us() + (int64_t)(strtod(argv[2], NULL) * 1e6);
    Wait *waits = malloc(PINGS_MAX * sizeof(Wait));
    size_t count = 0;
    while (waits != NULL && count < PINGS_MAX && now_us() < end && !told_to_stop) {
        waits[count++] = asks ? ping(fd) : nap();
        if (asks) usleep(PAUSE_US);
    }
    if (count < 2) return 1;
    qsort(waits, count, sizeof(waits[0]), longer_first);
    printf("%zu %d %d %d %d\n", count, waits[0].us, waits[1].us, waits[count / 1000].us, first);
    for (size_t i = 0; i < count && waits[i].us >= LONG_US; i++)
        printf("%" PRId64 " %d\n", waits[i].start_us, waits[i].us);
    free(waits);
    return 0;
}
