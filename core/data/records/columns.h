/* columns.h: which field of a record is which part: "[dataset] columns". */
#ifndef CORE_DATA_RECORDS_COLUMNS_H
#define CORE_DATA_RECORDS_COLUMNS_H
#include <coati/dataset.h>

typedef enum record_part {
    PART_INSTRUCTION = 0, PART_INPUT, PART_OUTPUT, PART_SYSTEM, PART_PROMPT, PART_COMPLETION, PART_MESSAGES, PART_CONVERSATIONS, PART_CHOSEN,
    PART_REJECTED, PART_TEXT, PART_TURNS, N_PARTS
} record_part;

typedef struct record_columns {
    char *name[N_PARTS]; /* of the field; NULL: the part is not there */
    int given;           /* the configuration names them: these parts are there, no others */
} record_columns;

/* "part=column,…"; NULL, "" and the option's default: each part is the field of its own name. CO_E_CONFIG. */
int columns_parse(const char *spec, record_columns *out);
void columns_free(record_columns *c);
const char *part_name(int p);
/* The field of a part, or NULL. */
const co_field *columns_find(const record_columns *c, int p, const co_field *f, uint32_t n);
/* "\"a\", \"b\"": what a record has, for messages; cut where it gets long. */
const char *columns_there(const co_field *f, uint32_t n, char *out, size_t cap);
#endif
