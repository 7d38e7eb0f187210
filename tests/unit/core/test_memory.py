"""What counts as too little memory, and in how many parts batches are taken."""

from __future__ import annotations

import errno

import numpy as np
import pyarrow
import pytest
import torch

from modit.core.errors import ConfigError, MemoryBudgetError
from modit.core.memory import at_once, batch_parts, in_parts, kernel_kills, least_parts, ran_out_of_memory

TOO_MUCH = 1 << 62


def raised(function) -> BaseException:
    with pytest.raises(BaseException) as caught:
        function()
    return caught.value


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: bytearray(TOO_MUCH),
        lambda: np.empty(TOO_MUCH // 8),
        lambda: torch.empty(TOO_MUCH // 8),
        lambda: pyarrow.allocate_buffer(TOO_MUCH),
    ],
    ids=["python", "numpy", "torch", "arrow"],
)
def test_what_libraries_raise_when_memory_cannot_be_had_is_recognised(allocate):
    assert ran_out_of_memory(raised(allocate))


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("std::bad_alloc"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_what_others_say_of_memory_is_recognised(error):
    assert ran_out_of_memory(error)


def test_an_error_that_memory_led_to_counts_and_others_do_not():
    def wrapped():
        try:
            bytearray(TOO_MUCH)
        except MemoryError as error:
            raise ValueError("the batch could not be made") from error

    assert ran_out_of_memory(raised(wrapped))
    for other in (ValueError("out of memory"), OSError(errno.ENOSPC, "full"), MemoryBudgetError("out of memory"), None):
        assert not ran_out_of_memory(other)


def test_parts_hold_inside_and_end_with_the_work():
    assert (batch_parts(), at_once(100)) == (1, 100)
    with in_parts(4):
        assert (batch_parts(), at_once(100), at_once(2)) == (4, 25, 1)
    assert batch_parts() == 1


@pytest.mark.parametrize("value", ["0", "two", "-1", "1.5"])
def test_parts_from_outside_are_checked(monkeypatch, value):
    monkeypatch.setenv("MODIT_BATCH_PARTS", value)
    with pytest.raises(ConfigError, match="MODIT_BATCH_PARTS is .*allowed: an integer of 1 or more"):
        least_parts()


def test_the_kernel_tells_its_boot_and_its_kills():
    boot, kills = kernel_kills() or ("", -1)
    assert len(boot) == 36 and kills >= 0
