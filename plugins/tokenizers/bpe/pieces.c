#include "pieces.h"

static const char *piece(const bpe_pieces *p, int32_t id, int first, size_t *len)
{
    const uint32_t *at = first && p->first_at ? p->first_at : p->at;
    *len = at[id + 1] - at[id];
    return (at == p->at ? p->text.data : p->first_text.data) + at[id];
}

size_t bpe_pieces_room(const bpe_pieces *p, const int32_t *ids, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) bytes += p->at[ids[i] + 1] - p->at[ids[i]] + (size_t)(p->spaced != 0);
    return bytes;
}

size_t bpe_pieces_join(const bpe_pieces *p, const int32_t *ids, size_t n, int continuation, char *out)
{
    uint32_t strip = continuation ? 0 : p->strip_most;
    size_t at = 0, len;
    int first = !continuation;
    for (size_t i = 0; i < n; i++) {
        if (p->skip[ids[i]]) continue;
        const char *text = piece(p, ids[i], first, &len);
        if (p->spaced && !first) out[at++] = ' ';
        first = 0;
        for (; strip && len; strip--, text += p->strip_len, len -= p->strip_len)
            if (len < p->strip_len || memcmp(text, p->strip, p->strip_len) != 0) {
                strip = 0;
                break;
            }
        memcpy(out + at, text, len);
        at += len;
    }
    return at;
}

void bpe_pieces_close(const co_host *h, bpe_pieces *p)
{
    bpe_bytes_free(h, &p->text);
    bpe_bytes_free(h, &p->first_text);
    h->free(h, p->at);
    h->free(h, p->first_at);
    h->free(h, p->skip);
    *p = (bpe_pieces){0};
}
