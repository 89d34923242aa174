/* white.h: white space as Python's str.strip() sees it, which is what Jinja templates call. */
#ifndef CORE_DATA_TEMPLATES_WHITE_H
#define CORE_DATA_TEMPLATES_WHITE_H
#include <stddef.h>

enum { TRIM_NONE = 0, TRIM_LEFT = 1, TRIM_RIGHT = 2, TRIM_BOTH = 3 };
void white_trim(const char **text, size_t *len, int how);
#endif
