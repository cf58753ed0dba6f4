"""Pictures show what the metrics say."""

import sys
import warnings

import numpy as np
import pytest
from matplotlib.image import imread

from speechbrain_ext.errors import NoteError, OutputError
from speechbrain_ext.frames import FramePosteriors
from speechbrain_ext.metrics.notes import NoteStats
from speechbrain_ext.metrics.singers import SingersStats
from speechbrain_ext.notes import Note, NoteSequence
from speechbrain_ext.report.plots import (
    DPI,
    EXTRA,
    FOUND,
    MISSED,
    PARTLY,
    RIGHT,
    WIDTH_IN,
    noise_curves,
    note_kinds,
    piano_roll,
    read_train_log,
    separation_figure,
    singers_figure,
    training_curves,
)
from speechbrain_ext.report.spectrogram import Sketch

SONG = NoteSequence([(0, 1, 60), (1, 2, 62), (3, 4, 64), (5, 6, 65)])
# Right; offset 0.5 s late; nothing for the third; a semitone off.
HEARD = NoteSequence([(0.02, 1, 60), (1, 2.5, 62), (5, 6, 66)])


def shows(image, colour):
    """Number of pixels of a colour below the legend."""
    wanted = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    roll = image[round(0.75 * DPI) :, :, :3]
    return int((np.abs(roll - wanted).max(axis=2) < 0.01).sum())


def test_kinds_by_hand():
    assert note_kinds(SONG, HEARD) == (
        ["found", "found", "missed", "missed"],
        ["right", "partly", "extra"],
    )
    assert note_kinds(None, HEARD) == ([], ["plain"] * 3)


def test_all_kinds_are_in_the_picture(tmp_path):
    image = imread(piano_roll(SONG, HEARD, tmp_path / "a.png"))
    assert image.shape[1] == WIDTH_IN * DPI
    for colour in (RIGHT, PARTLY, EXTRA, MISSED, FOUND):
        assert shows(image, colour) > 200, colour
    image = imread(piano_roll(SONG, SONG, tmp_path / "b.png"))
    for colour in (PARTLY, EXTRA, MISSED):
        assert shows(image, colour) == 0, colour


