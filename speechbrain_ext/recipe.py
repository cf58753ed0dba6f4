"""Running a recipe: from `experiment.py params.yaml --key value` to `main`.

A recipe folder has one complete YAML file, `params.yaml`, and may have
variants (`mini.yaml`, `params_published.yaml`) that hold `base: params.yaml`
and nothing but overrides. A key that the base does not have is an error.
"""

import os
import shutil
import sys
from io import StringIO
from pathlib import Path

from speechbrain_ext.errors import ConfigError, SingBrainError


def merge_overrides(base, overrides, where=""):
    """Write overrides into a parsed YAML tree.

    Arguments
    ---------
    base : mapping
        Tree to change in place.
    overrides : mapping
        New values; a mapping over a mapping is merged, all else is replaced.
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
        if both and not _has_tag(value):
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
        merge_overrides(tree, yaml.load(overrides))
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
    try:
        return load_hyperpyyaml(text)
    except SingBrainError:
        raise
    except (ValueError, KeyError, TypeError, ImportError) as error:
        line = " ".join(str(error).split())
        raise ConfigError(f"{path}: {line}") from error


def run(main, arguments=None) -> None:
    """Parse the command line, build the hyper-parameters and call `main`.

    Creates `output_folder` with the resolved YAML, the log and a description
    of the environment, joins the process group under `torchrun`, and turns a
    `SingBrainError` into one line on stderr and exit code 2.

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
        print(f"singbrain: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("singbrain: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def _run(main, arguments):
    # Harmless chatter of libraries on machines without an accelerator.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import speechbrain as sb
    import torch
    from speechbrain.utils.distributed import ddp_init_group

    if not torch.cuda.is_available():
        arguments = [*arguments, "--distributed_backend", "gloo"]
    file, run_opts, overrides = sb.parse_arguments(arguments)
    # Subnormal numbers slow recurrent layers down tenfold on some CPUs.
    torch.set_flush_denormal(True)
    ddp_init_group(run_opts)
    text = compose(file, overrides)
    hparams = load(file, overrides)
    folder = Path(hparams["output_folder"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        composed = folder / "recipe.yaml"
        if sb.utils.distributed.if_main_process():
            composed.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"output_folder {folder} cannot be written ({error.strerror}): "
            "choose another one with --output_folder"
        ) from None
    sb.create_experiment_directory(
        experiment_directory=str(folder),
        hyperparams_to_save=str(composed) if composed.exists() else None,
    )
    if sb.utils.distributed.if_main_process():
        # SpeechBrain keeps a copy of its caller, which is this module.
        (folder / Path(__file__).name).unlink(missing_ok=True)
        script = Path(sys.argv[0])
        if script.suffix == ".py" and script.is_file():
            shutil.copy(script, folder)
    try:
        main(hparams, run_opts)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
