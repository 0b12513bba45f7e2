#ifndef CKV_STORE_ZSET_H
#define CKV_STORE_ZSET_H
#include "store/entry.h"
void zset_free(Zset *zset);
#endif
