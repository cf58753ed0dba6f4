"""MiniSinging on disk, in the folder layouts of real corpora.

Every writer takes a seed, renders in parallel, gives the same files for any
number of jobs, and puts the folder into place only when it is complete. The
file `minisinging.json` in it is the done-marker: it holds all options, and a
writer that finds its own options there has nothing to do.
"""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import numpy as np

from data_prep.medleyvox import TASKS, Segment, write_segment
from data_prep.minisinging.choir import render_choir
from data_prep.minisinging.clip import F0_HOP_S, render_clip, render_song
from data_prep.minisinging.face import draw_face, render_mouth
from data_prep.minisinging.room import place
from data_prep.minisinging.singer import draw_singer
from data_prep.minisinging.training import separate_badly
from data_prep.minisinging.voice_sets import (
    PATHS,
    recordings,
    write_recording,
    write_singers,
)
from data_prep.voice_corpus import unknown_sets
from speechbrain_ext.audio import write_audio, write_tracks
from speechbrain_ext.errors import ConfigError, OutputError
from speechbrain_ext.f0 import (
    MIR1K_STEP_S,
    MIR1K_SUFFIX,
    F0Contour,
    write_f0,
)
from speechbrain_ext.files import atomic_folder
from speechbrain_ext.formats import write_mir_st500, write_notes
from speechbrain_ext.lyrics.timed import (
    TimedLyrics,
    TimedWord,
    write_phones,
    write_timed,
)
from speechbrain_ext.notes import midi_to_hz

MARKER = "minisinging.json"

# Raise it when the same seed gives other sounds than before.
VERSION = 4

_SPLITS = {"train": 0, "valid": 1, "test": 2}
_SINGER, _LENGTH, _SEPARATION = 15485863, 32452843, 49979687
_MANNER, _PLACE, _FACE = 67867967, 86028121, 104395301
_VOICES = 198491317

# Options that a layout did not have at first, with the value that stands for
# what was written then.
_LATER = {
    "n20emv2": {"video": False, "f0": False},
    "musdb18": {"lyrics": False, "phones": False},
}

# Parts of a song in MUSDB18's terms; all that is not named is "other".
_MUSDB18_STEMS = {
    "voice": "vocals",
    "backing": "vocals",
    "drums": "drums",
    "bass": "bass",
}


# ------------------------------------------------------------------ writers


def as_mir_st500(
    folder,
    n_train=20,
    n_test=5,
    song_s=(30.0, 60.0),
    seed=0,
    accompaniment_db=(0.0, 12.0),
    separated=0.5,
    sample_rate=16000,
    n_jobs=1,
    progress=True,
) -> Path:
    """Write songs with a band in the layout of MIR-ST500.

    ::

        wav16kHz/train/<1, 2, ...>/vocals.wav  mixture.wav  stems/<name>.wav
        wav16kHz/test/<401, 402, ...>/...
        Annotations.json     {song: [[onset, offset, pitch], ...]}

    The mixture is the sum of the voice and the stems, apart from rounding to
    16 bits.

    Arguments
    ---------
    folder : str or Path
        Where to write: absent, empty, or written before with the same
        options. Missing folders above it are made.
    n_train, n_test : int, optional
        Number of songs, at most 100 for testing; training songs after 400 are
        numbered from 501. Default: 20 and 5. Every song has its own
        singer.
    song_s : float or (float, float), optional
        Length of the songs in seconds, more than 20; default: 30 to 60.
    seed : int, optional
        Default: 0.
    accompaniment_db : float or (float, float), optional
        Level of the voice above the band; default: 0 to 12 dB.
    separated : float, optional
        Share of the songs whose `vocals.wav` is what an imperfect separation
        of the mixture gives, as in the real corpus; the others have the true
        voice. Default: 0.5.
    sample_rate : int, optional
        Default: 16000.
    n_jobs : int, optional
        Songs rendered at a time, as in joblib; default: 1.
    progress : bool, optional
        Whether to show a progress bar on a terminal; default: True.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If a number is out of range.
    OutputError
        If the folder holds something else or cannot be written.
    """
    _check_count("n_test", n_test, 100)
    options = _options(
        "mir_st500",
        20,
        n_train=n_train,
        n_test=n_test,
        song_s=song_s,
        seed=seed,
        accompaniment_db=accompaniment_db,
        separated=separated,
        sample_rate=sample_rate,
    )
    songs = [
        # In the real corpus 1 to 400 are training songs, 401 to 500 test songs.
        {
            "split": split,
            "song": str(first + k + (100 if first + k > last else 0)),
            "number": k,
        }
        for split, n, first, last in (
            ("train", n_train, 1, 400),
            ("test", n_test, 401, 500),
        )
        for k in range(n)
    ]

    def finish(target, results):
        notes = {
            song["song"]: n for song, n in zip(songs, results, strict=True)
        }
        write_mir_st500(notes, target / "Annotations.json")

    return _write(
        folder, options, _mir_st500_song, songs, finish, n_jobs, progress
    )


