/* chunk.c: the states a gathered bucket may be in, and nothing else. */
#include "zero.h"

static const char *const name[] = {"free", "hold", "compute", "hold after backward", "ready for reduce"};

/* As in the reference, whose list this is but for the last entry of the fourth row: a tied bucket's parameters may leave between its
 * two contributions, as its gradient stands elsewhere. */
static const uint8_t allowed[5] = {
    [ZERO_FREE] = 1u << ZERO_HOLD | 1u << ZERO_COMPUTE,
    [ZERO_HOLD] = 1u << ZERO_FREE | 1u << ZERO_COMPUTE,
    [ZERO_COMPUTE] = 1u << ZERO_HOLD | 1u << ZERO_HOLD_AFTER_BWD,
    [ZERO_HOLD_AFTER_BWD] = 1u << ZERO_COMPUTE | 1u << ZERO_READY_FOR_REDUCE | 1u << ZERO_FREE,
    [ZERO_READY_FOR_REDUCE] = 1u << ZERO_HOLD,
};

int zero_move(zero *z, zero_bucket *b, zero_chunk_state to)
{
    if (!(allowed[b->state] & 1u << to))
        return CO_FAIL(z->a.host, CO_E_STATE, "strategy %s: the chunk of '%s' cannot go from \"%s\" to \"%s\": called in the wrong order",
                       z->policy->name, z->slots[z->members[b->first_member]].name, name[b->state], name[to]);
    b->state = (uint8_t)to;
    if (to == ZERO_FREE) b->here = NULL;
    return CO_OK;
}
