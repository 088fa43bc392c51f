"""A small random model with Gemma 3's graph, and its own tokenizer: what tests use in place of the real weights.

Its values depend on the seed alone: uniform draws of a frozen generator, no transcendental functions.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator

import numpy as np

from decoder_graph import EMBEDDING, DecoderConfig, Weight
from sentencepiece_model import Piece, PieceType, SpecialIds

CONFIG = DecoderConfig(layers=3, hidden=64, feed_forward=128, heads=4, kv_heads=2, head_size=16, vocabulary=512,
                       window=16, global_every=3, global_rope_base=1e6, local_rope_base=1e4, rms_epsilon=1e-6,
                       context_length=256)

# Merges are learned from this text; it is long enough to fill the vocabulary.
_TEXT = """the press prints the page and the plate sets the page once for many prints
a reader reads the words that the printer set and the letters stand in their places
when the ink is dry the sheets are folded and sewn and bound into the book
there is another way to say the same thing with fewer words than that
numbers one two three four five six seven eight nine ten come with their names
what the model says next depends on everything that was said before it
water runs under the bridge while the evening light is falling over the town
"""


class TinyModel:
    """The same questions answered as by `GgufModel`, from a seed."""

    config = CONFIG

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def blocks(self, weight: Weight) -> Iterator[np.ndarray]:
        """One block: norms lie around 1, linear weights are scaled by their fan-in."""
        random = np.random.RandomState([self._seed, zlib.crc32(weight.name.encode())])
        uniform = random.random_sample(weight.shape) * 2 - 1
        if len(weight.shape) == 1:
            values = 1 + 0.25 * uniform
        else:
            fan_in = weight.shape[1] if weight.name == EMBEDDING else weight.shape[0]
            values = uniform * np.sqrt(3.0 / fan_in)
        yield values.astype("<f4")

    def forget_pages(self) -> None:
        """Nothing is mapped."""

    def special_ids(self) -> SpecialIds:
        return SpecialIds(pad=0, eos=1, bos=2, unk=3)

    def add_bos(self) -> bool:
        return True

    def add_dummy_prefix(self) -> bool:
        return False

    def pieces(self) -> list[Piece]:
        """Laid out as Gemma's: specials, user-defined pieces, bytes, merges (score falls with rank), characters."""
        pieces = [Piece("<pad>", 0.0, PieceType.CONTROL), Piece("<eos>", 0.0, PieceType.CONTROL),
                  Piece("<bos>", 0.0, PieceType.CONTROL), Piece("<unk>", 0.0, PieceType.UNKNOWN)]
        pieces += [Piece(text, 0.0, PieceType.USER_DEFINED)
                   for text in ("<start_of_turn>", "<end_of_turn>", "\n\n", "\u2581\u2581", "\u2581" * 4)]
        pieces += [Piece(f"<0x{value:02X}>", 0.0, PieceType.BYTE) for value in range(256)]
        characters = ["\u2581", "\n", "é", "ü", "你", *map(chr, range(0x21, 0x7F))]
        merges = _learn_merges(CONFIG.vocabulary - len(pieces) - len(characters))
        for rank, text in enumerate(merges + characters):
            pieces.append(Piece(text, float(-rank), PieceType.NORMAL))
        return pieces


def _learn_merges(count: int) -> list[str]:
    """The `count` first merges of byte-pair encoding on the text above; ties go to the smaller pair."""
    words = [list(word) for word in _TEXT.replace(" ", " \u2581").replace("\n", " ").split(" ") if word]
    merges: list[str] = []
    while len(merges) < count:
        pairs = Counter(pair for word in words for pair in zip(word, word[1:]))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if best[0] + best[1] not in merges:
            merges.append(best[0] + best[1])
        words = [_merge(word, best) for word in words]
    return merges


def _merge(word: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in word:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged
