"""Compares platen's tokenizer with sentencepiece and with Hugging Face tokenizers, id for id and byte for byte.

    compare_tokenizers.py --tool T --section-tool S --trained           models trained here, on the text below
    compare_tokenizers.py --tool T --section-tool S --model FILE        a tokenizer.model
    compare_tokenizers.py ... --model FILE --speed TEXT                 only measure encoding of a text file

Strings come from a seed: all planes of Unicode, combining marks, emoji sequences, scripts, controls, whitespace runs, code,
digits, repeats, pieces of the vocabulary glued together; bytes that are no UTF-8 apart. Ends with 0 when nothing differs,
1 with the first differences shown, 77 when a reference is not installed.
"""
import argparse
import io
import json
import pathlib
import random
import re
import struct
import subprocess
import sys
import tempfile
import time

try:
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as schema
    import tokenizers
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

CONTROL, USER_DEFINED, UNUSED, BYTE = 3, 4, 5, 6
SPACE = "\u2581"

TEXT = """
A printing press needs one flat plate, set once with care; after that it prints page after page, and every page is the same.
The quick brown fox jumps over the lazy dog, while 1234567890 sheep, 42 goats and 7 hens look on. "Why?" asked the hen. It's fine!
Der Müller grüßt die schöne Straße; überall liegt Schnee, und die Bäume tragen weiße Mützen. Zwölf Boxkämpfer jagen Viktor quer.
L'été dernier, nous étions à Orléans où le garçon mangeait des pâtisseries; voilà une façon agréable de passer le temps, n'est-ce pas ?
El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia y frío; añoraba a su querido cachorro. ¿Cómo está usted hoy, señor?
Съешь же ещё этих мягких французских булок, да выпей чаю. Привет, как дела? Хорошо, спасибо, а у вас как дела сегодня утром?
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Καλημέρα κόσμε, τι κάνεις σήμερα το πρωί; Όλα καλά, ευχαριστώ πολύ.
日本語の文章です。今日はいい天気ですね。東京の空は青い。私は毎日本を読みます。世界こんにちは。
你好，世界。今天天气很好，我们一起去公园散步吧。学而时习之，不亦说乎？有朋自远方来，不亦乐乎？
안녕하세요 세계. 오늘은 날씨가 정말 좋네요. 우리 함께 공원에 갑시다. 감사합니다.
مرحبا بالعالم. كيف حالك اليوم؟ الطقس جميل جدا. שלום עולם. מה שלומך היום? מזג האוויר יפה מאוד.
नमस्ते दुनिया। आज मौसम बहुत अच्छा है। สวัสดีชาวโลก วันนี้อากาศดีมาก
def f(x):\n    return x**2 + 1\n\nfor i in range(10):\n\tprint(f"{i}: {f(i)}")\n
int main(int argc, char **argv) { for (size_t i = 0; i < n; ++i) sum += values[i] * weights[i]; return sum > 0 ? 1 : -1; }
SELECT name, count(*) FROM orders WHERE price >= 3.14159 GROUP BY name ORDER BY 2 DESC; -- comment
https://example.com/path/to/page?query=value&other=%20value#fragment user@example.org 2024-01-31T23:59:59Z
aaaa bbbb abab abcabcabc hahahaha ------ ====== ...... !!!! the the the then there these them theme
"""


# ---------------------------------------------------------------- strings

RANGES = [(0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x600), (0x600, 0x780), (0x900, 0xE80), (0x1E00, 0x2000),
          (0x2000, 0x2C00), (0x3040, 0x3100), (0x4E00, 0xA000), (0xAC00, 0xD7A4), (0xE000, 0xF900), (0xFB50, 0xFFFE),
          (0x10000, 0x11000), (0x1D400, 0x1D800), (0x1F300, 0x1FB00), (0x20000, 0x2A6E0), (0x40000, 0x40400),
          (0xE0000, 0xE01F0), (0xF0000, 0xF0400), (0x10FF00, 0x110000)]
