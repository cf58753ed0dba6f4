"""Model folders: what is needed to use a trained model, and nothing more.

A folder holds

* `hyperparams.yaml`: how the model is built, in HyperPyYAML's notation;
* `model.safetensors`: weights, each named `<module>.<parameter>`;
* `README.md`: the model card.

Loading one is safe whoever made it: the YAML may build the classes listed in
`ALLOWED_CLASSES` and nothing else, and weights are plain numbers (no pickle).
Nothing is fetched from a network.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from uuid import uuid4

import yaml

from speechbrain_ext.errors import (
    ConfigError,
    ModelError,
    OutputError,
    SingBrainError,
)
from speechbrain_ext.files import atomic_folder

HYPERPARAMS = "hyperparams.yaml"
WEIGHTS = "model.safetensors"
CARD = "README.md"

# What a model folder may build. Anything else in its YAML is refused before
# any of it is built.
ALLOWED_CLASSES = frozenset(
    {
        "speechbrain_ext.encoders.av_hubert.AVHubertEncoder",
        "speechbrain_ext.encoders.lips.LipEncoder",
        "speechbrain_ext.encoders.lips.LipResNet",
        "speechbrain_ext.encoders.spectral.HarmonicEncoder",
        "speechbrain_ext.encoders.spectral.MelEncoder",
        "speechbrain_ext.encoders.ssl.SSLEncoder",
        "speechbrain_ext.encoders.ssl.WhisperEncoder",
        "speechbrain_ext.encoders.two_stream.TwoStreamEncoder",
        "speechbrain_ext.fusion.Concatenation",
        "speechbrain_ext.fusion.ConvolutionalFusion",
        "speechbrain_ext.fusion.CrossAttention",
        "speechbrain_ext.fusion.Gated",
        "speechbrain_ext.fusion.ResidualCrossAttention",
        "speechbrain_ext.heads.MelodyHead",
        "speechbrain_ext.heads.NoteHead",
        "speechbrain_ext.frames.NoteDecoder",
        "speechbrain.lobes.models.RNNLM.RNNLM",
        "speechbrain_ext.lyrics.acoustic.PhoneHead",
        "speechbrain_ext.lyrics.transcription.CharacterHead",
        "speechbrain_ext.lyrics.transcription.Search",
        "speechbrain_ext.separation.convolutional.PatchNetwork",
        "speechbrain_ext.separation.convolutional.SlidingPatches",
        "speechbrain_ext.separation.recurrent.RecurrentNetwork",
        "speechbrain_ext.separation.roformer.BandSplitRoFormer",
        "speechbrain_ext.separation.separator.AngleSeparator",
        "speechbrain_ext.separation.separator.MaskSeparator",
        "speechbrain_ext.separation.informed.AligningNetwork",
        "speechbrain_ext.separation.informed.InformedSeparator",
        "speechbrain_ext.separation.informed.MaskInference",
        "speechbrain_ext.separation.low_band.LowBand",
        "speechbrain_ext.separation.superres.ISRNet",
        "speechbrain_ext.separation.superres.SFSRNet",
        "speechbrain_ext.separation.superres.SuperResolution",
        "speechbrain_ext.separation.tasnet.ConvTasNet",
        "speechbrain_ext.separation.tasnet.SepFormer",
        "speechbrain_ext.separation.tasnet.TDCNPlusPlus",
        "speechbrain_ext.separation.unet.UNet",
    }
)

# Arguments that could make a class or its library fetch or run something.
_FOREIGN = frozenset(
    {
        "source",
        "auto_map",
        "trust_remote_code",
        "quantization_config",
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_internal",
        "experts_implementation",
        "_experts_implementation",
    }
)

_PLAIN = "tag:yaml.org,2002:"


def find_model(source=None, kind="transcriber") -> Path:
    """Folder of a model.

    Arguments
    ---------
    source : str or Path, optional
        A model folder, or the name of one that ships with the package.
        Default: the shipped one of the kind.
    kind : str
        What the model is for: transcriber, separator, singer_splitter ...;
        its shipped one has that name. Default: transcriber.

    Returns
    -------
    Path

    Raises
    ------
    ModelError
        If there is no such folder or it holds no model.
    """
    package = Path(__file__).resolve().parents[1]
    # In a wheel, then beside the package in a source checkout.
    homes = (package / "pretrained", package.parent / "pretrained")
    name = kind if source is None else str(source)
    places = [home / name for home in homes]
    if source is not None:
        plain = Path(name).name == name and name not in ("", ".", "..")
        places = [Path(source), *(places if plain else [])]
    for place in places:
        if (place / HYPERPARAMS).is_file():
            return place
    if source is None:
        raise ModelError(
            f"the shipped model '{name}' is not installed (looked in "
            f"{homes[0]} and {homes[1]}): name a model folder"
        )
    if not places[0].exists():
        raise ModelError(f"{source}: no such model folder: check the path")
    if not places[0].is_dir():
        raise ModelError(
            f"{source}: is a file: name the folder that holds {HYPERPARAMS} "
            f"and {WEIGHTS}"
        )
    raise ModelError(f"{source}: is no model folder: it holds no {HYPERPARAMS}")


def load_model(folder, modules, overrides=None) -> dict:
    """Build a model and load its weights.

    Arguments
    ---------
    folder : str or Path
        Model folder.
    modules : iterable of str
        Keys of the YAML that have weights, such as ("encoder", "head").
    overrides : dict, optional
        Values to use instead of those in the YAML; a dictionary changes single
        arguments of an object, as in `{"decoder": {"onset_threshold": 0.5}}`.

    Returns
    -------
    dict
        The YAML's keys with their values, modules in evaluation mode.

    Raises
    ------
    ModelError
        If a file is missing or unreadable, the YAML asks for anything outside
        `ALLOWED_CLASSES`, or the weights do not fit; names the first
        mismatches with both shapes.
    ConfigError
        If an override names an unknown key.
    """
    folder = Path(folder)
    path = folder / HYPERPARAMS
    modules = tuple(modules)
    hparams = build_model(folder, overrides)
    missing = [
        name for name in modules if not hasattr(hparams.get(name), "state_dict")
    ]
    if missing:
        raise ModelError(
            f"{path}: has no usable '{missing[0]}': is this a model of another "
            "kind?"
        )
    load_weights(folder, {name: hparams[name] for name in modules})
    return hparams


def build_model(folder, overrides=None) -> dict:
    """Build a model without its weights, which are random then.

    Arguments
    ---------
    folder : str or Path
        Model folder.
    overrides : dict, optional
        See `load_model`.

    Returns
    -------
    dict
        The YAML's keys with their values.

    Raises
    ------
    ModelError
        If the YAML is missing or unreadable, or asks for anything outside
        `ALLOWED_CLASSES`.
    ConfigError
        If an override names an unknown key.
    """
    path = Path(folder) / HYPERPARAMS
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ModelError(f"{path}: cannot be read: {reason}") from None
    return load_hyperparams(text, str(path), overrides)


def model_keys(folder) -> set[str]:
    """Find what a model folder's YAML describes, without building it.

    Arguments
    ---------
    folder : str or Path
        Model folder.

    Returns
    -------
    set of str
        Keys of the top level.

    Raises
    ------
    ModelError
        If the YAML cannot be read.
    """
    path = Path(folder) / HYPERPARAMS
    try:
        node = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
        return {key.value for key, _ in node.value}
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        reason = str(error).split("\n")[0]
        raise ModelError(f"{path}: cannot be read: {reason}") from None


def fingerprint(folder) -> str:
    """Tell a model by what it holds, wherever its folder lies.

    Arguments
    ---------
    folder : str or Path
        Model folder.

    Returns
    -------
    str
        SHA-256 of its YAML and weights, 64 hexadecimal digits.

    Raises
    ------
    ModelError
        If a file is missing or unreadable.
    """
    digest = hashlib.sha256()
    for name in (HYPERPARAMS, WEIGHTS):
        path = Path(folder) / name
        try:
            with path.open("rb") as stream:
                while block := stream.read(2**20):
                    digest.update(block)
        except OSError as error:
            raise ModelError(
                f"{path}: cannot be read: {error.strerror}"
            ) from None
    return digest.hexdigest()


def load_hyperparams(text: str, name="hyperparams", overrides=None) -> dict:
    """Build what a model's YAML describes, within `ALLOWED_CLASSES`.

    The notation is HyperPyYAML's, reduced to plain values, lists, mappings,
    `!new:<class>` with named arguments, and `!ref <key>` to a key of the top
    level. An argument `source` must be null: all weights are in the folder.

    Arguments
    ---------
    text : str
        The YAML.
    name : str
        What error messages call it.
    overrides : dict, optional
        See `load_model`.

    Returns
    -------
    dict

    Raises
    ------
    ModelError
        If the text is no YAML, uses another tag or class, or a class refuses
        its arguments.
    ConfigError
        If an override names an unknown key.

    Example
    -------
    >>> hparams = load_hyperparams('''
    ... threshold: 0.3
    ... decoder: !new:speechbrain_ext.frames.NoteDecoder
    ...     onset_threshold: !ref <threshold>
    ... ''')
    >>> hparams["decoder"].onset_threshold
    0.3
    >>> load_hyperparams("x: !new:os.system")
    Traceback (most recent call last):
    speechbrain_ext.errors.ModelError: hyperparams: line 1 asks for \
