"""The errors that SingBrain raises for anything a user can cause.

Every message says what is wrong, with the two numbers or names that disagree,
and what to do. The command line prints the message on one line and exits with
code 2; anything that is not a `SingBrainError` is a fault of ours and keeps
its traceback.
"""

import sys
from contextlib import redirect_stdout
from importlib import import_module


class SingBrainError(Exception):
    """Root of all errors caused by input, configuration or environment."""


class AudioError(SingBrainError):
    """An audio or video file is missing, unreadable, empty or not finite."""


class VideoError(SingBrainError):
    """A video or a file of mouth crops is unreadable, or shows no face."""


class NoteError(SingBrainError):
    """A note or an annotation breaks the contract of `NoteSequence`."""


class LyricsError(SingBrainError):
    """Lyrics or their times are unreadable, or do not fit a recording."""


class ManifestError(SingBrainError):
    """A manifest or a corpus folder is incomplete or inconsistent."""


class ModelError(SingBrainError):
    """A model folder or a checkpoint cannot be used."""


class ConfigError(SingBrainError):
    """A recipe's YAML or its command line is wrong."""


class OutputError(SingBrainError):
    """An output exists already or cannot be written."""


class ClusterError(SingBrainError):
    """A cluster cannot be had, or workers died of what they were doing."""


class DependencyError(SingBrainError):
    """An optional library or program that a feature needs is missing."""


def optional_library(module, package, extra=None, what="this"):
    """Import a library that not everybody has.

    Arguments
    ---------
    module : str
        What is imported.
    package : str
        What pip calls it.
    extra : str, optional
        Extra of SingBrain that brings it.
    what : str
        What needs it, for the message. Default: "this".

    Returns
    -------
    module

    Raises
    ------
    DependencyError
        If it is missing: with the command that installs it.

    Example
    -------
    >>> optional_library("no_such", "no-such", "all")
    Traceback (most recent call last):
    speechbrain_ext.errors.DependencyError: this needs no-such: \
pip install "singbrain[all]"
    """
    try:
        # Some say there what else they have found: JSON may follow.
        with redirect_stdout(sys.stderr):
            return import_module(module)
    except ImportError:
        wanted = f'"singbrain[{extra}]"' if extra else package
        raise DependencyError(
            f"{what} needs {package}: pip install {wanted}"
        ) from None
