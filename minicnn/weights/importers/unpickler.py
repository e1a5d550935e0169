"""A reader of pickles that can make tensors and containers, and nothing else.

A pickle is a program for a small machine with a stack and a memo; Python's own reader runs it, and what it names: any
function, with any arguments. This one is another machine. It knows the instructions that `torch.save` writes (the
binary ones of protocols 2 to 5), and a name stands for one of a few functions of ours (`torch_objects.py`) or the file
is refused by that name. Nothing is imported and nothing of the file's choosing is called.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from minicnn.errors import WeightsError
from minicnn.weights.importers.pickle_machine import MOST_MARKS, MOST_STEPS, Box, Machine, Name

LONGEST_NUMBER, HIGHEST_PROTOCOL = 16, 5


class Unpickler(Machine):
    """Reads one pickle; arguments as for `Machine`."""

    def load(self) -> Any:
        """The object; `at` is then behind the pickle."""
        start = self.at
        while self.steps < self.most:
            self.steps += 1
            place = self.at
            code = self._bytes(1)[0]
            if code == STOP:
                return self._pop()
            instruction = INSTRUCTIONS.get(code)
            if instruction is None:
                raise WeightsError(
                    "a pickle with an instruction that PyTorch does not write",
                    called=self.called,
                    seen=f"{bytes([code])!r} at byte {place - start:,}",
                )
            instruction(self)
        raise self._limit(f"{self.most:,} instructions")

    # ---- instructions that do more than push

    def _protocol(self) -> None:
        version = self._number(1)
        if version > HIGHEST_PROTOCOL:
            raise WeightsError(
                "a pickle of an unknown protocol",
                called=self.called,
                seen=str(version),
                rule=f"2 to {HIGHEST_PROTOCOL}",
            )

    def _frame(self) -> None:
        self._bytes(8)  # how many bytes follow, which nobody needs

    def _integer(self) -> None:
        self._push(struct.unpack("<i", self._bytes(4))[0])

    def _long(self) -> None:
        size = self._number(1)
        if size > LONGEST_NUMBER:
            raise self._damaged(f"a number of {size} bytes")
        self._push(int.from_bytes(self._bytes(size), "little", signed=True))

    def _real(self) -> None:
        self._push(struct.unpack(">d", self._bytes(8))[0])

    def _mark(self) -> None:
        if len(self.marks) == MOST_MARKS:
            raise self._damaged(f"{MOST_MARKS:,} marks in marks")
        self.marks.append(self.stack)
        self.stack = []

    def _append(self) -> None:
        value = self._pop()
        self._top(list).append(value)

    def _appends(self) -> None:
        items = self._pop_mark()
        self._top(list).extend(items)

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._fill(self._top(dict), [key, value])

    def _set_items(self) -> None:
        items = self._pop_mark()
        self._fill(self._top(dict), items)

    def _dictionary(self) -> None:
        items = self._pop_mark()
        self._push({})
        self._fill(self.stack[-1], items)

    def _fill(self, target: dict, items: list[Any]) -> None:
        """Only texts and numbers are keys, all as texts: hashing nested tuples, or finding places for numbers that were
        chosen to collide, takes for ever.
        """
        if len(items) % 2:
            raise self._damaged("a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, (str, int)):
                raise self._damaged(f"a key that is a {type(key).__name__}")
            if str(key) in target:
                raise self._damaged(f"the key {ascii(key)[:60]} twice")
            target[str(key)] = value

    def _get(self, size: int) -> None:
        key = self._number(size)
        if key not in self.memo:
            raise self._damaged(f"object {key} before it was made")
        self._push(self.memo[key])

    def _put(self, size: int) -> None:
        key = self._number(size)
        if key > MOST_STEPS:
            raise self._damaged(f"object {key}")
        self.memo[key] = self._top(object)

    def _memoize(self) -> None:
        self.memo[len(self.memo)] = self._top(object)

    def _named(self) -> None:
        module = self._line()
        self._name(f"{module}.{self._line()}")

    def _named_on_stack(self) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise self._damaged("a name that is not a text")
        self._name(f"{module}.{name}")

    def _name(self, text: str) -> None:
        if text not in self.names:
            raise WeightsError(
                f"a pickle that asks for {ascii(text[:80])[1:-1]}, which is not a tensor: it is not run",
                called=self.called,
                rule="tensors, numbers, texts and containers only",
                hint="if the file is yours, save the state dict alone: torch.save(model.state_dict(), path)",
            )
        self._push(Name(text, self.names[text]))

    def _reduce(self) -> None:
        arguments, callee = self._pop(), self._pop()
        self._call(callee, arguments)

    def _call(self, callee: Any, arguments: Any) -> None:
        if not isinstance(callee, Name) or callee.make is None or not isinstance(arguments, tuple):
            what = callee.text if isinstance(callee, Name) else type(callee).__name__
            raise self._damaged(f"a call of {what}")
        self.steps += sum(len(part) for part in arguments if isinstance(part, (list, tuple)))  # may be used again
        made = callee.make(arguments)
        if made is NotImplemented:
            raise self._damaged(f"{callee.text} with arguments that do not fit")
        self._push(made)

    def _build(self) -> None:
        """State of an object: a Parameter's tensor. What a dictionary gets (`_metadata`) is of no use here."""
        state, made = self._pop(), self._top((dict, Box))
        if isinstance(made, Box) and made.content is None:
            if not isinstance(state, tuple) or not state:
                raise self._damaged("a parameter without a tensor")
            made.content = state[0]

    def _identity(self) -> None:
        saved = self._pop()
        if self.persistent is None:
            raise self._damaged("a storage outside a checkpoint")
        self._push(self.persistent(saved))


