/* checkpointfile.c: see checkpointfile.h. (The files' state is in checkpoint.c.)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/checkpointfile.h"

#include "store/hash.h"
#include "store/list.h"
#include "store/set.h"
#include "store/zset.h"

size_t checkpoint_record_max = 3UL << 29;

bool checkpoint_paged(ValueType type, void *object, PagedValue *paged)
{
    switch (type) {
    case TYPE_SET: return set_paged(object, paged);
    case TYPE_HASH: return hash_paged(object, paged);
    case TYPE_ZSET: return zset_paged(object, paged);
    case TYPE_LIST: return list_paged(object, paged);
    default: return false;
    }
}

Slice checkpoint_element_bytes(const Table *table, PageKind kind, const void *element)
{
    if (kind == PAGE_ENTRIES) return entry_key(element);
    if (kind == PAGE_RANKED) return rank_element_block(element);
    if (kind == PAGE_CHUNKS) return list_chunk_block(element);
    const void *elements = (const char *)table - offsetof(ElementTable, table);
    return element_block(element, ((const ElementTable *)elements)->has_values);
}

void checkpoint_encode_element(const void *element, const Table *table, PageKind kind, Image *batch)
{
    if (kind == PAGE_CHUNKS) list_chunk_encode_head(element, batch);
    image_put_bytes(batch, checkpoint_element_bytes(table, kind, element));
}
