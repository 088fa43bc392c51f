"""What the grapheme clusters of Hugging Face tokenizers are made of, found out through its Precompiled normalizer.

That normalizer looks clusters of less than six bytes up as a whole and takes the shortest prefix that its map has, swallowing
the rest; longer clusters are looked up character by character. So what a map makes of a text shows where clusters end.
"""
import struct

from tokenizers import normalizers

ACCENT, JOINER, KA, VIRAMA = "\u0301", "\u200d", "\u0915", "\u094d"
ALL = [chr(c) for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]


def characters_map(mapping):
    """A sentencepiece precompiled map: a double array over UTF-8 with places in a text of replacements."""
    values, text = {}, b""
    for key, value in mapping.items():
        values[key.encode()] = len(text)
        text += value.encode() + b"\0"
    trie = {}
    for key, value in values.items():
        node = trie
        for byte in key:
            node = node.setdefault(byte, {})
        node[0] = value
    units, used, queue = {0: 0}, {0}, [(0, trie)]
    base = 1
    while queue:
        place, node = queue.pop()
        start = base
        while any(start ^ label in used for label in node) or start >> 21:
            start += 1
        base = start if len(used) % 64 else start + 1
        used.update(start ^ label for label in node)
        units[place] |= (start ^ place) << 10 | (256 if 0 in node else 0)
        for label, inner in node.items():
            units[start ^ label] = 1 << 31 | inner if label == 0 else label
            if label != 0:
                queue.append((start ^ label, inner))
    array = [units.get(i, 0) for i in range(max(units) + 256)]
    return normalizers.Precompiled(struct.pack("<I", 4 * len(array)) + struct.pack(f"<{len(array)}I", *array) + text)


def classes():
    """{name of the class: characters}, names as runtime/text/graphemes.h has them; unlisted characters are kOther."""
    simple = characters_map({"a": "X", "©": "X", ACCENT: "Y"})
    ask = simple.normalize_str
    out = {}
    extending = {c for c in ALL if c != ACCENT and c != JOINER and ask("a" + c) == "X"} | {ACCENT}
    spacing = {c for c in extending if ask("©" + c + JOINER + "©" + ACCENT).endswith("X")}
    out["kControl"] = {c for c in ALL if c not in "\r\n" and c not in extending and ask(c + ACCENT * 2).endswith("Y") and not
                       ask(c + ACCENT * 2).endswith("YY")}
    out["kPrepend"] = {c for c in ALL if ask(c + "a" + ACCENT * 2).endswith("XYY")}
    out["kPictographic"] = {c for c in ALL if c != JOINER and c not in extending and c not in "a©" and
                            ask("©" + JOINER + c).startswith("X" + JOINER)} | {"©"}
    conjunct = characters_map({KA: "Z", ACCENT: "Y"}).normalize_str
    extend = extending - spacing
    linkers = {c for c in extend if conjunct(KA + c + KA + ACCENT).endswith("ZY")}
    out["kLinker"] = linkers
    out["kIndicExtend"] = {c for c in extend - linkers if conjunct(KA + c + VIRAMA + KA + ACCENT).endswith("ZY")}
    out["kExtend"] = extend - linkers - out["kIndicExtend"]
    out["kSpacingMark"] = spacing
    letters = [c for c in ALL if 0x900 <= ord(c) < 0x3000 and c not in extending]
    consonants = set()
    for begin in range(0, len(letters), 200):
        part = letters[begin : begin + 200]
        asked = characters_map({**{c: "Z" for c in part}, ACCENT: "Y"}).normalize_str
        consonants |= {c for c in part if asked(KA + VIRAMA + c + ACCENT).endswith("ZY") and not asked(" " + c + ACCENT).endswith("ZY")}
    out["kConsonant"] = consonants
    return out