def as_minisinging(
    folder,
    n_train=20,
    n_valid=2,
    n_test=5,
    song_s=20.0,
    seed=0,
    accompaniment_db=(-3.0, 12.0),
    flamenco=0.1,
    sound_fonts=(),
    sample_rate=16000,
    n_jobs=1,
    progress=True,
) -> Path:
    """Write songs with everything that is known about them.

    ::

        <split>/<song>/voice.wav  accompaniment.wav    add up to the mixture
        <split>/<song>/notes.csv    onset_s, offset_s, midi, lyric
        <split>/<song>/f0.csv       time_s, f0_hz: 10 ms, 0 = unvoiced
        <split>/<song>/words.csv  phones.csv    start_s, stop_s, name

    There is no background noise: it is for the user to add. Every song has
    its own singer.

    Arguments
    ---------
    folder : str or Path
        As in `as_mir_st500`.
    n_train, n_valid, n_test : int, optional
        Number of songs; default: 20, 2 and 5.
    song_s : float or (float, float), optional
        Length of the songs in seconds; default: 20.
    accompaniment_db : float or (float, float), optional
        Level of the voice above the band; default: -3 to 12 dB.
    flamenco : float, optional
        Share of songs in the manner of flamenco (`draw_score`). Default: 0.1.
    sound_fonts : sequence of str, optional
        General MIDI fonts that play the accompaniments of four songs of five
        (`sound_font.SoundFont`). Default: none, all are synthetic.
    seed, sample_rate, n_jobs, progress
        As in `as_mir_st500`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If a number is out of range, or as `sound_font.SoundFont`.
    OutputError
        If the folder holds something else or cannot be written.
    """
    counts = {"train": n_train, "valid": n_valid, "test": n_test}
    options = _options(
        "minisinging",
        2,
        **{f"n_{split}": n for split, n in counts.items()},
        song_s=song_s,
        seed=seed,
        accompaniment_db=accompaniment_db,
        flamenco=flamenco,
        sound_fonts=[str(font) for font in sound_fonts or ()],
        sample_rate=sample_rate,
    )
    songs = [
        {"split": split, "song": f"{split}{k + 1}", "number": k}
        for split, n in counts.items()
        for k in range(n)
    ]
    return _write(
        folder, options, _minisinging_song, songs, _nothing, n_jobs, progress
    )


def as_n20emv2(
    folder,
    n_train=12,
    n_valid=2,
    n_test=4,
    song_s=(30.0, 60.0),
    songs_per_singer=2,
    seed=0,
    video=False,
    f0=False,
    sample_rate=16000,
    n_jobs=1,
    progress=True,
) -> Path:
    """Write solo voices and backing tracks in the layout of N20EMv2.

    ::

        data/<singer>-<song>/vocals.wav  accomp.wav
        data/<singer>-<song>/video_50fps.npy   the mouth: uint8 (frames, 96, 96)
        data/<singer>-<song>/f0.csv            time_s, f0_hz: 10 ms
        annotations.json   {song: {"split": ..., "midi": [[on, off, pitch]]}}

    Singers are called `1.1.a`, `2.1.a`, ...; no singer is in two splits.

    Arguments
    ---------
    folder : str or Path
        As in `as_mir_st500`.
    n_train, n_valid, n_test : int, optional
        Number of songs; default: 12, 2 and 4.
    song_s : float or (float, float), optional
        Length of the songs in seconds, more than 20; default: 30 to 60.
    songs_per_singer : int, optional
        Default: 2.
    video : bool, optional
        Whether the singers are filmed (`face.render_mouth`). Default: False.
    f0 : bool, optional
        Whether the pitch is written, which the real corpus does not have.
        Default: False.
    seed, sample_rate, n_jobs, progress
        As in `as_mir_st500`. The sounds do not depend on `video` and `f0`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If a number is out of range.
    OutputError
        If the folder holds something else or cannot be written.
    """
    counts = {"train": n_train, "valid": n_valid, "test": n_test}
    options = _options(
        "n20emv2",
        20,
        **{f"n_{split}": n for split, n in counts.items()},
        song_s=song_s,
        songs_per_singer=songs_per_singer,
        seed=seed,
        video=video,
        f0=f0,
        sample_rate=sample_rate,
    )
    songs = []
    singer = 0
    for split, n in counts.items():
        for k in range(n):
            singer += k % songs_per_singer == 0
            songs.append(
                {
                    "split": split,
                    "song": f"{singer}.1.a-{1 + k % songs_per_singer}",
                    "number": k,
                    "singer": k // songs_per_singer,
                }
            )

    def finish(target, results):
        annotations = {
            song["song"]: {
                "split": song["split"],
                "midi": [[n.onset, n.offset, int(n.midi)] for n in notes],
            }
            for song, notes in zip(songs, results, strict=True)
        }
        _write_text(target / "annotations.json", json.dumps(annotations))

    return _write(
        folder, options, _n20emv2_song, songs, finish, n_jobs, progress
    )


def as_dsing(
    folder,
    n_train=20,
    n_valid=2,
    n_test=4,
    song_s=20.0,
    seed=0,
    sample_rate=16000,
    n_jobs=1,
    progress=True,
) -> Path:
    """Write lines of lyrics, sung without a band, in the layout of DSing.

    ::

        {train30,dev,test}/audio/<line>.wav
        {train30,dev,test}/text          <line> WORD WORD ...
        {train30,dev,test}/spk2gender    <singer> f or m

    Lines are called `<singer>-1_1-<song>_1-GB-<F or M>-<number>`. Every song
    has its own singer; lines last from 2 s on, most up to 6 s. No song is on
    one vowel or syllable alone, whose words could not be told apart.

    Arguments
    ---------
    folder : str or Path
        As in `as_mir_st500`.
    n_train, n_valid, n_test : int, optional
        Number of songs, before they are cut; default: 20, 2 and 4.
    song_s : float or (float, float), optional
        Length of the songs in seconds; default: 20.
    seed, sample_rate, n_jobs, progress
        As in `as_mir_st500`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If a number is out of range.
    OutputError
        If the folder holds something else or cannot be written.
    """
    counts = {"train": n_train, "valid": n_valid, "test": n_test}
    options = _options(
        "dsing",
        2,
        **{f"n_{split}": n for split, n in counts.items()},
        song_s=song_s,
        seed=seed,
        sample_rate=sample_rate,
    )
    folders = {"train": "train30", "valid": "dev", "test": "test"}
    songs = []
    for split, n in counts.items():
        for k in range(n):
            number, gender = len(songs) + 1, "fm"[len(songs) % 2]
            singer = f"{gender.upper()}{number}"
            songs.append(
                {
                    "split": split,
                    "song": f"{singer}-1_1-{number}_1-GB-{gender.upper()}",
                    "number": k,
                    "folder": folders[split],
                    "voice_type": {"f": "soprano", "m": "tenor"}[gender],
                }
            )

    def finish(target, results):
        for part in folders.values():
            texts, singers = [], []
            for song, lines in zip(songs, results, strict=True):
                if song["folder"] == part:
                    texts += [
                        f"{name} {text}\n" for name, text in lines.items()
                    ]
                    singer = song["song"].split("-")[0]
                    singers.append(f"{singer} {singer[0].lower()}\n")
            if texts:
                _write_text(target / part / "text", "".join(texts))
                _write_text(target / part / "spk2gender", "".join(singers))

    return _write(folder, options, _dsing_song, songs, finish, n_jobs, progress)


