#!/usr/bin/env python3
"""Reads a run's TensorBoard events with TensorBoard's own reader and holds them to metrics.jsonl.

python tests/golden/read_events.py OUTPUT        (pip install tensorboard)
"""
import json
import math
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main(output):
    acc = EventAccumulator(f"{output}/tensorboard", size_guidance={"scalars": 0})
    acc.Reload()
    seen = {tag: {e.step: e.value for e in acc.Scalars(tag)} for tag in acc.Tags()["scalars"]}
    compared = 0
    for line in open(f"{output}/metrics.jsonl"):
        row = json.loads(line)
        for key, value in row.items():
            if key in ("step", "epoch"):
                continue
            got = seen[key][row["step"]]
            want = math.nan if value is None else struct.unpack("f", struct.pack("f", value))[0]
            assert got == want or (got != got and want != want) or abs(got - want) <= 1e-4 * abs(want), (row["step"], key, got, want)
            compared += 1
    last = max(json.loads(line)["step"] for line in open(f"{output}/metrics.jsonl"))
    assert max(seen["loss"]) == last, "events of steps that the run took back are still there"
    print(f"{compared} values of {len(seen)} tags agree")


main(sys.argv[1])
