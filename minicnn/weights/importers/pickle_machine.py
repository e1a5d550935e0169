"""The machine that a pickle is a program for: bytes, a stack, marks, a memo; without instructions (`unpickler.py`).

A small file can be a long program, or name one object many times: instructions, bytes and nesting are limited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minicnn.errors import WeightsError

MOST_STEPS, MOST_BYTES, LONGEST_LINE, MOST_MARKS = 250_000, 4 * 2**20, 200, 1_000

Made = Callable[[tuple[Any, ...]], Any]


class Name:
    """A name that the file asks for, `torch.FloatStorage`; `make` is what calling it does here, if it may be called."""

    __slots__ = ("make", "text")

    def __init__(self, text: str, make: Made | None) -> None:
        self.text, self.make = text, make


class Box:
    """An object that gets its content later (torch's Parameter): `content` is its tensor."""

    __slots__ = ("content",)

    def __init__(self, content: Any = None) -> None:
        self.content = content


class CutOffError(WeightsError):
    """The file ends inside a pickle. The reader of the format knows more, and says how many bytes are missing."""

    def __init__(self, called: str, seen: str) -> None:
        super().__init__("the file is cut off (half a download?)", called=called, seen=seen, hint="fetch it again")


class Machine:
    """What runs one pickle.

    Parameters
    ----------
    data : bytes-like
    at : int
        Where the pickle begins.
    called : str
        The file, for errors.
    names : mapping of "module.name" to function or None
        What may be named; the function is called, with the tuple of arguments, where the file calls the name.
    persistent : function
        From an identity that the file wrote in place of an object (a storage, mostly) to the object.
    most : int
        Instructions at most.
    """

    def __init__(
        self,
        data: Any,
        at: int,
        called: str,
        *,
        names: dict[str, Made | None],
        persistent: Callable[[Any], Any] | None = None,
        most: int = MOST_STEPS,
    ) -> None:
        self.data, self.at, self.called = memoryview(data), at, called
        self.end = min(len(self.data), at + MOST_BYTES)
        self.names, self.persistent, self.most = names, persistent, most
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.steps = 0

    # ---- bytes

    def _bytes(self, count: int) -> bytes:
        if count > self.end - self.at:
            if self.end < len(self.data):
                raise self._limit(f"{MOST_BYTES:,} bytes")
            raise CutOffError(self.called, f"a pickle that ends at byte {len(self.data):,}")
        self.at += count
        return bytes(self.data[self.at - count : self.at])

    def _number(self, size: int) -> int:
        return int.from_bytes(self._bytes(size), "little")

    def _line(self) -> str:
        line = bytes(self.data[self.at : min(self.at + LONGEST_LINE, self.end)])
        length = line.find(b"\n")
        if length < 0:
            if self.at + LONGEST_LINE > len(self.data):
                raise CutOffError(self.called, f"a pickle that ends at byte {len(self.data):,}")
            raise self._damaged("a name without an end")
        self.at += length + 1
        return self._text(line[:length])

    def _text(self, data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise self._damaged(f"a text that is not UTF-8, {data[:20]!r}") from None

    # ---- the stack

    def _pop(self) -> Any:
        if not self.stack:
            raise self._damaged("an instruction that needs more than there is")
        return self.stack.pop()

    def _top(self, kinds: type | tuple[type, ...]) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kinds):
            raise self._damaged("an instruction on the wrong kind of object")
        return self.stack[-1]

    def _pop_mark(self) -> list[Any]:
        if not self.marks:
            raise self._damaged("an instruction that needs a mark")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    # ---- errors

    def _damaged(self, seen: str) -> WeightsError:
        return WeightsError("a damaged pickle", called=self.called, seen=seen, hint="fetch the file again")

    def _limit(self, rule: str) -> WeightsError:
        return WeightsError(
            "a pickle too long for a checkpoint",
            called=self.called,
            rule=f"at most {rule}",
            hint="save the state dict alone: torch.save(model.state_dict(), path)",
        )
