"""Threads follow the cores that a process may use, not those of the machine."""

from __future__ import annotations

import os

import pytest

from modit.core import machine
from modit.core.errors import ConfigError
from modit.core.machine import threads_of_a_task, usable_cores


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "cores"),
    [("max 100000", 64), ("200000 100000", 2), ("250000 100000", 2), ("50000 100000", 1), ("9900000 100000", 64)],
)
def test_the_quota_of_a_container_counts(cgroup, text, cores):
    (cgroup / "cpu.max").write_text(text + "\n")
    assert usable_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 64), ("300000", 3)])
def test_the_quota_of_an_older_control_group_counts(cgroup, quota, cores):
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert usable_cores() == cores


def test_without_a_control_group_the_affinity_counts(cgroup, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5})
    assert usable_cores() == 2


def test_a_task_takes_half_of_the_cores_so_that_domains_run_side_by_side(cgroup, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for cores, threads in ((64, 32), (3, 1), (1, 1)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, cores=cores: set(range(cores)))
        assert threads_of_a_task() == threads


def test_the_threads_that_the_environment_sets_are_taken(cgroup, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads_of_a_task() == 5


@pytest.mark.parametrize("given", ["0", "-1", "many", "2.5"])
def test_threads_that_are_no_number_from_one_are_named(monkeypatch, given):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    with pytest.raises(ConfigError, match="OMP_NUM_THREADS is .*; allowed: a whole number from 1"):
        threads_of_a_task()