def _sized(size: int, make: Callable[[Unpickler, bytes], Any]) -> Callable[[Unpickler], None]:
    """An instruction that pushes some bytes, whose count stands before them in `size` bytes."""
    return lambda machine: machine._push(make(machine, machine._bytes(machine._number(size))))


def _old_text(machine: Unpickler, data: bytes) -> str:
    """A text of Python 2, whose encoding nobody knows."""
    return data.decode("latin-1")


def _constant(value: Any) -> Callable[[Unpickler], None]:
    return lambda machine: machine._push(value)


def _tuple(count: int) -> Callable[[Unpickler], None]:
    def make(machine: Unpickler) -> None:
        items = [machine._pop() for _ in range(count)]
        machine._push(tuple(items[::-1]))

    return make


_TEXT = Unpickler._text
_BYTES: Callable[[Unpickler, bytes], bytes] = lambda machine, data: data  # noqa: E731

STOP = ord(".")
INSTRUCTIONS: dict[int, Callable[[Unpickler], None]] = {
    0x80: Unpickler._protocol,
    0x95: Unpickler._frame,
    # numbers and constants
    ord("J"): Unpickler._integer,
    ord("K"): lambda machine: machine._push(machine._number(1)),
    ord("M"): lambda machine: machine._push(machine._number(2)),
    0x8A: Unpickler._long,
    ord("G"): Unpickler._real,
    ord("N"): _constant(None),
    0x88: _constant(True),
    0x89: _constant(False),
    # texts and bytes
    ord("X"): _sized(4, _TEXT),
    0x8C: _sized(1, _TEXT),
    0x8D: _sized(8, _TEXT),
    ord("T"): _sized(4, _old_text),
    ord("U"): _sized(1, _old_text),
    ord("B"): _sized(4, _BYTES),
    ord("C"): _sized(1, _BYTES),
    0x8E: _sized(8, _BYTES),
    # containers; a set is as good as a list here
    ord("("): Unpickler._mark,
    ord("]"): lambda machine: machine._push([]),
    ord("}"): lambda machine: machine._push({}),
    0x8F: lambda machine: machine._push([]),
    ord(")"): _constant(()),
    ord("a"): Unpickler._append,
    ord("e"): Unpickler._appends,
    0x90: Unpickler._appends,
    ord("s"): Unpickler._set_item,
    ord("u"): Unpickler._set_items,
    ord("d"): Unpickler._dictionary,
    ord("l"): lambda machine: machine._push(machine._pop_mark()),
    ord("t"): lambda machine: machine._push(tuple(machine._pop_mark())),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    # the memo
    ord("h"): lambda machine: machine._get(1),
    ord("j"): lambda machine: machine._get(4),
    ord("q"): lambda machine: machine._put(1),
    ord("r"): lambda machine: machine._put(4),
    0x94: Unpickler._memoize,
    # names, calls and storages
    ord("c"): Unpickler._named,
    0x93: Unpickler._named_on_stack,
    ord("R"): Unpickler._reduce,
    0x81: Unpickler._reduce,  # NEWOBJ: a class and its arguments
    ord("b"): Unpickler._build,
    ord("Q"): Unpickler._identity,
}