def test_bars_are_as_long_as_the_notes(tmp_path):
    # Without a reference: 1 s and 3 s of the same colour, on 8 s.
    notes = NoteSequence([(0, 1, 60), (4, 7, 60)])
    image = imread(piano_roll(None, notes, tmp_path / "a.png", stop=8))
    width = (WIDTH_IN - 0.75) * DPI / 8
    wanted = [int(RIGHT[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    roll = image[round(0.75 * DPI) :, :, :3]
    blue = (np.abs(roll - wanted).max(axis=2) < 0.01).any(axis=0)
    assert blue.sum() == pytest.approx(4 * width, abs=6)


def test_long_songs_get_equal_rows(tmp_path):
    def height(seconds):
        notes = NoteSequence([(0, 1, 60), (seconds - 1, seconds, 62)])
        path = piano_roll(notes, notes, tmp_path / "a.png", overwrite=True)
        return imread(path).shape[0]

    one, two, three = height(20), height(40), height(41)
    assert two - one == pytest.approx(three - two, abs=2)
    assert two - one > 1.9 * DPI


def test_excerpt(tmp_path):
    # From 3 to 4.5 s there is only the missed note.
    image = imread(
        piano_roll(SONG, HEARD, tmp_path / "a.png", start=3, stop=4.5)
    )
    assert shows(image, MISSED) > 200
    assert shows(image, RIGHT) == shows(image, EXTRA) == 0


def test_posteriors_and_pitch_curve(tmp_path):
    plain = imread(piano_roll(SONG, HEARD, tmp_path / "a.png"))
    onset = np.zeros(300)
    onset[[1, 50, 250]] = 1
    pitch = np.full((300, 48), np.log(1 / 48))
    posteriors = FramePosteriors(onset, np.zeros(300), pitch, low=36)
    times = np.arange(0, 6, 0.01)
    image = imread(
        piano_roll(
            SONG,
            HEARD,
            tmp_path / "b.png",
            posteriors=posteriors,
            f0=(times, np.where(times > 3, np.nan, 61.0)),
        )
    )
    assert image.shape[0] > plain.shape[0]
    assert shows(image, "#009E73") > 20 > shows(plain, "#009E73")
    assert shows(image, "#000000") > shows(plain, "#000000") + 200


def test_contour_of_the_posteriors(tmp_path):
    # A minute in three rows, with a voice in the first and the last 20 s.
    voicing = np.repeat([1.0, 0.0, 1.0], 1000)
    nothing = np.zeros(3000)
    notes = NoteSequence([(0, 1, 60)])

    def lines(name, **more):
        """Number of black lines from side to side."""
        pitch = np.zeros((3000, 48))
        said = FramePosteriors(nothing, nothing, pitch, 36, **more)
        path = piano_roll(None, notes, tmp_path / name, said)
        black = (imread(path)[..., :3].max(axis=2) < 0.2).sum(axis=1)
        return (black > 0.9 * (WIDTH_IN - 0.75) * DPI).sum()

    # The axes of each row and of the onsets below it.
    assert lines("plain.png") == 6
    f0 = np.full(3000, 61.0)
    assert lines("sung.png", voicing=voicing, f0=f0) == 6 + 2


@pytest.mark.parametrize("reference", [None, NoteSequence(), SONG])
@pytest.mark.parametrize("estimate", [NoteSequence(), SONG])
def test_empty_sides(tmp_path, reference, estimate):
    path = piano_roll(reference, estimate, tmp_path / "a.png")
    assert imread(path).std() > 0


def test_any_words_without_warnings(tmp_path):
    notes = NoteSequence([Note(0, 1, 60, "你$x_"), Note(1, 2, 60, "$\\bad$")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        piano_roll(notes, notes, tmp_path / "a.png", title="歌 $\\frac$")


def test_nothing_global_is_touched(tmp_path):
    before = set(sys.modules)
    piano_roll(SONG, HEARD, tmp_path / "a.png")
    assert "matplotlib.pyplot" not in set(sys.modules) - before


def test_errors(tmp_path):
    path = piano_roll(SONG, HEARD, tmp_path / "a.png")
    with pytest.raises(OutputError, match="exists already"):
        piano_roll(SONG, HEARD, path)
    with pytest.raises(NoteError, match="cannot draw from 3 s to 2 s"):
        piano_roll(SONG, HEARD, tmp_path / "b.png", start=3, stop=2)
    with pytest.raises(NoteError, match=r"none\.txt: cannot be read"):
        read_train_log(tmp_path / "none.txt")
    (tmp_path / "log.txt").write_text("hello\n")
    with pytest.raises(NoteError, match="no line with an epoch"):
        read_train_log(tmp_path / "log.txt")
    with pytest.raises(NoteError, match="nothing to draw"):
        training_curves([{"epoch": 1}], tmp_path / "c.png")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a.png", "log.txt"]


def test_training_curves(tmp_path):
    log = tmp_path / "train_log.txt"
    log.write_text(
        "epoch: 1, lr_head: 1.00e-03 - train loss: 3.0 - valid loss: 2.5, "
        "valid COnPOff: 10.0\n"
        "epoch: 2, lr_head: 9.00e-04 - train loss: 2.0 - valid loss: 2.25, "
        "valid COnPOff: 20.0\n"
        "epoch: 2, lr_head: 9.00e-04 - train loss: 1.0 - valid loss: 2.0, "
        "valid COnPOff: 21.0\n"
        "Epoch loaded: 2 - test loss: 2.1\n"
    )
    rows = read_train_log(log)
    assert [row["train loss"] for row in rows] == [3, 1]
    assert rows[1] == {
        "epoch": 2,
        "lr_head": 9e-4,
        "train loss": 1,
        "valid loss": 2,
        "valid COnPOff": 21,
    }
    image = imread(training_curves(rows, tmp_path / "curves.png"))
    # Three panels in a row; releases of matplotlib round differently.
    expected = (3.2 * DPI, 3 * 4.6 * DPI)
    assert image.shape[:2] == pytest.approx(expected, abs=1)
    with pytest.raises(OutputError, match="exists already"):
        training_curves(rows, tmp_path / "curves.png")


def test_noise_curves(tmp_path):
    def stats(estimate):
        made = NoteStats()
        for song in ("a", "b"):
            made.append(song, SONG, estimate)
        return made

    results = {"clean": stats(SONG), "other": stats(SONG)}
    for level, estimate in ((-10, NoteSequence()), (0, HEARD), (10, SONG)):
        results[f"white{level:+d}dB"] = stats(estimate)
        results[f"babble{level:+d}dB"] = stats(HEARD)
    image = imread(noise_curves(results, tmp_path / "noise.png"))
    assert shows(image, RIGHT) > 300 and shows(image, EXTRA) > 300
    with pytest.raises(OutputError, match="exists"):
        noise_curves(results, tmp_path / "noise.png")
    with pytest.raises(NoteError, match="no test set has a level"):
        noise_curves({"clean": stats(SONG)}, tmp_path / "none.png")


def sketches(seconds, rate, **tones):
    """A mixture of tones, each a stem, and its sketches by name."""
    times = np.arange(round(seconds * rate)) / rate
    wavs = {n: np.sin(2 * np.pi * hz * times) for n, hz in tones.items()}
    wavs["mixture"] = sum(wavs.values())
    made = {name: Sketch(rate) for name in wavs}
    for name, wav in wavs.items():
        made[name].listen(wav)
    return made.pop("mixture"), made


def test_singers_figure(tmp_path):
    rng = np.random.default_rng(0)
    times, images = np.arange(8000) / 8000, {}
    for pitch in (False, True):
        stats = SingersStats(bss=False, pitch=pitch)
        for k in range(4):
            pair = np.sin(2 * np.pi * np.outer([200 + 20 * k, 330], times))
            noisy = pair + 0.1 * rng.normal(size=pair.shape)
            case = "duet" if k % 2 else "unison"
            stats.append(str(k), pair, noisy, 8000, case=case)
        images[pitch] = imread(singers_figure(stats, tmp_path / f"{pitch}.png"))
    # Pitch ranges have a panel of their own.
    assert images[True].shape[1] == 2 * images[False].shape[1]
    with pytest.raises(OutputError, match="exists"):
        singers_figure(stats, tmp_path / "True.png")


def test_separation_figure(tmp_path):
    mixture, stems = sketches(3, 44100, vocals=3000, accompaniment=200)
    path = tmp_path / "a.png"
    image = imread(separation_figure(mixture, stems, path, "歌 $x.mp3"))
    assert image.shape[1] == WIDTH_IN * DPI
    one = sketches(3, 44100, vocals=3000, accompaniment=200)[1]
    del one["accompaniment"]
    fewer = imread(separation_figure(mixture, one, tmp_path / "b.png"))
    assert image.shape[0] - fewer.shape[0] == pytest.approx(2.3 * DPI, abs=1)
    with pytest.raises(OutputError, match="exists"):
        separation_figure(mixture, stems, path)


def test_shares_are_those_of_the_stems(tmp_path):
    # A second of each: all of the mixture, half of its magnitude, nothing.
    mixture, voice = Sketch(16000), Sketch(16000)
    noise = np.random.default_rng(0).standard_normal(16000)
    for gain in (1, 0.5, 0):
        mixture.listen(noise)
        voice.listen(gain * noise)
    path = separation_figure(mixture, {"voice": voice}, tmp_path / "a.png")
    image = imread(path)[..., :3]
    right = image[image.shape[0] // 2 :, image.shape[1] // 2 :]

    def pixels(colour):
        return int((np.abs(right - np.array(colour[:3])).max(2) < 0.02).sum())

    from matplotlib import colormaps

    viridis = colormaps["viridis"]
    found = [pixels(viridis(share)) for share in (1.0, 0.5, 0.0)]
    assert min(found) > 20000
    assert max(found) < 1.2 * min(found)


@pytest.mark.parametrize("samples", [1, 500, 100000])
def test_silence_is_drawn(tmp_path, samples):
    mixture, voice = Sketch(8000), Sketch(8000)
    for sketch in (mixture, voice):
        sketch.listen(np.zeros(samples))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        separation_figure(mixture, {"vocals": voice}, tmp_path / "a.png")
        separation_figure(mixture, {}, tmp_path / "b.png")
    with pytest.raises(NoteError, match="nothing to draw: no sound"):
        separation_figure(Sketch(8000), {}, tmp_path / "c.png")
