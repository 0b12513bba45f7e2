#include <stdbool.h>
bool backup_finish_swap(const char *dir, char **error);
#include <stdint.h>
int64_t backup_oldest_ms(const char *dir, uint64_t first_offset);
