"""Scores of source separation over many songs.

Three protocols, which must not be compared with each other:

- **v3**: BSS-Eval 3 of whole clips, as papers on MIR-1K do. NSDR is the SDR of
  the estimate less that of the mixture taken as the estimate. The corpus gets
  the means weighted by the length of the clips (Hsu and Jang, IEEE TASLP 18(2),
  2010), known as GNSDR, GSIR and GSAR. One channel is scored as `sources`, so
  that a filter of 512 taps is forgiven; more channels as `images`, with ISR.
- **v4**: BSS-Eval 4 as museval computes it, as papers on MUSDB18 do. A song's
  score is the median over its frames of one second, the corpus gets the median
  over songs; SDRi is a song's SDR less that of its mixture.
- **si**: scale-invariant SDR and plain signal-to-noise ratio (the SDR of the
  Music Demixing challenge) of whole songs, and their mean over songs.

SI-SDR and SI-SDRi, its gain over the mixture, are given by all of them. The
mixture is the sum of the references. What is silent, exact or not finite is
treated as `metrics.bss_eval` says; songs without a score (nan) are counted and
left out of the averages.
"""

from __future__ import annotations

import os
from math import isfinite
from typing import NamedTuple

import numpy as np

from speechbrain_ext.audio import audio_info
from speechbrain_ext.errors import AudioError, ConfigError, NoteError
from speechbrain_ext.metrics.bss_eval import (
    FILTER_LENGTH,
    bss_eval_pairs,
    frames_of,
    median_over_frames,
    si_sdr,
    snr,
)
from speechbrain_ext.metrics.song_folders import (
    audio_files,
    checked_folders,
    collect_songs,
    score_songs,
    unmatched,
)
from speechbrain_ext.metrics.stats import (
    SongStats,
    averages,
    bounds,
    natural,
    shown_interval,
)
from speechbrain_ext.separation import (
    MIR1K_CHANNELS,
    MIR1K_CLIPS,
    SOURCES,
)

STEMS = ("drums", "bass", "other")

# What else the files of a source are called.
ALIASES = {
    "vocals": ("vocals", "vocal", "voice"),
    "accompaniment": (
        "accompaniment",
        "accomp",
        "no_vocals",
        "instrumental",
        "music",
    ),
}

# Widest first column of a table.
_NAME_WIDTH = 14


class Protocol(NamedTuple):
    """What is computed and how it is averaged.

    Arguments
    ---------
    metrics : tuple of str
        Scores of a source.
    average : {"weighted", "median", "mean"}
        What stands for the corpus; intervals are those of this one.
    shown : tuple of str
        Scores shown for every song.
    """

    metrics: tuple[str, ...]
    average: str
    shown: tuple[str, ...]


PROTOCOLS = {
    "v3": Protocol(
        ("NSDR", "SDR", "SIR", "SAR", "ISR", "SI-SDR", "SI-SDRi"),
        "weighted",
        ("NSDR", "SIR", "SAR"),
    ),
    "v4": Protocol(
        ("SDR", "SDRi", "SIR", "SAR", "ISR", "SI-SDR", "SI-SDRi"),
        "median",
        ("SDR", "SIR", "SAR"),
    ),
    "si": Protocol(
        ("SI-SDR", "SI-SDRi", "SNR", "SNRi"), "mean", ("SI-SDR", "SI-SDRi")
    ),
}


