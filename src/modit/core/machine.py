"""What of the machine this process may use."""

from __future__ import annotations

import os
from pathlib import Path

from modit.core.errors import ConfigError

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """How many cores this process may use at the same time, at least 1.

    A container's processor quota and the process's affinity count, not the cores of the machine.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return max(1, affinity if quota is None else min(affinity, round(quota)))


def threads_of_a_task() -> int:
    """Threads for each task of a run: half of the usable cores, at least 1; OMP_NUM_THREADS where it is set.

    Domains run side by side, and with all cores for each of them threads would wait for each other. Every launcher
    asks here: sums of another number of threads differ in their last bits, and a run's bytes must not depend on the
    launcher.

    Raises:
        ConfigError: OMP_NUM_THREADS is no whole number from 1.
    """
    given = os.environ.get("OMP_NUM_THREADS")
    if not given:
        return max(1, usable_cores() // 2)
    if not given.isdecimal() or int(given) < 1:
        raise ConfigError(f"OMP_NUM_THREADS is {given!r}; allowed: a whole number from 1")
    return int(given)


def _quota() -> float | None:
    """Cores that the control group allows, of cgroup v2 or v1; None where it sets no limit."""
    try:
        limit, period = (_CGROUP / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            limit = (_CGROUP / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (_CGROUP / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except OSError:
            return None
    return None if limit in ("max", "-1") else int(limit) / int(period)
