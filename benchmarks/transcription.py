"""Our transcriber against Basic Pitch's ONNX model.

`python -m benchmarks.transcription [AUDIO] [--notes NOTES]` transcribes a
recording with both and prints how many times as fast ours is. With reference
notes it prints the scores of both as well. Without a recording it renders one
and gives no scores: the shipped model was trained on such material.

Basic Pitch (Bittner et al., ICASSP 2022) is optional. Its requirements pin an
old TensorFlow, which its ONNX model does without:

    pip install --no-deps basic-pitch 'resampy<0.4.3'
    pip install onnxruntime librosa pretty_midi scikit-learn 'setuptools<82'

It is used as a user would use it, with its own defaults. It may give several
notes at a time, which the scores take as they are.
"""

import argparse
import logging
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.common import Skipped, show, speedup
from speechbrain_ext import audio
from speechbrain_ext.errors import ModelError
from speechbrain_ext.formats import read_notes
from speechbrain_ext.notes import midi_to_hz

METRICS = {
    "COnPOff": "F-measure",
    "COnP": "F-measure_no_offset",
    "COn": "Onset_F-measure",
}


def basic_pitch():
    """Load Basic Pitch with its ONNX model.

    Returns
    -------
    callable
        A path to rows of (onset, offset, midi), an array (notes, 3).

    Raises
    ------
    Skipped
        If it or something that it needs is missing.
    """
    # On import it announces each of the other runtimes that are missing.
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import basic_pitch as package
            import onnxruntime  # noqa: F401 (Basic Pitch would go on without)
            from basic_pitch.inference import Model, predict
    except ImportError as error:
        raise Skipped(
            f"Basic Pitch cannot be imported ({error}): see the head of "
            "benchmarks/transcription.py for how to install it"
        ) from None
    finally:
        logging.disable(logging.NOTSET)
    folder = Path(package.__file__).parent
    model = Model(folder / "saved_models" / "icassp_2022" / "nmp.onnx")

    def transcribe(path):
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            events = predict(path, model)[2]
        rows = [(float(e[0]), float(e[1]), float(e[2])) for e in events]
        return np.array(sorted(rows)).reshape(-1, 3)

    return transcribe


def scores(reference, rows):
    """F1 scores of notes that may sound together.

    Arguments
    ---------
    reference : NoteSequence
        What was sung.
    rows : np.ndarray (notes, 3)
        Onset, offset, MIDI number.

    Returns
    -------
    dict
        COnPOff, COnP and COn with the defaults of `mir_eval.transcription`.
    """
    from mir_eval import transcription

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It warns of empty input.
        found = transcription.evaluate(
            reference.intervals,
            reference.frequencies,
            rows[:, :2],
            midi_to_hz(rows[:, 2]),
        )
    return {name: found[key] for name, key in METRICS.items()}


def compare(ours, theirs, path, reference=None, pairs=3):
    """Yield the lines that compare two transcribers on one recording.

    Arguments
    ---------
    ours, theirs : callable
        A path to an array (notes, 3) of onset, offset and MIDI number.
    path : Path
        The recording.
    reference : NoteSequence, optional
        What was sung; adds the scores.
    pairs : int
        Pairs of timed runs.

    Yields
    ------
    str
    """
    pace = speedup(lambda: ours(path), lambda: theirs(path), pairs)
    yield f"SingBrain against Basic Pitch: {pace}"
    if reference is not None:
        found = {
            "SingBrain": scores(reference, ours(path)),
            "Basic Pitch": scores(reference, theirs(path)),
        }
        for name, values in found.items():
            numbers = " ".join(f"{k} {v:.3f}" for k, v in values.items())
            yield f"{name}: F1 {numbers}"


def main(arguments=None):
    """Yield the lines of the report.

    Arguments
    ---------
    arguments : list of str, optional
        Command line; default: that of the process.

    Yields
    ------
    str
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("audio", nargs="?", type=Path, help="a recording")
    parser.add_argument("--notes", type=Path, help="its notes, any format")
    parser.add_argument("--model", help="model folder (default: as shipped)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=30.0,
        help="length of the rendered recording (default: 30)",
    )
    parser.add_argument(
        "--pairs", type=int, default=3, help="pairs of runs (default: 3)"
    )
    options = parser.parse_args(arguments)
    if options.notes and not options.audio:
        parser.error("--notes needs the recording that they belong to")
    reference = read_notes(options.notes) if options.notes else None
    theirs = basic_pitch()

    from speechbrain_ext.inference.transcriber import Transcriber

    try:
        transcriber = Transcriber.from_hparams(options.model)
    except ModelError as error:
        if options.model:
            raise
        raise Skipped(f"no shipped model: {error}") from None

    def ours(path):
        notes = transcriber.transcribe_file(path)
        return np.column_stack([notes.intervals, notes.midi])

    with TemporaryDirectory() as folder:
        path = options.audio
        if path is None:
            path = Path(folder, "clip.wav")
            audio.write_audio(path, _render(options.seconds), 16000)
        info = audio.audio_info(path)
        yield f"{path.name}, {info.duration:.0f} s"
        yield from compare(ours, theirs, path, reference, options.pairs)


def _render(seconds):
    from data_prep.minisinging import render_clip

    return render_clip(seed=0, duration_s=seconds, band=False).mix


if __name__ == "__main__":
    raise SystemExit(show(main))
