"""What is said while kernels compile: a line before, a line after, a counter on a terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import pytest

from minicnn.backends import jit
from minicnn.cli.compiling import compiling_shown


class Clock:
    """Stands in for `CompileClock`, where the test says what is being compiled."""

    compile: Callable[[str], Any]

    def __init__(self, announce: Callable[[str], Any]) -> None:
        self.kernels: list[str] = []
        self.seconds = 0.0
        self.announce = announce
        Clock.compile = self.start

    def start(self, name: str) -> None:
        self.kernels.append(name)
        self.seconds += 1.25
        self.announce(name)

    def __enter__(self) -> Clock:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "CompileClock", Clock)


def test_a_line_before_and_a_line_after(capsys):
    with compiling_shown():
        Clock.compile("relu.loops.forward")
        out, err = capsys.readouterr()
        assert (out, err) == ("", "compiling kernels for this machine; later runs find them compiled ...\n")
        Clock.compile("tanh.loops.forward")
        assert capsys.readouterr() == ("", "")
    assert capsys.readouterr() == ("", "compiled 2 kernels in 2.5 s\n")


def test_nothing_is_said_where_nothing_compiles(capsys):
    with compiling_shown():
        pass
    assert capsys.readouterr() == ("", "")


def test_without_lines_a_pipe_sees_nothing(capsys):
    with compiling_shown(in_lines=False):
        Clock.compile("relu.loops.forward")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("in_lines", [False, True])
def test_a_terminal_sees_a_counter_that_goes_away(monkeypatch, in_lines):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with compiling_shown(in_lines):
        Clock.compile("relu.loops.forward")
        assert "kernel 1, 00:00, relu.loops.forward" in terminal.getvalue()
    assert ("compiled 1 kernel in 1.2 s\n" in terminal.getvalue()) == in_lines
    assert terminal.getvalue().rstrip("\n").endswith("1.2 s" if in_lines else "\r")


def test_an_error_passes_and_the_counter_goes_away(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    @compiling_shown()
    def fail() -> None:
        Clock.compile("relu.loops.forward")
        raise KeyError("relu")

    with pytest.raises(KeyError):
        fail()
    assert terminal.getvalue().endswith("\r")
    assert "compiled 1" not in terminal.getvalue()
