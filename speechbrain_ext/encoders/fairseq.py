"""Tensors and settings out of a checkpoint of fairseq, without fairseq.

Such a file is a pickle that holds, beside the tensors, objects of fairseq's
and its libraries' own classes. A pickle can also run any function, so nothing
in it is called here: PyTorch's loader of weights reads it, and each class that
this loader does not know becomes an inert object that keeps what it was given.
A file that names anything of Python's standard library or of PyTorch beyond
what such checkpoints hold is refused before it is read.
"""

from __future__ import annotations

import sys
import warnings
from _compat_pickle import IMPORT_MAPPING
from pathlib import Path

import torch

from speechbrain_ext.errors import ModelError

# What configurations are pickled with. None of it is called either.
_HARMLESS = frozenset(
    {
        "argparse.Namespace",
        "builtins.bool",
        "builtins.bytes",
        "builtins.dict",
        "builtins.float",
        "builtins.frozenset",
        "builtins.int",
        "builtins.list",
        "builtins.object",
        "builtins.slice",
        "builtins.str",
        "builtins.tuple",
        "builtins.type",
        "collections.defaultdict",
        "collections.deque",
        "copyreg._reconstructor",
        "operator.getitem",  # a type with parameters, as List[str]
        "pathlib.Path",
        "pathlib.PosixPath",
        "pathlib.PurePosixPath",
        "pathlib.WindowsPath",
    }
)
_HARMLESS_MODULES = ("typing", "enum")

# Those of Python 2, whose names protocol 2 of pickle uses, included.
_DANGEROUS_MODULES = {"torch", *sys.stdlib_module_names, *IMPORT_MAPPING}


class Inert:
    """What stands for an object of a class that is not loaded.

    Attributes
    ----------
    arguments : tuple
        What its class was called with.
    state : object
        What it held.
    """

    def __new__(cls, *arguments):
        """Keep the arguments."""
        self = object.__new__(cls)
        self.arguments = arguments
        self.state = None
        return self

    def __setstate__(self, state):
        self.state = state


def read_fairseq(path):
    """Read a checkpoint, running nothing of what it names.

    Arguments
    ---------
    path : str or Path
        File that fairseq (PyTorch 1.6 or later) wrote.

    Returns
    -------
    weights : dict of str to torch.Tensor
        Its model, on the CPU.
    settings : Settings
        Its configuration.

    Raises
    ------
    ModelError
        If the file is missing, damaged, of another kind, or names functions
        that no checkpoint needs.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file: name a checkpoint (.pt)")
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except ValueError:
        raise ModelError(
            f"{path}: is no checkpoint of PyTorch 1.6 or later: if it is an "
            "older one, load and save it once with the program it is from"
        ) from None
    except Exception as error:
        raise ModelError(_damaged(path, error)) from None
    refused = sorted(name for name in names if not _is_harmless(name))
    if refused:
        raise ModelError(
            f"{path}: refused, nothing of it was run: it names {refused[0]}, "
            "which no checkpoint of weights needs"
        )
    stubs = [(Inert, name) for name in names]
    try:
        with (
            torch.serialization.safe_globals(stubs),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # about the age of the format
            content = torch.load(
                path, map_location="cpu", weights_only=True, mmap=True
            )
    except Exception as error:
        raise ModelError(_damaged(path, error)) from None
    weights = content.get("model") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise ModelError(
            f"{path}: has no 'model': give a checkpoint that fairseq wrote"
        )
    strange = [
        key
        for key, value in weights.items()
        if not isinstance(key, str) or not isinstance(value, torch.Tensor)
    ]
    if strange:
        raise ModelError(
            f"{path}: its 'model' holds {len(strange)} entries that are no "
            f"tensors, first {strange[0]!r}: give a checkpoint that fairseq "
            "wrote"
        )
    return dict(weights), Settings(
        [content.get("cfg"), content.get("args"), content.get("task_state")]
    )


def _is_harmless(name):
    root = name.partition(".")[0]
    if name in _HARMLESS or root in _HARMLESS_MODULES:
        return True
    return root not in _DANGEROUS_MODULES


def _damaged(path, error):
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return f"{path}: cannot be read as a checkpoint ({reason[:200]})"


class Settings:
    """Values of a configuration by name, wherever they stand in it.

    fairseq has kept its configuration as a namespace, as nested dictionaries
    and as OmegaConf objects; names are the same in all of them.

    Arguments
    ---------
    content : object
        Plain values and `Inert` objects.

    Example
    -------
    >>> settings = Settings({"model": {"encoder_layers": 12}})
    >>> settings.get("encoder_layers"), settings.get("dropout", 0.1)
    (12, 0.1)
    """

    def __init__(self, content):
        self.content = content

    def get(self, name, default=None):
        """Give a value.

        Arguments
        ---------
        name : str
            Its name.
        default : object, optional
            For a name that is nowhere, or has no plain value.

        Returns
        -------
        bool, int, float or str
            The value that is nearest to the root.
        """
        level, seen = [self.content], set()
        while level:
            below = []
            for node in level:
                if id(node) in seen:
                    continue
                seen.add(id(node))
                if isinstance(node, dict):
                    value = _plain(node.get(name))
                    if value is not None:
                        return value
                    below += node.values()
                elif isinstance(node, (list, tuple)):
                    below += node
                elif isinstance(node, Inert):
                    below += [node.arguments, node.state]
            level = below
        return default


def _plain(value):
    """A plain value, also out of a node of OmegaConf; else None."""
    if isinstance(value, Inert):
        value = value.state
        value = value.get("_val") if isinstance(value, dict) else None
    return value if isinstance(value, (bool, int, float, str)) else None
