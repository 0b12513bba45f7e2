#ifndef CKV_STORE_LIST_H
#define CKV_STORE_LIST_H
#include "store/entry.h"
void list_free(List *list);
#endif
