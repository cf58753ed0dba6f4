"""Corpora of single singers, from tiny imitations of their layouts."""

import numpy as np
import pytest
import soundfile

import data_prep
from data_prep import prepare
from data_prep.corpus import held_out
from data_prep.manifest import read_manifest
from data_prep.medleyvox import TEST_ARTISTS, check_leaks
from data_prep.singing_corpora import VOICE_SETS, solo_lines
from data_prep.voice_corpus import FRAME, sounding_spans
from speechbrain_ext.audio import audio_info, read_audio
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    ManifestError,
    OutputError,
)

RATE = 8000


def sound(path, seconds=2.0, channels=1, value=0.25):
    """A recording of one value; in stereo, the right channel is negative."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wav = np.full((round(seconds * RATE), channels), value)
    wav[:, 1:] *= -1
    soundfile.write(path, wav, RATE)


def corpus(folder, *names, **options):
    for name in names:
        sound(folder / name, **options)
    return folder


def rows(output):
    return [
        row
        for split in ("train", "valid", "test")
        if (output / f"{split}.csv").exists()
        for row in read_manifest(output / f"{split}.csv", check_files=False)
    ]


def facts(output, *keys):
    return [tuple(row[key] for key in keys) for row in rows(output)]


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# Files of each layout, and what is read out of their paths: ID, singer, song.
# The last file of each does not belong to the corpus.
LAYOUTS = {
    "csd": (
        ["CSD/english/wav/en001a.wav", "CSD/korean/wav/kr001a.flac", "x/a.wav"],
        [("en001a", "CSD", ""), ("kr001a", "CSD", "")],
    ),
    "nus48e": (
        ["ADIZ/sing/01.wav", "JLEE/sing/01.wav", "ADIZ/read/01.wav"],
        [("ADIZ_01", "ADIZ", ""), ("JLEE_01", "JLEE", "")],
    ),
    "tonas_voices": (
        ["Deblas/01-D_Ana.wav", "Martinetes1/02-M1_Jose.wav", "x/03-D_A.wav"],
        [("01-D_Ana", "Ana", ""), ("02-M1_Jose", "Jose", "")],
    ),
    "vocalset": (
        [
            "FULL/female1/scales/belt/f1_scales_belt_a.wav",
            "data_by_singer/male11/scales/belt/m11_scales_belt_a.wav",
            "FULL/female1/scales/belt/f2_scales_belt_a.wav",
        ],
        [
            ("f1_scales_belt_a", "female1", ""),
            ("m11_scales_belt_a", "male11", ""),
        ],
    ),
    "jsut_song": (
        ["child_song/wav/001.wav", "child_song/wav/002.wav", "x/wav/003.wav"],
        [("001", "jsut", ""), ("002", "jsut", "")],
    ),
    "jvs_music": (
        [
            "jvs001/song_common/wav/raw.wav",
            "jvs002/song_unique/wav/raw.wav",
            "jvs002/song_unique/wav/modified.wav",
        ],
        [("jvs001_common", "jvs001", ""), ("jvs002_unique", "jvs002", "")],
    ),
    "kiritan": (
        ["wav/01.wav", "wav/02.wav", "mono_label/03.wav"],
        [("01_0", "kiritan", ""), ("02_0", "kiritan", "")],
    ),
    "vocadito_voices": (
        ["Audio/vocadito_1.wav", "Audio/vocadito_12.wav", "Audio/other.wav"],
        [("vocadito_1", "s9", ""), ("vocadito_12", "s8", "")],
    ),
    "opensinger": (
        [
            "ManRaw/0_光年之外/0_光年之外_0.wav",
            "WomanRaw/0_Hello/0_Hello_3.wav",
            "ManRaw/0_Hello/1_Hello_0.wav",
        ],
        [
            ("ManRaw_0_光年之外_0", "ManRaw_0", ""),
            ("WomanRaw_0_Hello_3", "WomanRaw_0", ""),
        ],
    ),
    "k_multisinger": (
        [
            "train/a/b/c/d/ba_00118_+0_a_s13_m_04.wav",
            "valid/a/b/c/d/ba_00118_+0_a_s09_m_03.wav",
            "valid/a/b/c/d/ba_00118_-2_a_s09_m_03.wav",
            "valid/a/b/c/d/accompaniment.wav",
        ],
        [
            ("ba_00118_+0_a_s09_m_03", "s09", "00118_+0"),
            ("ba_00118_+0_a_s13_m_04", "s13", "00118_+0"),
            # Nobody else sings it in this key.
            ("ba_00118_-2_a_s09_m_03", "s09", ""),
        ],
    ),
    "k_multitimbre": (
        ["a/SINGER_01_UNDER10_C1.wav", "b/SINGER_02_50_C9.wav", "b/x_1.wav"],
        [
            ("SINGER_01_UNDER10_C1", "SINGER_01", ""),
            ("SINGER_02_50_C9", "SINGER_02", ""),
        ],
    ),
    "librispeech": (
        [
            "LibriSpeech/train-clean-100/19/198/19-198-0000.flac",
            "LibriSpeech/dev-clean/84/121/84-121-0001.wav",
            "LibriSpeech/train-clean-100/19/198/20-198-0000.flac",
        ],
        [("19-198-0000", "19", ""), ("84-121-0001", "84", "")],
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name, tmp_path):
    files, expected = LAYOUTS[name]
    folder, out = corpus(tmp_path / "data", *files), tmp_path / "out"
    for stem, text in (
        (
            "TONAS-Metadata.txt",
            "01-D_Ana.wav\tDebla\tA\tAna\n02-M1_Jose.wav\tM\tB\tJose\n",
        ),
        ("vocadito_metadata.csv", "track_id,singer_id\n1,s9\n12,s8\n"),
    ):
        if stem.split("-")[0].split("_")[0].lower() in name:
            (folder / stem).write_text(text)
    summary = prepare(name, folder, out, valid_share=0)
    kind = "speech" if name == "librispeech" else "singing"
    assert sorted(
        facts(out, "song_id", "singer", "song", "dataset", "kind")
    ) == sorted(
        (ID, f"{name} - {who}", song and f"{name} - {song}", name, kind)
        for ID, who, song in expected
    )
    assert any("1 of" in remark for remark in summary.remarks)
    for row in rows(out):
        assert row["license"] == VOICE_SETS[name].corpus.license
        assert row["duration"] == 2.0
        # In a manifest with others such a prefix tells the data set.
        assert not row["song_id"].startswith(f"{name}_")
    for split, manifest in summary.manifests.items():
        assert len(read_manifest(manifest, folder)) > 0, split


def test_every_data_set_is_imitated_here_or_below():
    others = {"musdb18_voices", "medleydb", "mir1k_voices"}
    assert {*LAYOUTS, *others} == {*VOICE_SETS}
    assert len(VOICE_SETS) == 13 + 1 + 1
    for name, row in VOICE_SETS.items():
        entry = data_prep.CORPORA[name]
        assert entry.license == row.corpus.license and entry.url
        assert row.corpus.citation and row.corpus.terms
        with pytest.raises((ManifestError, OutputError)):
            if name != "vocadito_voices":  # this one is fetched
                data_prep.download(name, "here")
            prepare(name, "no such folder", "out")


def test_the_folder_itself_may_be_part_of_the_layout(tmp_path):
    folder = corpus(tmp_path / "child_song", "wav/001.wav")
    prepare("jsut_song", folder, tmp_path / "out")
    assert facts(tmp_path / "out", "song_id") == [("001",)]


def test_wav_and_flac_of_one_name_count_once(tmp_path):
    folder = corpus(tmp_path / "a", "ADIZ/sing/01.wav", "ADIZ/sing/01.flac")
    sound(folder / "ADIZ" / "sing" / "._01.wav")
    prepare("nus48e", folder, tmp_path / "out")
    assert facts(tmp_path / "out", "wav") == [("{data_root}/ADIZ/sing/01.wav",)]


def test_voice_of_mir1k_is_the_right_channel(tmp_path):
    folder = corpus(
        tmp_path / "MIR-1K",
        "Wavfile/amy_1_01.wav",
        "UndividedWavfile/amy_1.wav",
        channels=2,
    )
    out = tmp_path / "out"
    prepare("mir1k_voices", folder, out)
    (row,) = read_manifest(out / "train.csv", folder)
    assert row["singer"] == "mir1k_voices - amy"
    assert row["wav"].endswith("amy_1_01.wav#1")
    wav = read_audio(row["wav"], sample_rate=None)
    assert np.allclose(wav, -0.25, atol=1e-3)
    corpus(folder, "Wavfile/amy_1_02.wav")
    with pytest.raises(AudioError, match="no channel 1"):
        prepare("mir1k_voices", folder, tmp_path / "mono")


# ------------------------------------------------------------------- splits


def test_singers_are_held_out_whole(tmp_path):
    names = [f"S{k}/sing/{j}.wav" for k in range(6) for j in range(3)]
    folder, out = corpus(tmp_path / "a", *names), tmp_path / "out"
    prepare("nus48e", folder, out, valid_share=0.3)
    late = held_out([f"nus48e - S{k}" for k in range(6)], 0.3)
    assert len(late) == 2
    assert {(row["singer"] in late, row["split"]) for row in rows(out)} == {
        (True, "valid"),
        (False, "train"),
    }
    prepare("nus48e", folder, tmp_path / "all", valid_share=0)
    assert {row["split"] for row in rows(tmp_path / "all")} == {"train"}


def test_splits_of_the_corpus_are_kept(tmp_path):
    folder = corpus(
        tmp_path / "a",
        "train-clean-360/1/1/1-1-0.flac",
        "dev-clean/2/1/2-1-0.flac",
        "test-clean/3/1/3-1-0.flac",
    )
    prepare("librispeech", folder, tmp_path / "out")
    assert facts(tmp_path / "out", "singer", "split") == [
        ("librispeech - 1", "train"),
        ("librispeech - 2", "valid"),
        ("librispeech - 3", "test"),
    ]


# ------------------------------------------------------ MUSDB18's solo lines

LINES = """\
00:00 00:02 a first line
* 00:02 00:04 a rejected by its authors
00:04 00:05 b both sing this
00:05 00:08 a third line

