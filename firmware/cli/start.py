"""The start of a command that people wait for, kept short: what is loaded for it, and what is not.

A command that answers from a store is judged by its first frame, and most of the time until then Python loads modules.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

# Loaded by dataclasses, with eight modules more, and used there for a class without a docstring only: a tenth of starting.
SELDOM_USED = ("inspect",)


@contextmanager
def started() -> Iterator[None]:
    """While a command loads what it works with."""
    # Nothing that is loaded now is garbage before the end: to look through it again and again is another tenth.
    gc.disable()
    for name in SELDOM_USED:
        sys.modules.setdefault(name, _PutOff(name))
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class _PutOff(ModuleType):
    """In a module's place until something of it is used.

    Not importlib's LazyLoader: until Python 3.13 the next `import` of the module asks it for its __spec__, and that loads it.
    """

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)
