"""Mixtures of several voices: cases, levels, plans, data sets."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from speechbrain_ext.audio import (
    integrated_loudness,
    loudness_gain,
    write_audio,
)
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    ManifestError,
    OutputError,
)
from speechbrain_ext.mixing.plans import (
    VALIDATION_CASES,
    Plan,
    PlanDataset,
    published_plan,
    read_plan,
    validation_plan,
    with_published_groups,
    write_plan,
)
from speechbrain_ext.mixing.singers import (
    DUET,
    MAIN_AND_REST,
    TRAINING_CASES,
    Case,
    Mixture,
    MixtureDataset,
    MixtureSettings,
    Pools,
    Voice,
    check_cases,
    draw_mixture,
    render_mixture,
    with_probabilities,
)
from speechbrain_ext.mixing.voices import PUBLISHED_CHANGES, VoiceChange

RATE = 8000
SHORT = MixtureSettings(segment_s=0.5)
PLAIN = replace(SHORT, change_share=0.0)
# Name, kind, singer, song, seconds, hertz.
VOICES = [
    ("a1", "singing", "Ann", "hymn", 1.2, 200),
    ("a2", "singing", "Ann", "", 0.9, 210),
    ("b1", "singing", "Bo", "hymn", 1.0, 300),
    ("b2", "singing", "Bo", "reel", 0.3, 310),
    ("c1", "singing", "Cy", "hymn", 1.5, 400),
    ("d1", "singing", "", "", 0.8, 500),
    ("s1", "speech", "Sue", "", 0.9, 600),
    ("s2", "speech", "Sue", "", 0.8, 610),
    ("t1", "speech", "Tom", "", 1.0, 700),
]
SINGER = {name: singer for name, _, singer, *_ in VOICES}
HYMN = {"a1", "b1", "c1"}


class Epoch:
    current = 1


class Heard:
    """Stands for a reader to whom everything sounds."""

    @staticmethod
    def sounds(recording, start):
        return True


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Tones; the one of voice k has 0.05 x (k + 1) of full scale."""
    folder = tmp_path_factory.mktemp("voices")
    found = []
    for k, (name, kind, singer, song, seconds, hz) in enumerate(VOICES):
        time = np.arange(round(seconds * RATE)) / RATE
        wav = 0.05 * (k + 1) * np.sin(2 * np.pi * hz * time)
        path = folder / f"{name}.wav"
        write_audio(path, wav.astype(np.float32), RATE, subtype="FLOAT")
        found.append(
            {
                "ID": f"{name}_1",
                "song_id": name,
                "start": 0.0,
                "stop": seconds,
                "wav": str(path),
                "kind": kind,
                "singer": singer,
                "song": song,
            }
        )
    return found


@pytest.fixture(scope="module")
def pools(rows):
    return Pools(rows)


def names(mixture):
    return [voice.recording for voice in mixture.voices]


def case_named(name, cases=TRAINING_CASES):
    return next(case for case in cases if case.name == name)


def drawn(pools, name, settings=PLAIN, count=40, cases=TRAINING_CASES):
    case = case_named(name, cases)
    return [
        draw_mixture([k], pools, case, settings, str(k)) for k in range(count)
    ]


# Loudness.


def tone(hz, seconds, db, rate=48000):
    time = np.arange(round(seconds * rate)) / rate
    return 10 ** (db / 20) * np.sin(2 * np.pi * hz * time)


def test_calibration_of_the_standard():
    """997 Hz at full scale in one channel: -3.01; in two: 3.01 more."""
    wav = tone(997, 2, 0)
    assert integrated_loudness(wav, 48000) == pytest.approx(-3.01, abs=0.005)
    both = np.stack([wav, wav], axis=1)
    assert integrated_loudness(both, 48000) == pytest.approx(0.0, abs=0.005)
    one = np.stack([wav, 0 * wav], axis=1)
    assert integrated_loudness(one, 48000) == pytest.approx(-3.01, abs=0.005)
    for rate in (16000, 24000, 44100):
        wav = tone(997, 2, 0, rate)
        assert integrated_loudness(wav, rate) == pytest.approx(-3.01, abs=0.05)


@pytest.mark.parametrize(
    "parts, wanted",
    [
        # Minimum requirements of EBU Tech 3341, cases 1 to 5, stereo sines of
        # 1 kHz; a tenth as long, whose blocks across the joints weigh more.
        ([(2.0, -23)], -23.0),
        ([(2.0, -33)], -33.0),
        ([(1, -36), (6, -23), (1, -36)], -23.0),
        ([(1, -72), (1, -36), (6, -23), (1, -36), (1, -72)], -23.0),
        ([(2, -26), (2.01, -20), (2, -26)], -23.0),
    ],
)
def test_gates(parts, wanted):
    rate = 16000
    wav = np.concatenate([tone(1000, s, db, rate) for s, db in parts])
    both = np.stack([wav, wav], axis=1)
    assert integrated_loudness(both, rate) == pytest.approx(wanted, abs=0.25)


