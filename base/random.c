/* random.c: see random.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/random.h"

#include <errno.h>
#include <glib.h>
#include <sys/random.h>

void random_secret(void *bytes, size_t len)
{
    uint8_t *at = bytes;
    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) g_error("the kernel gives no random bytes: %s", g_strerror(errno));
        at += got;
        len -= (size_t)got;
    }
}

void random_hex(char *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t byte;
        random_secret(&byte, 1);
        out[i] = "0123456789abcdef"[byte & 15];
    }
    out[len] = '\0';
}

static uint64_t rotate_left(uint64_t value, unsigned bits)
{
    return (value << bits) | (value >> (64 - bits));
}

uint64_t random_u64(void)
{
    static uint64_t state[4];
    if (state[0] == 0 && state[1] == 0 && state[2] == 0 && state[3] == 0) random_secret(state, sizeof(state));
    uint64_t result = rotate_left(state[1] * 5, 7) * 9, shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate_left(state[3], 45);
    return result;
}
