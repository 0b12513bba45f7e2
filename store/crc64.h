/* crc64.h: the checksum of Redis' RDB files and DUMP payloads. store/ only.
 *
 * CRC-64 with Jones' polynomial 0xad93d23594c935a9, reflected, without inversion: of "123456789" it is
 * 0xe9c6d914c4b8d9ca.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_CRC64_H
#define CKV_STORE_CRC64_H

#include "base/slice.h"

/* The checksum of what `crc` is that of, and then these bytes. Begin with 0. Any thread. */
uint64_t crc64(uint64_t crc, Slice bytes);

#endif
