/* template.h: fields of a record -> prompt and answer.
 *
 * "alpaca": the texts of Stanford Alpaca, with and without an input. "none": instruction and input joined, then
 * the output. Anything else is the path of a text file with {instruction}, {input} and one {output}: what stands
 * before {output} is the prompt, {output} and what follows it the answer. "{{" is a brace, and one line break at
 * the file's end is the editor's, not the template's. */
#ifndef CORE_DATA_TEMPLATE_H
#define CORE_DATA_TEMPLATE_H
#include <coati/dataset.h>

typedef struct data_template data_template;

typedef struct template_text { /* in the arena; not NUL-terminated where a record has NULs */
    const char *prompt, *answer;
    size_t prompt_len, answer_len;
} template_text;

/* columns: "instruction=a,input=b,output=c": which field is which part. A part that is not listed is empty; NULL
 * or "": each part is the field of its own name. CO_E_CONFIG for what cannot work. */
int template_open(const char *name, const char *columns, data_template **out);
void template_close(data_template *t);
/* A listed instruction or output that the record lacks is CO_E_FORMAT, an input is empty then. Messages name the
 * column and those that are there; the caller puts file and row before them. */
int template_render(const data_template *t, const co_field *f, uint32_t n, co_arena *a, template_text *out);
/* The prompt alone, for generating. input may be NULL or "". */
int template_prompt(const data_template *t, const char *instruction, const char *input, co_arena *a,
                    template_text *out);
#endif
