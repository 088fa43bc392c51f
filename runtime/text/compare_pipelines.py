"""Compares platen's tokenizers of kind "pipeline" with Hugging Face tokenizers, id for id and byte for byte.

    compare_pipelines.py --tool T --section-tool S [--kinds gpt2,llama3] [--count N]   tokenizers trained here, in the families' forms
    compare_pipelines.py --tool T --section-tool S --json FILE...                      a tokenizer.json

Kinds are trained on the text of compare_tokenizers.py with the normalizers, pre-tokenizers, decoders and templates that the
families' files have; strings come from a seed. Ends with 0 when nothing differs, 1 with the first differences shown, 77 when a
reference is not installed.
"""
import argparse
import base64
import io
import json
import os
import pathlib
import random
import sys
import tempfile

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
from compare_tokenizers import EMOJI, SPACE, TEXT, WHITESPACE, Platen, Tally, any_character, make_bytes, make_string, slice_of_text  # noqa: E402

import sentencepiece  # noqa: E402
import tokenizers  # noqa: E402
from sentencepiece import sentencepiece_model_pb2 as schema  # noqa: E402
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
          r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"


def corpus():
    return [line.replace("\\n", "\n").replace("\\t", "\t") for line in TEXT.split("\n")] * 3 + EMOJI * 4 + WHITESPACE * 4


def bytelevel(pattern=None, normalizer=None, special=(), added=(), template=None, ignore_merges=False, first=(), size=1400, prefix=False):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    steps = list(first)
    if pattern:
        steps.append(pre_tokenizers.Split(Regex(pattern), "isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=pattern is None and not first))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus(), trainer)
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) if isinstance(s, str) else s for s in special])
    tokenizer.add_tokens(list(added))
    if template:
        names = [t for t in template.split() if not t.startswith("$")]
        pair = template.replace("$A", "$A $B:1") if len(names) < 2 else f"{names[0]} $A {names[1]} $B:1 {names[1]}:1"
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=template, pair=pair, special_tokens=[(n, tokenizer.token_to_id(n)) for n in names])])
    return tokenizer


def gpt2():
    return bytelevel(special=["<|endoftext|>"])


def roberta():
    tokenizer = bytelevel(special=["<s>", "</s>", AddedToken("<mask>", lstrip=True, special=True, normalized=False)], prefix=True)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", tokenizer.token_to_id("</s>")), ("<s>", tokenizer.token_to_id("<s>")))
    return tokenizer


def phi():
    runs = [AddedToken(" " * n, normalized=True) for n in (2, 3, 4, 5, 8)] + [AddedToken("\t\t", normalized=True)]
    return bytelevel(special=["<|endoftext|>"], added=runs)


def phi4():
    return bytelevel(CL100K, special=["<|endoftext|>", AddedToken("<|im_start|>", special=True, lstrip=True, rstrip=True, normalized=False),
                                      AddedToken("<|im_end|>", special=True, lstrip=False, rstrip=True, normalized=False)])


def llama3():
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return bytelevel(LLAMA3, special=special, template="<|begin_of_text|> $A", ignore_merges=True)


def qwen():
    return bytelevel(QWEN, normalizer=normalizers.NFC(), special=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
                     added=[AddedToken("<tool_call>", normalized=False), AddedToken("<think>", normalized=False)])


def qwen35():
    return bytelevel(QWEN35, normalizer=normalizers.NFC(), special=["<|endoftext|>"])


def o200k():
    return bytelevel(O200K, special=["<|startoftext|>", "<|endoftext|>", "<|channel|>"])


def tekken():
    return bytelevel(TEKKEN, special=["<s>", "</s>", "[INST]", "[/INST]"], template="<s> $A", ignore_merges=True)


def deepseek():
    first = [pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"), pre_tokenizers.Split(Regex("[一-龥\u3040-ゟ゠-ヿ]+"), "isolated")]
    return bytelevel(DEEPSEEK, first=first, special=["<｜begin▁of▁sentence｜>", "<｜User｜>"])


def bloom():
    return bytelevel(BLOOM, special=["<s>", "</s>", "<pad>"])


def falcon():
    first = [pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
             pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(first)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=1200, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_special_tokens([AddedToken(">>QUESTION<<", special=True, single_word=True), "<|endoftext|>"])
    return tokenizer


def starcoder():
    return bytelevel(first=[pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)],
                     special=["<|endoftext|>", "<fim_prefix>"])


def claude():
    return bytelevel(normalizer=normalizers.NFKC(), special=["<EOT>", "<META>"])


def spm_pieces(**options):
    """A sentencepiece model trained on the text, as a proto."""
    sink = io.BytesIO()
    settings = dict(hard_vocab_limit=False, num_threads=1, minloglevel=2)
    settings.update(options)
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus()), model_writer=sink, **settings)
    return schema.ModelProto.FromString(sink.getvalue())


