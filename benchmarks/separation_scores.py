"""Our separation scores against museval and mir_eval.

`python -m benchmarks.separation_scores` scores two stereo sources of a song of
3 minutes at 44.1 kHz in frames, as museval does, and as a whole, as mir_eval
does. It prints how many times as fast `metrics.bss_eval` is and by how many dB
the scores differ. The song is noise with the spectrum and the changing level of
music; the estimates leak, are filtered and have noise of their own.

museval is optional: `pip install museval`. Only its arithmetic is used, which
needs none of the programs that the package asks for when it is imported.
"""

import argparse
import warnings
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

from benchmarks.common import Skipped, show, speedup
from speechbrain_ext.metrics.bss_eval import bss_eval_v3, bss_eval_v4

RATE = 44100


def museval_metrics():
    """Load `museval.metrics` alone.

    `import museval` needs ffmpeg on the path, for its loader of MUSDB18.

    Returns
    -------
    module

    Raises
    ------
    Skipped
        If museval is not installed.
    """
    package = find_spec("museval")
    if package is None:
        raise Skipped("museval is not installed: pip install museval")
    path = Path(package.origin).with_name("metrics.py")
    spec = spec_from_file_location("museval_metrics", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def noise_song(seconds, rate=RATE, channels=2, seed=0):
    """Draw two sources and their estimates.

    Arguments
    ---------
    seconds : float
        Length.
    rate : int
        Hertz.
    channels : int
        Of every signal.
    seed : int
        Fixes the song.

    Returns
    -------
    references, estimates : np.ndarray (2, channels, samples), float32
    """
    rng = np.random.default_rng(seed)
    samples = round(seconds * rate)
    # Louder and softer, a few times a second.
    points = rng.uniform(0.05, 1.0, size=(2, max(2, round(4 * seconds))))
    grid = np.linspace(0, 1, points.shape[1])
    level = [np.interp(np.linspace(0, 1, samples), grid, p) for p in points]
    dry = rng.normal(size=(2, 1, samples)) * np.array(level)[:, None]
    wide = rng.normal(size=(2, channels, samples))
    references = lfilter([0.05], [1, -1.8, 0.82], dry + 0.3 * wide)
    rest = lfilter([0.05], [1, -0.9], rng.normal(size=references.shape))
    blurred = lfilter(rng.normal(size=20) / 10, [1], references)
    estimates = references + 0.2 * references[::-1] + 0.1 * blurred + 0.3 * rest
    return references.astype(np.float32), estimates.astype(np.float32)


def difference(ours, theirs):
    """Largest difference between scores, in dB.

    Arguments
    ---------
    ours, theirs : sequence of np.ndarray
        As many or more of theirs.

    Returns
    -------
    float
        inf if one of two scores is nan and the other is not.
    """
    worst = 0.0
    for a, b in zip(ours, theirs, strict=False):
        a, b = np.ravel(a), np.ravel(b)
        if not np.array_equal(np.isnan(a), np.isnan(b)):
            return np.inf
        worst = max(worst, np.abs(a - b)[~np.isnan(a)].max(initial=0.0))
    return worst


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
    parser.add_argument(
        "--seconds",
        type=float,
        default=180.0,
        help="length of the song (default: 180)",
    )
    parser.add_argument(
        "--pairs", type=int, default=1, help="pairs of runs (default: 1)"
    )
    options = parser.parse_args(arguments)
    museval = museval_metrics()
    from mir_eval.separation import bss_eval_images

    references, estimates = noise_song(options.seconds)
    # They want (sources, samples, channels).
    turned = [np.moveaxis(x, 1, 2) for x in (references, estimates)]
    yield f"song of {options.seconds:g} s, 2 stereo sources, {RATE} Hz"
    ways = {
        "museval, BSS-Eval 4": (
            lambda: bss_eval_v4(references, estimates, RATE)[:4],
            lambda: museval.bss_eval(*turned, window=RATE, hop=RATE)[:4],
        ),
        "mir_eval, BSS-Eval 3": (
            lambda: bss_eval_v3(references, estimates)[:4],
            lambda: bss_eval_images(*turned, compute_permutation=False)[:4],
        ),
    }
    with warnings.catch_warnings():
        # mir_eval announces that it will drop them.
        warnings.simplefilter("ignore", FutureWarning)
        for name, (ours, theirs) in ways.items():
            last = {}

            def keep(key, run, last=last):
                last[key] = run()

            pace = speedup(
                lambda run=ours, keep=keep: keep("ours", run),
                lambda run=theirs, keep=keep: keep("theirs", run),
                options.pairs,
            )
            apart = difference(last["ours"], last["theirs"])
            yield f"against {name}: {pace}; differs by {apart:.0e} dB"


if __name__ == "__main__":
    raise SystemExit(show(main))