WHITESPACE = [" ", "  ", "   ", " " * 9, " " * 40, "\n", "\n\n", "\r\n", "\t", "\t\t\t", "\u00a0", "\u200b", "\u3000",
              "\u2028", SPACE, SPACE * 3, "\u0085", "\u1680"]
EMOJI = ["👩‍👩‍👧‍👦", "🧑‍🚀", "🏳️‍🌈", "👍🏽", "🇩🇪🇯🇵", "❤️‍🔥", "1️⃣", "🙂", "☃︎", "🫠", "👨🏿‍🦱"]


def any_character(rng):
    if rng.random() < 0.3:
        return rng.choice("\0\x01\x07\x1b\x7f\u0080\ufeff\ufffd\uffff\u202e\u2066\u200d\u0301\u20dd\U000e0041")
    code = rng.randrange(0x110000 - 0x800)
    return chr(code if code < 0xD800 else code + 0x800)


def from_range(rng):
    low, high = rng.choice(RANGES)
    return "".join(chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 12)))


def slice_of_text(rng):
    begin = rng.randrange(len(TEXT) - 5)
    return TEXT[begin : begin + rng.randrange(1, 60)]


def code(rng):
    words = ["def ", "return", "(x)", "{", "}", ";\n", "    ", "\t", "==", "<a href=\"", "</td>", "\\n", "0x1F", "&&", "#", "/*", "*/",
             "::", "->", "lambda", "__init__", "std::vector<int>", ">" + SPACE + "</", "> </", "$x", "%d", "@", "`", "~~", "<bos>", "</s>", "a  b", "  x", " x "]
    return "".join(rng.choice(words) for _ in range(rng.randrange(1, 10)))


def repeats(rng):
    unit = rng.choice(["a", "ab", "=", "-", "🙂", "あ", " ", "\n", "ha", "\u0301", "abc ", "1", SPACE, "가", "𝕳"])
    return unit * rng.choice([2, 3, 7, 16, 31, 33, 64, 100, 257])


def make_string(rng, pieces):
    makers = [slice_of_text, slice_of_text, slice_of_text, from_range, from_range, code, repeats,
              lambda r: r.choice(WHITESPACE), lambda r: r.choice(WHITESPACE), lambda r: r.choice(EMOJI), any_character,
              lambda r: str(r.randrange(10 ** r.randrange(1, 20))),
              lambda r: "".join(r.choice(pieces) for _ in range(r.randrange(1, 4))),
              lambda r: r.choice(pieces).replace(SPACE, " "),
              lambda r: "e" + "".join(chr(r.randrange(0x300, 0x370)) for _ in range(r.randrange(1, 9)))]
    return "".join(rng.choice(makers)(rng) for _ in range(rng.randrange(1, 7)))


def make_bytes(rng, pieces):
    data = bytearray(make_string(rng, pieces).encode())
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(data) + 1)
        bad = rng.choice([b"\xff", b"\x80", b"\xc0\xaf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x96", b"\xf0\x9f",
                          b"\xf8\x88\x80\x80\x80", bytes([rng.randrange(256)])])
        if rng.random() < 0.5:
            data[at:at] = bad
        else:
            del data[at : at + rng.randrange(1, 3)]
    return bytes(data)


def make_ids(rng, size, byte_ids):
    def some(r):
        if byte_ids and r.random() < 0.5:
            data = make_bytes(r, ["é", "🙂", "あ"])[:8] if r.random() < 0.7 else bytes(r.randrange(256) for _ in range(3))
            return [byte_ids[b] for b in data]
        return [r.randrange(size) if r.random() < 0.8 else r.randrange(min(size, 8))]
    return sum((some(rng) for _ in range(rng.randrange(1, 9))), [])


# ---------------------------------------------------------------- platen