def as_n20em(
    folder,
    n_train=20,
    n_valid=2,
    n_test=4,
    song_s=20.0,
    seed=0,
    sample_rate=16000,
    n_jobs=1,
    progress=True,
) -> Path:
    """Write lines of lyrics with accompaniments in the layout of N20EM.

    ::

        data/<singer>-<number>/downsample_audio.wav  downsample_accomp.wav
        metadata_split_by_song.json   {line: {"split": ..., "lyrics": ...}}

    Songs, singers and lines as in `as_dsing`; there are no videos.

    Arguments
    ---------
    folder, n_train, n_valid, n_test, song_s
        As in `as_dsing`.
    seed, sample_rate, n_jobs, progress
        As in `as_mir_st500`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If a number is out of range.
    OutputError
        If the folder holds something else or cannot be written.
    """
    counts = {"train": n_train, "valid": n_valid, "test": n_test}
    options = _options(
        "n20em",
        2,
        **{f"n_{split}": n for split, n in counts.items()},
        song_s=song_s,
        seed=seed,
        sample_rate=sample_rate,
    )
    songs = [
        {"split": split, "song": f"{split}{k + 1}", "number": k}
        for split, n in counts.items()
        for k in range(n)
    ]

    def finish(target, results):
        lines = {
            name: facts for song in results for name, facts in song.items()
        }
        _write_text(
            target / "metadata_split_by_song.json", json.dumps(lines, indent=1)
        )

    return _write(folder, options, _n20em_song, songs, finish, n_jobs, progress)


def as_tonas(
    folder,
    n_songs=6,
    song_s=(20.0, 40.0),
    seed=0,
    sample_rate=44100,
    n_jobs=1,
    progress=True,
) -> Path:
    """Write ornamented solo singing in the layout of TONAS.

    ::

        {Deblas,Martinetes1,Martinetes2}/<song>.wav
        {Deblas,...}/<song>.notes.Corrected   tuning in cents, then rows
                                              onset, duration, pitch, energy
        {Deblas,...}/<song>.f0.Corrected      time energy f0 f0, every 10 ms
        TONAS-Metadata.txt                    file, style, title, singer

    The tuning is 0 and the pitches are whole semitones, so that readers which
    add the tuning to the pitch agree with those that do not.

    Arguments
    ---------
    folder : str or Path
        As in `as_mir_st500`.
    n_songs : int, optional
        Default: 6.
    song_s : float or (float, float), optional
        Length in seconds; default: 20 to 40.
    seed, n_jobs, progress
        As in `as_mir_st500`.
    sample_rate : int, optional
        Default: 44100, as in the real corpus.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If a number is out of range.
    OutputError
        If the folder holds something else or cannot be written.
    """
    options = _options(
        "tonas",
        2,
        n_songs=n_songs,
        song_s=song_s,
        seed=seed,
        sample_rate=sample_rate,
    )
    styles = (
        ("Deblas", "D", "Debla"),
        ("Martinetes1", "M1", "Martinete 1"),
        ("Martinetes2", "M2", "Martinete 2"),
    )
    songs = []
    for k in range(n_songs):
        place, mark, style = styles[k % 3]
        songs.append(
            {
                "split": "test",
                "song": f"{k + 1:02d}-{mark}_Singer{k + 1}",
                "number": k,
                "place": place,
                "style": style,
            }
        )

    def finish(target, results):
        lines = [
            f"{song['song']}.wav\t{song['style']}\tSong {song['number'] + 1}"
            f"\tSinger {song['number'] + 1}\n"
            for song in songs
        ]
        _write_text(target / "TONAS-Metadata.txt", "".join(lines))

    return _write(folder, options, _tonas_song, songs, finish, n_jobs, progress)


def as_ismir2014(
    folder,
    n_child=2,
    n_male=2,
    n_female=2,
    song_s=(15.0, 40.0),
    seed=0,
    sample_rate=44100,
    n_jobs=1,
    progress=True,
) -> Path:
    """Write solo clips in the layout of the ISMIR2014 evaluation corpus.

    ::

        <clip>.wav
        <clip>.GroundTruth.txt     rows: onset offset pitch

    Clips are called `child1`, `amale1`, `afemale1` and so on; columns are
    parted by blanks: seconds, seconds, MIDI number.

    Arguments
    ---------
    folder : str or Path
        As in `as_mir_st500`.
    n_child, n_male, n_female : int, optional
        Number of clips; default: 2 each.
    song_s : float or (float, float), optional
        Length in seconds; default: 15 to 40.
    seed, n_jobs, progress
        As in `as_mir_st500`.
    sample_rate : int, optional
        Default: 44100, as in the real corpus.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If a number is out of range.
    OutputError
        If the folder holds something else or cannot be written.
    """
    options = _options(
        "ismir2014",
        2,
        n_child=n_child,
        n_male=n_male,
        n_female=n_female,
        song_s=song_s,
        seed=seed,
        sample_rate=sample_rate,
    )
    groups = (
        (n_child, "child", ("child",)),
        (n_male, "amale", ("tenor", "baritone", "bass")),
        (n_female, "afemale", ("alto", "soprano")),
    )
    numbers = count()
    songs = [
        {
            "split": "test",
            "song": f"{prefix}{k + 1}",
            "number": next(numbers),
            "voice_type": voices[k % len(voices)],
        }
        for n, prefix, voices in groups
        for k in range(n)
    ]
    return _write(
        folder, options, _ismir2014_song, songs, _nothing, n_jobs, progress
    )


