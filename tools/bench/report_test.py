import unittest

from report import Case, Round, limits_table, markdown_table
from roofline import Limits, Work


def case(**changes) -> Case:
    """128 tokens; platen reads 1 GB, the peer 2 GB; the machine reads 10, 20, 10 GB/s in three rounds."""
    values = dict(weights="int8", threads=2, sequences=1, phase="decode", tokens=128,
                  works={"platen": Work(1e9, 1e9), "llama.cpp": Work(2e9, 1e9)},
                  rounds=[Round({"platen": 0.20, "llama.cpp": 0.30}, Limits(10e9, 1e12)),
                          Round({"platen": 0.10, "llama.cpp": 0.20}, Limits(20e9, 1e12)),
                          Round({"platen": 0.16, "llama.cpp": 0.40}, Limits(10e9, 1e12))])
    return Case(**{**values, **changes})


class ReportTest(unittest.TestCase):
    def test_speed_is_the_median_round(self) -> None:
        self.assertAlmostEqual(case().speed("platen"), 128 / 0.16)
        self.assertAlmostEqual(case().spread("platen"), (1280 - 640) / 2 / 800)

    def test_ratio_compares_within_rounds(self) -> None:
        # 1.5, 2, 2.5: not the ratio of the medians, 0.30 / 0.16
        self.assertAlmostEqual(case().ratio("platen", "llama.cpp"), 2.0)

    def test_share_of_limit_uses_the_rounds_own_limits_and_the_engines_own_bytes(self) -> None:
        # platen: 0.1 / 0.2, 0.05 / 0.1, 0.1 / 0.16; peer: 0.2 / 0.3, 0.1 / 0.2, 0.2 / 0.4
        self.assertAlmostEqual(case().share_of_limit("platen"), 0.5)
        self.assertAlmostEqual(case().share_of_limit("llama.cpp"), 0.5)
        slow = case(works={"platen": Work(1e9, 150e9)}, rounds=[Round({"platen": 0.3}, Limits(10e9, 1e12))])
        self.assertAlmostEqual(slow.share_of_limit("platen"), 0.5)
        self.assertEqual(slow.binding("platen"), "compute")

    def test_table(self) -> None:
        unfinished = case(weights="int4", rounds=[])
        alone = case(phase="prefill", works={"platen": Work(1e9, 1e9)}, rounds=[Round({"platen": 1.28}, Limits(10e9, 1e12))])
        self.assertEqual(markdown_table([case(), unfinished, alone], ["llama.cpp"]).splitlines(), [
            "| weights | threads | sequences | phase | platen tok/s | llama.cpp tok/s | platen / llama.cpp | platen of limit | llama.cpp of limit |",
            "| :-- | --: | --: | :-- | --: | --: | --: | --: | --: |",
            "| int8 | 2 | 1 | decode | 800 ±40 % | 427 ±38 % | 2.00 | 50 % memory | 50 % memory |",
            "| int8 | 2 | 1 | prefill | 100 ±0 % | – | – | 8 % memory | – |"])

    def test_limits_table(self) -> None:
        lines = limits_table([case(), case(phase="prefill"), case(threads=1, rounds=[])], {"int8": "vpdpbusd zmm"}).splitlines()
        self.assertEqual(lines[2:], ["| int8 | 2 | 10.0 GB/s | 1000 Gop/s | vpdpbusd zmm |"])

    def test_json_holds_every_round(self) -> None:
        json = case().to_json()
        self.assertEqual(len(json["engines"]["llama.cpp"]["rounds"]), 3)
        self.assertAlmostEqual(json["ratios"]["llama.cpp"], 2.0)
        self.assertNotIn("platen", json["ratios"])


if __name__ == "__main__":
    unittest.main()
