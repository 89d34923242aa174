// sentencepiece.cpp: tokenizer.model files through Debian's libsentencepiece. The library encodes; decoding is a
// table look-up of our own, because the library's replaces split characters and drops the space that a
// continuation needs. No exception leaves a function of the table.
#include <sentencepiece_processor.h>
#include <sys/stat.h>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>
#include <coati/plugin.h>
#include <coati/tokenizer.h>
#include "beside.h"
#include "charsmap.h"

namespace {

constexpr char space_symbol[] = "\xE2\x96\x81"; // U+2581, a space in a piece
constexpr size_t space_bytes = 3;

struct options {
    co_tokenizer_common common;
};

struct tokenizer {
    const co_host *host;
    sentencepiece::SentencePieceProcessor processor;
    std::vector<std::string> text;  // of each id, with spaces; empty for control and unknown pieces
    std::vector<char> special;      // 1: left out when decoding
    int drop;                       // spaces the model put before a text: 0 none, 1 one, 2 all that lead
    beside *files = nullptr;        // what lies beside the model
    ~tokenizer() { beside_close(files); }
    size_t n_pieces() const { return text.size(); }
};

// Runs `body` and turns whatever it throws into a status.
template <typename F> int guarded(const co_host *h, F body)
{
    try {
        return body();
    } catch (const std::bad_alloc &) {
        return CO_FAIL(h, CO_E_NOMEM, "sentencepiece: out of memory");
    } catch (const std::exception &e) {
        return CO_FAIL(h, CO_E_FORMAT, "sentencepiece: %s", e.what());
    } catch (...) {
        return CO_FAIL(h, CO_E_FORMAT, "sentencepiece: unknown failure");
    }
}

int read_file(const co_host *h, const std::string &path, std::string *out)
{
    std::ifstream in(path, std::ios::binary);
    if (!in) return CO_FAIL(h, CO_E_FORMAT, "%s: cannot be opened: %s", path.c_str(), std::strerror(errno));
    out->assign(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    if (in.bad()) return CO_FAIL(h, CO_E_IO, "%s: cannot be read", path.c_str());
    return CO_OK;
}

std::string model_path(const char *path)
{
    struct stat st;
    std::string p(path);
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) p += "/tokenizer.model";
    return p;
}

std::string spaces_for_symbols(const std::string &piece)
{
    std::string out;
    for (size_t i = 0; i < piece.size();) {
        if (piece.compare(i, space_bytes, space_symbol) == 0) {
            out += ' ';
            i += space_bytes;
        } else {
            out += piece[i++];
        }
    }
    return out;
}

// "<0x0A>" -> its byte
std::string byte_of(const std::string &piece)
{
    return std::string(1, static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16)));
}

void fill_pieces(tokenizer *t)
{
    const int n = t->processor.GetPieceSize();
    t->text.resize(static_cast<size_t>(n));
    t->special.assign(static_cast<size_t>(n), 0);
    for (int id = 0; id < n; id++) {
        const std::string &piece = t->processor.IdToPiece(id);
        const size_t i = static_cast<size_t>(id);
        if (t->processor.IsControl(id) || t->processor.IsUnknown(id)) t->special[i] = 1;
        else if (t->processor.IsByte(id)) t->text[i] = byte_of(piece);
        else t->text[i] = spaces_for_symbols(piece);
    }
}

// What the model's own normalisation does at the start of a text is not in the library's interface: ask it.
int leading_rule(const tokenizer *t)
{
    for (size_t i = 0; i < t->text.size(); i++) {
        if (t->special[i] || t->text[i].size() < 2 || t->text[i][0] != ' ' || t->text[i][1] == ' ') continue;
        const std::string &piece = t->processor.IdToPiece(static_cast<int>(i));
        const std::string word = t->text[i].substr(1);
        std::string one, two;
        if (!t->processor.Decode(std::vector<std::string>{piece}, &one).ok()) return 0;
        if (!t->processor.Decode(std::vector<std::string>{space_symbol, piece}, &two).ok()) return 0;
        if (one != word) return 0;
        return two == word ? 2 : 1;
    }
    return 0;
}

// LLaMA 3's tokenizer.model is not SentencePiece's but tiktoken's: lines of a token in base64 and its rank.
bool is_tiktoken(const std::string &data)
{
    const size_t space = data.find(' ');
    return space != 0 && space < 400 && data.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") == space &&
           data.find_first_not_of("0123456789", space + 1) == data.find('\n');
}

const char *piece_of(void *ctx, int32_t id, size_t *len)
{
    const std::string &piece = static_cast<const tokenizer *>(ctx)->processor.IdToPiece(id);
    *len = piece.size();
    return piece.data();
}