def as_mir1k(
    folder,
    n_train=4,
    n_test=4,
    song_s=(20.0, 40.0),
    songs_per_singer=2,
    seed=0,
    accompaniment_db=(-5.0, 5.0),
    n_jobs=1,
    progress=True,
) -> Path:
    """Write karaoke of amateurs in the layout of MIR-1K.

    ::

        UndividedWavfile/<singer>_<song>.wav       stereo: accompaniment left,
        Wavfile/<singer>_<song>_<clip>.wav         voice right; 16 kHz
        PitchLabel/<singer>_<song>_<clip>.pv       MIDI number per 20 ms

    Songs are cut into clips of about 8 s, at rests where there are any nearby.
    The first label of a clip is centred at 20 ms, 0 means unvoiced. Training
    songs are sung by `abjones` and `amy` in turn, as the usual protocol wants
    it, test songs by `singer1`, `singer2` and so on. There is some noise in
    the voice's channel.

    Arguments
    ---------
    folder : str or Path
        As in `as_mir_st500`.
    n_train, n_test : int, optional
        Number of songs; default: 4 and 4.
    song_s : float or (float, float), optional
        Length of the songs in seconds, more than 4; default: 20 to 40.
    songs_per_singer : int, optional
        Of the test singers; default: 2.
    accompaniment_db : float or (float, float), optional
        Level of the voice above the band; default: -5 to 5 dB.
    seed, n_jobs, progress
        As in `as_mir_st500`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If a number is out of range.
    OutputError
        If the folder holds something else or cannot be written.
    """
    options = _options(
        "mir1k",
        4,
        n_train=n_train,
        n_test=n_test,
        song_s=song_s,
        songs_per_singer=songs_per_singer,
        seed=seed,
        accompaniment_db=accompaniment_db,
        sample_rate=16000,
    )
    singers = (("abjones", "tenor"), ("amy", "alto"))
    songs = [
        {
            "split": "train",
            "song": f"{singers[k % 2][0]}_{k // 2 + 1}",
            "number": k,
            "singer": k % 2,
            "voice_type": singers[k % 2][1],
        }
        for k in range(n_train)
    ]
    songs += [
        {
            "split": "test",
            "song": f"singer{k // songs_per_singer + 1}"
            f"_{k % songs_per_singer + 1}",
            "number": k,
            "singer": k // songs_per_singer,
        }
        for k in range(n_test)
    ]
    return _write(
        folder, options, _mir1k_song, songs, _nothing, n_jobs, progress
    )


def as_musdb18(
    folder,
    n_train=6,
    n_test=3,
    song_s=(20.0, 40.0),
    seed=0,
    accompaniment_db=(-3.0, 6.0),
    container="wav",
    lyrics=False,
    phones=False,
    n_jobs=1,
    progress=True,
) -> Path:
    """Write stereo stems in the layout of MUSDB18-HQ, or of MUSDB18.

    ::

        {train,test}/Mini Singer <k> - Song <k>/{mixture,drums,bass,other,
                                                 vocals}.wav
        {train,test}/Mini Singer <k> - Song <k>.stem.mp4
        lyrics/{train,test}/Mini Singer <k> - Song <k>.txt
        {train,test}/Mini Singer <k> - Song <k>/{phones,words}.csv
        {train,test}/Mini Singer <k> - Song <k>.{phones,words}.csv

    16 bits, 44.1 kHz; the mixture is the sum of its stems, exactly so in WAV
    files. Vocals are the singer in the middle and a second one, if there is
    one, beside; bass and drums are in the middle, the others spread out. The
    band may lack drums or a bass: then the stem is silent. Every song has its
    own singer; training singers have the odd numbers, test singers the even
    ones.

    Arguments
    ---------
    folder : str or Path
        As in `as_mir_st500`.
    n_train, n_test : int, optional
        Number of songs; default: 6 and 3.
    song_s : float or (float, float), optional
        Length of the songs in seconds, more than 2; default: 20 to 40.
    accompaniment_db : float or (float, float), optional
        Level of the voice above the band; default: -3 to 6 dB.
    container : str, optional
        wav (default), a folder of WAV files per song; or stem.mp4, one file
        per song that holds all tracks, as AAC.
    lyrics : bool, optional
        Whether to write lines with times to the second, in the format of the
        lyrics extension (`data_prep.musdb18_lyrics`); a line is of category b
        where a second singer sings along. Default: False.
    phones : bool, optional
        Whether the phones and words of the singer in the middle are written,
        with their times (`speechbrain_ext.lyrics.timed`), which the real corpus
        does not have. Default: False.
    seed, n_jobs, progress
        As in `as_mir_st500`. The sounds do not depend on `phones`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If a number is out of range or `container` unknown.
    OutputError
        If the folder holds something else or cannot be written.
    """
    if container not in ("wav", "stem.mp4"):
        raise ConfigError(
            f"container is {container!r}: use one of wav, stem.mp4"
        )
    if not isinstance(lyrics, bool):
        raise ConfigError(f"lyrics is {lyrics!r}: use true or false")
    options = _options(
        "musdb18",
        2,
        n_train=n_train,
        n_test=n_test,
        song_s=song_s,
        seed=seed,
        accompaniment_db=accompaniment_db,
        container=container,
        lyrics=lyrics,
        phones=phones,
        sample_rate=44100,
    )
    songs = [
        {
            "split": split,
            "song": f"Mini Singer {2 * k + first} - Song {2 * k + first}",
            "number": k,
        }
        for split, n, first in (("train", n_train, 1), ("test", n_test, 2))
        for k in range(n)
    ]
    return _write(
        folder, options, _musdb18_song, songs, _nothing, n_jobs, progress
    )


