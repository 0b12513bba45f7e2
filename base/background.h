/* background.h: threads that work beside the loop on what nobody waits for.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_BASE_BACKGROUND_H
#define CKV_BASE_BACKGROUND_H

/* The calling thread lets the loop go first from now on, where they share a core. */
void background_enter(void);

#endif
