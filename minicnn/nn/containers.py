"""Modules that hold modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from minicnn.errors import ArgumentError
from minicnn.nn.module import Module


def _next_name(owner: Module) -> str:
    """The first number, from the count of children on, that names none of them (slices keep their names)."""
    number, taken = len(owner._modules), owner._modules
    while str(number) in taken:
        number += 1
    return str(number)


def _check_module(called: str, value: Any) -> Module:
    if not isinstance(value, Module):
        raise ArgumentError("not a module", called=called, seen=type(value).__name__, rule="modules only")
    return value


class Sequential(Module):
    """Modules one after the other; children are named "0", "1", ... or by the keys of one dict."""

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        named = modules[0].items() if len(modules) == 1 and isinstance(modules[0], dict) else enumerate(modules)
        for name, module in named:
            setattr(self, str(name), _check_module("Sequential", module))

    def forward(self, x: Any) -> Any:
        """The input through all of them."""
        for module in self.children():
            x = module(x)
        return x

    def append(self, module: Module) -> Sequential:
        """Add one at the end."""
        setattr(self, _next_name(self), _check_module("Sequential", module))
        return self

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int | slice) -> Any:
        items = list(self._modules.items())[index]
        return Sequential(dict(items)) if isinstance(items, list) else items[1]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, list(self._modules)[index], _check_module("Sequential", module))


class ModuleList(Module):
    """A list of modules; how they are called is the owner's business."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> ModuleList:
        """Add one at the end."""
        setattr(self, str(len(self)), _check_module("ModuleList", module))
        return self

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int) -> Module:
        return list(self.children())[index]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, list(self._modules)[index], _check_module("ModuleList", module))