def as_medleyvox(
    folder,
    n_unison=4,
    n_duet=4,
    n_main_vs_rest=3,
    song_s=(3.0, 8.0),
    segments_per_song=2,
    voices=(3, 5),
    seed=0,
    sample_rate=24000,
    n_jobs=1,
    progress=True,
) -> Path:
    """Write people who sing together in the layout of MedleyVox.

    ::

        <task>/<Song>/seg_<k>/gt/<stem> - seg_<k>.wav     24 bits
        <task>/<Song>/seg_<k>/mix/<Song> - seg_<k>.wav    their exact sum
        config/<Song>.json     which voice is the main one, who sings

    Half of the unisons and main voices with others are double-tracked: fewer
    people than voices. A unison has 2 voices in most cases, else as many as a
    choir; a duet has 2.

    Arguments
    ---------
    folder : str or Path
        As in `as_mir_st500`.
    n_unison, n_duet, n_main_vs_rest : int, optional
        Number of excerpts; default: 4, 4 and 3.
    song_s : float or (float, float), optional
        Length of the excerpts in seconds, more than 1; default: 3 to 8.
    segments_per_song : int, optional
        Excerpts of one song are of one task and have their own singers.
        Default: 2.
    voices : int or (int, int), optional
        How many voices a choir has, 3 to 8; default: 3 to 5.
    seed, n_jobs, progress
        As in `as_mir_st500`.
    sample_rate : int, optional
        Default: 24000; the real corpus has 44100.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If a number is out of range.
    OutputError
        If the folder holds something else or cannot be written.
    """
    few, many = voices if np.ndim(voices) else (voices, voices)
    if not 3 <= few <= many <= 8:
        raise ConfigError(
            f"voices is {voices}: take 3 to 8, the smaller number first"
        )
    if segments_per_song < 1:
        raise ConfigError(
            f"segments_per_song is {segments_per_song}: take at least 1"
        )
    counts = dict(zip(TASKS, (n_unison, n_duet, n_main_vs_rest), strict=True))
    options = _options(
        "medleyvox",
        1,
        **{f"n_{task}": n for task, n in counts.items()},
        song_s=song_s,
        segments_per_song=segments_per_song,
        voices=(int(few), int(many)),
        seed=seed,
        sample_rate=sample_rate,
    )
    numbers, places = count(), count(1)
    songs = []
    for task, n in counts.items():
        for k in range(n):
            if k % segments_per_song == 0:
                place = next(places)
            songs.append(
                {
                    "split": "test",
                    "song": f"MiniChoir{place}_Song{place}",
                    "segment": f"seg_{k % segments_per_song + 1}",
                    "number": next(numbers),
                    "task": task,
                }
            )

    def finish(target, results):
        (target / "config").mkdir()
        parts = {}
        for song, facts in zip(songs, results, strict=True):
            parts.setdefault(song["song"], {})[song["segment"]] = facts
        for name, facts in parts.items():
            path = target / "config" / f"{name}.json"
            _write_text(path, json.dumps(facts, indent=1))

    return _write(
        folder, options, _medleyvox_song, songs, finish, n_jobs, progress
    )


def as_singing_corpora(
    folder,
    datasets=(
        "nus48e",
        "k_multisinger",
        "musdb18_voices",
        "librispeech",
    ),
    n_singers=4,
    songs_per_singer=2,
    song_s=(8.0, 12.0),
    seed=0,
    sample_rate=24000,
    n_jobs=1,
    progress=True,
) -> Path:
    """Write single voices in the layouts of corpora of single singers.

    ::

        <data set>/...    as each of `singing_corpora.VOICE_SETS` has it

    In k_multisinger all sing the same songs, in time with each other. There
    are long rests in kiritan and medleydb, and speech in librispeech (16 kHz).
    The last singer of musdb18_voices and librispeech, of four or more the last
    two or a quarter, is in another part of the corpus. The artists of
    musdb18_voices and medleydb have the same names.

    Arguments
    ---------
    folder : str or Path
        As in `as_mir_st500`.
    datasets : sequence of str, optional
        Which data sets, of `voice_sets.PATHS`. Default: nus48e, k_multisinger,
        musdb18_voices and librispeech.
    n_singers : int, optional
        In every data set; csd, jsut_song and kiritan have one. Default: 4:
        two speakers to train with, two for validation.
    songs_per_singer : int, optional
        Default: 2.
    song_s : float or (float, float), optional
        Length of the recordings in seconds, more than 3, at most 60; default:
        8 to 12.
    seed, n_jobs, progress
        As in `as_mir_st500`.
    sample_rate : int, optional
        Default: 24000.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If a number is out of range or a data set unknown.
    OutputError
        If the folder holds something else or cannot be written.
    """
    datasets = [datasets] if isinstance(datasets, str) else list(datasets)
    unknown_sets(datasets, PATHS)
    options = _options(
        "singing_corpora",
        3,
        datasets=[name for name in PATHS if name in datasets],
        n_singers=n_singers,
        songs_per_singer=songs_per_singer,
        song_s=song_s,
        seed=seed,
        sample_rate=sample_rate,
    )
    if np.max(song_s) > 60:
        raise ConfigError(f"song_s is {song_s}: take at most 60 s")
    songs = recordings(options["datasets"], n_singers, songs_per_singer)

    def finish(target, results):
        write_singers(target, songs)
        # Prepared alone, a data set is still known to be synthetic.
        for name in options["datasets"]:
            _write_text(target / name / MARKER, json.dumps({"part": name}))

    return _write(
        folder, options, write_recording, songs, finish, n_jobs, progress
    )


LAYOUTS = {
    "minisinging": as_minisinging,
    "mir_st500": as_mir_st500,
    "n20emv2": as_n20emv2,
    "tonas": as_tonas,
    "ismir2014": as_ismir2014,
    "mir1k": as_mir1k,
    "musdb18": as_musdb18,
    "medleyvox": as_medleyvox,
    "singing_corpora": as_singing_corpora,
    "dsing": as_dsing,
    "n20em": as_n20em,
}


# ---------------------------------------------------------------- one song


def _mir_st500_song(target, song, options):
    clip = _render(song, options, accompaniment_db=options["accompaniment_db"])
    place = target / "wav16kHz" / song["split"] / song["song"]
    (place / "stems").mkdir(parents=True)
    vocals = clip.voice
    rng = np.random.default_rng([*_song_seed(song, options), _SEPARATION])
    if rng.uniform() < options["separated"]:
        vocals = np.clip(separate_badly(clip, rng), -1, 1)
    rate = clip.sample_rate
    write_audio(place / "vocals.wav", vocals, rate)
    write_audio(place / "mixture.wav", clip.mix, rate)
    for name, stem in clip.stems.items():
        write_audio(place / "stems" / f"{name}.wav", stem, rate)
    return clip.notes


