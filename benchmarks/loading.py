"""Reading training segments against reading whole songs.

`python -m benchmarks.loading` writes a song into a temporary folder and reads
segments of it in random order: with `speechbrain_ext.audio.read_audio`, which
reads the slice only, and by reading the file and cutting the segment out. It
prints how many times as fast the slice is, and whether the samples are equal.

Then it compares the memory that reading a slice takes with that of a published
system, which keeps all of its songs as samples and as complex spectra of the
mixture and of both sources.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from benchmarks.common import peak_bytes, segment_options, show, speedup
from speechbrain_ext import audio

SEGMENT_S = 5.0
# Name, suffix, sample rate, channels.
FILES = (
    ("16 kHz mono WAV, as prepared", ".wav", 16000, 1),
    ("44.1 kHz stereo WAV, resampled", ".wav", 44100, 2),
    ("16 kHz mono FLAC", ".flac", 16000, 1),
)


def read_whole(path, start, stop):
    """Read a file, resample it and cut out a segment.

    Arguments
    ---------
    path : Path
        The song.
    start, stop : float
        Seconds.

    Returns
    -------
    np.ndarray (samples,) float32
    """
    wav, rate = soundfile.read(path, dtype="float32", always_2d=True)
    wav = wav.mean(axis=1, dtype=np.float32) if wav.shape[1] > 1 else wav[:, 0]
    if rate != audio.SAMPLE_RATE:
        wav = audio.resample(wav, rate, audio.SAMPLE_RATE)
    return wav[
        round(start * audio.SAMPLE_RATE) : round(stop * audio.SAMPLE_RATE)
    ]


def kept_bytes(seconds, rate=16000, n_fft=1024, hop_length=256):
    """Memory of a song that is kept with three spectra.

    Arguments
    ---------
    seconds : float
    rate : int
        Samples per second of the mixture, of one channel, and its two sources.
    n_fft, hop_length : int
        Samples.

    Returns
    -------
    int
        Bytes of samples of 32 bits and complex numbers of 64.

    Example
    -------
    >>> kept_bytes(16, rate=1000, n_fft=1000, hop_length=500)
    588792
    """
    samples = round(seconds * rate)
    bins, frames = n_fft // 2 + 1, 1 + samples // hop_length
    return 3 * (samples * 4 + bins * frames * 8)


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
        "--items", type=int, default=8, help="segments per run (default: 8)"
    )
    options = segment_options(parser, 240.0, arguments, 2 * SEGMENT_S)
    rng = np.random.default_rng(0)
    last = int(options.seconds - SEGMENT_S)
    starts = rng.integers(0, last + 1, options.items).astype(float)
    yield f"segments of {SEGMENT_S:g} s from a song of {options.seconds:g} s"
    with TemporaryDirectory() as folder:
        for name, suffix, rate, channels in FILES:
            path = Path(folder, f"song{suffix}")
            samples = int(options.seconds * rate)
            soundfile.write(
                path, rng.uniform(-0.5, 0.5, (samples, channels)), rate
            )
            yield f"{name}: {_compare(path, starts, options.pairs)}"
        yield _memory(path, options.seconds, starts[0])


def _memory(path, seconds, start):
    """Memory of slices of three files against that of a song that is kept."""
    kept = kept_bytes(seconds)
    # Mixture and sources.
    peak = peak_bytes(
        lambda: [
            audio.read_audio(path, start, start + SEGMENT_S) for _ in range(3)
        ]
    )
    hour = kept / seconds * 3600 / 2**30
    return (
        f"memory: a song kept with its spectra takes {kept / peak:.0f} times "
        f"that of its segments ({kept / 2**20:.0f} MiB, {peak / 2**20:.1f} "
        f"MiB); an hour of songs, {hour:.1f} GiB"
    )


def _compare(path, starts, pairs):
    def ours():
        return [audio.read_audio(path, s, s + SEGMENT_S) for s in starts]

    def theirs():
        return [read_whole(path, s, s + SEGMENT_S) for s in starts]

    difference = max(
        float(np.abs(a - b).max())
        for a, b in zip(ours(), theirs(), strict=True)
    )
    pace = speedup(ours, theirs, pairs)
    return f"{pace}; largest difference {difference:.1g}"


if __name__ == "__main__":
    raise SystemExit(show(main))