def evaluate_separation(
    references,
    estimates,
    sample_rate: int,
    protocol: str = "v3",
    targets=None,
    filter_length: int = FILTER_LENGTH,
) -> dict[str, np.ndarray]:
    """Score the separation of one song.

    Arguments
    ---------
    references : np.ndarray (sources, channels, samples)
        Or (sources, samples). All sources: their sum is the mixture.
    estimates : np.ndarray (targets, channels, samples)
        Or (targets, samples).
    sample_rate : int
        Hertz.
    protocol : {"v3", "v4", "si"}
        Default: v3.
    targets : list of int, optional
        Which source each estimate is of. Default: all, in order.
    filter_length : int
        Taps of the distortion filters (v3, v4). Default: 512.

    Returns
    -------
    dict of str to np.ndarray (targets,)
        For each of `PROTOCOLS[protocol].metrics`, dB; nan where undefined.

    Raises
    ------
    AudioError
        If the shapes do not fit or a value is not finite.
    ConfigError
        If the protocol is unknown.

    Example
    -------
    The mixture as the estimate of both sources gains nothing:

    >>> noise = np.random.default_rng(0).normal(size=(2, 8000))
    >>> mixture = np.stack([noise.sum(0)] * 2)
    >>> scores = evaluate_separation(noise, mixture, 8000)
    >>> np.round(scores["NSDR"], 6) + 0.0
    array([0., 0.])
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(
            f"protocol is {protocol!r}: use one of {', '.join(PROTOCOLS)}"
        )
    references = np.asarray(references)
    estimates = np.asarray(estimates)
    targets = list(range(len(references)) if targets is None else targets)
    if len(targets) != len(estimates):
        raise AudioError(
            f"{len(estimates)} estimates for {len(targets)} sources: give one "
            "for each, or say which sources they are of"
        )
    mixture = references.sum(axis=0, dtype=np.float64)
    # No copy of long songs in double precision.
    mixture = mixture.astype(np.result_type(references, np.float32))
    wanted = references[targets]
    mixtures = np.broadcast_to(mixture, wanted.shape)
    scores = {"SI-SDR": si_sdr(wanted, estimates)}
    scores["SI-SDRi"] = _less(scores["SI-SDR"], si_sdr(wanted, mixtures))
    if protocol == "si":
        scores["SNR"] = snr(wanted, estimates)
        scores["SNRi"] = _less(scores["SNR"], snr(wanted, mixtures))
        return scores
    framewise = protocol == "v4"
    samples, count = references.shape[-1], len(targets)
    # The mixture is one more estimate, of every source.
    found = median_over_frames(
        bss_eval_pairs(
            references,
            np.concatenate([estimates, mixture[None]]),
            [(source, k) for k, source in enumerate(targets)]
            + [(source, count) for source in targets],
            images=framewise
            or (references.ndim == 3 and references.shape[1] > 1),
            frames=frames_of(samples, sample_rate) if framewise else None,
            filter_length=filter_length,
        )
    )
    for name, row in zip(("SDR", "ISR", "SIR", "SAR"), found, strict=True):
        scores[name] = row[:count]
    gain = "SDRi" if framewise else "NSDR"
    scores[gain] = _less(scores["SDR"], found[0, count:])
    return scores


class SeparationScore(NamedTuple):
    """Scores of one song.

    Arguments
    ---------
    song_id : str
    group : str or None
    seconds : float
        Length.
    scores : dict of str to tuple of float
        Metric to scores in the order of the targets.
    """

    song_id: str
    group: str | None
    seconds: float
    scores: dict[str, tuple[float, ...]]


class SeparationStats(SongStats):
    """Separation scores of many songs, their averages and 95 % intervals.

    Arguments
    ---------
    protocol : {"v3", "v4", "si"}
        See this module. Default: v3.
    sources : tuple of str
        Names of all sources, whose sum is the mixture. Default: vocals,
        accompaniment.
    targets : tuple of str, optional
        Names of the sources that were estimated. Default: all.
    filter_length : int
        Taps of the distortion filters (v3, v4). Default: 512.
    resamples, seed : int
        See `SongStats`.

    Raises
    ------
    ConfigError
        If the protocol is unknown, or the names are not distinct or not among
        the sources.

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> stats = SeparationStats("si")
    >>> for song, level in (("a", 0.1), ("b", 0.01)):
    ...     sources = rng.normal(size=(2, 8000))
    ...     stats.append(song, sources, sources + level * sources[::-1], 8000)
    >>> summary = stats.summarize()
    >>> round(summary["vocals_SNR_mean"]), round(summary["vocals_SNR_median"])
    (30, 30)
    """

    average = "averages"

    def __init__(
        self,
        protocol: str = "v3",
        sources: tuple[str, ...] = SOURCES,
        targets: tuple[str, ...] | None = None,
        filter_length: int = FILTER_LENGTH,
        resamples: int = 2000,
        seed: int = 0,
    ):
        super().__init__(resamples, seed)
        if protocol not in PROTOCOLS:
            raise ConfigError(
                f"protocol is {protocol!r}: use one of {', '.join(PROTOCOLS)}"
            )
        sources = _checked_names(sources)
        targets = sources if targets is None else _checked_names(targets)
        if not set(targets) <= set(sources):
            raise ConfigError(
                f"targets {', '.join(targets)} are not all among the sources "
                f"{', '.join(sources)}"
            )
        self.tolerances = {
            "protocol": protocol,
            "sources": sources,
            "targets": targets,
            "filter_length": filter_length,
        }
        self.metrics = PROTOCOLS[protocol].metrics
        self.fields = targets

    def append(
        self,
        song_id: str,
        references,
        estimates,
        sample_rate: int,
        group: str | None = None,
    ) -> None:
        """Score one whole song.

        Arguments
        ---------
        song_id : str
            Must be new.
        references : np.ndarray (sources, channels, samples)
            Or (sources, samples); in the order of `sources`.
        estimates : np.ndarray (targets, channels, samples)
            Or (targets, samples); in the order of `targets`.
        sample_rate : int
            Hertz.
        group : str, optional
            A name to compare songs by (singer, corpus).

        Raises
        ------
        NoteError
            If the song was scored already.
        AudioError
            If the arrays do not fit or are not finite.
        """
        settings = self.tolerances
        if len(references) != len(settings["sources"]):
            raise AudioError(
                f"{len(references)} references for the sources "
                f"{', '.join(settings['sources'])}: give one for each"
            )
        scores = evaluate_separation(
            references,
            estimates,
            sample_rate,
            settings["protocol"],
            [settings["sources"].index(name) for name in settings["targets"]],
            settings["filter_length"],
        )
        self._add(
            SeparationScore(
                str(song_id),
                None if group is None else str(group),
                np.shape(references)[-1] / sample_rate,
                {m: tuple(map(float, scores[m])) for m in self.metrics},
            )
        )

    def _like(self) -> SeparationStats:
        return SeparationStats(
            **self.tolerances, resamples=self.resamples, seed=self.seed
        )

    def _averaged(self, kind, values, counts) -> np.ndarray:
        """Weighted mean, mean or median (draws, metrics, targets)."""
        seconds = np.array([song.seconds for song in self.songs])
        weights = counts * seconds if kind == "weighted" else counts
        return averages(values, weights, kind == "median")

    def interval(self, level: float = 0.95) -> np.ndarray:
        """Bootstrap interval of the protocol's average, over songs.

        Arguments
        ---------
        level : float
            Coverage. Default: 0.95.

        Returns
        -------
        np.ndarray (metrics, targets, 2)
            Lower and upper bound; nan where fewer than two songs have a score
            or one is infinite.
        """
        values = self.values()
        if len(values) < 2:
            return np.full((*values.shape[1:], 2), np.nan)
        kind = PROTOCOLS[self.tolerances["protocol"]].average
        drawn = self._averaged(kind, values, self._draws())
        return bounds(values, drawn, level)

    def summarize(self) -> dict[str, float]:
        """Averages over songs and their 95 % intervals.

        Returns
        -------
        dict of str to float
            `songs` (int), `seconds`, and for each target and metric:
            `<target>_<metric>_mean`, `_weighted` (by length), `_median`, `_low`
            and `_high` (interval of the protocol's average) and `_songs` (int,
            those with a score).

        Raises
        ------
        NoteError
            If no song was scored.
        """
        if not self._songs:
            raise NoteError("no song was scored: append songs first")
        values, interval = self.values(), self.interval()
        once = np.ones((1, len(self)))
        kinds = {
            kind: self._averaged(kind, values, once)[0]
            for kind in ("mean", "weighted", "median")
        }
        summary: dict[str, float] = {
            "songs": len(self),
            "seconds": sum(song.seconds for song in self.songs),
        }
        for t, target in enumerate(self.fields):
            for m, metric in enumerate(self.metrics):
                name = f"{target}_{metric}"
                for kind, found in kinds.items():
                    summary[f"{name}_{kind}"] = float(found[m, t])
                summary[f"{name}_low"] = float(interval[m, t, 0])
                summary[f"{name}_high"] = float(interval[m, t, 1])
                known = ~np.isnan(values[:, m, t])
                summary[f"{name}_songs"] = int(known.sum())
        return summary

    def protocol(self) -> str:
        """Name the protocol on one line.

        Returns
        -------
        str
        """
        taps = self.tolerances["filter_length"]
        return {
            "v3": f"BSS-Eval 3 of whole clips, {taps} taps; G: mean weighted "
            "by length",
            "v4": f"BSS-Eval 4, {taps} taps, frames of 1 s; median over "
            "frames, then songs",
            "si": "SI-SDR and SNR of whole songs; mean over songs",
        }[self.tolerances["protocol"]]

    def _block(self, title: str) -> list[str]:
        summary = self.summarize()
        kind = PROTOCOLS[self.tolerances["protocol"]].average
        width = max(_NAME_WIDTH, *(len(name) for name in self.fields)) + 1
        lines = [
            f"{title}, {summary['seconds'] / 60:.1f} min",
            f"{'dB':{width}}{'':8}{'G':>9}{'mean':>9}{'median':>9}"
            f"    95 % of {'G' if kind == 'weighted' else kind}",
        ]
        for target in self.fields:
            for metric in self.metrics:
                name = f"{target}_{metric}"
                if not summary[f"{name}_songs"]:
                    continue
                cells = "".join(
                    f"{summary[f'{name}_{k}']:9.2f}"
                    for k in ("weighted", "mean", "median")
                )
                low, high = summary[f"{name}_low"], summary[f"{name}_high"]
                lines.append(
                    f"{target:{width}}{metric:8}{cells}    "
                    f"{shown_interval(low, high)}"
                )
        return lines + self._gaps()

    def _gaps(self) -> list[str]:
        """Say which songs have no score."""
        metric = self.metrics.index(
            PROTOCOLS[self.tolerances["protocol"]].shown[0]
        )
        unknown = np.isnan(self.values()[:, metric])
        lines = []
        for target, column in zip(self.fields, unknown.T, strict=True):
            names = [
                song.song_id
                for song, gone in zip(self.songs, column, strict=True)
                if gone
            ]
            if names:
                some = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
                lines.append(
                    f"{target}: {len(names)} without a score, for silence: "
                    f"{some}"
                )
        return lines

    def _columns(self) -> list[str]:
        return ["seconds"] + [
            f"{t}_{m}" for t in self.fields for m in self.metrics
        ]

    def _row(self, song) -> list:
        scores = [
            f"{song.scores[m][t]:.4f}"
            for t in range(len(self.fields))
            for m in self.metrics
        ]
        return [f"{song.seconds:.3f}", *scores]


def _checked_names(names) -> tuple[str, ...]:
    """Names of sources, of which there is one or more, each once."""
    names = tuple(names)
    if not all(names) or not names or len(set(names)) < len(names):
        said = ", ".join(name or "''" for name in names) or "none"
        raise ConfigError(f"sources {said}: name each once")
    return names


def as_json(stats: SeparationStats) -> dict:
    """Averages over songs, for machines.

    Arguments
    ---------
    stats : SeparationStats
        With one song or more.

    Returns
    -------
    dict
        `{"protocol": p, "songs": n, "seconds": s, "<target>": {"<metric>":
        {"mean": x, "weighted": x, "median": x, "low": x, "high": x, "songs":
        n}, ...}, ...}`, dB; None for what is not finite.

    Raises
    ------
    NoteError
        If no song was scored.
    """
    summary = stats.summarize()

    def entry(name):
        keys = ("mean", "weighted", "median", "low", "high", "songs")
        found = {key: summary[f"{name}_{key}"] for key in keys}
        return {k: v if isfinite(v) else None for k, v in found.items()}

    return {
        "protocol": stats.tolerances["protocol"],
        "songs": summary["songs"],
        "seconds": summary["seconds"],
    } | {
        target: {m: entry(f"{target}_{m}") for m in stats.metrics}
        for target in stats.fields
    }


def evaluate_folder(
    reference,
    estimate,
    protocol: str = "v3",
    sources=None,
    mono: bool = False,
    n_jobs: int = 1,
    progress=None,
) -> tuple[SeparationStats, list[str], list[str]]:
    """Score a folder of separated songs.

    A song is a folder with a file per source (`<song>/vocals.wav`,
    `<song>/accompaniment.wav`) or files named `<song>_vocals.wav` and so on, in
    any format of `audio.AUDIO_SUFFIXES`; some other names are known, see
    `ALIASES`. Among the references it may also be a stereo file of MIR-1K, the
    accompaniment left and the voice right (in the folder or in its folder
    `Wavfile`), and an accompaniment that is missing is the sum of drums, bass
    and other, as in MUSDB18-HQ.

    Arguments
    ---------
    reference, estimate : str or Path
        Folders.
    protocol : {"v3", "v4", "si"}
        Default: v3.
    sources : tuple of str, optional
        Names of all sources. Default: vocals and accompaniment; or vocals,
        drums, bass and other if there are estimates of such stems. Sources of
        which there is no estimate at all are only part of the mixture.
    mono : bool
        Whether to average channels first. Default: False.
    n_jobs : int
        Songs scored at a time, as in joblib. Default: 1.
    progress : callable, optional
        Called with the number of songs scored and of all songs.

    Returns
    -------
    stats : SeparationStats
        Of the songs on both sides.
    only_in_reference, only_in_estimate : list of str
        Names of the songs left out.

    Raises
    ------
    AudioError
        If a folder is missing, a file is faulty, a song has a source twice or
        lacks one, its files differ in sample rate, channels or by more than 0.1
        s in length, or no song is on both sides.
    ConfigError
        If the protocol is unknown or the names of the sources are not distinct.
    """
    sides = checked_folders(reference, estimate)
    names = None if sources is None else _checked_names(sources)
    known = {alias: s for s, aliases in ALIASES.items() for alias in aliases}
    known |= {name.lower(): name for name in (*STEMS, *(names or ()))}
    found = [collect_songs(path, known) for path in sides]
    references, estimates = found
    if not references:
        references = _mir1k(sides[0])
    shared = sorted(references.keys() & estimates.keys(), key=natural)
    if not shared:
        raise AudioError(
            f"{sides[0]} and {sides[1]} have no song in common: "
            f"{len(references)} against {len(estimates)} songs: name files "
            "<song>/vocals.wav or <song>_vocals.wav on both sides"
        )
    estimated = {name for song in shared for name in estimates[song]}
    if names is None:
        stems = not estimated.isdisjoint(STEMS)
        names = ("vocals", *STEMS) if stems else SOURCES
    targets = tuple(name for name in names if name in estimated)
    if not targets:
        raise AudioError(
            f"{sides[1]}: has none of {', '.join(names)}: name the sources"
        )
    stats = SeparationStats(protocol, names, targets)
    work = []
    for song in shared:
        if "accompaniment" in names:
            _add_stems(references[song])
        files = [_choose(sides[0], song, references[song], names)]
        files += [_choose(sides[1], song, estimates[song], targets)]
        work.append((song, *files))
    score_songs(stats, work, mono, n_jobs, progress)
    return stats, *unmatched(references, estimates)


def _mir1k(folder):
    """Stereo files of MIR-1K: song to source to list of one channel."""
    inner = folder / MIR1K_CLIPS
    songs = {}
    for path in audio_files(inner if os.path.isdir(inner) else folder):
        channels = audio_info(path).channels
        if channels != 2:
            raise AudioError(
                f"{path}: has {channels} channels, so it is no clip of MIR-1K, "
                "and its name tells no source: name it <song>_vocals.wav"
            )
        if path.stem in songs:
            raise AudioError(
                f"{path}: song {path.stem} is there in another format too: "
                "remove one"
            )
        songs[path.stem] = {
            source: [path.with_name(f"{path.name}#{channel}")]
            for source, channel in MIR1K_CHANNELS.items()
        }
    return songs


def _add_stems(entry):
    """Let drums, bass and other be the accompaniment if there is none."""
    if "accompaniment" not in entry and all(stem in entry for stem in STEMS):
        entry["accompaniment"] = [entry[stem][0] for stem in STEMS]


def _choose(folder, song, entry, names):
    """Files of the sources asked for."""
    missing = [name for name in names if name not in entry]
    if missing:
        raise AudioError(
            f"{folder}: song {song} lacks {', '.join(missing)}: add the file, "
            "or remove the song"
        )
    return [entry[name] for name in names]


def _less(scores, baseline):
    """Difference of two scores, nan for that of equal infinities."""
    with np.errstate(invalid="ignore"):
        return scores - baseline