def llama2(normalizer=None, pre=None, legacy=True, added=()):
    """BPE with byte fallback and U+2581, in the forms that the fast reader leaves to this one."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    trainer = trainers.BpeTrainer(vocab_size=1500, show_progress=False, limit_alphabet=200,
                                  special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)])
    tokenizer.train_from_iterator(corpus(), trainer)
    if not legacy:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if not t["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_special_tokens([t for t in added if t.special])
    tokenizer.add_tokens([t for t in added if not t.special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
    return tokenizer


def phi3():
    added = [AddedToken(t, special=True, normalized=False, rstrip=True) for t in ("<|assistant|>", "<|user|>", "<|end|>")]
    return llama2(added=added)


def mistral():
    return llama2(legacy=False, pre=pre_tokenizers.Metaspace(SPACE, prepend_scheme="first", split=False),
                  added=[AddedToken("[INST]", special=True, normalized=False), AddedToken("[/INST]", special=True, normalized=False)])


def unigram(charsmap, pre, byte_fallback=False, more=(), template=None, **options):
    proto = spm_pieces(model_type="unigram", vocab_size=900, normalization_rule_name="nmt_nfkc", **options)
    pieces = [(p.piece, p.score) for p in proto.pieces]
    if byte_fallback:
        pieces += [(f"<0x{b:02X}>", 0.0) for b in range(256)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=byte_fallback))
    steps = [normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)] if charsmap else []
    tokenizer.normalizer = normalizers.Sequence(steps + list(more)) if steps or more else None
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.Metaspace(SPACE, prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in ("<unk>", "<s>", "</s>")])
    tokenizer.add_special_tokens([AddedToken("<mask>", special=True, lstrip=True, normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[(n, tokenizer.token_to_id(n)) for n in ("<s>", "</s>")])
    return tokenizer


def t5():
    return unigram(True, pre_tokenizers.Metaspace(SPACE, prepend_scheme="always"), more=[normalizers.Strip(left=False, right=True),
                                                                                         normalizers.Replace(Regex(" {2,}"), SPACE)])


def xlmr():
    return unigram(True, pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(SPACE, prepend_scheme="always")]))


def albert():
    more = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(), normalizers.StripAccents(),
            normalizers.Lowercase()]
    return unigram(False, pre_tokenizers.Metaspace(SPACE, prepend_scheme="first"), more=more)


def unigram_bytes():
    return unigram(False, pre_tokenizers.Metaspace(SPACE, prepend_scheme="first", split=False), byte_fallback=True)


def bert(**options):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(**options)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=1400, show_progress=False, special_tokens=special, limit_alphabet=300)
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[(n, tokenizer.token_to_id(n)) for n in ("[CLS]", "[SEP]")])
    return tokenizer


def bert_cased():
    tokenizer = bert(lowercase=False)
    tokenizer.add_tokens([AddedToken("Straße", normalized=True, single_word=True), AddedToken("NAÏVE", normalized=True)])
    return tokenizer


def bert_added():
    tokenizer = bert(lowercase=True)
    tokenizer.add_tokens([AddedToken("KILOMÈTRES", normalized=True, single_word=True), AddedToken("New Token", normalized=False, lstrip=True, rstrip=True)])
    return tokenizer


def wordlevel():
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents(), normalizers.Nmt(),
                                                 normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(corpus(), trainers.WordLevelTrainer(special_tokens=["[UNK]"], show_progress=False))
    return tokenizer


KINDS = {f.__name__: f for f in (gpt2, roberta, phi, phi4, llama3, qwen, qwen35, o200k, tekken, deepseek, bloom, falcon, starcoder, claude, llama2,
                                 phi3, mistral, t5, xlmr, albert, unigram_bytes, bert, bert_cased, bert_added, wordlevel)}

TRICKS = ["'S", "'ſ", "'LL", "'ll", "'Re", "don't", "I'M", "\r\n", " \n ", "ǅ", "ʼn", "\u0345", "ß", "İ", "ﬁ", "Å", "각", "각", "가\u11a7", "ﷺ", "q\u0307\u0323", "a\u0301\u0327",
          "½", "²", "Ⅻ", "१२३", "٣", "\u200d", "\ufeff", "\u00ad", "《", "—", "·", "\u0600", "\u0e33", "क्षि", "©\u200d©", "\u1160", "🇩🇪🇯", "ͅ", "1234567", "ǆ", "ÀÉ", "Straße", "KILOMÈTRES",
          "New Token", "NAÏVE", "naïve", "DŽungla", "``x''", "<0x41>"]


def strings_for(tokenizer, rng, count):
    vocabulary = list(tokenizer.get_vocab())
    table = None
    if isinstance(tokenizer.decoder, decoders.ByteLevel):
        table = {c: b for b, c in zip(_shown_bytes(), _shown_characters())}
    pieces = []
    for piece in sorted(vocabulary):
        if table:
            try:
                piece = bytes(table[c] for c in piece).decode()
            except (KeyError, UnicodeDecodeError):
                continue
        pieces.append(piece.replace("##", ""))
    pieces = [p for p in pieces if p] or ["a"]
    names = [t.content for t in tokenizer.get_added_tokens_decoder().values()] or ["<x>"]
    out = []
    for _ in range(count):
        kind = rng.random()
        if kind < 0.7:
            out.append(make_string(rng, pieces))
        elif kind < 0.85:
            out.append("".join(rng.choice([rng.choice(TRICKS), rng.choice(WHITESPACE), slice_of_text(rng), any_character(rng), rng.choice(pieces)])
                               for _ in range(rng.randrange(1, 7))))
        else:
            out.append("".join(rng.choice([rng.choice(names), slice_of_text(rng), rng.choice(WHITESPACE), rng.choice(TRICKS), rng.choice(pieces)])
                               for _ in range(rng.randrange(1, 7))))
    return out + ["", " ", "  ", "\n", SPACE]


def _shown_bytes():
    shown = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b]
    return shown + [b for b in range(256) if b not in shown]


def _shown_characters():
    shown = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b]
    return [chr(b) for b in shown] + [chr(256 + i) for i in range(256 - len(shown))]


def in_chunks(count, size=100000):
    return [(begin, min(size, count - begin)) for begin in range(0, count, size)]


def compare(title, file, args, tally):
    reference = Tokenizer.from_file(str(file))
    reference.no_padding()
    reference.no_truncation()
    plain = Tokenizer.from_file(str(file))
    plain.encode_special_tokens = True
    plain.no_padding()
    plain.no_truncation()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        platen = Platen(args.tool, args.section_tool, file, folder)
        for begin, count in in_chunks(args.count):
            strings = strings_for(reference, rng, count)
            want = [e.ids for e in reference.encode_batch_fast(strings, add_special_tokens=False)]
            tally.check(f"{title}: ids [{begin}]", strings, platen.run([("p", s.encode()) for s in strings]), want)
            texts = [t.encode() for t in reference.decode_batch(want, skip_special_tokens=True)]
            tally.check(f"{title}: text [{begin}]", want, platen.run([("s", ids) for ids in want]), texts)
        strings = strings[: args.count // 5]
        got = platen.run([("e", s.encode()) for s in strings])
        special = {i for i, t in reference.get_added_tokens_decoder().items() if t.special}
        model = json.loads(pathlib.Path(file).read_text())["model"]
        unknown = model["unk_id"] if "unk_id" in model else reference.token_to_id(model.get("unk_token") or "")
        want = [e.ids for e in plain.encode_batch_fast(strings, add_special_tokens=False)]
        # Where a model's own vocabulary holds special tokens the library lets text forge them; platen never does.
        forged = [bool(set(ids) & (special - {unknown})) for ids in want]
        tally.check(f"{title}: ids without special tokens", strings, [g for g, f in zip(got, forged) if not f] + [[]],
                    [w for w, f in zip(want, forged) if not f] + [[]])
        tally.check(f"{title}: no forged token", strings, [set(ids) & (special - {unknown}) for ids in got], [set() for _ in got])
        want = [e.ids for e in reference.encode_batch_fast(strings, add_special_tokens=True)]
        if platen.pipeline:
            tally.check(f"{title}: ids with template", strings, platen.run([("t", s.encode()) for s in strings]), want)
        if platen.pipeline and reference.post_processor is not None and want[-1] != reference.encode(strings[-1], add_special_tokens=False).ids:
            pairs = list(zip(strings[: args.count // 20], reversed(strings)))
            want = [e.ids for e in reference.encode_batch_fast(pairs, add_special_tokens=True)]
            asked = [("2", len(a.encode()).to_bytes(4, "little") + a.encode() + b.encode()) for a, b in pairs]
            tally.check(f"{title}: ids of pairs", pairs, platen.run(asked), want)
        invalid = [make_bytes(rng, ["a", "é"]) for _ in range(args.count // 10)]
        want = [e.ids for e in reference.encode_batch_fast([replaced(b) for b in invalid], add_special_tokens=False)]
        tally.check(f"{title}: ids of invalid UTF-8", invalid, platen.run([("p", b) for b in invalid]), want)
        if isinstance(reference.decoder, decoders.ByteLevel) or "WordPiece" in str(type(reference.decoder)):
            lists = [[rng.randrange(reference.get_vocab_size()) for _ in range(rng.randrange(1, 12))] for _ in range(args.count // 10)]
            texts = [t.encode() for t in reference.decode_batch(lists, skip_special_tokens=True)]
            tally.check(f"{title}: text of any ids", lists, platen.run([("s", ids) for ids in lists]), texts)


def replaced(data):
    """Every byte that belongs to no character as U+FFFD of its own."""
    out, at = "", 0
    while at < len(data):
        for size in (1, 2, 3, 4):
            try:
                out += data[at : at + size].decode()
                at += size
                break
            except UnicodeDecodeError:
                continue
        else:
            out += "\ufffd"
            at += 1
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", required=True)
    parser.add_argument("--section-tool", required=True)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--json", nargs="*", default=[])
    parser.add_argument("--count", type=int, default=50000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    tally = Tally()
    for path in args.json:
        compare(path, path, args, tally)
    with tempfile.TemporaryDirectory() as folder:
        for kind in [] if args.json else args.kinds.split(","):
            path = pathlib.Path(folder) / f"{kind}.json"
            KINDS[kind]().save(str(path))
            compare(kind, path, args, tally)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
