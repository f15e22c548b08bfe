"""The names of PyTorch that a reader of data sets imports, without PyTorch, which takes gigabytes to install.

Reading in one process calls nothing of it: a data set is a class of its own, there is no worker and no other rank.
What is called all the same raises.
"""

import importlib
import sys
import types
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

_ROOTS = ("torch", "torchvision", "transformers")
_MODULES = ("torch.distributed", "torch.utils", "torch.utils.data")
"""What `from torch import …` means as a module."""


class _Named(type):
    """Any attribute of such a class is another: names for annotations and base classes."""

    def __getattr__(cls, name) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _named(name)

    def __call__(cls, *_args: object, **_named: object) -> object:
        raise TypeError(f"{cls.__name__} is only a name here: PyTorch is not installed")


def _named(name) -> type:
    return type.__new__(_Named, name, (), {})


class _Module(types.ModuleType):
    def __getattr__(self, name) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        whole = f"{self.__name__}.{name}"
        return importlib.import_module(whole) if whole in _MODULES else _named(name)


class _Dataset:
    """What data sets derive from, for those that read all of it here."""

    def __class_getitem__(cls, _) -> type:
        return cls


class _Finder(MetaPathFinder, Loader):
    """Makes every module below `_ROOTS`."""

    def find_spec(self, name, path=None, target=None):
        del path, target
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in _ROOTS else None

    def create_module(self, spec):
        return _Module(spec.name)

    def exec_module(self, module):
        if module.__name__ == "torch.utils.data":
            module.get_worker_info = lambda: None
            module.Dataset = module.IterableDataset = _Dataset
        if module.__name__ == "torch.distributed":
            module.is_available = module.is_initialized = lambda: False
        if module.__name__ == "torch":
            module.__version__ = "0"
            module.cuda = types.SimpleNamespace(is_available=lambda: False, device_count=lambda: 0)


def install():
    """From here on these names can be imported."""
    sys.meta_path.insert(0, _Finder())