def _minisinging_song(target, song, options):
    rng = np.random.default_rng([*_song_seed(song, options), _MANNER])
    manner = "flamenco" if rng.uniform() < options["flamenco"] else "song"
    clip = _render(
        song,
        options,
        accompaniment_db=options["accompaniment_db"],
        noise_db=False,
        manner=manner,
        fonts=options["sound_fonts"],
    )
    place = target / song["split"] / song["song"]
    place.mkdir(parents=True)
    write_audio(place / "voice.wav", clip.voice, clip.sample_rate)
    write_audio(
        place / "accompaniment.wav", clip.accompaniment, clip.sample_rate
    )
    write_notes(clip.notes, place / "notes.csv")
    write_f0(_contour(clip), place / "f0.csv")
    for name in ("words", "phones"):
        lines = [
            f"{start:.4f},{stop:.4f},{text}\n"
            for start, stop, text in getattr(clip, name)
        ]
        _write_text(
            place / f"{name}.csv", "".join(["start_s,stop_s,name\n", *lines])
        )


def _n20emv2_song(target, song, options):
    clip = _render(song, options)
    place = target / "data" / song["song"]
    place.mkdir(parents=True)
    noise = clip.stems["noise"]
    write_audio(
        place / "vocals.wav",
        np.clip(clip.voice + noise, -1, 1),
        clip.sample_rate,
    )
    band = np.clip(clip.accompaniment - noise, -1, 1)
    write_audio(place / "accomp.wav", band, clip.sample_rate)
    if options["video"]:
        seed = [*_singer_seed(song, options), _FACE]
        face = draw_face(
            np.random.default_rng(seed), clip.singer.gender, clip.singer.style
        )
        np.save(place / "video_50fps.npy", render_mouth(clip, face=face))
    if options["f0"]:
        write_f0(_contour(clip), place / "f0.csv")
    return clip.notes


def _dsing_song(target, song, options):
    clip = _worded(
        song,
        options,
        band=False,
        noise_db=(20.0, 50.0),
        voice_type=song["voice_type"],
    )
    place = target / song["folder"] / "audio"
    place.mkdir(parents=True, exist_ok=True)
    found = {}
    for number, (first, last, text) in enumerate(_cut_lines(clip), start=1):
        name = f"{song['song']}-{number:03d}"
        found[name] = text.upper()
        write_audio(
            place / f"{name}.wav", clip.mix[first:last], clip.sample_rate
        )
    return found


def _n20em_song(target, song, options):
    clip = _worded(song, options)
    noise, found = clip.stems["noise"], {}
    voice = np.clip(clip.voice + noise, -1, 1)
    band = np.clip(clip.accompaniment - noise, -1, 1)
    for number, (first, last, text) in enumerate(_cut_lines(clip), start=1):
        name = f"{song['song']}-{number}"
        place = target / "data" / name
        place.mkdir(parents=True)
        rate = clip.sample_rate
        write_audio(place / "downsample_audio.wav", voice[first:last], rate)
        write_audio(place / "downsample_accomp.wav", band[first:last], rate)
        found[name] = {"split": song["split"], "lyrics": text}
    return found


def _tonas_song(target, song, options):
    clip = _render(
        song, options, band=False, noise_db=(20.0, 50.0), manner="flamenco"
    )
    place = target / song["place"]
    place.mkdir(parents=True, exist_ok=True)
    name = song["song"]
    write_audio(place / f"{name}.wav", clip.mix, clip.sample_rate)
    lines = ["0.000000"]
    for note in clip.notes:
        a, b = (int(t * clip.sample_rate) for t in (note.onset, note.offset))
        energy = float(np.sqrt(np.mean(clip.voice[a:b] ** 2)))
        lines.append(
            f"{note.onset:.6f}, {note.offset - note.onset:.6f}, "
            f"{note.midi:.6f}, {energy:.6f}"
        )
    _write_text(place / f"{name}.notes.Corrected", "\n".join(lines) + "\n")
    hz = np.where(clip.f0 > 0, midi_to_hz(clip.f0), 0.0)
    step = int(round(F0_HOP_S * clip.sample_rate))
    power = np.add.reduceat(clip.voice**2, np.arange(len(hz)) * step) / step
    table = np.stack(
        [(np.arange(len(hz)) + 0.5) * F0_HOP_S, np.sqrt(power), hz, hz], 1
    )
    with open(place / f"{name}.f0.Corrected", "w", encoding="utf-8") as file:
        np.savetxt(file, table, fmt="%.6f")
    return clip.notes


def _ismir2014_song(target, song, options):
    clip = _render(
        song,
        options,
        band=False,
        noise_db=(25.0, 60.0),
        voice_type=song["voice_type"],
    )
    write_audio(target / f"{song['song']}.wav", clip.mix, clip.sample_rate)
    rows = [f"{n.onset:.6f} {n.offset:.6f} {n.midi:.6f}\n" for n in clip.notes]
    _write_text(target / f"{song['song']}.GroundTruth.txt", "".join(rows))
    return clip.notes


def _mir1k_song(target, song, options):
    clip = _render(
        song,
        options,
        voice_type=song.get("voice_type"),
        style="amateur",
        accompaniment_db=options["accompaniment_db"],
        noise_db=(25.0, 50.0),
    )
    noise = clip.stems["noise"]
    sides = np.stack([clip.accompaniment - noise, clip.voice + noise], axis=1)
    sides /= max(1.0, float(np.abs(sides).max()))
    for name in ("UndividedWavfile", "Wavfile", "PitchLabel"):
        (target / name).mkdir(exist_ok=True)
    rate, name = clip.sample_rate, song["song"]
    write_audio(target / "UndividedWavfile" / f"{name}.wav", sides, rate)
    contour, step = _contour(clip), round(MIR1K_STEP_S * rate)
    starts = [0, *_rests(clip, 8.0, step), len(sides)]
    for k, (a, b) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
        part = f"{name}_{k + 1:02d}"
        write_audio(target / "Wavfile" / f"{part}.wav", sides[a:b], rate)
        # A label belongs to 40 ms of sound around it.
        count = (b - a - 2 * step) // step + 1
        pitch = contour.at(a / rate + MIR1K_STEP_S * np.arange(1, count + 1))
        lines = [f"{midi:.6g}\n" for midi in np.nan_to_num(pitch)]
        path = target / "PitchLabel" / f"{part}{MIR1K_SUFFIX}"
        _write_text(path, "".join(lines))
    return clip.notes


