"""`python bucket.py NAME`: makes a bucket of the object store once the store answers."""

from __future__ import annotations

import sys
import time

import s3fs

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


if __name__ == "__main__":
    ensure_bucket(sys.argv[1])
