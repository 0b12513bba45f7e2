/* digest.h: one number for the whole dataset: DEBUG DIGEST calls it. Redis 3.2 to 7.0 give the same for the same data,
 * so two servers can be compared.
 *
 * Design. All is made of two steps on 20 bytes, of which `mix` depends on the order and `add` doesn't: add(d, x) is d
 * xor SHA1(x), and mix(d, x) is SHA1(add(d, x)). A key's digest begins with zeros; mixed in are the key, its type (0
 * string, 1 list, 2 set, 3 zset, 4 hash; big endian, 32 bits), and the value: a string as it is, a list's elements in
 * order; a set's members are added; of a zset's pair member and score (%.17g), of a hash's field and value are mixed
 * into zeros, which is added. If it expires "!!expire!!" is added. The dataset's begins with zeros; for each database
 * that has keys its number is mixed in, then the keys' digests are added. (Found out from Redis' own.)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_DIGEST_H
#define CKV_CMDS_DIGEST_H

#define DIGEST_CHARS 40

/* In hexadecimal. O(N), with all elements of all keys. */
void digest_keyspace(char text[DIGEST_CHARS + 1]);

#endif
