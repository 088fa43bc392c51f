#!/usr/bin/env python3
"""Prints what `platen tune --json` found as a table: for each kernel its proof, and predicted beside measured time."""
import json
import sys


def microseconds(kernel: dict, key: str) -> str:
    return f"{kernel[key] / 1e3:.1f}" if key in kernel else "-"


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    print(f"{report['device']}, code {report['target']}" + (" (simulated: no times)" if report["simulated"] else ""))
    if "no_reference" in report:
        print(f"nothing to compare with: {report['no_reference']}")
    print(f"{'predicted us':>12} {'measured us':>12}  {'of its bound':>12}  proof")
    for kernel in report["kernels"]:
        share = f"{100 * kernel['difference_of_bound']:.1f} %" if "difference_of_bound" in kernel else "-"
        print(f"{microseconds(kernel, 'predicted_ns'):>12} {microseconds(kernel, 'measured_ns'):>12}  {share:>12}  "
              f"{kernel['proof']:<10} {kernel['name']}" + (f": {kernel['untested']}" if "untested" in kernel else ""))
    if "prediction" in report:
        met = report["prediction"]
        print(f"predictions of {met['kernels']} kernels: median measured / predicted "
              f"{met['median_measured_of_predicted']:.2f}, rank correlation {met['rank_correlation']:.2f}")


if __name__ == "__main__":
    main()
