"""A worker for the tests: answers as a real one does, in made-up times. `fake_worker.py [fail|die|silent|count]`."""

import sys

from protocol import serve

mode = sys.argv[1] if len(sys.argv) > 1 else ""


def measure(task) -> float:
    if mode == "fail":
        raise ValueError("no luck")
    if mode == "die":
        print("out of memory", file=sys.stderr)
        sys.exit(3)
    return 0.5


if mode == "silent":
    print("hello")
elif mode == "count":
    import json
    print("{}", flush=True)
    for _ in sys.stdin:
        print(json.dumps({"seconds": 1, "tokens": 1}), flush=True)
else:
    serve({"engine": "fake"}, measure)
