"""The least time that a measurement could have taken, from what it must read and multiply.

Seconds >= max(bytes / stream bandwidth, operations / arithmetic peak). What is counted is the work that the model asks
for, the same for every engine, except weight and cache bytes, which follow from an engine's own formats:

- operations: 2 for each weight of a matmul that a token passes; 4 · heads · head size for each pair of a query and a
  visible position; the head only for rows whose logits are wanted, which after the last attention are the only ones
  kept (so the last feed-forward counts for them alone). Norms, rotations and activations are not counted.
- bytes: every weight once a step (rows of embedding and rotation tables once a token), the visible keys and values
  once a token. Activations stay in caches and are not counted, nor are the keys and values that are written.

A figure above 100 % means that a part came from a cache: weights of less than a few times the last-level cache do.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """One attention layer and the feed-forward behind it."""

    heads: int
    head_size: int
    window: int  # positions that a query sees, itself included; 0: all
    attention_weights: int  # elements of the q, k, v and output projections
    feed_forward_weights: int

    def visible(self, context: int) -> int:
        """Positions that the query at position `context` - 1 sees."""
        return min(context, self.window) if self.window else context


@dataclass(frozen=True)
class Model:
    layers: tuple[Layer, ...]
    head_weights: int


@dataclass(frozen=True)
class CacheBytes:
    """Keys and values of one position in one layer."""

    window: int  # as Layer.window
    bytes_a_position: int


@dataclass(frozen=True)
class Storage:
    """What an engine reads from memory."""

    step_bytes: int  # once a step, however many tokens it has
    token_bytes: int  # once a token more
    caches: tuple[CacheBytes, ...]

    def context_bytes(self, context: int) -> int:
        """Keys and values that one query reads when `context` positions exist."""
        return sum(cache.bytes_a_position * (min(context, cache.window) if cache.window else context)
                   for cache in self.caches)


@dataclass(frozen=True)
class Work:
    bytes: float
    operations: float


@dataclass(frozen=True)
class Limits:
    """Of the machine, a second."""

    bytes: float
    operations: float


def _attention_operations(model: Model, first_context: int, last_context: int) -> int:
    return sum(4 * layer.heads * layer.head_size * layer.visible(context)
               for layer in model.layers for context in range(first_context, last_context + 1))


def prefill(model: Model, storage: Storage, sequences: int, tokens: int) -> Work:
    """`sequences` prompts of `tokens` tokens each, with the logits of each one's last row."""
    weights = sum(layer.attention_weights + layer.feed_forward_weights for layer in model.layers)
    per_sequence = (2 * weights * tokens - 2 * model.layers[-1].feed_forward_weights * (tokens - 1)
                    + 2 * model.head_weights + _attention_operations(model, 1, tokens))
    return Work(storage.step_bytes + storage.token_bytes * sequences * tokens, sequences * per_sequence)


def decode(model: Model, storage: Storage, sequences: int, depth: int, generate: int) -> Work:
    """`generate` steps of one token for each of `sequences` sequences, the first one at position `depth`."""
    contexts = range(depth + 1, depth + generate + 1)
    weights = sum(layer.attention_weights + layer.feed_forward_weights for layer in model.layers) + model.head_weights
    read = sum(storage.step_bytes + sequences * (storage.token_bytes + storage.context_bytes(context))
               for context in contexts)
    operations = sequences * (2 * weights * generate + _attention_operations(model, contexts[0], contexts[-1]))
    return Work(read, operations)


def least_seconds(work: Work, limits: Limits) -> float:
    return max(work.bytes / limits.bytes, work.operations / limits.operations)


def binding_limit(work: Work, limits: Limits) -> str:
    return "memory" if work.bytes / limits.bytes >= work.operations / limits.operations else "compute"