class Platen:
    """Runs one batch of requests through platen_tokenizer_tool."""

    def __init__(self, tool, section_tool, model_file, folder):
        self.tool, self.folder = tool, pathlib.Path(folder)
        self.section = self.folder / "section"
        first = self._build(section_tool, model_file)
        if first != self._build(section_tool, model_file):
            raise SystemExit("FAILED: two builds of the section differ")

    def _build(self, section_tool, model_file):
        says = subprocess.run([section_tool, model_file, self.section], check=True, capture_output=True, text=True).stdout
        self.pipeline = says.startswith("pipeline")
        print(says, end="")
        return self.section.read_bytes()

    def run(self, requests):
        """requests: (verb, bytes or list of ids) -> list of ids for e and p, bytes for d and s."""
        with open(self.folder / "in", "wb") as file:
            for verb, data in requests:
                payload = data if isinstance(data, bytes) else struct.pack(f"<{len(data)}i", *data)
                file.write(verb.encode() + struct.pack("<I", len(data)) + payload)
        with open(self.folder / "in", "rb") as source, open(self.folder / "out", "wb") as sink:
            subprocess.run([self.tool, self.section], stdin=source, stdout=sink, check=True)
        answers, out, at = [], (self.folder / "out").read_bytes(), 0
        for verb, _ in requests:
            (count,), at = struct.unpack_from("<I", out, at), at + 4
            if verb in "ept2":
                answers.append(list(struct.unpack_from(f"<{count}i", out, at)))
                at += 4 * count
            else:
                answers.append(out[at : at + count])
                at += count
        if at != len(out):
            raise SystemExit("FAILED: the tool answered more than it was asked")
        return answers


class Tally:
    def __init__(self):
        self.failed = 0

    def check(self, title, inputs, got, want):
        if len(got) != len(want) or not want:
            raise SystemExit(f"FAILED: {title}: {len(got)} answers for {len(want)} questions")
        wrong = [i for i in range(len(want)) if got[i] != want[i]]
        print(f"{'FAILED' if wrong else 'ok':6} {title}: {len(want)} compared, {len(wrong)} differ", flush=True)
        for i in wrong[:3]:
            print(f"    input     {inputs[i]!r}\n    platen    {got[i]!r}\n    reference {want[i]!r}")
        self.failed += bool(wrong)


# ---------------------------------------------------------------- references