int open_model(const co_host *h, const void *opts, void **self)
{
    return guarded(h, [&]() -> int {
        const options *o = static_cast<const options *>(opts);
        if (!o || !o->common.path || !*o->common.path)
            return CO_FAIL(h, CO_E_CONFIG, "[tokenizer] path is missing: the model's directory, or a tokenizer.model file");
        const std::string path = model_path(o->common.path);
        std::string data;
        int rc = read_file(h, path, &data);
        if (rc != CO_OK) return rc;
        std::string why;
        if (is_tiktoken(data))
            return CO_FAIL(h, CO_E_UNSUPPORTED, "%s: a tiktoken file, not a SentencePiece model; the model's tokenizer.json is read instead: put it "
                           "beside, or name it in [tokenizer] path", path.c_str());
        if (!charsmaps_are_sound(data, &why))
            return CO_FAIL(h, CO_E_FORMAT, "%s: a damaged SentencePiece model: %s (%zu bytes)", path.c_str(), why.c_str(), data.size());
        std::unique_ptr<tokenizer> t(new tokenizer());
        t->host = h;
        const sentencepiece::util::Status status = t->processor.LoadFromSerializedProto(data);
        if (!status.ok() || t->processor.GetPieceSize() <= 0)
            return CO_FAIL(h, CO_E_FORMAT, "%s: not a SentencePiece model, or damaged (%zu bytes): %s", path.c_str(),
                           data.size(), status.ok() ? "it holds no pieces" : status.error_message());
        fill_pieces(t.get());
        t->drop = leading_rule(t.get());
        const size_t slash = path.rfind('/');
        rc = beside_open(h, slash == std::string::npos ? "." : path.substr(0, slash + 1).c_str(), static_cast<int32_t>(t->n_pieces()), piece_of,
                         t.get(), &t->files);
        if (rc != CO_OK) return rc;
        *self = t.release();
        return CO_OK;
    });
}

void close_model(void *self) { delete static_cast<tokenizer *>(self); }

int n_vocab(void *self, int64_t *n)
{
    *n = beside_n_vocab(static_cast<tokenizer *>(self)->files);
    return CO_OK;
}

// Appends the ids of a text without added tokens.
int encode_gap(const tokenizer *t, const char *utf8, size_t len, std::vector<int> *all)
{
    std::vector<int> found;
    const sentencepiece::util::Status status = t->processor.Encode({utf8, len}, &found);
    if (!status.ok()) return CO_FAIL(t->host, CO_E_FORMAT, "sentencepiece: text cannot be encoded: %s", status.error_message());
    if (all->empty()) all->swap(found);
    else all->insert(all->end(), found.begin(), found.end());
    return CO_OK;
}

// Appends the ids of a text that may hold added tokens.
int encode_text(const tokenizer *t, const char *utf8, size_t len, int no_special, std::vector<int> *found)
{
    beside_scan s = {};
    s.no_special = no_special;
    int rc = CO_OK, more = 1;
    while (rc == CO_OK && more) {
        more = beside_next(t->files, utf8, len, &s);
        if (s.gap_len) rc = encode_gap(t, utf8 + s.gap_at, s.gap_len, found);
        if (more) found->push_back(s.id);
    }
    return rc;
}

int hand_over(const co_host *h, const std::vector<int> &found, co_arena *a, int32_t **ids, size_t *n)
{
    int32_t *out = static_cast<int32_t *>(h->arena_push(a, (found.size() + 1) * sizeof(int32_t), alignof(int32_t)));
    if (!out) return CO_E_NOMEM;
    for (size_t i = 0; i < found.size(); i++) out[i] = found[i];
    *ids = out;
    *n = found.size();
    return CO_OK;
}

int encode(void *self, const char *utf8, size_t len, co_arena *a, int32_t **ids, size_t *n)
{
    const tokenizer *t = static_cast<const tokenizer *>(self);
    return guarded(t->host, [&]() -> int {
        std::vector<int> found;
        const int rc = encode_text(t, utf8, len, 0, &found);
        return rc == CO_OK ? hand_over(t->host, found, a, ids, n) : rc;
    });
}

int encode_marked(void *self, const char *utf8, size_t len, const co_text_mark *marks, size_t n_marks, co_arena *a, int32_t **ids, size_t *n)
{
    const tokenizer *t = static_cast<const tokenizer *>(self);
    return guarded(t->host, [&]() -> int {
        std::vector<int> found;
        size_t from = 0;
        int rc = CO_OK;
        for (size_t i = 0; i < n_marks && rc == CO_OK; i++) {
            rc = encode_text(t, utf8 + from, marks[i].at - from, 1, &found);
            found.push_back(marks[i].id);
            from = marks[i].at + marks[i].len;
        }
        if (rc == CO_OK) rc = encode_text(t, utf8 + from, len - from, 1, &found);
        return rc == CO_OK ? hand_over(t->host, found, a, ids, n) : rc;
    });
}