def _rests(clip, part_s, grid):
    """Samples at which to cut a clip into parts of about equal length.

    On a grid, at most 1 s from equal parts, as far from singing as can be.
    """
    frames = len(clip.f0)
    count = max(1, round(clip.duration / part_s))
    sung = np.flatnonzero(clip.f0 > 0)
    reach = round(1.0 / F0_HOP_S)
    cuts = []
    for k in range(1, count):
        middle = round(k * frames / count)
        near = np.arange(middle - reach, middle + reach + 1)
        away = np.full(len(near), frames)
        if len(sung):
            away = np.abs(near[:, None] - sung).min(axis=1)
        best = np.lexsort((np.abs(near - middle), -away))[0]
        sample = (near[best] + 0.5) * F0_HOP_S * clip.sample_rate
        cuts.append(round(sample / grid) * grid)
    return cuts


def _musdb18_song(target, song, options):
    clip = _render(
        song,
        options,
        accompaniment_db=options["accompaniment_db"],
        noise_db=False,
    )
    rate = clip.sample_rate
    rng = np.random.default_rng([*_song_seed(song, options), _PLACE])
    side = rng.choice([-1, 1])
    spread = {
        "chords": (side * rng.uniform(0.3, 0.8), rng.uniform(-24, -12)),
        "melody": (-side * rng.uniform(0.3, 0.8), rng.uniform(-24, -12)),
        "pad": (-side * rng.uniform(0.0, 0.3), rng.uniform(-12, -3)),
        "backing": (side * rng.uniform(0.2, 0.7), rng.uniform(-18, -9)),
        "drums": (0.0, rng.uniform(-30, -15)),
        "voice": (0.0, rng.uniform(-30, -15)),
    }
    names = ("drums", "bass", "other", "vocals")
    stems = {name: np.zeros((len(clip.mix), 2)) for name in names}
    # In a fixed order, whatever plays.
    parts = {**clip.stems, "voice": clip.voice}
    for part in sorted(parts):
        pan, wet_db = spread.get(part, (0.0, -np.inf))
        stem = _MUSDB18_STEMS.get(part, "other")
        stems[stem] += place(parts[part], rng, rate, pan, wet_db)
    sounds = [sum(stems.values()), *stems.values()]
    peak = max(float(np.abs(sound).max()) for sound in sounds)
    gain = 10 ** (rng.uniform(-6, -0.5) / 20) / max(peak, 1e-9)
    # Whole steps of 16 bits: these are written as they are, and add up.
    stems = {n: np.rint(s * (gain * 2**15)) / 2**15 for n, s in stems.items()}
    tracks = {"mixture": sum(stems.values()), **stems}
    folder = target / song["split"]
    folder.mkdir(exist_ok=True)
    if options["lyrics"]:
        path = target / "lyrics" / song["split"] / f"{song['song']}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_text(path, "".join(_lyric_lines(clip)))
    if options["container"] == "stem.mp4":
        path = folder / f"{song['song']}.stem.mp4"
        write_tracks(path, list(tracks.values()), rate)
        front = f"{folder / song['song']}."
    else:
        (folder / song["song"]).mkdir()
        for name, track in tracks.items():
            write_audio(folder / song["song"] / f"{name}.wav", track, rate)
        front = f"{folder / song['song']}/"
    if options["phones"]:
        phones = [(name, start, stop) for start, stop, name in clip.phones]
        words = [TimedWord(name, a, b) for a, b, name in clip.words]
        write_phones(phones, f"{front}phones.csv")
        write_timed(TimedLyrics(words), f"{front}words.csv")
    return clip.notes


def _lines(words):
    """Words by line: start, stop, words.

    Lines last 2 s or more, but for the last one, and end at a pause, or after
    ten words.
    """
    lines = []
    for start, stop, word in words:
        line = lines[-1] if lines else None
        if line is None or (
            line[1] - line[0] >= 2.0
            and (start - line[1] > 0.3 or len(line[2]) >= 10)
        ):
            lines.append([start, stop, [word]])
        else:
            line[1] = stop
            line[2].append(word)
    return lines


def _worded(song, options, **extra):
    """Render a song whose words can be told apart: not on one syllable."""
    for attempt in count():
        other = {**song, "singer": song["number"]}
        other["number"] += 10**6 * attempt
        clip = _render(other, options, **extra)
        if len({name for *_, name in clip.phones}) > 3:
            return clip


def _cut_lines(clip):
    """Lines of a clip: first and last + 1 sample, and text.

    Cuts are in the middle between two lines, at most a quarter of a second
    from either.
    """
    lines = _lines(clip.words)
    before = [0.0, *(stop for _, stop, _ in lines)]
    after = [*(start for start, *_ in lines[1:]), clip.duration]
    for (start, stop, words), low, high in zip(
        lines, before, after, strict=False
    ):
        first = max(start - 0.25, (low + start) / 2)
        last = min(stop + 0.25, (stop + high) / 2)
        yield (
            round(first * clip.sample_rate),
            round(last * clip.sample_rate),
            " ".join(words),
        )