!new:os.system, which a model may not use
    """
    return _Builder(text, name).build(dict(overrides or {}))


def export_model(
    folder, hyperparams_text: str, modules: dict, card: str, overwrite=False
) -> Path:
    """Write a model folder, all of it or nothing.

    Before the folder gets its name, the model is loaded from it once.

    Arguments
    ---------
    folder : str or Path
        The folder to make; its parent must exist.
    hyperparams_text : str
        Content of `hyperparams.yaml`; its keys must include the names of the
        modules.
    modules : dict of str to torch.nn.Module
        Modules whose weights are stored.
    card : str
        The model card: data, licence, training command, metrics and limits.
    overwrite : bool
        Whether an existing model folder may be replaced; one that holds
        anything else is never touched. Default: False.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ModelError
        If the YAML does not describe the modules.
    OutputError
        If the folder exists and may not be replaced, or cannot be written.
    """
    from safetensors.torch import save

    tensors = {
        f"{name}.{key}": value.detach().cpu().contiguous().clone()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    folder = Path(folder)
    with _replacing(folder, overwrite), atomic_folder(folder) as temporary:
        (temporary / HYPERPARAMS).write_text(hyperparams_text, "utf-8")
        (temporary / CARD).write_text(card, "utf-8")
        data = save(tensors, metadata={"format": "pt"})
        (temporary / WEIGHTS).write_bytes(data)
        load_model(temporary, modules)
    return folder


@contextmanager
def _replacing(folder, overwrite):
    """Move an old model folder aside, and back if the block fails."""
    if not (overwrite and folder.is_dir() and any(folder.iterdir())):
        yield
        return
    foreign = {p.name for p in folder.iterdir()} - {HYPERPARAMS, WEIGHTS, CARD}
    if foreign:
        raise OutputError(
            f"{folder}: holds {min(foreign)}, which is no part of a model: "
            "choose another folder"
        )
    folder = folder.resolve()
    aside = folder.with_name(f".part-{uuid4().hex}")
    try:
        folder.rename(aside)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be replaced: {error.strerror}"
        ) from None
    try:
        yield
    except BaseException:
        with suppress(OSError):
            aside.rename(folder)
        raise
    rmtree(aside, ignore_errors=True)


def load_weights(folder, modules):
    """Load a model's weights into modules, which must fit exactly.

    Arguments
    ---------
    folder : str or Path
        Model folder.
    modules : dict of str to torch.nn.Module
        By the names of the folder's YAML; they are left in evaluation mode.

    Raises
    ------
    ModelError
        If the file is missing or unreadable, or the weights do not fit; names
        the first mismatches with both shapes.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise ModelError(f"{path}: no such file: the model has no weights")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError):
        raise ModelError(
            f"{path}: is not a safetensors file, or is damaged"
        ) from None
    states = {
        f"{name}.{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    faults = [f"{key} is missing" for key in states if key not in tensors]
    faults += [f"{key} is unknown" for key in tensors if key not in states]
    faults += [
        f"{key} has shape {tuple(tensors[key].shape)} instead of "
        f"{tuple(value.shape)}"
        for key, value in states.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    faults = faults or [
        f"{key} holds values that are not finite"
        for key in states
        if not bool(torch.isfinite(tensors[key]).all())
    ]
    if faults:
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ModelError(
            f"{path}: does not fit the model: {'; '.join(faults[:3])}{more}"
        )
    for name, module in modules.items():
        module.load_state_dict(
            {key: tensors[f"{name}.{key}"] for key in module.state_dict()}
        )
        module.eval()


class _Loader(yaml.SafeLoader):
    """Plain YAML that reads 1e-3 as a number, as HyperPyYAML does."""


_Loader.add_implicit_resolver(
    _PLAIN + "float",
    re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


class _Builder:
    """Turns a composed YAML document into objects."""

    def __init__(self, text, name):
        self.name = name
        self.loader = None
        try:
            self.loader = _Loader(text)
            root = self.loader.get_single_node()
        except (yaml.YAMLError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            line = f" at line {mark.line + 1}" if mark else ""
            raise ModelError(f"{name}: is not valid YAML{line}") from None
        if not isinstance(root, yaml.MappingNode):
            raise ModelError(f"{name}: is not a YAML mapping of keys to values")
        self._check(root, set())
        self.nodes = {key.value: value for key, value in root.value}
        self.built, self.building = {}, []

    def _refuse(self, node, what):
        raise ModelError(f"{self.name}: line {node.start_mark.line + 1} {what}")

    def _check(self, node, seen):
        """Refuse everything that is not allowed, before building any of it."""
        if id(node) in seen:
            self._refuse(node, "is used twice by an alias: use !ref <key>")
        seen.add(id(node))
        tag = node.tag
        if tag.startswith("!new:"):
            if tag[len("!new:") :] not in ALLOWED_CLASSES:
                self._refuse(node, f"asks for {tag}, which a model may not use")
            if not isinstance(node, yaml.MappingNode) and node.value:
                self._refuse(node, f"gives {tag} arguments without names")
        elif tag == "!ref":
            if not isinstance(node, yaml.ScalarNode) or not re.fullmatch(
                r"<\w+>", node.value
            ):
                self._refuse(node, "may only refer to a key, as !ref <key>")
        elif tag not in {
            _PLAIN + kind
            for kind in ("map", "seq", "str", "int", "float", "bool", "null")
        }:
            shown = tag.replace(_PLAIN, "!!")
            self._refuse(node, f"uses {shown}, which a model may not use")
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            for key, value in node.value:
                if key.tag not in (_PLAIN + "str", _PLAIN + "int"):
                    self._refuse(key, "has a key that is not a plain word")
                if keys.count(key.value) > 1:
                    self._refuse(key, f"repeats the key '{key.value}'")
                if key.value in _FOREIGN and value.tag != _PLAIN + "null":
                    self._refuse(
                        key,
                        f"sets '{key.value}', which could load more than "
                        f"{WEIGHTS}",
                    )
                self._check(value, seen)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                self._check(value, seen)

    def build(self, overrides):
        """Build the top level."""
        for key in overrides:
            if key not in self.nodes:
                raise ConfigError(
                    f"{self.name}: has no key '{key}' to override; it has "
                    f"{', '.join(self.nodes)}"
                )
        self.overrides = overrides
        return {key: self._top(key) for key in self.nodes}

    def _top(self, key):
        if key in self.building:
            raise ModelError(f"{self.name}: the key '{key}' refers to itself")
        if key not in self.built:
            self.building.append(key)
            node = self.nodes[key]
            override = self.overrides.get(key)
            if key in self.overrides and not (
                isinstance(override, dict)
                and (
                    isinstance(node, yaml.MappingNode)
                    or node.tag.startswith("!new:")
                )
            ):
                self.built[key] = override
            else:
                self.built[key] = self._value(node, override or {})
            self.building.pop()
        return self.built[key]

    def _value(self, node, override=()):
        if node.tag == "!ref":
            key = node.value[1:-1]
            if key not in self.nodes:
                self._refuse(node, f"refers to the unknown key '{key}'")
            return self._top(key)
        if isinstance(node, yaml.MappingNode):
            value = {self._value(k): self._value(v) for k, v in node.value}
            value.update(override)
        elif isinstance(node, yaml.SequenceNode):
            value = [self._value(v) for v in node.value]
        elif node.tag.startswith("!new:"):
            value = dict(override)
        else:
            try:
                return self.loader.construct_object(node)
            except (yaml.YAMLError, ValueError):
                self._refuse(node, f"holds the unreadable value {node.value}")
        if not node.tag.startswith("!new:"):
            return value
        module, _, name = node.tag[len("!new:") :].rpartition(".")
        made = getattr(importlib.import_module(module), name)
        try:
            return made(**(value or {}))
        except Exception as error:
            if override and isinstance(error, SingBrainError):
                raise
            # Whatever a class says about arguments out of a file is a fault
            # of that file.
            reason = " ".join(str(error).split())
            self._refuse(node, f"cannot build {name}: {reason}")
