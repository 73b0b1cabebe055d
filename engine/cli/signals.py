"""Ctrl-C: once, and a run keeps what it has encoded and stops; twice, and it stops at once. SIGTERM is the same.

A collection needs none of this to stay whole: it may be killed at any time. What is saved is the work of the last
shard, and a stop that is asked for twice must not wait for anything, be it a network that encodes or an index that is
being trained: Python hears of a signal only between two of its own steps, so a thread of its own does the waiting.
A KeyboardInterrupt can get lost as well: extension modules ignore every error here and there while they are imported.
So the thread reminds of it until the command ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from engine.cli.output import say_at_once

NUMBERS = (signal.SIGINT, signal.SIGTERM)
REMINDER = signal.SIGUSR2
REMIND_SECONDS = 1.0
GRACE_SECONDS = 1.0
"""How long what is unwound after the second signal may take."""

STOPPING = "nestvec: stopping after this shard; press Ctrl-C again to stop now"
KEPT = "; what was finished is kept: run the same command again"
"""Said of a run that keeps what it has done; of a search or an export nothing is left."""


class Signals:
    """Those that came to this process, and what they mean now.

    Outside of `held` the first one is a KeyboardInterrupt, as without all this.
    """

    def __init__(self) -> None:
        self.came: list[int] = []
        self._is_held = self._was_held = False

    @property
    def exit_code(self) -> int:
        """What to end with after a KeyboardInterrupt: 128 and the first signal's number, 130 or 143."""
        return 128 + (self.came[0] if self.came else signal.SIGINT)

    def told(self, ended: str) -> str:
        """Return what is said where a signal ended the command, which had got as far as it had."""
        return f"nestvec: {ended}{KEPT if self._was_held else ''}"

    @contextmanager
    def held(self) -> Iterator[Callable[[], bool]]:
        """Let a run finish a step: the first signal is only told, by the value; it is raised at the end of the block.

        Raises:
            KeyboardInterrupt: a second signal came, or the block ended after the first.
        """
        self._is_held = self._was_held = True
        try:
            yield lambda: bool(self.came)
        finally:
            self._is_held = False
        if self.came:
            raise KeyboardInterrupt

    def end(self, code: int) -> NoReturn:
        """End the process now that all is said; nothing waits for threads, and another signal changes nothing."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Hear signals while in this block; does nothing in any but the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # Who starts a program in the background may have signals ignored; that stays.
        heard = [number for number in NUMBERS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._heard) for number in heard}
        before[REMINDER] = signal.signal(REMINDER, self._reminded)
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        outer = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=self._wait, args=(reading,), name="nestvec-signals", daemon=True).start()
        try:
            yield
        finally:
            if self.came:  # what is left is to end, and another one can only hurry that
                for number in before:
                    signal.signal(number, _nothing)
            else:
                signal.set_wakeup_fd(outer)
                os.close(writing)
                for number, handler in before.items():
                    signal.signal(number, handler)

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        self.came.append(number)
        if len(self.came) == 1 and self._is_held:
            say_at_once(STOPPING)
        else:
            raise KeyboardInterrupt

    def _reminded(self, _number: int, _frame: FrameType | None) -> None:
        if self.came and not self._is_held:
            raise KeyboardInterrupt

    def _wait(self, reading: int) -> None:
        """Remind of the first signal, and end the process soon after the second; on a thread of its own."""
        came: list[int] = []
        while len(came) < 2:
            if came and not select.select([reading], [], [], REMIND_SECONDS)[0]:
                signal.pthread_kill(threading.main_thread().ident or 0, REMINDER)
                continue
            found = os.read(reading, 16)
            if not found:
                os.close(reading)
                return
            came += [number for number in found if number in NUMBERS]
        time.sleep(GRACE_SECONDS)
        say_at_once(self.told("stopped"))
        os._exit(128 + came[0])


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Do nothing but be there: only then does a signal reach `Signals._wait`."""
