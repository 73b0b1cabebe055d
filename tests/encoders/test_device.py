from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import torch

from engine.encoders.device import (
    choose_device,
    describe_device,
    set_torch_threads,
    torch_threads,
)
from indexers.errors import InvalidInput
from indexers.threads import available_cores


def test_auto_takes_the_fastest_that_is_there() -> None:
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device() == expected
    assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize("wanted", ["cuda", "mps"])
def test_a_device_that_is_not_there(wanted: str) -> None:
    if choose_device() == wanted:
        pytest.skip("it is there")
    with pytest.raises(InvalidInput, match=f"{wanted} was asked for.*Use cpu or auto"):
        choose_device(wanted)


@pytest.mark.parametrize("wanted", ["", "gpu", "cuda:1", "CPU"])
def test_other_words(wanted: str) -> None:
    with pytest.raises(InvalidInput, match="expected auto, cpu, cuda or mps"):
        choose_device(wanted)


def test_asking_for_the_cpu_imports_no_torch() -> None:
    code = (
        "import sys; from engine.encoders.device import choose_device, describe_device;"
        "describe_device(choose_device('cpu')); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_cores_of_a_cpu_are_those_that_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NESTVEC_THREADS", raising=False)
    all_of_them = len(os.sched_getaffinity(0))
    assert describe_device("cpu").startswith(f"cpu ({all_of_them} core")
    monkeypatch.setenv("NESTVEC_THREADS", "1")
    assert describe_device("cpu") == "cpu (1 core)"


def _in_a_new_thread() -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def test_torch_threads_are_per_thread_and_put_back() -> None:
    set_torch_threads(3)
    try:
        with torch_threads() as before:
            assert before == 3
            worker = threading.Thread(target=set_torch_threads, args=(1,))
            worker.start()
            worker.join()
            assert torch.get_num_threads() == 3
            assert _in_a_new_thread() == 1  # the default that must not outlive the block
        assert _in_a_new_thread() == 3
    finally:
        set_torch_threads(available_cores())


@pytest.mark.gpu
def test_a_gpu_has_a_name() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert torch.cuda.get_device_name(0) in describe_device("cuda")
