#include "charsmap.h"
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace {

// A cursor over protocol buffer fields.
struct fields {
    std::string_view rest;

    bool varint(uint64_t *v)
    {
        *v = 0;
        for (int shift = 0; shift < 64 && !rest.empty(); shift += 7) {
            const uint8_t b = static_cast<uint8_t>(rest[0]);
            rest.remove_prefix(1);
            *v |= static_cast<uint64_t>(b & 127) << shift;
            if (b < 128) return true;
        }
        return false;
    }

    // The next field; `bytes` is set for those that have a length. False at the end, and where it is damaged.
    bool next(uint32_t *number, std::string_view *bytes)
    {
        uint64_t key, n = 0;
        *bytes = {};
        if (rest.empty() || !varint(&key)) return false;
        *number = static_cast<uint32_t>(key >> 3);
        switch (key & 7) {
        case 0: return varint(&n);
        case 1: n = 8; break;
        case 5: n = 4; break;
        case 2:
            if (!varint(&n) || n > rest.size()) return false;
            *bytes = rest.substr(0, n);
            break;
        default: return true; // a group's beginning or end: what is in it comes as fields of its own
        }
        if (n > rest.size()) return false;
        rest.remove_prefix(n);
        return true;
    }
};

// A double array as Darts-clone lays it out, walked from its root: each step reads the unit at base ^ byte.
class double_array {
public:
    double_array(std::string_view units, std::string_view texts) : units_(units), texts_(texts), seen_(units.size() / 4) {}

    bool is_sound()
    {
        if (seen_.empty() || units_.size() % 4 != 0) return false;
        std::vector<uint32_t> bases = {offset(unit(0))};
        while (!bases.empty()) {
            const uint32_t base = bases.back();
            bases.pop_back();
            if ((base | 255u) >= seen_.size()) return false;
            for (uint32_t c = 1; c < 256; c++) {
                const uint32_t at = base ^ c, u = unit(at);
                if ((u & 0x800000FFu) != c || seen_[at]) continue; // another byte's unit
                seen_[at] = true;
                const uint32_t to = at ^ offset(u);
                if (has_leaf(u) && (to >= seen_.size() || (unit(to) & 0x7FFFFFFFu) >= texts_.size())) return false;
                bases.push_back(to);
            }
        }
        return true;
    }

private:
    uint32_t unit(uint32_t i) const
    {
        uint32_t v;
        std::memcpy(&v, units_.data() + 4 * static_cast<size_t>(i), sizeof v); // little-endian, as this machine is
        return v;
    }
    static uint32_t offset(uint32_t u) { return (u >> 10) << ((u & (1u << 9)) >> 6); }
    static bool has_leaf(uint32_t u) { return (u >> 8 & 1) != 0; }

    std::string_view units_, texts_;
    std::vector<bool> seen_;
};

// 4 bytes of length, that many of a double array, texts that end in NUL each.
bool is_sound(std::string_view map, std::string *why)
{
    uint32_t n = 0;
    if (map.empty()) return true;
    if (map.size() > sizeof n) std::memcpy(&n, map.data(), sizeof n);
    if (map.size() <= sizeof n || n >= map.size() - sizeof n) {
        *why = "its table of replaced characters is cut short";
        return false;
    }
    const std::string_view texts = map.substr(sizeof n + n);
    if (texts.back() == 0 && double_array(map.substr(sizeof n, n), texts).is_sound()) return true;
    *why = "its table of replaced characters is damaged";
    return false;
}

} // namespace

bool charsmaps_are_sound(const std::string &model, std::string *why)
{
    enum { NORMALIZER = 3, DENORMALIZER = 5, CHARSMAP = 2 };
    fields all{model};
    uint32_t number, inner;
    std::string_view bytes, map;
    while (all.next(&number, &bytes)) {
        if (number != NORMALIZER && number != DENORMALIZER) continue;
        fields spec{bytes};
        while (spec.next(&inner, &map))
            if (inner == CHARSMAP && !is_sound(map, why)) return false;
    }
    return true;
}
