"""Writes unicode_tables.inc: what Hugging Face tokenizers takes each code point for.

    make_unicode_tables.py            writes the file beside this script
    make_unicode_tables.py --check    ends with 1 when the file is not what the installed library answers

The library is built of several crates, each with the Unicode version of its own day; equal token ids need the same
answers, so every table is asked of the library itself, code point by code point. unicodedata only proposes the pairs
that composition may join; the library decides.
"""
import argparse
import pathlib
import sys
import unicodedata

import probe_graphemes
import tokenizers
from tokenizers import Regex
from tokenizers import normalizers as norm
from tokenizers import pre_tokenizers as pre

CATEGORIES = ["Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc",
              "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co", "Cn"]
SCRIPTS = ["Han", "Hiragana", "Katakana", "Hangul", "Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Thai", "Devanagari"]
ALL = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
TEXT = "".join(ALL)


def members(pattern):
    """The characters that an Oniguruma class takes."""
    return set(norm.Replace(Regex(f"[^{pattern}]+"), "").normalize_str(TEXT)) if pattern else set()


def ranges(chars):
    """[(first, last)] of a set of characters; surrogates, which no text holds, go with their neighbours."""
    codes, out = sorted(map(ord, chars)), []
    for code in codes:
        if out and (out[-1][1] == code - 1 or (out[-1][1] == 0xD7FF and code == 0xE000)):
            out[-1][1] = code
        else:
            out.append([code, code])
    return [tuple(r) for r in out]


def changed_by(normalizer, before="", after=""):
    """{code point: text} where the normalizer changes a character between `before` and `after`."""
    out = {}
    for char in ALL:
        got = normalizer.normalize_str(before + char + after)
        if got != before + char + after:
            out[char] = got
    return out


def split_off(pre_tokenizer):
    """Characters that a pre-tokenizer cuts out of a word or drops."""
    return {char for char in ALL if pre_tokenizer.pre_tokenize_str("a" + char + "a") != [("a" + char + "a", (0, 3))]}


def combining_classes(decomposable):
    """Canonical combining classes as the library orders them, 0 left out."""
    nfd, out = norm.NFD(), {}
    for char in ALL:
        known = unicodedata.combining(char)
        # An order is visible between two marks of different class: U+0345 has the highest, U+0334 the lowest.
        low, high = nfd.normalize_str("a\u0345" + char), nfd.normalize_str("a" + char + "\u0334")
        moves = low != "a\u0345" + char if known != 240 else True
        moves |= high != "a" + char + "\u0334" if known not in (0, 1) else known == 1
        if char in decomposable:
            continue
        if moves and known == 0:
            raise SystemExit(f"unicodedata is older than the library: no class for U+{ord(char):04X}")
        if moves:
            out[char] = known
    return out


def compositions(canonical):
    nfc, out = norm.NFC(), []
    for char in ALL:
        parts = unicodedata.decomposition(char).split()
        if char in canonical and len(parts) == 2 and not 0xAC00 <= ord(char) < 0xD7A4:
            pair = "".join(chr(int(p, 16)) for p in parts)
            if nfc.normalize_str(pair) == char:
                out.append((ord(pair[0]), ord(pair[1]), ord(char)))
    return sorted(out)


def write_list(out, name, kind, rows, how):
    out.append(f"inline constexpr {kind} {name}[] = {{")
    line = "    "
    for row in rows:
        text = how(row) + ","
        if len(line) + len(text) > 99:
            out.append(line.rstrip())
            line = "    "
        line += text
    out += [line, "};"]


def write_ranges(out, name, chars):
    write_list(out, name, "CodeRange", ranges(chars), lambda r: f"{{{r[0]},{r[1]}}}")


def write_mapping(out, name, mapping):
    """{from, count, place in the pool}, ascending, and the pool of code points."""
    pool, rows = [], []
    for char in sorted(mapping):
        rows.append((ord(char), len(mapping[char]), len(pool)))
        pool += [ord(c) for c in mapping[char]]
    write_list(out, f"{name}Rows", "MappingRow", rows, lambda r: f"{{{r[0]},{r[1]},{r[2]}}}")
    write_list(out, f"{name}Pool", "uint32_t", pool, str)