int32_t token(void *self, const char *text, size_t len)
{
    const tokenizer *t = static_cast<const tokenizer *>(self);
    int32_t id = -1;
    if (!len) return -1;
    (void)guarded(t->host, [&]() -> int {
        const std::string piece(text, len);
        const int found = t->processor.PieceToId(piece);
        const bool there = found >= 0 && found < t->processor.GetPieceSize() && t->processor.IdToPiece(found) == piece;
        id = there && t->special[static_cast<size_t>(found)] ? found : beside_special(t->files, text, len);
        return CO_OK;
    });
    return id;
}

int check_ids(const tokenizer *t, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= beside_n_vocab(t->files))
            return CO_FAIL(t->host, CO_E_INVALID, "token id %d: the tokenizer has %d", ids[i], beside_n_vocab(t->files));
    return CO_OK;
}

const char *text_of(const tokenizer *t, int32_t id, size_t *len)
{
    if (static_cast<size_t>(id) >= t->n_pieces()) return beside_text(t->files, id, len);
    *len = t->text[static_cast<size_t>(id)].size();
    return t->text[static_cast<size_t>(id)].data();
}

int decode(void *self, const int32_t *ids, size_t n, int continuation, co_arena *a, char **utf8, size_t *len)
{
    const tokenizer *t = static_cast<const tokenizer *>(self);
    size_t bytes = 0, at = 0;
    int rc = check_ids(t, ids, n);
    if (rc != CO_OK) return rc;
    size_t size;
    for (size_t i = 0; i < n; i++) {
        (void)text_of(t, ids[i], &size);
        bytes += size;
    }
    char *out = static_cast<char *>(t->host->arena_push(a, bytes + 1, 1));
    if (!out) return CO_E_NOMEM;
    int drop = continuation ? 0 : t->drop;
    for (size_t i = 0; i < n; i++) {
        const char *piece = text_of(t, ids[i], &size);
        size_t skip = 0;
        if (size == 0) continue;
        if (drop == 1) skip = piece[0] == ' ';
        while (drop == 2 && skip < size && piece[skip] == ' ') skip++;
        if (drop == 1 || skip < size) drop = 0;
        std::memcpy(out + at, piece + skip, size - skip);
        at += size - skip;
    }
    out[at] = 0;
    *utf8 = out;
    *len = at;
    return CO_OK;
}

// What the files beside say; else the piece of the usual name if there is one, else what the model's trainer noted: models
// exist (the 512-piece tokenizer of stories260K) whose notes say 2 for BOS while "<s>" is 1, and Hugging Face goes by the names.
int32_t named(const tokenizer *t, const char *role, const char *piece, int32_t noted)
{
    const int32_t said = beside_role(t->files, role);
    if (said != -2) return said;
    const int32_t id = t->processor.PieceToId(piece);
    return id >= 0 && id < t->processor.GetPieceSize() && t->processor.IdToPiece(id) == piece ? id : noted;
}

int32_t special(void *self, const char *role)
{
    const tokenizer *t = static_cast<const tokenizer *>(self);
    if (std::strcmp(role, "bos") == 0) return named(t, role, "<s>", t->processor.bos_id());
    if (std::strcmp(role, "eos") == 0) return named(t, role, "</s>", t->processor.eos_id());
    if (std::strcmp(role, "unk") == 0) return named(t, role, "<unk>", t->processor.unk_id());
    if (std::strcmp(role, "pad") == 0) return beside_role(t->files, role) != -2 ? beside_role(t->files, role) : t->processor.pad_id();
    if (std::strcmp(role, "before") == 0) return beside_adds(t->files, "bos") != 0 ? special(self, "bos") : -1;
    if (std::strcmp(role, "after") == 0) return beside_adds(t->files, "eos") == 1 ? special(self, "eos") : -1;
    return -1;
}

const char *const files[] = {"tokenizer.model", nullptr};

const co_tokenizer_vt table = {sizeof(co_tokenizer_vt), files, open_model, close_model, n_vocab, encode, decode, special, encode_marked, token};

const co_opt option_table[] = {
    {"path", CO_OPT_PATH, offsetof(options, common.path), 0, "", 0, 0, nullptr,
     "The model's directory, or a tokenizer.model file; default: [model] path."},
    CO_OPT_END};

const co_feature feature = {sizeof(co_feature), CO_KIND_TOKENIZER, "sentencepiece",
                            "SentencePiece models (tokenizer.model), through libsentencepiece", option_table,
                            sizeof(options), nullptr, &table};
const co_feature *const features[] = {&feature, nullptr};

const co_plugin plugin = {CO_MAGIC_INIT(0), sizeof(co_plugin), "sentencepiece", "coati", "0.1.0", "Apache-2.0", "",
                          features, nullptr, nullptr};

} // namespace

extern "C" {
CO_PLUGIN(plugin);
}