def _lyric_lines(clip):
    """Lines of a clip in the format of MUSDB18's lyrics extension.

    Times are the nearest second, so that they are off by half a second at
    most, unless the last line (`_lines`) is shorter than that.
    """
    kind = "b" if "backing" in clip.stems else "a"
    rows, end = [], 0
    for start, stop, words in _lines(clip.words):
        first = max(end, int(start + 0.5))
        if first - end >= 2:
            rows.append((end, first, "d", "-"))
        end = max(first + 1, int(stop + 0.5))
        rows.append((first, end, kind, " ".join(words)))
    if clip.duration - end >= 2:
        rows.append((end, int(clip.duration), "d", "-"))
    for first, end, kind, text in rows:
        yield (
            f"{first // 60:02d}:{first % 60:02d} {end // 60:02d}:"
            f"{end % 60:02d} {kind} {text}\n"
        )


def _medleyvox_song(target, song, options):
    seed, task = _song_seed(song, options), song["task"]
    rng = np.random.default_rng([*seed, _VOICES])
    few, many = options["voices"]
    length = options["song_s"]
    if np.ndim(length):
        length = round(float(rng.uniform(*length)), 2)
    choir = int(rng.integers(few, many + 1))
    pair = task == "duet" or (task == "unison" and rng.uniform() < 0.6)
    n_voices = 2 if pair else choir
    n_singers = n_voices
    if task != "duet" and rng.uniform() < 0.5:
        n_singers = int(rng.integers(1, n_voices))
    sung = render_choir(
        seed, length, task, n_voices, n_singers, options["sample_rate"]
    )
    names = [f"{song['song']}_RAW_{k + 1:02d}_01" for k in range(n_voices)]
    segment = Segment(
        song["song"],
        song["segment"],
        task,
        n_singers,
        0.0,
        length,
        tuple(names),
        (0.0,) * n_voices,
        target,
    )
    place = target / task / song["song"] / song["segment"]
    write_segment(place, segment, sung.voices, sung.sample_rate, "pcm_24")
    return {
        "song_name": song["song"],
        "type": task,
        "num_of_singers": n_singers,
        "num_of_voices": n_voices,
        "start_sec": 0.0,
        "end_sec": length,
        "main_vocal": names[0],
        "other_vocals": names[1:],
        "gain_adjustment": dict.fromkeys(names, 0.0),
    }


def _song_seed(song, options):
    return [options["seed"], _SPLITS[song["split"]], song["number"]]


def _singer_seed(song, options):
    return [*_song_seed(song, options)[:2], song.get("singer", song["number"])]


def _contour(clip):
    """The voice's pitch, every 10 ms."""
    times = (np.arange(len(clip.f0)) + 0.5) * clip.f0_hop_s
    return F0Contour(times, clip.f0)


def _render(song, options, voice_type=None, style=None, **extra):
    """Render one song of a corpus with its singer."""
    seed = _song_seed(song, options)
    singer_seed = _singer_seed(song, options)
    name = "-".join(str(s) for s in singer_seed)
    singer = draw_singer(
        np.random.default_rng([*singer_seed, _SINGER]),
        name,
        style,
        voice_type,
    )
    length = options["song_s"]
    if np.ndim(length):
        rng = np.random.default_rng([*seed, _LENGTH])
        length = round(float(rng.uniform(*length)), 2)
    render = render_song if length > 20 else render_clip
    return render(
        seed,
        length,
        singer=singer,
        sample_rate=options["sample_rate"],
        **extra,
    )


# ------------------------------------------------------------------ helpers


def _options(layout, least_s, **options):
    """Options of a writer, checked; songs last longer than `least_s`."""
    for name, value in options.items():
        if name.startswith("n_"):
            _check_count(name, value)
        elif name in ("separated", "flamenco") and not 0 <= value <= 1:
            raise ConfigError(
                f"{name} is {value}: it is a share of the songs, 0 to 1"
            )
        elif name == "songs_per_singer" and value < 1:
            raise ConfigError(f"{name} is {value}: take at least 1")
        elif name in _LATER.get(layout, ()) and not isinstance(value, bool):
            raise ConfigError(f"{name} is {value!r}: use true or false")
    _check_length(options["song_s"], least_s)
    return {"layout": layout, **options}


def _check_count(name, number, most=10**6):
    if not 0 <= number <= most:
        raise ConfigError(f"{name} is {number}: take 0 to {most} songs")


def _check_length(song_s, least):
    low, high = song_s if np.ndim(song_s) else (song_s, song_s)
    if not least < low <= high:
        raise ConfigError(
            f"song_s is {song_s}: take more than {least} s, the shorter "
            "length first"
        )


def _nothing(target, results):
    pass


def _write_text(path, text):
    path.write_text(text, encoding="utf-8")


def _write(folder, options, render, songs, finish, n_jobs, progress):
    """Render all songs into a folder that appears when it is complete."""
    from joblib import Parallel, delayed
    from tqdm import tqdm

    folder = Path(folder)
    if not songs:
        raise ConfigError("no songs to write: ask for at least 1")
    if not (isinstance(options["seed"], int) and options["seed"] >= 0):
        raise ConfigError(
            f"seed is {options['seed']!r}: take a whole number from 0"
        )
    marker = json.loads(json.dumps({"version": VERSION, **options}))
    if _is_done(folder, marker):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder.parent}: cannot be made ({error.strerror}): choose "
            "another folder"
        ) from None
    with atomic_folder(folder) as target:
        jobs = Parallel(n_jobs=n_jobs, return_as="generator")(
            delayed(render)(target, song, options) for song in songs
        )
        bar = tqdm(
            jobs,
            total=len(songs),
            desc=f"MiniSinging as {options['layout']}",
            unit="song",
            disable=None if progress else True,
        )
        finish(target, list(bar))
        _write_text(target / MARKER, json.dumps(marker, indent=2) + "\n")
    return folder


def _is_done(folder, marker):
    """Whether the folder was written with the same options."""
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    found = _LATER.get(marker["layout"], {}) | found
    if found != marker:
        names = sorted(
            key
            for key in {*found, *marker}
            if found.get(key) != marker.get(key)
        )
        raise OutputError(
            f"{folder}: holds MiniSinging with another {names[0]} "
            f"({found.get(names[0])}, asked for {marker.get(names[0])}): "
            "choose another folder or remove it"
        )
    return True
