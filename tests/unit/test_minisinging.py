"""MiniSinging: exact annotations, determinism, layouts."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from data_prep.minisinging import (
    as_ismir2014,
    as_minisinging,
    as_mir1k,
    as_mir_st500,
    as_musdb18,
    as_n20emv2,
    as_tonas,
    render_clip,
    render_song,
    training_clip,
)
from data_prep.minisinging.__main__ import main
from data_prep.minisinging.lexicon import (
    CONSONANTS,
    DIPHTHONGS,
    VOWELS,
    Syllable,
    lexicon,
)
from data_prep.minisinging.room import place
from data_prep.minisinging.score import Score, ScoreNote, draw_score
from data_prep.minisinging.singer import draw_singer
from data_prep.minisinging.training import DOMAINS, separate_badly
from data_prep.minisinging.voice import CONTROL_RATE, sing
from speechbrain_ext.audio import stream_audio
from speechbrain_ext.errors import ConfigError, OutputError
from speechbrain_ext.f0 import read_f0
from speechbrain_ext.formats import read_notes
from speechbrain_ext.lyrics.timed import read_phones, read_timed
from speechbrain_ext.notes import midi_to_hz

SEEDS = range(12)
SOLO = {"band": False, "noise_db": False, "reverb": False}


@pytest.fixture(scope="module")
def solos():
    return [render_clip(seed, 6.0, **SOLO) for seed in SEEDS]


@pytest.fixture(scope="module")
def clips():
    return [render_clip(seed, 6.0) for seed in SEEDS]


def plain_singer(**changes):
    """A singer without any deviation from the score."""
    singer = draw_singer(np.random.default_rng(5), voice_type="alto")
    steady = dict.fromkeys(
        (
            "jitter",
            "drift",
            "shimmer",
            "growl",
            "vibrato_chance",
            "timing_sd_s",
            "scoop_chance",
            "fall_chance",
            "onset_bend",
            "overshoot",
            "pitch_error",
            "tuning",
            "level_sd_db",
        ),
        0.0,
    )
    steady.update(breathiness_db=-150.0, breath_db=-150.0)
    return replace(singer, **{**steady, **changes})


def score_of(*rows):
    """Score from rows onset, offset, midi, syllable, legato."""
    notes = tuple(
        ScoreNote(a, b, midi, syllable, "la", True, legato, k == 0, 0.0)
        for k, (a, b, midi, syllable, legato) in enumerate(rows)
    )
    return Score(notes, (), 0.5, 0, "major")


AH = Syllable((), "AA", ())


def pitch_by_autocorrelation(wav, sample_rate, expected_hz):
    """Frequency within 2 semitones of the expected one."""
    n = len(wav)
    window = np.hanning(n)

    def correlation(x):
        return np.fft.irfft(np.abs(np.fft.rfft(x, 4 * n)) ** 2)

    r = correlation((wav - wav.mean()) * window)
    r = r / np.maximum(correlation(window), 1e-9)
    low = int(sample_rate / expected_hz / 1.12)
    high = int(sample_rate / expected_hz * 1.12) + 2
    k = low + int(np.argmax(r[low:high]))
    a, b, c = r[k - 1 : k + 2]
    return sample_rate / (k + 0.5 * (a - c) / (a - 2 * b + c))


# -------------------------------------------------------------------- clips


def test_mix_is_the_sum_of_its_parts(clips):
    for clip in clips:
        total = np.float64(clip.voice) + sum(
            np.float64(stem) for stem in clip.stems.values()
        )
        assert np.abs(clip.mix - total).max() < 1e-6
        assert "noise" in clip.stems and len(clip.stems) > 1


def test_signals_are_finite_unclipped_and_without_offset(clips):
    for clip in clips:
        for wav in (clip.voice, clip.mix, *clip.stems.values()):
            assert wav.shape == (96000,) and wav.dtype == np.float32
            assert np.isfinite(wav).all()
            assert np.abs(wav).max() <= 1.0
            assert abs(float(np.mean(wav, dtype=np.float64))) < 1e-6


def test_same_seed_same_bits_other_seed_other_clip(clips):
    again = render_clip(3, 6.0)
    assert np.array_equal(again.mix, clips[3].mix)
    assert again.notes == clips[3].notes
    assert again.singer == clips[3].singer
    assert len({clip.mix.tobytes() for clip in clips}) == len(clips)
    assert len({clip.notes for clip in clips}) == len(clips)


def test_switching_off_the_band_leaves_the_singing():
    on, off = render_clip(2, 3.0), render_clip(2, 3.0, band=False)
    assert on.notes == off.notes and on.phones == off.phones
    assert np.array_equal(on.f0, off.f0)
    assert set(off.stems) == {"noise"}


@pytest.mark.parametrize(
    ("seconds", "rate", "samples"),
    [(0.5, 16000, 8000), (1.2345, 16000, 19752), (2.0, 44100, 88200)],
)
def test_duration_is_exact_in_samples(seconds, rate, samples):
    clip = render_clip(1, seconds, sample_rate=rate)
    assert len(clip.mix) == len(clip.voice) == samples
    assert len(clip.f0) == round(seconds / clip.f0_hop_s)


def test_global_random_state_is_neither_used_nor_changed():
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    render_clip(4, 1.0)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_notes_are_inside_the_clip_and_in_the_range(clips):
    count = 0
    for clip in clips:
        assert clip.notes.end <= clip.duration
        for note in clip.notes:
            assert note.midi == round(note.midi)
            assert clip.singer.low - 2 <= note.midi <= clip.singer.high + 2
            count += 1
    assert count > 60


def test_rendered_pitch_agrees_with_f0(solos):
    """Within 20 cents where the pitch stands still for 60 ms."""
    checked = 0
    for clip in solos:
        if clip.singer.growl:
            continue
        for note in clip.notes:
            middle = 0.5 * (note.onset + note.offset)
            k = int(middle / clip.f0_hop_s)
            around = clip.f0[k - 3 : k + 4]
            if note.duration < 0.12 or around.min() == 0:
                continue
            if np.ptp(around) > 0.15:
                continue
            start = int((middle - 0.03) * clip.sample_rate)
            expected = float(midi_to_hz(around.mean()))
            heard = pitch_by_autocorrelation(
                clip.voice[start : start + 960], clip.sample_rate, expected
            )
            assert abs(1200 * np.log2(heard / expected)) < 20
            checked += 1
    assert checked > 25


def test_note_pitch_is_the_rounded_median_of_f0(solos):
    for clip in solos:
        for note in clip.notes:
            span = note.offset - note.onset
            if span < 0.2:
                continue
            a = int((note.onset + 0.25 * span) / clip.f0_hop_s)
            b = int((note.onset + 0.9 * span) / clip.f0_hop_s)
            sung = clip.f0[a:b]
            assert abs(np.median(sung[sung > 0]) - note.midi) < 0.6


def test_voice_sounds_right_after_the_onset(solos):
    for clip in solos:
        for note in clip.notes:
            k = int((note.onset + 0.02) / clip.f0_hop_s)
            assert clip.f0[k : k + 2].max() > 0


def test_silence_before_the_first_note_has_no_pitch(solos):
    for clip in solos:
        first = int(clip.notes[0].onset / clip.f0_hop_s) - 35
        if first > 0:
            assert not clip.f0[:first].any()


def test_words_and_phones_are_in_order(clips):
    known = {*VOWELS, *CONSONANTS}
    for clip in clips:
        for rows in (clip.words, clip.phones):
            assert all(start < stop for start, stop, _ in rows)
            starts = [row[0] for row in rows]
            assert starts == sorted(starts)
        for _, _, name in clip.phones:
            assert set(name.split("-")) <= known
        onsets = {round(row[0], 4) for row in clip.phones}
        assert all(note.onset in onsets for note in clip.notes)


# ------------------------------------------------------------- single notes


def test_one_note_is_heard_where_the_score_says():
    score = score_of((0.5, 1.5, 60, AH, False))
    sung = sing(score, plain_singer(), np.random.default_rng(0), 32000, 16000)
    (note,) = sung.notes
    assert (note.onset, note.offset, note.midi) == (0.5, 1.5, 60.0)
    loud = np.abs(sung.wav) > 0.1 * np.abs(sung.wav).max()
    heard = np.flatnonzero(loud) / 16000
    assert 0.46 < heard[0] < 0.52
    assert 1.40 < heard[-1] < 1.70


def test_legato_onset_is_the_middle_of_the_glide():
    score = score_of((0.3, 1.0, 60, AH, True), (1.0, 1.8, 64, None, False))
    sung = sing(score, plain_singer(), np.random.default_rng(0), 32000, 16000)
    assert [n.midi for n in sung.notes] == [60, 64]
    assert sung.notes[0].offset == sung.notes[1].onset == 1.0
    assert sung.notes[1].lyric is None
    at = sung.pitch[CONTROL_RATE]
    assert abs(at - 62) < 0.2


def test_repeated_legato_note_is_articulated_again():
    score = score_of((0.3, 1.0, 62, AH, True), (1.0, 1.8, 62, AH, False))
    sung = sing(score, plain_singer(), np.random.default_rng(0), 32000, 16000)
    power = np.convolve(sung.wav**2, np.ones(320) / 320, "same")
    dip = power[int(0.93 * 16000) : int(1.01 * 16000)].min()
    assert 10 * np.log10(dip / power[int(0.7 * 16000)]) < -4


@pytest.mark.parametrize("name", ["S", "T", "CH", "HH"])
def test_unvoiced_consonant_interrupts_the_pitch(name):
    syllable = Syllable((name,), "AA", ())
    score = score_of((0.3, 1.0, 60, AH, True), (1.0, 1.8, 62, syllable, False))
    sung = sing(score, plain_singer(), np.random.default_rng(0), 32000, 16000)
    start, stop, phone = sung.phones[1]
    assert (phone, stop) == (name, 1.0)
    assert sung.notes[0].offset == start
    middle = int(0.5 * (start + stop) * CONTROL_RATE)
    assert not sung.voiced[middle]


@pytest.mark.parametrize("name", ["M", "L", "W"])
def test_sonorant_keeps_the_pitch_and_ends_the_note(name):
    syllable = Syllable((name,), "IY", ())
    score = score_of((0.3, 1.0, 60, AH, True), (1.0, 1.8, 62, syllable, False))
    sung = sing(score, plain_singer(), np.random.default_rng(0), 32000, 16000)
    start, stop, _ = sung.phones[1]
    assert sung.notes[0].offset == start < stop == sung.notes[1].onset
    span = slice(int(start * CONTROL_RATE), int(stop * CONTROL_RATE))
    assert sung.voiced[span].all()


@pytest.mark.parametrize("sample_rate", [16000, 44100])
def test_steady_note_has_nothing_between_its_harmonics(sample_rate):
    """No aliasing, no trace of the frames: all 45 dB down."""
    score = score_of((0.2, 2.8, 69, AH, False))
    sung = sing(
        score,
        plain_singer(),
        np.random.default_rng(0),
        3 * sample_rate,
        sample_rate,
    )
    steady = np.float64(sung.wav[sample_rate : 2 * sample_rate])
    spectrum = np.abs(np.fft.rfft(steady * np.blackman(len(steady))))
    hz = np.arange(len(spectrum))
    between = np.abs(hz - 440 * np.round(hz / 440)) > 8
    worst = spectrum[between].max() / spectrum.max()
    assert 20 * np.log10(worst) < -45
    above = spectrum[hz > 0.48 * sample_rate].max() / spectrum.max()
    assert 20 * np.log10(above) < -80


def test_empty_score_is_silence():
    sung = sing(
        Score((), (), 0.5, 0, "major"),
        plain_singer(),
        np.random.default_rng(0),
        8000,
        16000,
    )
    assert len(sung.wav) == 8000 and not sung.wav.any()
    assert len(sung.notes) == 0


# ----------------------------------------------------------- what is drawn


def test_singers_differ_and_fit_their_type():
    singers = [draw_singer(np.random.default_rng(k)) for k in range(200)]
    types = {s.voice_type for s in singers}
    assert types == {"child", "soprano", "alto", "tenor", "baritone", "bass"}
    assert {s.style for s in singers} == {"trained", "pop", "amateur"}
    assert len({s.tract for s in singers}) == 200

    def mean(name, key):
        return np.mean([getattr(s, key) for s in singers if s.gender == name])

    assert mean("child", "tract") > mean("female", "tract")
    assert mean("female", "tract") > mean("male", "tract")
    assert mean("female", "low") > mean("male", "low")


@pytest.mark.parametrize("manner", ["song", "flamenco"])
def test_scores_fit_their_range_and_length(manner):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        score = draw_score(rng, 8.0, 50, 70, manner)
        assert score.notes and score.chords
        for a, b in zip(score.notes, score.notes[1:], strict=False):
            assert a.onset < a.offset <= b.onset + 1e-9
        assert score.notes[-1].offset <= 8.0
        assert all(50 <= note.midi <= 70 for note in score.notes)
        assert score.notes[0].syllable is not None


def test_lexicon_is_fixed_and_sound():
    words = lexicon()
    assert len({word.spelling for word in words}) == 600
    for word in words:
        for syllable in word.syllables:
            assert syllable.nucleus in {*VOWELS, *DIPHTHONGS}
            assert {*syllable.onset, *syllable.coda} <= set(CONSONANTS)


def test_accompaniment_level_is_kept():
    quiet = render_clip(7, 3.0, accompaniment_db=20.0, noise_db=False)
    loud = render_clip(7, 3.0, accompaniment_db=0.0, noise_db=False)

    def ratio(clip):
        sounding = np.repeat(clip.f0 > 0, 160)
        voice = clip.voice[sounding]
        return 10 * np.log10(np.mean(voice**2) / np.mean(clip.accompaniment**2))

    assert abs(ratio(quiet) - 20) < 0.5
    assert abs(ratio(loud)) < 0.5


@pytest.mark.parametrize("domain", DOMAINS)
def test_training_clips(domain):
    wav, notes = training_clip(5, 17, 3.0, domain=domain)
    again, _ = training_clip(5, 17, 3.0, domain=domain)
    other, _ = training_clip(5, 18, 3.0, domain=domain)
    assert wav.shape == (48000,) and wav.dtype == np.float32
    assert np.isfinite(wav).all() and np.abs(wav).max() > 1e-4
    assert bool(len(notes)) == (domain != "instrumental")
    assert np.array_equal(wav, again) and not np.array_equal(wav, other)


def test_song_uses_one_singer_and_takes_the_one_given():
    singer = draw_singer(np.random.default_rng(1), voice_type="bass")
    song = render_song(9, 21.0, singer=singer, band=False)
    assert song.singer is singer
    assert len(song.notes) > 10
    assert max(n.midi for n in song.notes) <= singer.high + 2


def test_errors_name_the_number():
    with pytest.raises(ConfigError, match="0.1 s is too short"):
        render_clip(1, 0.1)
    with pytest.raises(ConfigError, match="4000 Hz is too low"):
        render_clip(1, 1.0, sample_rate=4000)
    with pytest.raises(ConfigError, match="'yodel'"):
        render_clip(1, 1.0, style="yodel")
    with pytest.raises(ConfigError, match="'rap'"):
        render_clip(1, 1.0, manner="rap")
    with pytest.raises(ConfigError, match="'opera'"):
        training_clip(1, 1, domain="opera")


# ------------------------------------------------------------------ corpora


def files_in(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def quick(**options):
    return {"song_s": 20.5, "progress": False, **options}


def test_mir_st500_layout(tmp_path):
    folder = as_mir_st500(tmp_path / "a", 1, 1, **quick(separated=0.0))
    songs = json.loads((folder / "Annotations.json").read_text())
    assert set(songs) == {"1", "401"}
    place = folder / "wav16kHz" / "train" / "1"
    mixture, rate = soundfile.read(place / "mixture.wav")
    total, _ = soundfile.read(place / "vocals.wav")
    for stem in (place / "stems").iterdir():
        total = total + soundfile.read(stem)[0]
    assert rate == 16000 and len(mixture) == 328000
    assert np.abs(mixture - total).max() < 8 / 32768
    assert (folder / "wav16kHz" / "test" / "401" / "vocals.wav").is_file()
    onset, offset, pitch = songs["1"][0]
    assert 0 <= onset < offset <= 20.5 and pitch == int(pitch)


def test_separated_vocals_lie_between_the_voice_and_the_mixture():
    def likeness(a, b):
        return np.sum(a * b) / np.sqrt(np.sum(a**2) * np.sum(b**2))

    for seed in range(6):
        clip = render_clip(seed, 3.0, accompaniment_db=0.0)
        wav = separate_badly(clip, np.random.default_rng(seed))
        sung = clip.voice + clip.stems.get("backing", 0)
        assert wav.shape == clip.mix.shape and wav.dtype == np.float32
        assert likeness(clip.mix, sung) < likeness(wav, sung) < 0.9999


def test_share_of_separated_songs(tmp_path):
    true = as_mir_st500(tmp_path / "a", 1, 0, **quick(separated=0.0))
    made = as_mir_st500(tmp_path / "b", 1, 0, **quick(separated=1.0))
    before, after = files_in(true), files_in(made)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"wav16kHz/train/1/vocals.wav", "minisinging.json"}


def test_any_number_of_jobs_gives_the_same_files(tmp_path):
    one = as_ismir2014(tmp_path / "one", 1, 1, 1, **quick(song_s=(3, 4)))
    two = as_ismir2014(
        tmp_path / "two", 1, 1, 1, **quick(song_s=(3, 4), n_jobs=2)
    )
    assert files_in(one) == files_in(two)
    assert len(files_in(one)) == 7


def test_writing_twice_does_nothing_and_other_options_are_refused(tmp_path):
    options = quick(song_s=3.0, n_songs=1, sample_rate=16000)
    folder = as_tonas(tmp_path / "deep" / "t", **options)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    as_tonas(folder, **options)
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    with pytest.raises(OutputError, match=r"another seed \(0, asked for 1\)"):
        as_tonas(folder, **{**options, "seed": 1})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="mine.txt"):
        as_tonas(tmp_path / "full", **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "full"]


def test_own_layout(tmp_path):
    folder = as_minisinging(tmp_path / "m", 1, 0, 1, song_s=6.0, seed=5)
    place = folder / "train" / "train1"
    voice, rate = soundfile.read(place / "voice.wav")
    band, _ = soundfile.read(place / "accompaniment.wav")
    assert rate == 16000 and len(voice) == len(band) == 96000
    assert np.abs(voice + band).max() <= 1.0 and np.abs(band).max() > 0.01
    notes, f0 = read_notes(place / "notes.csv"), read_f0(place / "f0.csv")
    assert len(f0) == 600 and len(notes) > 2
    # In the middle of a note the voice is near its pitch.
    middle = f0.at(notes.intervals.mean(axis=1))
    assert np.median(np.abs(middle - notes.midi)) < 0.6
    words = (place / "words.csv").read_text().splitlines()
    assert words[0] == "start_s,stop_s,name" and len(words) > 2
    assert (folder / "test" / "test1" / "phones.csv").is_file()
    with pytest.raises(ConfigError, match="flamenco is 3"):
        as_minisinging(tmp_path / "x", flamenco=3)


def test_tonas_layout(tmp_path):
    folder = as_tonas(tmp_path / "t", 2, sample_rate=16000, **quick(song_s=4.0))
    names = ["Deblas/01-D_Singer1", "Martinetes1/02-M1_Singer2"]
    for name in names:
        notes = (folder / f"{name}.notes.Corrected").read_text().splitlines()
        assert float(notes[0]) == 0
        onset, duration, pitch, energy = map(float, notes[1].split(","))
        assert onset + duration <= 4 and 30 < pitch < 90 and 0 < energy < 1
        f0 = np.loadtxt(folder / f"{name}.f0.Corrected")
        assert f0.shape == (400, 4)
        sung = f0[int((onset + 0.5 * duration) / 0.01), 3]
        assert sung > 50
        assert soundfile.info(folder / f"{name}.wav").duration == 4.0
    rows = (folder / "TONAS-Metadata.txt").read_text().splitlines()
    assert [row.split("\t")[0] for row in rows] == [
        f"{name.split('/')[1]}.wav" for name in names
    ]
    assert all(len(row.split("\t")) == 4 for row in rows)


def test_ismir2014_layout(tmp_path):
    folder = as_ismir2014(
        tmp_path / "i", 1, 0, 1, sample_rate=16000, **quick(song_s=3.0)
    )
    assert set(files_in(folder)) == {
        "child1.wav",
        "child1.GroundTruth.txt",
        "afemale1.wav",
        "afemale1.GroundTruth.txt",
        "minisinging.json",
    }
    rows = np.loadtxt(folder / "child1.GroundTruth.txt", ndmin=2)
    assert rows.shape[1] == 3 and (rows[:, 0] < rows[:, 1]).all()


def test_n20emv2_layout_has_disjoint_singers(tmp_path):
    folder = as_n20emv2(tmp_path / "n", 2, 1, 1, **quick())
    songs = json.loads((folder / "annotations.json").read_text())
    splits = {}
    for song, entry in songs.items():
        splits.setdefault(song.rsplit("-", 1)[0], set()).add(entry["split"])
        assert (folder / "data" / song / "vocals.wav").is_file()
        assert (folder / "data" / song / "accomp.wav").is_file()
        assert all(len(row) == 3 for row in entry["midi"])
    assert len(songs) == 4
    assert all(len(found) == 1 for found in splits.values())
    assert len(splits) == 3


def test_mir1k_layout(tmp_path):
    folder = as_mir1k(
        tmp_path / "m", 3, 3, **quick(song_s=12.0, accompaniment_db=0.0)
    )
    names = ["abjones_1", "amy_1", "abjones_2"]
    names += ["singer1_1", "singer1_2", "singer2_1"]
    clips = [f"{name}_{k:02}" for name in names for k in (1, 2)]
    assert set(files_in(folder)) == {
        *(f"UndividedWavfile/{name}.wav" for name in names),
        *(f"Wavfile/{clip}.wav" for clip in clips),
        *(f"PitchLabel/{clip}.pv" for clip in clips),
        "minisinging.json",
    }
    for name in names:
        song, rate = soundfile.read(folder / "UndividedWavfile" / f"{name}.wav")
        parts = [
            soundfile.read(folder / "Wavfile" / f"{name}_{k:02}.wav")[0]
            for k in (1, 2)
        ]
        assert rate == 16000 and song.shape == (192000, 2)
        assert np.array_equal(np.concatenate(parts), song)
        # Cut within a second of the middle, on the grid of the labels.
        assert abs(len(parts[0]) - 96000) <= 16320
        assert len(parts[0]) % 320 == 0


def test_mir1k_labels_belong_to_the_voice(tmp_path):
    folder = as_mir1k(tmp_path / "m", 2, 1, **quick(song_s=10.0))
    cents = []
    for path in sorted((folder / "PitchLabel").iterdir()):
        sound, rate = soundfile.read(folder / "Wavfile" / f"{path.stem}.wav")
        lines = path.read_text().splitlines()
        # As in the corpus: one label per 20 ms, each for 40 ms of sound.
        assert len(lines) == (len(sound) - 640) // 320 + 1
        assert all(
            re.fullmatch(r"0|[1-9][0-9](\.[0-9]{1,4})?", x) for x in lines
        )
        contour = read_f0(path)
        assert contour.times[0] == 0.02
        voice = sound[:, 1]
        frames = [voice[320 * k :][:640] for k in range(len(lines))]
        power = np.array([np.mean(frame**2) for frame in frames])
        sung = contour.midi > 0
        assert power[sung].mean() > 4 * power[~sung].mean()
        for k in np.flatnonzero(sung)[2:-2]:
            around = contour.midi[k - 2 : k + 3]
            # Where the pitch moves a label at a wrong place is a wrong label.
            if around.min() > 0 and np.ptp(around) > 0.25:
                expected = float(midi_to_hz(contour.midi[k]))
                heard = pitch_by_autocorrelation(frames[k], rate, expected)
                cents.append(abs(1200 * np.log2(heard / expected)))
    # 2.5; it would be 12 to 15 with labels one frame late or early.
    assert len(cents) > 200 and np.median(cents) < 6


def test_musdb18_layout(tmp_path):
    folder = as_musdb18(tmp_path / "m", 2, 1, **quick(song_s=3.0))
    names = ["train/Mini Singer 1 - Song 1", "train/Mini Singer 3 - Song 3"]
    names += ["test/Mini Singer 2 - Song 2"]
    stems = ["drums", "bass", "other", "vocals"]
    assert set(files_in(folder)) == {
        "minisinging.json",
        *(f"{n}/{stem}.wav" for n in names for stem in [*stems, "mixture"]),
    }
    for name in names:
        sound = {}
        for stem in [*stems, "mixture"]:
            sound[stem], rate = soundfile.read(
                folder / name / f"{stem}.wav", dtype="int16"
            )
            assert rate == 44100 and sound[stem].shape == (132300, 2)
        # Exactly so: in whole steps of 16 bits.
        total = sum(sound[stem].astype(int) for stem in stems)
        assert np.array_equal(sound["mixture"], total)
        peak = np.abs(sound["mixture"].astype(int)).max()
        assert 0.3 * 32768 < peak < 32767
        assert np.std(sound["vocals"]) > 50
        # The room makes even a voice in the middle stereo.
        assert np.any(sound["vocals"][:, 0] != sound["vocals"][:, 1])
    assert np.any(np.diff(sound["mixture"].astype(int), axis=1))


def test_musdb18_stem_files_hold_the_same_songs(tmp_path):
    options = quick(song_s=2.5)
    wavs = as_musdb18(tmp_path / "w", 1, 0, phones=True, **options)
    stems = as_musdb18(tmp_path / "s", 1, 0, container="stem.mp4", **options)
    name = "Mini Singer 1 - Song 1"
    path = stems / "train" / f"{name}.stem.mp4"
    assert set(files_in(stems)) == {
        f"train/{name}.stem.mp4",
        "minisinging.json",
    }
    tracks = ["mixture", "drums", "bass", "other", "vocals"]
    for number, track in enumerate(tracks):
        true, _ = soundfile.read(wavs / "train" / name / f"{track}.wav")
        coded = np.concatenate(
            list(stream_audio(path, 1.0, None, mono=False, track=number))
        )[: len(true)]
        if true.any():
            error = np.mean((coded - true) ** 2) / np.mean(true**2)
            assert 10 * np.log10(error) < -15
        else:
            assert not coded.any()
    with pytest.raises(OutputError, match="another container"):
        as_musdb18(stems, 1, 0, **options)
    with pytest.raises(OutputError, match="another phones"):
        as_musdb18(wavs, 1, 0, **options)
    # Phones are where the voice is, and words where their phones are.
    phones = read_phones(wavs / "train" / name / "phones.csv")
    words = read_timed(wavs / "train" / name / "words.csv")
    voice, rate = soundfile.read(wavs / "train" / name / "vocals.wav")
    times = np.arange(len(voice)) / rate
    sung = np.zeros(len(voice), bool)
    for phone in phones:
        sung |= (times >= phone.onset) & (times < phone.offset)
    power = np.mean(voice**2, axis=1)
    assert power[sung].mean() > 3 * power[~sung].mean()
    assert words[0].onset == pytest.approx(phones[0].onset, abs=1e-3)


@pytest.mark.parametrize("writer", [as_mir1k, as_musdb18])
def test_stereo_corpora_do_not_depend_on_the_number_of_jobs(writer, tmp_path):
    one = writer(tmp_path / "one", 1, 1, **quick(song_s=(4.5, 5.5), seed=3))
    two = writer(
        tmp_path / "two", 1, 1, **quick(song_s=(4.5, 5.5), seed=3, n_jobs=2)
    )
    other = writer(tmp_path / "other", 1, 1, **quick(song_s=(4.5, 5.5)))
    assert files_in(one) == files_in(two)
    assert len(files_in(one)) in (7, 11)
    assert not set(files_in(one).values()) & set(files_in(other).values())


def test_a_sound_in_the_room():
    wav = np.float64(np.arange(100) == 0)
    rng = np.random.default_rng(0)
    middle = place(wav, rng, 16000)
    assert np.array_equal(middle, np.stack([wav, wav], 1))
    for pan in (-1.0, -0.4, 0.3, 1.0):
        sides = place(wav, rng, 16000, pan)
        # Constant power: as much as the same sound in the middle.
        assert np.sum(sides**2) == pytest.approx(2.0)
        assert (sides[0, 1] > sides[0, 0]) == (pan > 0)
    long = np.zeros(32000)
    long[0] = 1.0
    wet = place(long, rng, 16000, wet_db=-10.0)
    assert wet[0].tolist() == pytest.approx([1.0, 1.0])
    rest = np.sum(wet[1:] ** 2, axis=0)
    assert 10 * np.log10(rest) == pytest.approx([-10, -10], abs=0.5)
    assert np.abs(np.corrcoef(wet[1:].T)[0, 1]) < 0.5


def test_wrong_options_are_refused_before_anything_is_written(tmp_path):
    target = tmp_path / "x"
    with pytest.raises(ConfigError, match="n_test is 101"):
        as_mir_st500(target, 1, 101)
    with pytest.raises(ConfigError, match="song_s is 5"):
        as_mir_st500(target, song_s=5)
    with pytest.raises(ConfigError, match="separated is 2"):
        as_mir_st500(target, separated=2)
    with pytest.raises(ConfigError, match="seed is -1"):
        as_mir_st500(target, seed=-1)
    with pytest.raises(ConfigError, match="no songs"):
        as_mir_st500(target, 0, 0)
    with pytest.raises(ConfigError, match="songs_per_singer is 0"):
        as_mir1k(target, songs_per_singer=0)
    with pytest.raises(ConfigError, match="song_s is 4"):
        as_mir1k(target, song_s=4)
    with pytest.raises(ConfigError, match="container is 'mp4': use one of wav"):
        as_musdb18(target, container="mp4")
    assert not target.exists()


def test_command_line(tmp_path, capsys):
    target = tmp_path / "i"
    arguments = ["ismir2014", str(target), "--n-child", "1", "--n-male", "0"]
    arguments += ["--n-female", "0", "--song-s", "2.5", "3"]
    assert main([*arguments, "--sample-rate", "16000"]) == 0
    assert (target / "child1.wav").is_file()
    assert main([*arguments, "--sample-rate", "8000"]) == 2
    assert "singbrain: error:" in capsys.readouterr().err
    assert main(["mir_st500", str(tmp_path / "m"), "--n-test", "900"]) == 2
    assert "n_test is 900" in capsys.readouterr().err
