"""Voices out of mixtures, before training: spleeter or demucs.

Both run as programs of their own, in environments of their own: spleeter
needs an old TensorFlow, and neither is a requirement of this project. Install
one where you like and say where it is:

* spleeter: the argument `program`, else the environment variable
  `SINGBRAIN_SPLEETER`, else `spleeter` on the PATH;
* demucs: the argument `program`, else `SINGBRAIN_DEMUCS`, else `demucs` on the
  PATH, else `python -m demucs` in this environment.

The command lines are those of spleeter 2.4 and demucs 4. Both fetch their
model from the internet when they first run; spleeter keeps it in the folder
`pretrained_models` where it runs, unless the variable `MODEL_PATH` names
another one.

What a program gets is what `speechbrain_ext.audio` reads (formats other than
WAV and FLAC are decoded first), and what it gives is cut or padded to the
same length, so annotations keep fitting.

By itself, for the mixtures of MIR-ST500 (see `--help`):

    python -m data_prep.vocals MIR-ST500/train/*/Mixture.mp3 -o MIR-ST500/train
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from speechbrain_ext.audio import (
    SAMPLE_RATE,
    audio_info,
    read_audio,
    seconds_to_samples,
    stream_audio,
    write_audio,
)
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    DependencyError,
    OutputError,
    SingBrainError,
)

# How much the separated voice may be longer or shorter than the input:
# separators work in blocks, but give back what they got.
LENGTH_TOLERANCE_S = 0.05

# File names that say nothing: the folder is the name of the song.
_MIXTURES = ("mixture", "mix")

# Read by the programs as they are; all else is decoded first.
_DIRECT = (".wav", ".flac")

# What the programs print when their model is not there and cannot be fetched.
_NO_MODEL = re.compile(
    r"ConnectError|ConnectTimeout|ConnectionError|URLError|urlopen error"
    r"|Max retries exceeded|getaddrinfo|name resolution|Name or service not"
    r"|Network is unreachable|HTTPStatusError|HTTP Error \d|HTTPError"
    r"|Downloaded file is corrupted|No checksum for model"
    r"|Could not find (a |the )?(pre-)?trained model|nor a bag of models"
    r"|neither a single pre-trained model|LocalEntryNotFoundError",
    re.IGNORECASE,
)


class Backend(NamedTuple):
    """How to call a separation program.

    Arguments
    ---------
    variable : str
        Environment variable that may hold the command.
    module : str or None
        Python module to run if the program is not on the PATH.
    options : callable
        `options(audio, folder, seconds, model) -> list of str`.
    model : str
        Default model.
    """

    variable: str
    module: str | None
    options: Callable
    model: str


def _spleeter(audio, folder, seconds, model):
    # Without -d only the first 10 minutes would be separated.
    limit = str(math.ceil(seconds) + 1)
    return ["separate", "-p", model, "-d", limit, "-o", folder, audio]


def _demucs(audio, folder, seconds, model):
    # Floats keep peaks over 1 without changing the level of the song.
    two = ["--two-stems", "vocals", "--float32"]
    return ["-n", model, *two, "-o", folder, audio]


BACKENDS = {
    "spleeter": Backend(
        "SINGBRAIN_SPLEETER", None, _spleeter, "spleeter:2stems"
    ),
    "demucs": Backend("SINGBRAIN_DEMUCS", "demucs", _demucs, "htdemucs"),
}


def isolate(
    paths,
    out_folder,
    backend: str = "spleeter",
    program=None,
    model: str | None = None,
    sample_rate: int | None = SAMPLE_RATE,
    mono: bool = True,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> list[Path]:
    """Isolate the voices of songs.

    A song whose result is there already, with the right length, is skipped,
    so an interrupted run goes on where it stopped.

    Arguments
    ---------
    paths : mapping of str to path, or iterable of paths
        Audio files, by the name of the song or with the file's name for it;
        a file called `Mixture` takes the name of its folder.
    out_folder : str or Path
        Gets `<song>/vocals.wav`; made if it does not exist.
    backend : {"spleeter", "demucs"}
        The program.
    program : str or Path, optional
        Where it is, or a command line such as `conda run -n old spleeter`;
        by default see the module's docstring.
    model : str, optional
        Name of the program's model (default `spleeter:2stems`, `htdemucs`).
    sample_rate : int or None
        Rate of the results (default 16000); None keeps the program's.
    mono : bool
        Whether to average the channels (default True).
    n_jobs : int
        Songs separated at a time; each needs gigabytes of memory.
    overwrite : bool
        Whether results are made anew.

    Returns
    -------
    list of Path
        The results, in the order of `paths`.

    Raises
    ------
    DependencyError
        If the program or its model is missing, or it fails.
    AudioError
        If an input is not readable, or the voice differs in length from it.
    OutputError
        If two songs have one name, or a result cannot be written or has
        another length than its song.
    ConfigError
        If the backend is unknown or `n_jobs` is 0.
    """
    if backend not in BACKENDS:
        raise ConfigError(
            f"backend is {backend!r}: use one of {', '.join(BACKENDS)}"
        )
    if n_jobs == 0:
        raise ConfigError("n_jobs is 0: use 1 or more, or -1 for all cores")
    from joblib import effective_n_jobs
    from tqdm import tqdm

    songs = _names(paths)
    command = find_program(backend, program)
    out = Path(out_folder)
    created = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be made ({error.strerror}): choose another folder"
        ) from None

    def work(song):
        target = out / song / "vocals.wav"
        if overwrite or not _done(songs[song], target):
            _isolate(
                songs[song],
                target,
                backend,
                command,
                model or BACKENDS[backend].model,
                sample_rate,
                mono,
            )
        return target

    pool = ThreadPoolExecutor(effective_n_jobs(n_jobs))
    try:
        bar = tqdm(
            pool.map(work, songs),
            desc=backend,
            total=len(songs),
            unit="song",
            disable=None,
        )
        return list(bar)
    finally:
        # After an error no further song is begun.
        pool.shutdown(wait=True, cancel_futures=True)
        if created:
            with suppress(OSError):  # not empty: some song is done
                out.rmdir()


def find_program(backend: str, program=None) -> list[str]:
    """Find a separation program.

    Arguments
    ---------
    backend : {"spleeter", "demucs"}
    program : str or Path, optional
        Path or command line that goes before all other places.

    Returns
    -------
    list of str
        The command, without options.

    Raises
    ------
    DependencyError
        If it is nowhere.
    """
    variable, module = BACKENDS[backend].variable, BACKENDS[backend].module
    given = program or os.environ.get(variable)
    if given and Path(given).is_file():
        command = [str(Path(given).absolute())]
    elif given:
        command = shlex.split(str(given))
    else:
        command = [backend]
    if found := shutil.which(command[0]):
        return [found, *command[1:]]
    if not given and module and importlib.util.find_spec(module):
        return [sys.executable, "-m", module]
    raise DependencyError(
        f"{given or backend}: no such program: install {backend} in an "
        f"environment of its own and set {variable} to its path"
    )


def _names(paths) -> dict[str, Path]:
    """Songs by name."""
    if isinstance(paths, Mapping):
        songs = {str(name): Path(path) for name, path in paths.items()}
    else:
        if isinstance(paths, str | Path):
            paths = [paths]
        songs = _own_names(map(Path, paths))
    for name in songs:
        if name in ("", ".", "..") or re.search(r"[/\\\0]", name):
            raise OutputError(f"{name!r} cannot name the folder of a song")
    return songs


def _own_names(paths: Iterable[Path]) -> dict[str, Path]:
    """Songs by the names of their files."""
    songs: dict[str, Path] = {}
    for path in paths:
        name = path.stem
        if name.lower() in _MIXTURES:
            name = path.absolute().parent.name
        if name in songs:
            raise OutputError(
                f"{songs[name]} and {path} would both become {name}: give "
                "them names"
            )
        songs[name] = path
    return songs


def _done(path: Path, target: Path) -> bool:
    """Whether the result is there; one of another length is refused."""
    if not target.exists():
        return False
    wanted, found = _seconds(path), _seconds(target)
    if abs(wanted - found) > LENGTH_TOLERANCE_S:
        raise OutputError(
            f"{target}: exists with {found:.2f} s, but {path} has "
            f"{wanted:.2f} s: remove it or allow overwriting"
        )
    return True


def _seconds(path: Path) -> float:
    """Exact length of a file, decoding it if its header does not tell."""
    info = audio_info(path)
    if info.n_samples is not None:
        return info.n_samples / info.sample_rate
    blocks = stream_audio(path, sample_rate=info.sample_rate)
    return sum(map(len, blocks)) / info.sample_rate


def _isolate(path, target, backend, command, model, sample_rate, mono):
    """Separate one song."""
    try:
        folder = tempfile.TemporaryDirectory(
            prefix=".part-",
            dir=target.parents[1].absolute(),
            ignore_cleanup_errors=True,
        )
    except OSError as error:
        raise OutputError(
            f"{target.parents[1]}: cannot write in this folder "
            f"({error.strerror}): choose another one"
        ) from None
    with folder as name:
        # A name of our own: the song's may hold characters that a program
        # takes for something else.
        audio = _input(path, Path(name))
        seconds = _seconds(audio)
        options = BACKENDS[backend].options(
            str(audio), str(Path(name, "out")), seconds, model
        )
        output = _run([*command, *options], backend, path)
        found = sorted(Path(name, "out").rglob("vocals.wav"))
        if len(found) != 1:
            raise _failed(backend, path, "wrote no vocals.wav", output)
        info = audio_info(found[0])
        length = info.n_samples / info.sample_rate
        if abs(length - seconds) > LENGTH_TOLERANCE_S:
            raise AudioError(
                f"{path}: has {seconds:.3f} s, but {backend} gave a voice of "
                f"{length:.3f} s"
            )
        wav = read_audio(found[0], sample_rate=sample_rate, mono=mono)
        rate = sample_rate or info.sample_rate
        wanted = seconds_to_samples(seconds, rate)
        wav = wav[:wanted]
        missing = [(0, wanted - len(wav))] + [(0, 0)] * (wav.ndim - 1)
        target.parent.mkdir(exist_ok=True)
        write_audio(target, np.pad(wav, missing), rate, overwrite=True)


def _input(path: Path, folder: Path) -> Path:
    """Give the file to separate: a link, or decoded audio."""
    info = audio_info(path)
    suffix = path.suffix.lower()
    if suffix in _DIRECT:
        audio = folder / f"song{suffix}"
        try:
            audio.symlink_to(path.absolute())
        except OSError:  # a system without links
            shutil.copyfile(path, audio)
        return audio
    audio = folder / "song.wav"
    with soundfile.SoundFile(
        audio, "w", info.sample_rate, info.channels, subtype="FLOAT"
    ) as stream:
        for block in stream_audio(path, sample_rate=None, mono=False):
            stream.write(block)
    return audio


def _run(command: list[str], backend: str, path: Path) -> str:
    """Run a program; give what it printed."""
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except OSError as error:
        raise DependencyError(
            f"{command[0]}: cannot be run ({error.strerror}): check "
            f"{BACKENDS[backend].variable}"
        ) from None
    output = result.stdout.decode(errors="replace")
    if result.returncode:
        reason = f"failed with exit code {result.returncode}"
        raise _failed(backend, path, reason, output)
    return output


def _failed(backend: str, path: Path, reason: str, output: str):
    """Error for a program that did not do its work."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    last = lines[-1] if lines else "it printed nothing"
    if re.search(r"ffmpeg|ffprobe", output) and re.search(
        r"not found|not installed|No such file", output
    ):
        return DependencyError(
            f"{backend} needs ffmpeg and did not find it: install ffmpeg"
        )
    if _NO_MODEL.search(output):
        return DependencyError(
            f"the model of {backend} is missing and could not be fetched "
            f"({last}): run {backend} once with access to the internet, and "
            "remove what an earlier download left"
        )
    return DependencyError(f"{path}: {backend} {reason}: {last}")


def main(arguments=None) -> int:
    """Run the command line.

    Arguments
    ---------
    arguments : list of str, optional
        Default: those of the process.

    Returns
    -------
    int
        Exit code, 2 for wrong input.
    """
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.vocals",
        description="Isolate the voices of songs with spleeter or demucs.",
    )
    parser.add_argument("paths", nargs="+", metavar="AUDIO", help="mixtures")
    parser.add_argument(
        "-o",
        dest="out_folder",
        metavar="FOLDER",
        required=True,
        help="gets <song>/vocals.wav; a file called Mixture takes the name of "
        "its folder",
    )
    parser.add_argument("--backend", choices=BACKENDS, default="spleeter")
    parser.add_argument("--program", help="where it is, if not on the PATH")
    parser.add_argument("--model", help="name of the program's model")
    parser.add_argument(
        "--jobs",
        dest="n_jobs",
        type=int,
        default=1,
        metavar="N",
        help="songs at a time (default: 1); each needs gigabytes of memory",
    )
    parser.add_argument(
        "--force",
        dest="overwrite",
        action="store_true",
        help="isolate again what is there",
    )
    try:
        for path in isolate(**vars(parser.parse_args(arguments))):
            print(path)
    except SingBrainError as error:
        print(f"singbrain: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
