/* glob.h: Redis' glob patterns (KEYS, SCAN MATCH, PSUBSCRIBE, CONFIG GET). Anyone may call it; it keeps no state.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_BASE_GLOB_H
#define CKV_BASE_GLOB_H

#include "base/slice.h"

/* True when `text` matches: * ? [abc] [^a] [a-z] \x, as 3.2.13 reads them (an unclosed [ ends at the pattern's end).
 * Linear for one star; a bounded backtrack (to the last star only) keeps many stars from taking exponential time. */
bool glob_match(Slice pattern, Slice text, bool ignore_case);

#endif
