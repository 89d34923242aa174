"""Writes plugins/tokenizers/bpe/unicode.def: the general category of every character and whether it counts as \\s, \\w and
punctuation, asked of Hugging Face's tokenizers one character at a time, so that ours cut texts where theirs do.

    python make_unicode.py > ../../plugins/tokenizers/bpe/unicode.def
    python make_unicode.py normal > ../../plugins/tokenizers/bpe/normal.def

The second table: characters that utf8proc (its shared library is asked) normalises and Unicode counts as marks, and
tokenizers, whose normalisation is Unicode 9's, leaves alone.
"""
import ctypes
import sys

from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = "Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cs".split()


def members(splitter):
    """Characters that the splitter, told to remove its matches, leaves nothing of."""
    found = set()
    for start in range(0, 0x110000, 0x800):
        if 0xD800 <= start < 0xE000:
            continue
        text = "".join(chr(c) for c in range(start, start + 0x800))
        kept = set()
        for piece, _ in splitter.pre_tokenize_str(text):
            kept.update(map(ord, piece))
        found.update(c for c in range(start, start + 0x800) if c not in kept)
    return found


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "removed")


def ranges(found):
    out = []
    for c in sorted(found):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def characters():
    return (c for c in range(0x110000) if not 0xD800 <= c < 0xE000)


def normal():
    u = ctypes.CDLL("libutf8proc.so.2")
    u.utf8proc_get_property.restype = ctypes.POINTER(ctypes.c_int16)
    nfd, nfkd, strip = normalizers.NFD(), normalizers.NFKD(), normalizers.StripAccents()
    marks = members(split(r"\p{M}"))
    found = {c for c in marks if strip.normalize_str("x" + chr(c)) != "x"}
    buffer, last = (ctypes.c_int32 * 64)(), ctypes.c_int()
    for c in characters():
        ccc = u.utf8proc_get_property(c)[1]
        n = u.utf8proc_decompose_char(c, buffer, 64, 1 << 4 | 1 << 2, ctypes.byref(last))  # DECOMPOSE, COMPAT
        if ccc:
            other = "\u0334" if ccc != 1 else "\u0301"
            if all(nfd.normalize_str(t) == t for t in ("a" + chr(c) + other, "a" + other + chr(c))):
                found.add(c)
        elif (n > 1 or buffer[0] != c) and nfkd.normalize_str(chr(c)) == chr(c):
            found.add(c)
    print("/* Made by tests/golden/make_unicode.py: {first, last}. */")
    all_ranges = ["{0x%X, 0x%X}," % (a, b) for a, b in ranges(found)]
    for i in range(0, len(all_ranges), 6):
        print(" ".join(all_ranges[i : i + 6]))


def main():
    cls = [0] * 0x110000
    for c in range(0xD800, 0xE000):
        cls[c] = CATEGORIES.index("Cs")
    for i, name in enumerate(CATEGORIES):
        if name not in ("Cn", "Cs"):
            for c in members(split(r"\p{%s}" % name)):
                assert cls[c] == 0, (hex(c), name)
                cls[c] = i
    for bit, splitter in ((0x20, split(r"\s")), (0x40, split(r"\w")), (0x80, pre_tokenizers.Punctuation("removed"))):
        for c in members(splitter):
            cls[c] |= bit
    runs = [c << 8 | cls[c] for c in range(0x110000) if c == 0 or cls[c] != cls[c - 1]]
    print("/* Made by tests/golden/make_unicode.py. Each entry: first character << 8 | class, up to the next entry. */")
    for i in range(0, len(runs), 12):
        print(" ".join("0x%X," % r for r in runs[i : i + 12]))


normal() if sys.argv[1:] == ["normal"] else main()
