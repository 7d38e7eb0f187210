import json
import os
import time

import numpy as np

from modit.data.hashing import bucket_of


def run(context):
    """Writes a file for each bucket of its shard; with TOY_PAUSE set it waits in the middle, to be killed there."""
    numbers = json.loads((context.input("parts") / f"{context.domain}.json").read_text())
    context.notes.create_json("first.json", {"shard": str(context.shard)})
    bucket, target = bucket_of(np.array(numbers, dtype=str)), context.output("spread_out")
    for place in context.shard.buckets:
        if "TOY_PAUSE" in os.environ and place == context.shard.buckets[1]:
            (target / "garbage").write_text("left by a killed process")
            print("paused", flush=True)
            time.sleep(60)
        found = [number for number, lies in zip(numbers, bucket, strict=True) if lies == place]
        (target / f"{place:02}.json").write_text(json.dumps(found))
    rows = int(np.isin(bucket, context.shard.buckets).sum())
    return {"rows": rows, "first": context.notes.read_json("first.json")["shard"], "kinds": {context.domain: rows}}