def tables():
    out = ["// Made by make_unicode_tables.py: every answer is that of Hugging Face tokenizers " + tokenizers.__version__ + ".",
           "// Facts about characters from the Unicode Character Database; data, not meant to be read.", "// clang-format off"]
    category = {}
    for name in CATEGORIES:
        for char in members(rf"\p{{{name}}}"):
            category[char] = name
    missing = [c for c in ALL if c not in category]
    if missing:
        raise SystemExit(f"{len(missing)} characters have no category, the first U+{ord(missing[0]):04X}")
    rows, last = [], None
    for char in ALL:
        if category[char] != last:
            last = category[char]
            rows.append((ord(char), CATEGORIES.index(last)))
    write_list(out, "kCategoryNames", "const char *", CATEGORIES, lambda n: f'"{n}"')
    write_list(out, "kCategoryStarts", "CategoryStart", rows, lambda r: f"{{{r[0]},{r[1]}}}")
    write_ranges(out, "kRegexSpace", members(r"\s"))
    write_ranges(out, "kRegexWord", members(r"\w"))
    write_ranges(out, "kRegexDigit", members(r"\d"))
    for script in SCRIPTS:
        write_ranges(out, f"kScript{script}", members(rf"\p{{{script}}}"))
    write_ranges(out, "kWhitespace", split_off(pre.WhitespaceSplit()))
    write_ranges(out, "kPunctuation", split_off(pre.Punctuation()))
    write_ranges(out, "kNumeric", split_off(pre.Digits()))
    # A word is what Whitespace keeps together with a letter.
    write_ranges(out, "kWord", set(ALL) - split_off(pre.Whitespace()))
    quiet = dict(handle_chinese_chars=False, strip_accents=False, lowercase=False)
    cleaned = changed_by(norm.BertNormalizer(clean_text=True, **quiet), "a", "a")
    write_ranges(out, "kBertRemoved", {c for c, got in cleaned.items() if got == "aa"})
    write_ranges(out, "kBertSpace", {c for c, got in cleaned.items() if got == "a a"} | {" "})
    chinese = changed_by(norm.BertNormalizer(clean_text=False, handle_chinese_chars=True, strip_accents=False, lowercase=False))
    write_ranges(out, "kBertChinese", set(chinese))
    canonical, compatible = changed_by(norm.NFD()), changed_by(norm.NFKD())
    syllables = set(map(chr, range(0xAC00, 0xD7A4)))
    accents = changed_by(norm.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False), "a", "")
    write_ranges(out, "kBertAccent", {c for c, got in accents.items() if got == "a"})
    write_ranges(out, "kAccent", {c for c, got in changed_by(norm.StripAccents(), "a", "").items() if got == "a"})
    write_mapping(out, "kCanonical", {c: t for c, t in canonical.items() if c not in syllables})
    write_mapping(out, "kCompatible", {c: t for c, t in compatible.items() if c not in syllables})
    write_mapping(out, "kLower", changed_by(norm.Lowercase()))
    classes = combining_classes(set(compatible))
    rows = []
    for first, final in ranges(classes):
        for code in range(first, final + 1):
            if rows and rows[-1][1] == code - 1 and rows[-1][2] == classes[chr(code)]:
                rows[-1][1] = code
            else:
                rows.append([code, code, classes[chr(code)]])
    write_list(out, "kCombining", "ClassRange", rows, lambda r: f"{{{r[0]},{r[1]},{r[2]}}}")
    write_list(out, "kCompositions", "Composition", compositions(canonical), lambda r: f"{{{r[0]},{r[1]},{r[2]}}}")
    for name, chars in probe_graphemes.classes().items():
        write_ranges(out, f"kGrapheme{name[1:]}", chars)
    out.append("// clang-format on")
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    path = pathlib.Path(__file__).parent / "unicode_tables.inc"
    made = tables()
    if parser.parse_args().check:
        return 0 if path.read_text() == made else 1
    path.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
