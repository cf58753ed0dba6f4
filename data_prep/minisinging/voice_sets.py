"""Synthetic single voices in the layouts of `data_prep.singing_corpora`."""

from __future__ import annotations

import zlib

import numpy as np

from data_prep.minisinging.choir import fit, render_speech
from data_prep.minisinging.clip import render_clip
from data_prep.minisinging.score import draw_score
from data_prep.minisinging.singer import draw_singer
from speechbrain_ext.audio import write_audio

# Paths: {s} singers from 1, {k} songs of a singer from 1, {n} recordings from
# 1; {sex} f or m, {gender} female or male, {group} Woman or Man.
PATHS = {
    "csd": "english/wav/en{n:03d}a.wav",
    "nus48e": "SNG{s}/sing/{k:02d}.wav",
    "tonas_voices": "Deblas/{n:02d}-D_Singer{s}.wav",
    "vocalset": "FULL/{gender}{s}/excerpts/straight/{sex}{s}_song{k}.wav",
    "jsut_song": "child_song/wav/{n:03d}.wav",
    "jvs_music": "jvs{s:03d}/song_{part}/wav/raw.wav",
    "kiritan": "wav/{n:02d}.wav",
    "vocadito_voices": "Audio/vocadito_{n}.wav",
    "musdb18_voices": "{part}/Mini Singer {s} - Song {k}/vocals.wav",
    "opensinger": "{group}Raw/{s}_Song{k}/{s}_Song{k}_0.wav",
    "medleydb": "V1/MiniSinger{s}_Song{k}/MiniSinger{s}_Song{k}_RAW/"
    "MiniSinger{s}_Song{k}_RAW_01_01.wav",
    "k_multisinger": "train/ba_{k:05d}_+0_a_s{s:02d}_{sex}_01.wav",
    "k_multitimbre": "train/SINGER_{s:02d}_10TO29_NORMAL_C{n:04d}.wav",
    "mir1k_voices": "Wavfile/singer{s}_{k}_01.wav",
    "librispeech": "{part}/{s}/1/{s}-1-{k:04d}.flac",
}
_ONE_SINGER = ("csd", "jsut_song", "kiritan")
_WITH_SILENCE = ("kiritan", "medleydb")
_SILENCE_S = 3.0

# Corpora in two parts; the last singers are in the second one.
_PARTS = {
    "librispeech": ("train-clean-100", "dev-clean"),
    "musdb18_voices": ("train", "test"),
}
_TYPES = {"f": ("soprano", "alto"), "m": ("tenor", "baritone")}
_SINGER, _TUNE, _LENGTH = 141650939, 160481183, 179424673


