"""`python bucket.py NAME`: makes a bucket once the object store answers. Refuses a store that lets two writers create
the same file, because promotion and leases depend on exclusive creation (docs/adr/0026).
"""

from __future__ import annotations

import sys
import time
import uuid

import s3fs

from modit.core.storage import Storage

_SECONDS = 120


def ensure_bucket(name: str, seconds: float = _SECONDS) -> None:
    """Makes the bucket unless it is there. The store is found by AWS's own variables.

    Args:
        name: of the bucket.
        seconds: how long to wait for a store that does not answer yet, >= 0.

    Raises:
        OSError: it does not answer within that time, or refuses.
    """
    give_up = time.monotonic() + seconds
    while True:
        try:
            s3fs.S3FileSystem(skip_instance_cache=True).makedirs(name, exist_ok=True)
        except PermissionError:
            raise
        except OSError:
            if time.monotonic() >= give_up:
                raise
            time.sleep(2)
        else:
            return


def expect_one_writer(name: str) -> None:
    """Makes a file twice.

    Args:
        name: of the bucket.

    Raises:
        SystemExit: the store let the second writer through, too.
    """
    folder, file = Storage(f"s3://{name}/.probe/{uuid.uuid4().hex}"), "one.json"
    try:
        if not folder.create_json(file, {"writer": 1}) or folder.create_json(file, {"writer": 2}):
            raise SystemExit(
                "the object store does not honour `If-None-Match: *`: two promotions at once would both win; "
                "OBJECTS_IMAGE must be a store that does (docs/how-to/run-on-one-host.md)"
            )
    finally:
        folder.remove()


if __name__ == "__main__":
    ensure_bucket(sys.argv[1])
    expect_one_writer(sys.argv[1])
