"""Running a recipe: from `experiment.py params.yaml --key value` to `main`.

A recipe folder has one complete YAML file, `params.yaml`, and may have
variants (`mini.yaml`, `params_published.yaml`) that hold `base: params.yaml`
and nothing but overrides. A key that the base does not have is an error.
"""

import gc
import logging
import os
import shutil
import sys
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path

from speechbrain_ext.errors import ConfigError, SingBrainError

# What a run notes down before it does anything.
NOTES = {"recipe.yaml", "hyperparams.yaml", "env.log", "log.txt"}


def merge_overrides(base, overrides, where=""):
    """Write overrides into a parsed YAML tree.

    Arguments
    ---------
    base : mapping
        Tree to change in place.
    overrides : mapping
        New values; a mapping over a mapping is merged unless that is empty,
        all else is replaced.
    where : str
        Name of the tree, for the error message.

    Raises
    ------
    ConfigError
        If an override names a key that the base does not have.

    Example
    -------
    >>> tree = {"seed": 1, "loader": {"batch_size": 8, "num_workers": 2}}
    >>> merge_overrides(tree, {"loader": {"batch_size": 4}})
    >>> tree["loader"]
    {'batch_size': 4, 'num_workers': 2}
    """
    for key, value in overrides.items():
        if key not in base:
            known = ", ".join(str(k) for k in base)
            raise ConfigError(
                f"unknown key {where + str(key)!r}: the base file has {known}"
            )
        both = hasattr(value, "items") and hasattr(base[key], "items")
        # A value with a tag of its own (!new:...) replaces the whole node.
        if both and base[key] and not _has_tag(value):
            merge_overrides(base[key], value, f"{where}{key}.")
        else:
            base[key] = value


def _has_tag(node) -> bool:
    tag = getattr(getattr(node, "tag", None), "value", None)
    return tag is not None and not str(tag).startswith("tag:yaml.org")


def compose(path, overrides="") -> str:
    """Text of a recipe's YAML with its base and all overrides merged in.

    Arguments
    ---------
    path : str or Path
        A complete YAML file or a variant with a `base` key (a path relative
        to the variant; bases may have bases).
    overrides : str
        YAML text with further overrides, as SpeechBrain parses them from the
        command line. Default: none.

    Returns
    -------
    str
        HyperPyYAML text, references not yet resolved.

    Raises
    ------
    ConfigError
        If a file is missing or is not YAML, a base refers to itself, or a key
        is unknown.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml = YAML()
    yaml.width = 4096

    def read(file, seen=()):
        file = Path(file)
        if file.resolve() in seen:
            raise ConfigError(f"{file}: base refers to itself")
        try:
            tree = yaml.load(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"{file}: cannot be read ({error.strerror}); give the path "
                "of a YAML file"
            ) from None
        except (YAMLError, UnicodeDecodeError) as error:
            line = str(error).split("\n")[0]
            raise ConfigError(f"{file}: is not YAML: {line}") from None
        if not hasattr(tree, "items"):
            raise ConfigError(f"{file}: holds no keys")
        if "base" not in tree:
            return tree
        base = read(
            file.parent / str(tree.pop("base")), (*seen, file.resolve())
        )
        merge_overrides(base, tree)
        return base

    tree = read(path)
    if overrides:
        try:
            changes = yaml.load(overrides)
        except YAMLError as error:
            line = _one_line(error.problem) if hasattr(error, "problem") else ""
            raise ConfigError(
                f"the command line is not YAML: {line} in "
                f"{_one_line(overrides)}"
            ) from None
        merge_overrides(tree, changes)
    stream = StringIO()
    yaml.dump(tree, stream)
    return stream.getvalue()


def load(path, overrides="") -> dict:
    """Hyper-parameters of a recipe, with all objects built.

    Arguments
    ---------
    path : str or Path
        See `compose`.
    overrides : str
        See `compose`.

    Returns
    -------
    dict

    Raises
    ------
    ConfigError
        If the YAML cannot be composed, a `!PLACEHOLDER` is left, a reference
        or class does not exist or a class refuses its arguments.
    """
    from hyperpyyaml import load_hyperpyyaml

    text = compose(path, overrides)
    with _yaml_errors(path):
        return load_hyperpyyaml(text)


def output_folder(path, overrides="") -> Path:
    """Folder that a recipe writes to, found without building anything.

    Arguments
    ---------
    path : str or Path
        See `compose`.
    overrides : str
        See `compose`.

    Returns
    -------
    Path

    Raises
    ------
    ConfigError
        As `load`, or if there is no `output_folder`.
    """
    from hyperpyyaml import resolve_references
    from ruamel.yaml import YAML

    text = compose(path, overrides)
    with _yaml_errors(path):
        tree = YAML().load(resolve_references(text).getvalue())
    if not tree.get("output_folder"):
        raise ConfigError(f"{path}: names no output_folder")
    return Path(str(tree["output_folder"]))


@contextmanager
def _yaml_errors(path):
    """Turn what a YAML's classes and references say into one line."""
    try:
        yield
    except SingBrainError:
        raise
    except (
        ValueError,
        LookupError,
        TypeError,
        ImportError,
        AttributeError,
        RuntimeError,
        OSError,
    ) as error:
        line = ": ".join(_one_line(part) for part in error.args)
        raise ConfigError(f"{path}: {line}") from error