def test_loudness_agrees_with_pyloudnorm():
    pyloudnorm = pytest.importorskip("pyloudnorm")
    rng = np.random.default_rng(0)
    for rate in (16000, 24000, 44100):
        level = np.repeat(rng.uniform(0, 1, 20), rate // 10)
        wav = 0.1 * level * rng.standard_normal(len(level))
        ours = integrated_loudness(wav, rate)
        meter = pyloudnorm.Meter(rate, filter_class="DeMan")
        assert ours == pytest.approx(meter.integrated_loudness(wav), abs=1e-6)
        # Its default filters are others than those of the standard.
        meter = pyloudnorm.Meter(rate)
        assert ours == pytest.approx(meter.integrated_loudness(wav), abs=0.2)


def test_loudness_of_little():
    assert integrated_loudness(np.zeros(8000), 16000) == -np.inf
    assert loudness_gain(np.zeros(8000), 16000, -24) == 1.0
    with pytest.raises(AudioError, match=r"lasts 0.3 s: .* at least 0.4 s"):
        integrated_loudness(np.zeros(4800), 16000)


@pytest.mark.parametrize("db", [0, 20, -20, 40, 60])
def test_gain_there_and_back_is_one(db):
    """The published conversion loses 1e-5: 0.999 at 40 dB, 0.99 at 60 dB."""
    wav = tone(500, 1, -30, 16000)
    own = integrated_loudness(wav, 16000)
    there = loudness_gain(wav, 16000, own + db)
    back = loudness_gain(wav, 16000, own - db)
    assert there * back == pytest.approx(1, abs=1e-12)
    assert there == pytest.approx(10 ** (db / 20), rel=1e-12)
    louder = integrated_loudness((there * wav).astype(np.float32), 16000)
    assert louder == pytest.approx(own + db, abs=1e-5)


# Cases.


def test_training_table():
    table = {case.name: case.probability for case in TRAINING_CASES}
    assert table == {
        "sing_sing": 0.15,
        "sing_speech": 0.15,
        "same_song": 0.2,
        "same_singer": 0.2,
        "same_speaker": 0.15,
        "speech_speech": 0.15,
    }
    check_cases(TRAINING_CASES)
    assert len(VALIDATION_CASES) == 7


def test_other_singers(pools):
    for mixture in drawn(pools, "sing_sing_diff", cases=VALIDATION_CASES):
        one, two = names(mixture)
        # Names start with the letter of the singer.
        assert {one[0], two[0]} <= set("abcd")
        assert one[0] != two[0]
    mixed = drawn(pools, "sing_speech", replace(MAIN_AND_REST, segment_s=0.5))
    assert {len(m.voices) for m in mixed} == {2, 3, 4}
    for mixture in mixed:
        kinds = [name[0] in "st" for name in names(mixture)]
        assert kinds == [False, True, False, True][: len(kinds)]
        singers = [name[0] for name in names(mixture)]
        assert len(set(singers)) == len(singers)


def test_same_song_starts_together(pools):
    found = set()
    for mixture in drawn(pools, "same_song"):
        one, two = mixture.voices
        assert one.recording != two.recording
        assert {one.recording, two.recording} <= HYMN
        assert one.start == two.start >= 0
        shorter = 1.0 if "b1" in names(mixture) else 1.2
        assert one.start + 0.5 <= shorter + 1e-6
        found.add(one.recording)
    assert found == HYMN


def test_voices_beyond_a_song_are_of_others(pools):
    four = replace(PLAIN, voices=4)
    for mixture in drawn(pools, "same_song", four, 10):
        assert set(names(mixture)[:3]) == HYMN
        assert names(mixture)[3] == "d1"


def test_same_singer(pools):
    for mixture in drawn(pools, "same_singer"):
        one, two = names(mixture)
        assert one != two and SINGER[one] == SINGER[two] != ""
    for mixture in drawn(pools, "same_speaker", count=10):
        assert set(names(mixture)) == {"s1", "s2"}


def test_unison(pools):
    case = replace(case_named("sing_sing"), unison=1.0)
    mixture = draw_mixture([0], pools, case, replace(PLAIN, voices=3))
    main, *others = mixture.voices
    assert main.change is None
    for voice in others:
        assert (voice.recording, voice.start) == (main.recording, main.start)
        assert voice.change is not None
    assert others[0].change != others[1].change


def test_what_is_changed_and_how_often(pools):
    """30 % unison of two cases, 40 % changes of all; a third each."""
    mixtures = drawn(pools, "sing_sing", SHORT, 1000)
    kinds = Counter()
    for mixture in mixtures:
        one, two = mixture.voices
        changed = (one.change is not None, two.change is not None)
        kinds[(one.recording == two.recording, *changed)] += 1 / 1000
    assert kinds[True, False, True] == pytest.approx(0.3, abs=0.04)
    for pair in ((True, False), (False, True), (True, True)):
        assert kinds[(False, *pair)] == pytest.approx(0.4 / 3, abs=0.03)
    assert kinds[False, False, False] == pytest.approx(0.3, abs=0.04)
    other = drawn(pools, "same_singer", SHORT, 400)
    plain = sum(not any(v.change for v in m.voices) for m in other) / 400
    assert plain == pytest.approx(0.6, abs=0.06)


def test_how_often_each_case_and_level(rows):
    data = MixtureDataset(rows, 1200, SHORT, sample_rate=RATE)
    mixtures = [data.plan(k, Heard) for k in range(len(data))]
    shares = Counter(mixture.case for mixture in mixtures)
    for case in TRAINING_CASES:
        share = shares[case.name] / 1200
        assert share == pytest.approx(case.probability, abs=0.035)
    levels = np.array([mixture.levels_db[0] for mixture in mixtures])
    assert levels.mean() == pytest.approx(0, abs=0.5)
    assert levels.std() == pytest.approx(6, abs=0.4)
    # Long recordings come more often: c1 lasts 1.5 s, d1 0.8 s.
    first = Counter(names(m)[0] for m in mixtures if m.case == "sing_sing")
    assert first["c1"] > first["d1"] > first["b2"]


def test_main_and_rest_levels(pools):
    settings = replace(MAIN_AND_REST, segment_s=0.5)
    mixtures = drawn(pools, "sing_sing", settings, 400)
    assert {len(mixture.levels_db) for mixture in mixtures} == {1}
    levels = np.array([mixture.levels_db[0] for mixture in mixtures])
    assert levels.mean() == pytest.approx(-2, abs=0.4)
    assert levels.std() == pytest.approx(2, abs=0.3)
    counts = Counter(len(mixture.voices) for mixture in mixtures)
    assert min(counts[2], counts[3], counts[4]) > 90
    gains = [v.gain_db for m in mixtures for v in m.voices[1:]]
    factor = 10 ** (np.array(gains) / 20)
    assert 0.25 <= factor.min() < 0.3 and 1.2 < factor.max() <= 1.25


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Case("x", ("birds",)), "case x: pool 'birds' is unknown"),
        (lambda: Case("x", ()), "pool '' is unknown"),
        (lambda: Case("x", ("singing",), "twin"), "relation 'twin'"),
        (
            lambda: Case("x", ("singing",), alignment="late"),
            "alignment 'late'",
        ),
        (
            lambda: Case("x", ("singing",), probability=1.5),
            "case x: probability is 1.5",
        ),
        (
            lambda: Case("x", ("singing", "speech"), "same_song"),
            "singing and speech have no same_song",
        ),
        (lambda: check_cases(()), "no cases add up to 0"),
        (lambda: check_cases(TRAINING_CASES * 2), "two cases are called sing"),
        (lambda: with_probabilities({"solo": 1}), "case solo is unknown"),
        (
            lambda: with_probabilities({"sing_sing": 0.9}),
            "sing_sing add up to 0.9: make it 1",
        ),
        (lambda: MixtureSettings(segment_s=0.3), "segment_s is 0.3"),
        (lambda: MixtureSettings(voices=1), "voices is 1 to 1"),
        (lambda: MixtureSettings(voices=(2, 4)), "or set main_and_rest"),
        (lambda: MixtureSettings(rest_gain=(0, 1)), "rest_gain is 0 to 1"),
        (lambda: MixtureSettings(level_sd=-1), "level_sd is -1"),
        (lambda: MixtureSettings(speed=13), "speed is 13: use 0 to 12"),
        (lambda: MixtureSettings(speed_share=2), "speed_share is 2"),
        (lambda: MixtureSettings(change_share=-1), "change_share is -1"),
        (
            lambda: Mixture("m", "c", (Voice("a", 0),), (), 1.0, -24.0),
            "mixture m has 1 voices and 0 levels",
        ),
    ],
)
def test_mistakes_in_tables_and_settings(make, message):
    with pytest.raises(ConfigError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "keep, case, settings, message",
    [
        ("abcd", "sing_speech", PLAIN, "there are 0 recordings of speech"),
        ("cd", "same_singer", PLAIN, "no singer has 2 recordings of singing"),
        ("st", "same_song", PLAIN, "there are 0 recordings of singing"),
        ("ad", "same_song", PLAIN, "no song has 2 recordings of singing"),
        ("a", "sing_sing", PLAIN, "wants 2 voices of singing, but there are 1"),
        (
            "st",
            "same_speaker",
            replace(PLAIN, voices=4),
            "wants 4 voices of speech, but there are 2 singers",
        ),
        (
            "ab",
            "sing_sing",
            replace(PLAIN, change_share=0.8),
            "unison 0.3 and change_share 0.8",
        ),
    ],
)
def test_recordings_that_are_missing(rows, keep, case, settings, message):
    """Told when the set is made, not in the middle of an epoch."""
    few = [row for row in rows if row["song_id"][0] in keep]
    cases = with_probabilities({case: 1.0})
    with pytest.raises(ConfigError, match=message) as error:
        MixtureDataset(few, 4, settings, cases, RATE)
    assert "\n" not in str(error.value)


