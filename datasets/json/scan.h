/* scan.h: strict JSON (RFC 8259) over bytes in memory, without building a tree.
 *
 * Why not a library: the record is checked strictly, no value outlives the record's arena, "\u0000" keeps its
 * length, and reader threads share nothing. cJSON accepts malformed UTF-8 and numbers, cuts strings at "\u0000",
 * allocates each node from the C heap and writes a global on each parse.
 *
 * Refused besides bad grammar: UTF-8 that is not well formed, \u escapes of half a surrogate pair (they have no
 * UTF-8 form), nesting deeper than JSON_MAX_DEPTH. Numbers are checked, never converted: any size passes. */
#ifndef DATASETS_JSON_SCAN_H
#define DATASETS_JSON_SCAN_H
#include <stddef.h>
#include <stdint.h>

#define JSON_MAX_DEPTH 512

typedef struct json_cursor {
    const uint8_t *at, *end;
    const char *expected; /* after a failure: what should have stood at `at` */
} json_cursor;

void json_skip_space(json_cursor *c);
/* Both expect the cursor on the value's first byte and leave it behind the last; 0, or -1 with c->expected. */
int json_skip_string(json_cursor *c);
int json_skip_value(json_cursor *c);
/* One value with white space around it, and nothing else. */
int json_check_text(json_cursor *c);
/* Text of a string that json_skip_string accepted, both quotes included; `out` takes at most in_len bytes. */
size_t json_decode_string(const uint8_t *in, size_t in_len, char *out);
#endif