def _one_line(error) -> str:
    """Text of an error; without the traceback that a data worker adds."""
    kind = type(error)
    text = str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2]
    return " ".join(text.split())


def run(main, arguments=None) -> None:
    """Parse the command line, build the hyper-parameters and call `main`.

    Creates `output_folder` with the resolved YAML, the log and a description
    of the environment, joins the process group under `torchrun`, and turns a
    `SingBrainError` into one line on stderr and exit code 2. An error before
    anything was done leaves no folder behind.

    Arguments
    ---------
    main : callable
        Called with (hparams: dict, run_opts: dict).
    arguments : list of str, optional
        Default: `sys.argv[1:]`.

    Raises
    ------
    SystemExit
        With code 2 after a user error, 130 after an interrupt.
    """
    try:
        _run(main, sys.argv[1:] if arguments is None else arguments)
    except SingBrainError as error:
        print(f"singbrain: error: {_one_line(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("singbrain: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def _run(main, arguments):
    # Harmless chatter of libraries on machines without an accelerator.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("speechbrain.utils.train_logger").addFilter(
        lambda record: "torchvision" not in record.getMessage()
    )
    import speechbrain as sb
    import torch
    from speechbrain.utils.distributed import ddp_init_group

    from speechbrain_ext.inference.transcriber import checked_device

    if not torch.cuda.is_available():
        arguments = [*arguments, "--distributed_backend", "gloo"]
    file, run_opts, overrides = _parse(arguments)
    # Subnormal numbers slow recurrent layers down tenfold on some CPUs.
    torch.set_flush_denormal(True)
    if run_opts.device is not None:
        checked_device(run_opts.device)
    folder = output_folder(file, overrides)
    ddp_init_group(run_opts)
    main_process = sb.utils.distributed.if_main_process()
    with _folder(folder, main_process):
        composed = folder / "recipe.yaml"
        try:
            if main_process:
                composed.write_text(compose(file, overrides), encoding="utf-8")
        except OSError as error:
            _refuse(folder, error)
        hparams = load(file, overrides)
        sb.create_experiment_directory(
            experiment_directory=str(folder),
            hyperparams_to_save=str(composed) if composed.exists() else None,
        )
        if main_process:
            # SpeechBrain keeps a copy of its caller, which is this module.
            (folder / Path(__file__).name).unlink(missing_ok=True)
            script = Path(sys.argv[0])
            if script.suffix == ".py" and script.is_file():
                shutil.copy(script, folder)
        try:
            main(hparams, run_opts)
        finally:
            if torch.distributed.is_initialized():
                # A model in a cycle would keep the threads of the group
                # alive; one that needs the interpreter while it ends aborts
                # the process after all its work.
                gc.collect()
                torch.distributed.destroy_process_group()


def _parse(arguments):
    """YAML file, options of SpeechBrain and overrides of the YAML.

    Names are whole: `--optimizer` is a key of the YAML and not short for
    SpeechBrain's `--optimizer_step_limit`.
    """
    from speechbrain.core import RunOptions

    class Options(RunOptions):
        @staticmethod
        def _create_parser():
            parser = RunOptions._create_parser()
            parser.allow_abbrev = False
            return parser

    return Options.from_command_line_args(arguments)


def _refuse(folder, error):
    raise ConfigError(
        f"output_folder {folder} cannot be written ({error.strerror}): "
        "choose another one with --output_folder"
    ) from None


@contextmanager
def _folder(folder, main_process):
    """Make a folder; remove it after an error if nothing was done in it."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _refuse(folder, error)
    try:
        yield
    except SingBrainError:
        notes = NOTES | {Path(sys.argv[0]).name}
        done = [
            path
            for path in folder.rglob("*")
            if path.is_file()
            and not (path.parent == folder and path.name in notes)
        ]
        if new and main_process and not done:
            shutil.rmtree(folder, ignore_errors=True)
            for parent in new[1:]:
                with suppress(OSError):
                    parent.rmdir()
        raise