def test_rows_that_do_not_fit(rows):
    with pytest.raises(ManifestError, match="0 segments"):
        Pools([])
    with pytest.raises(ManifestError, match="a1_1 has no wav"):
        Pools([{**rows[0], "wav": None}])
    with pytest.raises(ManifestError, match="kind 'rap' is none of"):
        Pools([{**rows[0], "kind": "rap"}])
    double = {**rows[1], "song_id": "a1"}
    with pytest.raises(ManifestError, match="recording a1 is in .*dataset"):
        Pools([rows[0], double])
    both = Pools([{**rows[0], "dataset": "x"}, {**double, "dataset": "y"}])
    assert list(both.recordings) == ["x/a1", "y/a1"]
    # An artist in two data sets is one singer.
    assert len({x.singer for x in both.recordings.values()}) == 1


def test_a_recording_has_one_name_in_all_manifests(rows):
    """Prepared alone, or with other data sets."""
    named = [{**row, "dataset": "x"} for row in rows]
    together = [
        {**row, "dataset": "x", "song_id": f"x_{row['song_id']}"}
        for row in rows
    ]
    assert list(Pools(named).recordings) == list(Pools(together).recordings)
    plan = validation_plan(named, 1, 2, SHORT, sample_rate=RATE)
    assert len(PlanDataset(together, plan, RATE)) == len(plan.mixtures)