01:00 01:02.5 a  after a minute
"""


def test_lines_that_one_person_sings(tmp_path):
    path = tmp_path / "song.txt"
    path.write_text(LINES)
    assert solo_lines(path) == [(0, 0, 2), (3, 5, 8), (5, 60, 62.5)]
    path.write_text("00:01 a no end\n")
    with pytest.raises(ManifestError, match="line 1: '00:01 a no end'"):
        solo_lines(path)


def musdb(folder, *songs):
    for song in songs:
        part, _, title = song.partition("/")
        sound(folder / part / title / "vocals.wav", 10.0, channels=2)
        path = folder / "lyrics" / part / f"{title}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(LINES.rsplit("\n", 3)[0])
    return folder


def test_solo_lines_of_musdb18_become_recordings(tmp_path):
    folder, out = tmp_path / "MUSDB18-HQ", tmp_path / "out"
    musdb(folder, "train/A Band - Song", "test/B - Song")
    # A ramp: what is cut out can be told.
    ramp = np.arange(10 * RATE) / (10 * RATE)
    path = folder / "train" / "A Band - Song" / "vocals.wav"
    soundfile.write(path, np.stack([ramp, ramp], 1), RATE)
    sound(folder / "train" / "C - No Lyrics" / "vocals.wav", channels=2)
    summary = prepare("musdb18_voices", folder, out)
    assert facts(out, "song_id", "split", "singer", "duration") == [
        ("A Band - Song_0", "train", "artist - aband", 2.0),
        ("A Band - Song_3", "train", "artist - aband", 3.0),
        ("B - Song_0", "valid", "artist - b", 2.0),
        ("B - Song_3", "valid", "artist - b", 3.0),
    ]
    row = read_manifest(out / "train.csv", folder)[1]
    wav = read_audio(row["wav"], sample_rate=None)
    assert np.allclose(wav, ramp[5 * RATE : 8 * RATE], atol=1e-4)
    assert "C - No Lyrics" in summary.remarks[0]


def test_regions_that_were_cut_before(tmp_path):
    folder = corpus(
        tmp_path / "single_regions_cut_24k",
        "train/audio/vocals/a/A - B - C_12.wav",
        "train/audio/vocals/b/A - B - C_13.wav",
        "test/audio/vocals/a/D - E_0.wav",
    )
    prepare("musdb18_voices", folder, tmp_path / "out")
    assert facts(tmp_path / "out", "song_id", "split", "singer") == [
        ("A - B - C_12", "train", "artist - a"),
        ("D - E_0", "valid", "artist - d"),
    ]


def test_artist_of_both_splits_of_musdb18_stays_in_the_later_one(tmp_path):
    folder = musdb(
        tmp_path / "a",
        "train/Skelpolu - One",
        "test/Skelpolu - Two",
        "train/Other - One",
    )
    summary = prepare("musdb18_voices", folder, tmp_path / "out")
    assert {
        (row["singer"], row["split"]) for row in rows(tmp_path / "out")
    } == {("artist - skelpolu", "valid"), ("artist - other", "train")}
    assert "artist - skelpolu" in summary.remarks[0]


def test_musdb18_without_lyrics_says_where_to_get_them(tmp_path):
    folder = corpus(tmp_path / "a", "train/A - B/vocals.wav", channels=2)
    with pytest.raises(ManifestError, match="records/3989267"):
        prepare("musdb18_voices", folder, tmp_path / "out")


# ----------------------------------------------------------------- MedleyDB


def medleydb(folder, song, stems, bleed="no"):
    lines = [f"has_bleed: '{bleed}'", "stems:", "  S01:", "    raw:"]
    for number, instrument in enumerate(stems, start=1):
        name = f"{song}_RAW_01_{number:02d}.wav"
        sound(folder / "V1" / song / f"{song}_RAW" / name)
        lines += [
            f"      R{number:02d}:",
            f"        filename: {name}",
            f"        instrument: {instrument}",
        ]
    text = "\n".join(lines)
    (folder / "V1" / song / f"{song}_METADATA.yaml").write_text(text)
    return folder


def test_medleydb_gives_voices_only(tmp_path):
    folder = tmp_path / "MedleyDB"
    stems = ["male singer", "vocalists", "violin", "female rapper"]
    medleydb(folder, "ABand_Song", stems)
    medleydb(folder, "Loud_Song", ["male singer"], bleed="yes")
    sound(folder / "V1" / "No_Data" / "No_Data_RAW" / "No_Data_RAW_01_01.wav")
    summary = prepare("medleydb", folder, tmp_path / "out")
    assert facts(tmp_path / "out", "song_id", "singer") == [
        ("ABand_Song_RAW_01_01_0", "artist - aband"),
        ("ABand_Song_RAW_01_04_0", "artist - aband"),
    ]
    assert [remark[-9:] for remark in summary.remarks] == [
        ": No_Data",
        "Loud_Song",
    ]


def test_broken_metadata_is_named(tmp_path):
    folder = medleydb(tmp_path / "a", "A_B", ["male singer"])
    path = folder / "V1" / "A_B" / "A_B_METADATA.yaml"
    for text in ("stems: [", "stems: 3", "{}"):
        path.write_text(text)
        with pytest.raises(ManifestError, match="A_B_METADATA"):
            prepare("medleydb", folder, tmp_path / "out")


# --------------------------------------------------------------- leak guard


def test_test_artists_of_medleyvox_are_left_out(tmp_path):
    assert len(TEST_ARTISTS) == 21 and "facesonfilm" in TEST_ARTISTS
    folder = musdb(
        tmp_path / "musdb",
        "train/Faces On Film - Waiting For Ga",
        "train/Meaxic - You Listen",
        "train/Clara Berry And Wooldog - Stella",
        "test/Helado Negro - Any",
        "train/A Classic Education - NightOwl",
    )
    summary = prepare("musdb18_voices", folder, tmp_path / "out")
    assert {row["singer"] for row in rows(tmp_path / "out")} == {
        "artist - aclassiceducation"
    }
    assert summary.remarks[0].startswith("4 recordings of artists who sing")
    folder = medleydb(
        tmp_path / "mdb", "FacesOnFilm_WaitingForGa", ["male singer"]
    )
    with pytest.raises(ManifestError, match="all 1 recordings are of artists"):
        prepare("medleydb", folder, tmp_path / "none")
    medleydb(folder, "AClassicEducation_NightOwl", ["male singer"])
    prepare("medleydb", folder, tmp_path / "mdb_out")
    check_leaks(rows(tmp_path / "mdb_out") + rows(tmp_path / "out"))
    leak = rows(tmp_path / "out")[0] | {"singer": "artist - facesonfilm"}
    with pytest.raises(ManifestError, match="facesonfilm sings in the test"):
        check_leaks([leak])
    check_leaks([leak | {"split": "test"}])


# ------------------------------------------------------- silence and lengths


def phrase(*parts):
    """Noise (positive seconds) and silence (negative), one after the other."""
    rng = np.random.default_rng(0)
    return np.concatenate(
        [
            rng.uniform(-0.5, 0.5, round(s * RATE))
            if s > 0
            else np.zeros(round(-s * RATE))
            for s in parts
        ]
    )


def test_sounding_spans():
    # A pause of 0.3 s is bridged, one of 2 s is not; 0.4 s is too short.
    wav = phrase(-1, 2, -0.3, 1, -2, 0.4, -2, 1.5)
    (a, b), (c, d) = sounding_spans(wav, RATE, 60, min_s=1.0)
    # 0.05 s are left, and up to a frame, which is loud as soon as a part is.
    frame = FRAME / RATE
    assert 1 - 0.05 - frame <= a <= 1 - 0.05
    assert 4.3 + 0.05 <= b <= 4.3 + 0.05 + frame
    assert 8.7 - 0.05 - frame <= c <= 8.7 - 0.05
    assert d == len(wav) / RATE
    assert len(sounding_spans(wav, RATE, 60, min_s=0.1)) == 3
    assert len(sounding_spans(wav, RATE, 60, 0.1, bridge_s=0.0)) == 4
    assert sounding_spans(np.zeros(RATE), RATE, 60) == []
    assert sounding_spans(np.zeros(0), RATE, 60) == []
    # Whole files of sound stay whole.
    assert sounding_spans(phrase(3), RATE, 60) == [(0.0, 3.0)]


def test_sounding_spans_hear_what_is_within_the_range():
    loud, soft = phrase(2), 1e-3 * phrase(-1, 2)
    wav = np.concatenate([loud, soft])
    assert len(sounding_spans(wav, RATE, 65)) == 2  # -60 dB
    assert len(sounding_spans(wav, RATE, 55)) == 1


def test_long_silence_is_cut_out(tmp_path):
    folder, out = tmp_path / "a", tmp_path / "out"
    wav = phrase(2, -3, 0.4, -3, 1.5)
    (folder / "wav").mkdir(parents=True)
    soundfile.write(folder / "wav" / "01.wav", wav, RATE, "PCM_24")
    soundfile.write(folder / "wav" / "02.wav", 0 * wav, RATE)
    summary = prepare("kiritan", folder, out)
    assert facts(out, "song_id", "song") == [
        ("01_0", ""),
        ("01_1", ""),
    ]
    first, second = read_manifest(out / "train.csv", folder)
    assert first["duration"] == pytest.approx(2, abs=0.3)
    assert audio_info(first["wav"]).subtype == "PCM_24"
    got = read_audio(second["wav"], sample_rate=None)
    assert np.allclose(got[-RATE:], wav[-RATE:], atol=1e-6)
    assert summary.remarks == (
        "1 songs hold nothing long enough and are left out: 02",
    )
    whole = tmp_path / "whole"
    prepare("kiritan", folder, whole, trim=False)
    assert [song for (song,) in facts(whole, "song_id")] == [
        "01",
        "01",  # 9.9 s: two rows
        "02",
        "02",
    ]


def test_pieces_are_in_time_with_nothing(tmp_path):
    folder = corpus(
        tmp_path / "a", "ba_1_+0_a_s1_m_1.wav", "ba_1_+0_a_s2_m_1.wav"
    )
    options = {"valid_share": 0}
    prepare("k_multisinger", folder, tmp_path / "b", **options)
    assert {row["song"] for row in rows(tmp_path / "b")} == {
        "k_multisinger - 1_+0"
    }
    prepare("k_multisinger", folder, tmp_path / "c", trim=True, **options)
    assert {row["song"] for row in rows(tmp_path / "c")} == {""}


def test_short_recordings_are_left_out(tmp_path):
    folder = corpus(tmp_path / "a", "X/sing/1.wav", seconds=0.9)
    with pytest.raises(ManifestError, match="nothing long enough"):
        prepare("nus48e", folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    sound(folder / "X" / "sing" / "2.wav", 1.0)
    prepare("nus48e", folder, tmp_path / "out")
    assert facts(tmp_path / "out", "song_id") == [("X_2",)]
    prepare("nus48e", folder, tmp_path / "all", min_s=0.5)
    assert facts(tmp_path / "all", "song_id") == [("X_1",), ("X_2",)]


def test_audio_at_another_rate(tmp_path):
    folder = corpus(tmp_path / "a", "X/sing/1.wav", channels=2, value=0.5)
    out = tmp_path / "out"
    prepare("nus48e", folder, out, sample_rate=12000)
    (row,) = read_manifest(out / "train.csv", folder)
    info = audio_info(row["wav"])
    assert (info.sample_rate, info.channels, info.n_samples) == (
        12000,
        1,
        24000,
    )
    assert row["wav"] == str(out / "audio" / "X_1" / "voice.flac")


# ------------------------------------- again, interrupted, in other processes


def test_twice_and_with_other_options(tmp_path, capsys):
    folder, out = tmp_path / "a", tmp_path / "out"
    (folder / "wav").mkdir(parents=True)
    soundfile.write(folder / "wav" / "1.wav", phrase(2, -2, 2), RATE)
    soundfile.write(folder / "wav" / "2.wav", phrase(3), RATE)
    first = prepare("kiritan", folder, out)
    before = tree(out)
    assert first.fresh and not prepare("kiritan", folder, out).fresh
    assert tree(out) == before
    with pytest.raises(OutputError, match="min_s=1.0, not 2.5"):
        prepare("kiritan", folder, out, min_s=2.5)
    prepare("kiritan", folder, out, min_s=2.5, overwrite=True)
    assert facts(out, "song_id") == [("2_0",)]
    assert not (out / "audio" / "1" / "voice_0.flac").exists()
    prepare("kiritan", folder, tmp_path / "two", n_jobs=2)
    marker = "prepared.json"
    two = tree(tmp_path / "two")
    assert {**two, marker: b""} == {**before, marker: b""}


def test_interrupted_preparation_goes_on(tmp_path):
    folder, kept = tmp_path / "a", tmp_path / "kept"
    (folder / "wav").mkdir(parents=True)
    soundfile.write(folder / "wav" / "1.wav", phrase(2, -2, 2), RATE)
    broken = folder / "wav" / "2.wav"
    broken.write_bytes(b"no audio at all")
    options = {"audio_folder": str(kept)}
    with pytest.raises(AudioError, match="2.wav"):
        prepare("kiritan", folder, tmp_path / "out", **options)
    made = kept / "1" / "voice_0.flac"
    time = made.stat().st_mtime_ns
    soundfile.write(broken, phrase(2), RATE)
    prepare("kiritan", folder, tmp_path / "out", **options)
    assert made.stat().st_mtime_ns == time
    assert facts(tmp_path / "out", "song_id", "wav") == [
        ("1_0", str(made)),
        ("1_1", str(kept / "1" / "voice_1.flac")),
        ("2_0", str(kept / "2" / "voice_0.flac")),
    ]
    with pytest.raises(OutputError, match="made otherwise"):
        prepare("kiritan", folder, tmp_path / "b", min_s=2.0, **options)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"trim": "yes"}, "trim is 'yes'"),
        ({"min_s": -1}, "min_s is -1"),
        ({"sample_rate": 10}, "sample_rate is 10"),
        ({"valid_share": 2}, "valid_share is 2"),
        ({"voice_set": 1}, "no option voice_set"),
    ],
)
def test_wrong_options(options, says, tmp_path):
    folder = corpus(tmp_path / "a", "X/sing/1.wav")
    with pytest.raises(ConfigError, match=says):
        prepare("nus48e", folder, tmp_path / "out", **options)


def test_a_folder_without_recordings(tmp_path):
    with pytest.raises(ManifestError, match="expected .*<singer>/sing"):
        prepare("nus48e", corpus(tmp_path / "a", "x.wav"), tmp_path / "out")


# ------------------------------------------------------------- all together


@pytest.fixture
def everything(tmp_path):
    """Four corpora in a folder; two artists are in two of them."""
    top = tmp_path / "corpora"
    corpus(top / "nus48e", *(f"S{k}/sing/1.wav" for k in range(3)))
    corpus(
        top / "librispeech",
        "train-clean-100/1/1/1-1-0.flac",
        "dev-clean/2/1/2-1-0.flac",
    )
    musdb(top / "musdb18_voices", "train/A Band - One", "test/B Band - One")
    medleydb(top / "medleydb", "ABand_Two", ["male singer"])
    medleydb(top / "medleydb", "BBand_Two", ["male singer"])
    sound(top / "unknown" / "a.wav")
    return top


def test_singing_and_speech_in_one_manifest(everything, tmp_path):
    out = tmp_path / "out"
    summary = prepare("singing_corpora", everything, out)
    got = rows(out)
    assert len({row["ID"] for row in got}) == len(got)
    splits = {}
    for row in got:
        splits.setdefault(row["singer"], set()).add(row["split"])
        assert row["song_id"].startswith(row["dataset"] + "_")
        assert row["license"] == VOICE_SETS[row["dataset"]].corpus.license
    assert all(len(found) == 1 for found in splits.values())
    # A Band of MUSDB18 and of MedleyDB are one; B Band is for validation.
    assert {
        row["dataset"] for row in got if row["singer"] == "artist - aband"
    } == {"musdb18_voices", "medleydb"}
    assert splits["artist - bband"] == {"valid"}
    assert {row["dataset"] for row in got if row["kind"] == "speech"} == {
        "librispeech"
    }
    assert "CC BY 4.0" in summary.license and "Panayotov" in summary.citation
    for split in ("train", "valid"):
        read_manifest(out / f"{split}.csv", everything)
    assert not prepare("singing_corpora", everything, out).fresh


def test_choice_of_corpora(everything, tmp_path):
    out = tmp_path / "out"
    prepare("singing_corpora", everything, out, datasets=["nus48e"])
    assert {row["dataset"] for row in rows(out)} == {"nus48e"}
    for datasets, error, says in (
        (["csd"], ManifestError, "has no folder csd"),
        (["cds"], ConfigError, "unknown data set cds"),
        ("csd", ConfigError, "give a list"),
    ):
        with pytest.raises(error, match=says):
            prepare("singing_corpora", everything, out, datasets=datasets)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match="of any corpus"):
        prepare("singing_corpora", tmp_path / "empty", out)
