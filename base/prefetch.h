/* prefetch.h: asks the processor for a cache line that will be needed soon.
 *
 * GCC (12, at -O2) takes a function that does nothing but prefetch for one without effects, and drops the calls
 * to it before it would inline them: whole passes over a batch vanished so. The empty assembly, which costs nothing, is
 * an effect to it. tests/check-prefetch.sh sees to it that they are in the program.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_BASE_PREFETCH_H
#define CKV_BASE_PREFETCH_H

static inline __attribute__((always_inline)) void prefetch(const void *at)
{
    __builtin_prefetch(at);
    __asm__ volatile("");
}

#endif