# Sources.


def sources_of(mixture, pools, rate=RATE):
    return render_mixture(mixture, pools, rate).numpy().astype(np.float64)


def tones(wav, *hertz):
    """Amplitudes at some frequencies of half a second."""
    power = np.abs(np.fft.rfft(wav)) * 2 / len(wav)
    return [power[round(hz * len(wav) / RATE)] for hz in hertz]


def test_levels_of_a_duet(pools):
    voices = (Voice("a1", 0.1), Voice("b1", 0.2))
    mixture = Mixture("m", "c", voices, (-5.0,), 0.5, -24.0)
    sources = sources_of(mixture, pools)
    assert sources.shape == (2, 4000)
    one, two = (integrated_loudness(wav, RATE) for wav in sources)
    assert two - one == pytest.approx(-5, abs=1e-3)
    whole = integrated_loudness(sources.sum(0), RATE)
    assert whole == pytest.approx(-24, abs=1e-3)
    assert tones(sources[0], 200)[0] > 1e3 * tones(sources[0], 300)[0]
    # Only gains were changed: the slice is that of the file.
    time = np.arange(800, 4800) / RATE
    wanted = np.sin(2 * np.pi * 200 * time)
    assert np.corrcoef(sources[0], wanted)[0, 1] > 1 - 1e-9


def test_rest_is_the_sum_of_all_others(pools):
    """The published loader keeps the last voice alone."""
    voices = (
        Voice("a1", 0.0),
        Voice("b1", 0.0, gain_db=0.0),
        Voice("c1", 0.0, gain_db=-6.0206),
        Voice("s1", 0.0, gain_db=0.0),
    )
    mixture = Mixture("m", "c", voices, (-2.0,), 0.5, -24.0, True)
    main, rest = sources_of(mixture, pools)
    heard = np.array(tones(rest, 300, 400, 600))
    # Full scale 0.15, 0.25 and 0.35, the second halved.
    assert heard / heard[0] == pytest.approx([1, 2.5 / 3, 7 / 3], rel=1e-3)
    level = integrated_loudness(rest, RATE) - integrated_loudness(main, RATE)
    assert level == pytest.approx(-2, abs=1e-3)
    apart = replace(mixture, main_and_rest=False, levels_db=(0.0, 3.0, -3.0))
    sources = sources_of(apart, pools)
    loud = [integrated_loudness(wav, RATE) for wav in sources]
    assert np.array(loud[1:]) - loud[0] == pytest.approx([0, 3, -3], abs=1e-3)


def test_short_recording_and_silence(pools, rows, tmp_path):
    """Before and after a recording there is silence; no level of nothing."""
    early = Mixture(
        "m", "c", (Voice("b2", -0.1), Voice("a1", 0.0)), (0.0,), 0.5, -24.0
    )
    one, two = sources_of(early, pools)
    sounding = np.flatnonzero(one)
    assert 800 <= sounding[0] <= 801 and sounding[-1] == 3199
    path = tmp_path / "mute.wav"
    write_audio(path, np.zeros(8000, np.float32), RATE)
    mute = {**rows[0], "song_id": "mute", "wav": str(path), "stop": 1.0}
    both = Mixture(
        "m", "c", (Voice("a1", 0), Voice("mute", 0)), (0.0,), 0.5, -24.0
    )
    sources = sources_of(both, Pools([rows[0], mute]))
    assert not sources[1].any() and np.isfinite(sources).all()
    assert integrated_loudness(sources[0], RATE) == pytest.approx(-24, abs=0.01)