def compare_sentencepiece(title, model, args, tally):
    reference = sentencepiece.SentencePieceProcessor(model_proto=model)
    proto = schema.ModelProto.FromString(model)
    pieces = [p.piece for p in proto.pieces]
    byte_ids = [i for i, p in enumerate(proto.pieces) if p.type == BYTE]
    rng = random.Random(args.seed)
    strings = [make_string(rng, pieces).encode() for _ in range(args.count)] + [b"", b" ", b"  "]
    invalid = [make_bytes(rng, pieces) for _ in range(args.count // 5)]
    id_lists = [make_ids(rng, len(pieces), byte_ids) for _ in range(args.count // 5)]
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "tokenizer.model"
        file.write_bytes(model)
        platen = Platen(args.tool, args.section_tool, file, folder)
        got = platen.run([("e", s) for s in strings + invalid])
        want = [reference.encode(s) for s in strings + invalid]
        tally.check(f"{title}: sentencepiece ids", strings, got[: len(strings)], want[: len(strings)])
        tally.check(f"{title}: sentencepiece ids of invalid UTF-8", invalid, got[len(strings) :], want[len(strings) :])
        lists = want + id_lists
        texts = [reference.decode(ids).encode() for ids in lists]
        tally.check(f"{title}: sentencepiece text", lists, platen.run([("d", ids) for ids in lists]), texts)
        tally.check(f"{title}: streamed text", lists, platen.run([("s", ids) for ids in lists]), texts)
        compare_special(title, reference, proto, platen, rng, args, tally)


def compare_special(title, reference, proto, platen, rng, args, tally):
    """Control pieces in the text: what lies between them is encoded by sentencepiece one by one."""
    controls = {p.piece: i for i, p in enumerate(proto.pieces) if p.type == CONTROL}
    pattern = re.compile("(" + "|".join(sorted(map(re.escape, controls), key=len, reverse=True)) + ")")
    names = sorted(controls)
    texts = []
    for _ in range(args.count // 10):
        texts.append("".join(rng.choice([rng.choice(names), slice_of_text(rng), "<", rng.choice(WHITESPACE)]) for _ in range(5)))
    want = [sum(([controls[part]] if part in controls else reference.encode(part) for part in pattern.split(text)), []) for text in texts]
    tally.check(f"{title}: control pieces parsed", texts, platen.run([("p", t.encode()) for t in texts]), want)
    plain = platen.run([("e", t.encode()) for t in texts])
    tally.check(f"{title}: control pieces as text", texts, plain, [reference.encode(t) for t in texts])
    tally.check(f"{title}: no forged control piece", texts, [set(ids) & set(controls.values()) for ids in plain], [set() for _ in plain])


def hugging_face_json(proto, prefix):
    """The tokenizer.json that a converter makes of a sentencepiece model: merges by score, added tokens for the special pieces."""
    ids = {p.piece: i for i, p in enumerate(proto.pieces)}
    ordinary = {p.piece for p in proto.pieces if p.type not in (CONTROL, BYTE, 2)}
    merges = []
    for p in proto.pieces:
        if p.piece in ordinary:
            cuts = [(p.piece[:i], p.piece[i:]) for i in range(1, len(p.piece))]
            merges += [(-p.score, ids[p.piece], a, b) for a, b in cuts if a in ordinary and b in ordinary]
    merges.sort(key=lambda m: (m[0], m[1]))
    added = [{"id": i, "content": p.piece, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": p.type != USER_DEFINED} for i, p in enumerate(proto.pieces) if p.type in (2, CONTROL, USER_DEFINED)]
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    steps = [{"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, replace]} if prefix else replace,
        "pre_tokenizer": None if prefix else {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": steps + ([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else [])},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "vocab": ids, "merges": [[a, b] for _, _, a, b in merges]}}


def compare_hugging_face(title, model, args, tally):
    proto = schema.ModelProto.FromString(model)
    prefix = proto.normalizer_spec.add_dummy_prefix
    pieces = [p.piece for p in proto.pieces]
    rng = random.Random(args.seed + 1)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "tokenizer.json"
        file.write_text(json.dumps(hugging_face_json(proto, prefix), ensure_ascii=False))
        reference = tokenizers.Tokenizer.from_file(str(file))
        platen = Platen(args.tool, args.section_tool, file, folder)
        strings = [make_string(rng, pieces) for _ in range(args.count)]
        want = [e.ids for e in reference.encode_batch(strings, add_special_tokens=False)]
        tally.check(f"{title}: tokenizers ids", strings, platen.run([("p", s.encode()) for s in strings]), want)
        texts = [t.encode() for t in reference.decode_batch(want, skip_special_tokens=True)]
        tally.check(f"{title}: tokenizers text", want, platen.run([("d", ids) for ids in want]), texts)


# ---------------------------------------------------------------- models trained here

def train(**options):
    sink = io.BytesIO()
    lines = [line.replace("\\n", "\n").replace("\\t", "\t") for line in TEXT.strip().split("\n")]
    settings = dict(model_type="bpe", vocab_size=1500, hard_vocab_limit=False, character_coverage=0.98, byte_fallback=True,
                    normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False, num_threads=1,
                    minloglevel=2)
    settings.update(options)
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines * 3), model_writer=sink, **settings)
    return sink.getvalue()


def odd_model(rng):
    """Score ties, unused pieces, pieces across a space and pieces whose halves are no pieces: legal, though no trainer makes them."""
    proto = schema.ModelProto.FromString(train(vocab_size=900))
    known = {p.piece for p in proto.pieces}
    for piece in ["e" + SPACE, "n" + SPACE + "t", "é🙂", "🙂🙂", "🙂🙂🙂🙂", "Ω" + SPACE, "qzx", "x\u0301", "\u0301\u0301", "zq"]:
        if piece not in known:
            proto.pieces.add(piece=piece, score=-rng.randrange(40), type=1)
    for p in proto.pieces:
        if p.type == 1:
            p.score = float(-rng.randrange(60)) if rng.random() < 0.5 else p.score
            if len(p.piece) > 1 and rng.random() < 0.15:
                p.type = UNUSED
    return proto.SerializeToString()


def trained_models(seed):
    runs = [SPACE * n for n in range(2, 12)] + ["\n" * n for n in range(1, 9)] + ["\t", "\t\t"]
    yield "gemma-like", train(user_defined_symbols=runs + ["<start_of_image>", "[multimodal]"], split_digits=True,
                              control_symbols=["<start_of_turn>", "<start>", "<start_of>"], pad_id=3), True
    yield "llama-like", train(add_dummy_prefix=True, split_digits=True), True
    yield "folding", train(add_dummy_prefix=True, remove_extra_whitespaces=True, byte_fallback=False,
                           user_defined_symbols=["a  b", " x", "\n", SPACE + SPACE]), False
    yield "folding-without-prefix", train(remove_extra_whitespaces=True), False
    yield "suffix", train(add_dummy_prefix=True, treat_whitespace_as_suffix=True), False
    yield "whitespace-pieces", train(allow_whitespace_only_pieces=True, byte_fallback=False, split_by_whitespace=False), False
    yield "odd", odd_model(random.Random(seed)), False


# ---------------------------------------------------------------- speed

def measure(model, args):
    """MB/s of processor time, best of 5: the text in one call, and paragraph by paragraph."""
    reference = sentencepiece.SentencePieceProcessor(model_proto=model)
    text = pathlib.Path(args.speed).read_bytes()
    same = True
    with tempfile.TemporaryDirectory() as folder:
        platen = Platen(args.tool, args.section_tool, args.model, folder)
        for title, calls in (("one call", [text]), ("by paragraph", [p for p in text.split(b"\n\n") if p])):
            answers = platen.run([("b", call) for call in calls] * 5)
            ns = [struct.unpack("<d", answer)[0] for answer in answers]
            ours = min(sum(ns[i * len(calls) : (i + 1) * len(calls)]) for i in range(5)) / 1e9
            theirs = 1e9
            for _ in range(5):
                begin = time.process_time()
                want = [reference.encode(call) for call in calls]
                theirs = min(theirs, time.process_time() - begin)
            same &= platen.run([("e", call) for call in calls]) == want
            size = sum(map(len, calls)) / 1e6
            print(f"{title}: {size:.2f} MB in {len(calls)} calls: platen {size / ours:.1f} MB/s, sentencepiece {size / theirs:.1f} MB/s")
    print("same ids" if same else "FAILED: ids differ")
    return 0 if same else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True, help="platen_tokenizer_tool")
    parser.add_argument("--section-tool", required=True, help="platen_tokenizer_section_tool")
    parser.add_argument("--model", help="tokenizer.model")
    parser.add_argument("--trained", action="store_true")
    parser.add_argument("--speed", metavar="TEXT")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.model and not pathlib.Path(args.model).exists():
        print(f"skipped: there is no {args.model}")
        return 77
    if args.speed:
        return measure(pathlib.Path(args.model).read_bytes(), args)
    tally = Tally()
    models = [(pathlib.Path(args.model).name, pathlib.Path(args.model).read_bytes(), True)] if args.model else []
    for title, model, also_hugging_face in models + (list(trained_models(args.seed)) if args.trained else []):
        compare_sentencepiece(title, model, args, tally)
        if also_hugging_face:
            compare_hugging_face(title, model, args, tally)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
