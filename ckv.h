/* ckv.h: the program's name and version, for main(), INFO and --version.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_H
#define CKV_H

#ifndef CKV_VERSION
#define CKV_VERSION "0.1.0"
#endif
#define CKV_REDIS_VERSION "3.2.13" /* what clients are told they talk to */

#endif