def test_silent_places_are_avoided(rows, tmp_path):
    """A recording that sounds in its last third only."""
    wav = np.zeros(3 * RATE, np.float32)
    wav[2 * RATE :] = tone(300, 1, -10, RATE)
    path = tmp_path / "late.wav"
    write_audio(path, wav, RATE, subtype="FLOAT")
    late = {**rows[0], "song_id": "late", "stop": 3.0, "wav": str(path)}
    late["singer"] = "Lea"
    cases = with_probabilities({"sing_sing": 1.0})
    cases = [replace(case, unison=0.0) for case in cases]
    data = MixtureDataset([late, rows[4]], 40, PLAIN, cases, RATE)
    starts = [
        voice.start
        for k in range(40)
        for voice in data.plan(k).voices
        if voice.recording == "late"
    ]
    # By chance 60 % of them would be silent.
    assert sum(start > 1.5 for start in starts) > 30


def test_same_band_for_all(rows, tmp_path):
    """A voice recorded at 8 kHz narrows that at 16 kHz, and may not."""
    noise = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    for name, rate in (("wide", 16000), ("narrow", 8000)):
        write_audio(tmp_path / f"{name}.wav", noise[:rate], rate)
    two = [
        {
            **rows[0],
            "song_id": name,
            "stop": 1.0,
            "wav": str(tmp_path / f"{name}.wav"),
        }
        for name in ("wide", "narrow")
    ]
    mixture = Mixture(
        "m", "c", (Voice("wide", 0), Voice("narrow", 0)), (0.0,), 0.5, -24.0
    )
    for same_band in (True, False):
        wide, _ = render_mixture(mixture, Pools(two), 16000, same_band).numpy()
        power = np.abs(np.fft.rfft(wide)) ** 2
        share = power[2200:].sum() / power[:1800].sum()
        if same_band:
            assert share < 1e-3
        else:
            assert share == pytest.approx(1, rel=0.3)


# Data sets.


def key_numbers(item):
    return (item["id"], float(item["sources"].square().sum()))


def test_items(rows):
    settings = replace(MAIN_AND_REST, segment_s=0.5)
    cases = with_probabilities(
        {"sing_sing": 0.4, "sing_speech": 0.3, "same_song": 0.3}
    )
    data = MixtureDataset(rows, 6, settings, cases, RATE, seed=4)
    for k in range(6):
        item = data[k]
        assert item["mixture"].shape == (4000,)
        assert item["sources"].shape == (2, 4000)
        assert item["mixture"].dtype == item["sources"].dtype == torch.float32
        assert torch.equal(item["sources"].sum(0), item["mixture"])
        assert item["case"] == data.plan(k).case
        level = integrated_loudness(item["mixture"], RATE)
        assert level == pytest.approx(-24, abs=0.01)
    with pytest.raises(IndexError):
        data[6]
    # 5.7 s of singing, 2.7 s of speech: 3+2+2+1+3+2 and 2+2+2 half seconds.
    assert len(MixtureDataset(rows, None, SHORT, sample_rate=RATE)) == 19


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4")
def test_same_for_any_workers_and_ranks(rows):
    data = MixtureDataset(rows, 8, SHORT, sample_rate=RATE, seed=1)
    expected = [key_numbers(data[k]) for k in range(8)]
    for workers in (1, 4):
        loader = torch.utils.data.DataLoader(
            data, batch_size=None, num_workers=workers
        )
        assert [key_numbers(item) for item in loader] == expected
    found = {}
    for rank in range(2):
        sampler = torch.utils.data.DistributedSampler(
            data, num_replicas=2, rank=rank, shuffle=False
        )
        found.update({k: key_numbers(data[k]) for k in sampler})
    assert [found[k] for k in range(8)] == expected
    backwards = MixtureDataset(rows[::-1], 8, SHORT, sample_rate=RATE, seed=1)
    assert backwards.plan(3) == data.plan(3)


def test_epochs_and_seeds_differ(rows):
    counter = Epoch()
    data = MixtureDataset(
        rows, 8, SHORT, sample_rate=RATE, epoch_counter=counter
    )
    first = [data.plan(k, Heard) for k in range(8)]
    counter.current = 2
    assert [data.plan(k, Heard) for k in range(8)] != first
    counter.current = 1
    assert [data.plan(k, Heard) for k in range(8)] == first
    other = MixtureDataset(
        rows, 8, SHORT, sample_rate=RATE, seed=1, epoch_counter=counter
    )
    assert [other.plan(k, Heard) for k in range(8)] != first


def test_kept_in_memory_or_not(rows):
    for settings in (SHORT, replace(PLAIN, speed=3.0, speed_share=1.0)):
        read, kept = (
            MixtureDataset(rows, 8, settings, sample_rate=RATE, keep=keep)
            for keep in (False, True)
        )
        for k in range(8):
            assert torch.equal(kept[k]["sources"], read[k]["sources"])
    assert kept.whole["a1"].shape == (1.2 * RATE,)