def recordings(datasets, n_singers, songs_per_singer) -> list[dict]:
    """List what is to be recorded.

    Arguments
    ---------
    datasets : sequence of str
        Keys of `PATHS`.
    n_singers : int
        In every data set but those that have one singer.
    songs_per_singer : int
        JVS-MuSiC never has more than two.

    Returns
    -------
    list of dict
        With `dataset`, `path`, `part` of the corpus, `sex`, and, from 1,
        `singer`, `song` and `number`.

    Example
    -------
    >>> [r["path"] for r in recordings(["nus48e"], 2, 1)]
    ['SNG1/sing/01.wav', 'SNG2/sing/01.wav']
    """
    found = []
    for dataset in datasets:
        number = 0
        people = 1 if dataset in _ONE_SINGER else n_singers
        late = 0 if people < 2 else 1 if people < 4 else max(2, people // 4)
        for s in range(1, people + 1):
            for k in range(1, songs_per_singer + 1):
                number += 1
                sex = "fm"[(s + 1) % 2]
                parts = _PARTS.get(dataset, ("", ""))
                part = parts[s > people - late]
                if dataset == "jvs_music":
                    if k > 2:
                        continue
                    part = ("common", "unique")[k - 1]
                path = PATHS[dataset].format(
                    s=s,
                    k=k,
                    n=number,
                    sex=sex,
                    gender={"f": "female", "m": "male"}[sex],
                    group={"f": "Woman", "m": "Man"}[sex],
                    part=part,
                )
                found.append(
                    {
                        "dataset": dataset,
                        "path": path,
                        "singer": s,
                        "song": k,
                        "number": number,
                        "sex": sex,
                        "part": part,
                    }
                )
    return found


def write_recording(target, song, options) -> None:
    """Render one recording and write it, with what belongs to it.

    Arguments
    ---------
    target : Path
        Folder of the data sets.
    song : dict
        From `recordings`.
    options : dict
        `seed`, `song_s` and `sample_rate`.
    """
    dataset, s, k = song["dataset"], song["singer"], song["song"]
    own = [options["seed"], zlib.crc32(dataset.encode())]
    types = _TYPES[song["sex"]]
    singer = draw_singer(
        np.random.default_rng([*own, s, _SINGER]),
        f"{dataset}-{s}",
        voice_type=types[s // 2 % 2],
    )
    length = options["song_s"]
    if np.ndim(length):
        # What several sing at once lasts equally long.
        who = 0 if dataset == "k_multisinger" else s
        rng = np.random.default_rng([*own, who, k, _LENGTH])
        length = round(float(rng.uniform(*length)), 2)
    seed, rate = [*own, s, k], options["sample_rate"]
    if dataset == "librispeech":
        rate = 16000
        clip = render_speech(seed, length, singer, rate)
    else:
        score = None
        if dataset == "k_multisinger":
            rng = np.random.default_rng([*own, k, _TUNE])
            score = fit(draw_score(rng, length, 55, 74), singer)
        clip = render_clip(
            seed,
            length,
            singer=singer,
            noise_db=False if dataset in _WITH_SILENCE else (40.0, 60.0),
            reverb=False,
            band=False,
            sample_rate=rate,
            score=score,
        )
    wav = clip.mix
    if dataset in _WITH_SILENCE:
        half = len(wav) // 2
        silence = np.zeros(round(_SILENCE_S * rate), wav.dtype)
        wav = np.concatenate([wav[:half], silence, wav[half:]])
    if dataset == "mir1k_voices":
        wav = np.stack([np.zeros_like(wav), wav], axis=1)
    path = target / dataset / song["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, wav, rate)
    if dataset == "musdb18_voices":
        title = path.parent.name
        lyrics = target / dataset / "lyrics" / song["part"] / f"{title}.txt"
        lyrics.parent.mkdir(parents=True, exist_ok=True)
        end = int(length)
        lines = [(0, end // 2, "a"), (end // 2, end // 2 + 1, "b")]
        lines.append((end // 2 + 1, end, "a"))
        text = [f"00:{a:02d} 00:{b:02d} {kind} la\n" for a, b, kind in lines]
        lyrics.write_text("".join(text), encoding="utf-8")
    if dataset == "medleydb":
        name = path.parents[1].name
        kind = {"f": "female singer", "m": "male singer"}[song["sex"]]
        text = (
            f"artist: Mini Singer {s}\nhas_bleed: 'no'\nstems:\n  S01:\n"
            f"    raw:\n      R01:\n        filename: {path.name}\n"
            f"        instrument: {kind}\n"
        )
        metadata = path.parents[1] / f"{name}_METADATA.yaml"
        metadata.write_text(text, encoding="utf-8")


def write_singers(target, songs) -> None:
    """Write who sings what, where a data set has a file for it.

    Arguments
    ---------
    target : Path
        Folder of the data sets.
    songs : list of dict
        From `recordings`.
    """
    rows = [s for s in songs if s["dataset"] == "vocadito_voices"]
    if rows:
        lines = ["track_id,singer_id,average_pitch,language\n"]
        lines += [f"{s['number']},S{s['singer']},60,none\n" for s in rows]
        path = target / "vocadito_voices" / "vocadito_metadata.csv"
        path.write_text("".join(lines), encoding="utf-8")
    rows = [s for s in songs if s["dataset"] == "tonas_voices"]
    if rows:
        lines = [
            f"{s['path'].split('/')[1]}\tDebla\tSong {s['song']}\t"
            f"Singer {s['singer']}\n"
            for s in rows
        ]
        path = target / "tonas_voices" / "TONAS-Metadata.txt"
        path.write_text("".join(lines), encoding="utf-8")
