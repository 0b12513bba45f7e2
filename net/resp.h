/* resp.h: the request parser: RESP multibulk and inline commands, incremental. Pure: no state beyond what it is handed.
 * net/client.c calls it, and the fuzzer.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_NET_RESP_H
#define CKV_NET_RESP_H

#include "base/slice.h"

#define RESP_INLINE_MAX    (64 * 1024)         /* an inline command or a head line without its newline yet, in bytes */
#define RESP_MULTIBULK_MAX (1024 * 1024)       /* arguments of one command */
#define RESP_BULK_MAX      (512 * 1024 * 1024) /* bytes of one argument */

#endif