def test_who_sings(rows):
    cases = with_probabilities({"same_singer": 1})
    item = MixtureDataset(rows, 1, PLAIN, cases, RATE)[0]
    assert (item["voices"], item["n_singers"]) == (2, 1)
    assert item["singers"] in ("Ann + Ann", "Bo + Bo")


def test_played_faster(rows, pools):
    """A tone goes up with the speed; what is in time has one speed."""
    fast = replace(PLAIN, speed=12.0, speed_share=1.0)
    for mixture in drawn(pools, "same_song", fast, 20):
        one, two = mixture.voices
        assert one.speed == two.speed != 1 and one.start == two.start
    speeds = []
    for mixture in drawn(pools, "sing_sing_diff", fast, 200, VALIDATION_CASES):
        speeds += [12 * np.log2(voice.speed) for voice in mixture.voices]
        assert mixture.voices[0].speed != mixture.voices[1].speed
    assert -12 <= min(speeds) < -11 and 11 < max(speeds) <= 12
    half = replace(fast, speed_share=0.5)
    mixtures = drawn(pools, "sing_speech", half, 200)
    changed = [voice.speed != 1 for m in mixtures for voice in m.voices]
    assert np.mean(changed) == pytest.approx(0.5, abs=0.1)
    voices = (Voice("a1", 0.1, speed=1.5), Voice("c1", 0.2))
    mixture = Mixture("x", "x", voices, (0.0,), 0.5, -24.0)
    sources = render_mixture(mixture, pools, RATE).numpy()
    assert sources.shape == (2, RATE // 2)
    # a1 is a tone of 200 Hz, c1 one of 400 Hz; bins are 2 Hz apart.
    spectra = np.abs(np.fft.rfft(sources * np.hanning(RATE // 2)))
    assert spectra.argmax(1).tolist() == [150, 200]


def test_speed_changes_nothing_else(rows):
    """What is drawn besides it stays as it is."""
    faster = replace(SHORT, speed=2.0, speed_share=1.0)
    for k in range(5):
        one, two = (
            MixtureDataset(rows, 5, settings, sample_rate=RATE).plan(k, Heard)
            for settings in (SHORT, faster)
        )
        assert names(one) == names(two) and one.levels_db == two.levels_db
        changes = [[v.change for v in m.voices] for m in (one, two)]
        assert changes[0] == changes[1]
        assert all(voice.speed == 1 for voice in one.voices)
        assert all(voice.speed != 1 for voice in two.voices)


def test_lists_of_a_yaml(pools):
    """They are as good as tuples, which caches want."""
    from speechbrain_ext.mixing.voices import ChangeRanges

    changes = ChangeRanges(octaves=[0], vibrato_hz=[4.0, 5.0])
    settings = MixtureSettings(
        segment_s=0.5,
        voices=[2, 3],
        main_and_rest=True,
        rest_gain=[0.5, 1.0],
        changes=changes,
    )
    assert hash(settings) == hash(replace(settings, voices=(2, 3)))
    assert drawn(pools, "sing_sing", settings, 2)


def test_unison_as_wanted():
    table = with_probabilities(
        {"sing_sing": 0.6, "same_singer": 0.4}, unison=0.1
    )
    assert [case.unison for case in table] == [0.1, 0.0]


def test_longer_epoch_keeps_its_items(rows):
    short, long = (
        MixtureDataset(rows, count, SHORT, sample_rate=RATE)
        for count in (3, 30)
    )
    assert short.plan(2, Heard) == long.plan(2, Heard)


# Validation.


@pytest.fixture(scope="module")
def plan(rows):
    return validation_plan(rows, 7, None, SHORT, sample_rate=RATE)


def test_seven_cases(plan):
    counts = Counter(mixture.case for mixture in plan.mixtures)
    assert counts == {
        "sing_sing_diff": 6,
        "sing_sing_unison": 6,
        "sing_sing_same_singer": 4,
        "speech_speech_diff": 3,
        "speech_speech_unison": 3,
        "speech_same_speaker": 2,
        "singing_speech": 6,
    }
    for mixture in plan.mixtures:
        assert mixture.levels_db == (0.0,) and mixture.loudness == -24
        one, two = mixture.voices
        assert one.change is None
        unison = mixture.case.endswith("unison")
        assert (two.change is not None) == unison
        same = one.recording == two.recording
        assert same == unison
        if unison:
            assert one.start == two.start
        one, two = names(mixture)
        if "same" in mixture.case:
            assert SINGER[one] == SINGER[two]
        if mixture.case == "singing_speech":
            assert one[0] in "abcd" and two[0] in "st"


def test_cases_weigh_the_same(plan):
    """Published: from 0.007 to 0.301, because sums are never reset."""
    weights = plan.weights()
    for case in VALIDATION_CASES:
        total = sum(
            weights[m.name] for m in plan.mixtures if m.case == case.name
        )
        assert total == pytest.approx(1 / 7)


def test_plan_is_frozen(plan, rows, tmp_path):
    again = validation_plan(rows[::-1], 7, None, SHORT, sample_rate=RATE)
    assert again == plan
    other = validation_plan(rows, 8, None, SHORT, sample_rate=RATE)
    assert other != plan
    path = write_plan(plan, tmp_path / "valid.json")
    assert read_plan(path) == plan
    assert len(path.read_text().splitlines()) == len(plan.mixtures) + 2
    with pytest.raises(OutputError, match="exists"):
        write_plan(other, path)
    assert write_plan(plan, path, overwrite=True).read_bytes() == (
        write_plan(again, tmp_path / "again.json").read_bytes()
    )
    few = validation_plan(rows, 7, 2, SHORT, sample_rate=RATE)
    assert len(few.mixtures) == 14
    firsts = [names(m)[0] for m in few.mixtures[:2]]
    assert firsts == ["a1", "b2"]


def test_plan_dataset(plan, rows, tmp_path):
    path = write_plan(plan, tmp_path / "valid.json")
    data = PlanDataset(rows, path, RATE)
    assert len(data) == 30
    item = data[6]
    assert item["case"] == "sing_sing_unison"
    assert torch.equal(item["sources"].sum(0), item["mixture"])
    one, two = (integrated_loudness(wav, RATE) for wav in item["sources"])
    assert one == pytest.approx(two, abs=1e-3)
    assert torch.equal(
        PlanDataset(rows, plan, RATE)[6]["sources"], item["sources"]
    )
    with pytest.raises(ManifestError, match="which no row has"):
        PlanDataset(rows[1:], path, RATE)


def test_several_voices_in_validation(rows):
    settings = replace(MAIN_AND_REST, segment_s=0.5, voices=3)
    cases = [case for case in VALIDATION_CASES if "unison" not in case.name]
    plan = validation_plan(rows, 0, 1, settings, cases[:1], RATE)
    (mixture,) = plan.mixtures
    assert len(mixture.voices) == 3 and mixture.levels_db == (-2.0,)
    assert PlanDataset(rows, plan, RATE)[0]["sources"].shape == (2, 4000)


@pytest.mark.parametrize(
    "text, message",
    [
        ("[1]", "holds no JSON object"),
        ("{", "is no JSON"),
        ('{"mixtures": []}', "is no plan of mixtures: KeyError 'version'"),
        ('{"version": 9}', "version 9, not 1"),
        ('{"version": 1, "mixtures": []}', "holds 0 mixtures"),
        ('{"version": 1, "mixtures": [{"name": "m"}]}', "KeyError 'voices'"),
    ],
)
def test_no_plan(text, message, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(ManifestError, match=message) as error:
        read_plan(path)
    assert "\n" not in str(error.value)
    with pytest.raises(ManifestError, match="cannot be read"):
        read_plan(tmp_path / "none.json")


def test_names_in_a_plan_are_unique(plan):
    with pytest.raises(ConfigError, match="2 mixtures called sing_sing_diff_1"):
        Plan(plan.mixtures[:1] * 2)


# Lists as they were published.

ENTRY = {
    "corresponding_data": "b1.wav",
    "position(sec)": 0.25,
    "unison_aug": False,
    "unison_params": None,
    "type": "singing+singing",
}
UNISON = {
    "corresponding_data": "a1.wav",
    "position(sec)": 0.25,
    "unison_aug": True,
    "unison_params": [-11.85, 1.3, 1.2, 1.01],
    "type": "singing_unison",
}
SEVERAL = {
    "corresponding_data": ["s1.wav", "b1.wav", "t1.wav"],
    "position(sec)": [0.1, 0.0, 0.2],
    "gain_adjustment": [0.5, 1.0, 0.25],
    "unison_aug": False,
    "unison_params": None,
    "type": "singing+speech",
}


def published(folder, **entries):
    for name, content in entries.items():
        path = folder / f"valid_regions_dict_{name}.json"
        path.write_text(json.dumps(content))
    return folder


def test_published_lists(rows, tmp_path):
    same = {**ENTRY, "corresponding_data": "a2.wav"}
    folder = published(
        tmp_path,
        one={"c1.wav": ENTRY, "a1.wav": same},
        two={"a1.wav": UNISON},
        three={"a1.wav": SEVERAL},
    )
    plan = published_plan(folder, rows, segment_s=0.5)
    by_case = {mixture.case: mixture for mixture in plan.mixtures}
    assert len(plan.mixtures) == 3
    assert plan.remarks == (
        "valid_regions_dict_one.json: left out 1 of 2 mixtures of different "
        "voices, because the first voice comes twice",
    )
    pair = by_case["sing_sing_diff"]
    assert pair.voices == (Voice("c1", 0.0), Voice("b1", 0.25))
    assert pair.levels_db == (0.0,) and not pair.main_and_rest
    main, copy = by_case["sing_sing_unison"].voices
    assert copy.recording == main.recording and copy.start == main.start == 0
    assert copy.change == VoiceChange(-11.85, 1.3, 1.01)
    several = by_case["singing_speech"]
    assert several.main_and_rest
    assert names(several) == ["a1", "s1", "b1", "t1"]
    gains = [voice.gain_db for voice in several.voices[1:]]
    assert gains == pytest.approx([-6.0206, 0, -12.0412], abs=1e-4)
    _, rest = sources_of(several, Pools(rows))
    heard = np.array(tones(rest[1000:3000], 600, 300, 700))
    # Full scale 0.35, 0.15 and 0.45.
    assert heard / heard[1] == pytest.approx([7 / 6, 1, 0.75], rel=0.01)


def test_published_faults_on_demand(rows, tmp_path):
    folder = published(
        tmp_path, two={"a1.wav": UNISON}, three={"a1.wav": SEVERAL}
    )
    plan = published_plan(folder, rows, as_published=True)
    by_case = {mixture.case: mixture for mixture in plan.mixtures}
    main, copy = by_case["sing_sing_unison"].voices
    assert (main.start, copy.start) == (0.0, 0.25)
    assert names(by_case["singing_speech"]) == ["a1", "t1"]


@pytest.mark.parametrize(
    "entry, message",
    [
        ({**ENTRY, "corresponding_data": "z.wav"}, "0 recordings are called z"),
        ({**ENTRY, "type": "duck"}, "KeyError 'duck'"),
        ({**SEVERAL, "position(sec)": [0.0]}, "its lists differ in length"),
        (3, "TypeError"),
    ],
)
def test_no_published_list(entry, message, rows, tmp_path):
    folder = published(tmp_path, bad={"a1.wav": entry})
    with pytest.raises(ManifestError, match=message) as error:
        published_plan(folder, rows)
    assert "\n" not in str(error.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match="holds no valid_regions"):
        published_plan(tmp_path / "empty", rows)


def test_published_groups(rows, tmp_path):
    singers = tmp_path / "same_singer_X.json"
    singers.write_text(json.dumps({"X - Dee": ["d1", "b1"]}))
    songs = [tmp_path / f"same_song_{k}.json" for k in "xy"]
    for path, members in zip(songs, (["d1"], ["a2"]), strict=True):
        path.write_text(json.dumps({"7_+0": [[m, 9.0] for m in members]}))
    filled = {
        row["song_id"]: row
        for row in with_published_groups(rows, [singers], songs)
    }
    assert list(filled) == [row["song_id"] for row in rows]
    assert filled["d1"]["singer"] == "X - Dee"
    assert filled["b1"]["singer"] == "Bo"
    # One name in two files is two songs.
    assert filled["d1"]["song"] != filled["a2"]["song"]
    assert filled["c1"] == rows[4]
    with pytest.raises(ManifestError, match="1 recordings and none of"):
        with_published_groups(rows[:1], (), songs[:1])


def test_changes_as_published():
    settings = replace(DUET, changes=PUBLISHED_CHANGES)
    assert settings.changes.duration_sd == 0.05 and settings.segment_s == 3


def test_copies_are_singers_of_their_own(rows):
    settings = replace(PLAIN, copies=[(1.2, 0.0), (1.0, -12.0)])
    with pytest.raises(ConfigError, match="2 copies .* set keep_in_memory"):
        MixtureDataset(rows, 4, settings, sample_rate=RATE)
    made = MixtureDataset(rows, 4, settings, sample_rate=RATE, keep=True)
    sung = [row for row in rows if row["kind"] == "singing"]
    assert len(made.pools.kinds["singing"]) == 3 * len(sung)
    assert len(made.pools.kinds["speech"]) == len(rows) - len(sung)
    name = sung[0]["song_id"]
    lower = made.pools.recordings[f"{name} (1, -12)"]
    assert lower.singer == f"{sung[0]['singer']} (1, -12)"
    assert lower.song == made.pools.recordings[name].song

    def hertz(wav):
        return np.abs(np.fft.rfft(wav * np.hanning(len(wav)))).argmax() / len(
            wav
        )

    plain, low = made.whole[name], made.whole[lower.key]
    assert len(plain) == len(low)
    assert hertz(low) == pytest.approx(hertz(plain) / 2, rel=0.02)
    # Both are changed by the same numbers in every run.
    again = MixtureDataset(rows, 4, settings, sample_rate=RATE, keep=True)
    torch.testing.assert_close(made[1]["sources"], again[1]["sources"])
    some = [dict(row, dataset="b" if row in sung[:1] else "a") for row in rows]
    few = replace(settings, copied="b")
    few = MixtureDataset(some, 4, few, sample_rate=RATE, keep=True)
    assert len(few.pools.recordings) == len(rows) + 2
    none = replace(settings, copied=["elsewhere"])
    with pytest.raises(ConfigError, match="copied names elsewhere: .* of a, b"):
        MixtureDataset(some, 4, none, sample_rate=RATE, keep=True)
    with pytest.raises(ConfigError, match=r"copies has \[3, 0\]: give a fac"):
        MixtureSettings(copies=[[3, 0]])
