import unittest

from roofline import CacheBytes, Layer, Limits, Model, Storage, Work, binding_limit, decode, least_seconds, prefill

# Two layers, the first with a window of 3; small enough to count by hand.
MODEL = Model(layers=(Layer(heads=2, head_size=5, window=3, attention_weights=100, feed_forward_weights=1000),
                      Layer(heads=2, head_size=5, window=0, attention_weights=100, feed_forward_weights=1000)),
              head_weights=7000)
STORAGE = Storage(step_bytes=10_000, token_bytes=50, caches=(CacheBytes(3, 8), CacheBytes(0, 8)))


class RooflineTest(unittest.TestCase):
    def test_prefill_counts_head_and_last_feed_forward_for_the_last_row_only(self) -> None:
        matmuls = 2 * (4 * 100 + 4 * 1000 + 4 * 100 + 1 * 1000 + 7000)
        # queries see 1, 2, 3, 3 positions in the window and 1, 2, 3, 4 without
        attention = 4 * 2 * 5 * ((1 + 2 + 3 + 3) + (1 + 2 + 3 + 4))
        self.assertEqual(prefill(MODEL, STORAGE, 1, 4).operations, matmuls + attention)

    def test_prefill_of_several_sequences_reads_weights_once(self) -> None:
        one, three = prefill(MODEL, STORAGE, 1, 4), prefill(MODEL, STORAGE, 3, 4)
        self.assertEqual(three.operations, 3 * one.operations)
        self.assertEqual(three.bytes, 10_000 + 12 * 50)

    def test_decode_reads_weights_each_step_and_the_visible_cache_of_each_sequence(self) -> None:
        # contexts 3 and 4: the windowed layer sees 3 and 3, the other 3 and 4
        work = decode(MODEL, STORAGE, 2, depth=2, generate=2)
        self.assertEqual(work.bytes, 2 * 10_000 + 2 * (2 * 50 + 8 * (3 + 3 + 3 + 4)))
        self.assertEqual(work.operations, 2 * (2 * 2 * (2 * 1100 + 7000) + 4 * 2 * 5 * (3 + 3 + 3 + 4)))

    def test_the_slower_of_memory_and_compute_binds(self) -> None:
        limits = Limits(bytes=100.0, operations=1000.0)
        self.assertEqual(least_seconds(Work(500, 2000), limits), 5.0)
        self.assertEqual(binding_limit(Work(500, 2000), limits), "memory")
        self.assertEqual(least_seconds(Work(100, 2000), limits), 2.0)
        self.assertEqual(binding_limit(Work(100, 2000), limits), "compute")


if __name__ == "__main__":
    unittest.main()
