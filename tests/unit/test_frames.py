"""Frames: exact grid, labels, decoding, and the published rules."""

import mir_eval
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.published_loop import decode_loop, label_loop
from speechbrain_ext import frames
from speechbrain_ext.errors import ConfigError
from speechbrain_ext.heads import NoteHead
from speechbrain_ext.metrics.notes import match_notes
from speechbrain_ext.notes import NoteSequence


def melody(rng, count, shortest=0.0605, longest=1.0, gaps=True):
    """Random melody: touching and separated notes, repeats, any pitch."""
    time, rows = rng.uniform(0, 0.5) * rng.integers(0, 2), []
    midi = 60
    for _ in range(count):
        if rng.uniform() > 0.2:  # else the pitch is repeated
            midi = int(rng.integers(0, 128))
        length = rng.uniform(shortest, longest)
        rows.append((time, time + length, midi))
        time += length + (rng.uniform(0, 0.3) * rng.integers(0, 2) * gaps)
    return NoteSequence(rows)


def f_measure(reference, estimate):
    """COnPOff of mir_eval with its defaults."""
    return mir_eval.transcription.precision_recall_f1_overlap(
        reference.intervals,
        reference.frequencies,
        estimate.intervals,
        estimate.frequencies,
    )[2]


@pytest.mark.parametrize(
    ("seconds", "count"),
    [(0, 0), (0.02, 1), (5, 250), (7.3, 365), (200, 10000), (0.0399, 1)],
)
def test_frame_counts(seconds, count):
    assert frames.n_frames(seconds) == count


def test_centres_are_the_middle_of_20_ms():
    assert np.allclose(frames.frame_centres(3), [0.01, 0.03, 0.05])


def test_segments_tile_the_grid():
    cuts = [0, 5.01, 10.02, 15.03, 17.777]
    pieces = [
        frames.segment_frames(a, b)
        for a, b in zip(cuts, cuts[1:], strict=False)
    ]
    assert pieces[0][0] == 0
    assert pieces[-1][1] == frames.n_frames(17.777)
    assert all(a[1] == b[0] for a, b in zip(pieces, pieces[1:], strict=False))


@pytest.mark.parametrize("onset_width", [0, 1, 2])
@pytest.mark.parametrize("seed", range(20))
def test_round_trip_returns_every_note(seed, onset_width):
    rng = np.random.default_rng(seed)
    notes = melody(rng, 60)
    targets = frames.label(
        notes, frames.n_frames(notes.end + 0.1), onset_width=onset_width
    )
    found = frames.decode(targets.as_posteriors())
    assert len(found) == len(notes)
    assert f_measure(notes, found) == 1.0


ADVERSARIAL = {
    "at time 0": [(0.0, 0.06, 60), (0.06, 0.12, 60)],
    "three frames each, repeated pitch, touching": [
        (0.013 + 0.06 * k, 0.073 + 0.06 * k, 60) for k in range(50)
    ],
    "lowest and highest": [(0.0, 0.1, 0), (0.1, 0.2, 127), (0.2, 0.3, 0)],
    "fractional pitch": [(0.1, 0.5, 60.49), (0.5, 0.9, 59.51)],
    "on frame borders": [(0.02 * k, 0.02 * k + 0.06, 62) for k in (1, 4, 7)],
    "one long note": [(0.3, 119.99, 55)],
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_round_trip_of_adversarial_melodies(name):
    notes = NoteSequence(ADVERSARIAL[name])
    targets = frames.label(notes, frames.n_frames(notes.end) + 2)
    assert f_measure(notes, frames.decode(targets.as_posteriors())) == 1.0


@given(
    st.lists(
        st.tuples(
            st.floats(0, 0.2, allow_subnormal=False),
            st.floats(0.001, 0.3),
            st.integers(0, 127),
        ),
        max_size=40,
    )
)
@settings(max_examples=150, deadline=None)
def test_short_notes_never_hide_longer_ones(rows):
    time, notes = 0.0, []
    for gap, length, midi in rows:
        notes.append((time + gap, time + gap + length, midi))
        time += gap + length
    notes = NoteSequence(notes)
    targets = frames.label(notes, frames.n_frames(notes.end + 0.1))
    found = frames.decode(targets.as_posteriors())
    long = NoteSequence([n for n in notes if n.duration >= 0.06 + 1e-9])
    matching = mir_eval.transcription.match_notes(
        long.intervals,
        np.maximum(long.frequencies, 1.0),
        found.intervals,
        np.maximum(found.frequencies, 1.0),
    )
    assert len(matching) == len(long)


@pytest.mark.parametrize("onset_width", [0, 1, 2, 3])
def test_soft_onsets_on_frame_borders_are_found(onset_width):
    """A border is as near to the frame before it as to the one after."""
    notes = NoteSequence(
        [(0.11, 0.16, 60), (0.16, 0.22, 62), (0.24, 0.3, 60), (0.3, 0.5, 60)]
    )
    targets = frames.label(notes, 30, onset_width=onset_width)
    found = frames.decode(targets.as_posteriors())
    assert found.midi.tolist() == [60, 62, 60, 60]
    assert np.abs(found.intervals - notes.intervals).max() < 0.0101


@pytest.mark.parametrize("onset_width", [0, 1, 2])
@pytest.mark.parametrize("seed", range(10))
def test_three_frame_notes_survive_among_shorter_ones(seed, onset_width):
    """Lengths and gaps in steps of 10 ms, the hardest for a 20 ms grid."""
    rng = np.random.default_rng(seed)
    time, rows = 0.01 * rng.integers(0, 9), []
    for _ in range(80):
        length = 0.01 * rng.integers(1, 14)
        rows.append((time, time + length, int(rng.integers(0, 128))))
        time += length + 0.01 * rng.integers(0, 4)
    notes = NoteSequence(rows)
    count = frames.n_frames(notes.end) + 2
    targets = frames.label(notes, count, onset_width=onset_width)
    found = frames.decode(targets.as_posteriors())
    long = NoteSequence([n for n in notes if n.duration >= 0.06 - 1e-9])
    assert len(match_notes(long, found)) == len(long)


def test_label_by_hand():
    targets = frames.label(NoteSequence([(0.03, 0.1, 60), (0.1, 0.16, 62)]), 9)
    assert targets.onset.tolist() == [0, 1, 0, 0, 0, 1, 0, 0, 0]
    assert targets.silence.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert targets.pitch.tolist() == [-1, 60, 60, 60, 60, 62, 62, 62, -1]


def test_excerpt_labels_equal_labels_of_the_whole():
    notes = melody(np.random.default_rng(3), 40)
    whole = frames.label(notes, frames.n_frames(notes.end))
    part = frames.label(notes, 250, start=5.0)
    for name in ("onset", "silence", "pitch"):
        expected = getattr(whole, name)[250:500]
        assert np.array_equal(getattr(part, name), expected)


def test_a_note_cut_by_the_excerpt_has_pitch_but_no_onset():
    targets = frames.label(NoteSequence([(0.5, 1.5, 60)]), 50, start=1.0)
    assert targets.onset.sum() == 0
    assert (targets.pitch[:25] == 60).all() and (targets.pitch[25:] < 0).all()


def test_speed_moves_labels():
    notes = NoteSequence([(1.0, 2.0, 60)])
    targets = frames.label(notes, 100, start=0.5, speed=2.0)
    assert np.flatnonzero(targets.onset).tolist() == [12]  # 0.25 s
    # From the frame of 0.25 s up to the border nearest to 0.75 s.
    assert np.flatnonzero(targets.pitch == 60)[[0, -1]].tolist() == [12, 37]


def test_soft_onsets_peak_at_the_onset():
    targets = frames.label(NoteSequence([(0.11, 0.5, 60)]), 30, onset_width=1)
    assert np.allclose(targets.onset[4:7], [1 / 3, 1.0, 1 / 3], atol=1e-6)


def test_empty_melody_and_empty_window():
    targets = frames.label(NoteSequence(), 10)
    assert targets.silence.all() and not targets.onset.any()
    assert len(frames.decode(targets.as_posteriors())) == 0
    assert (
        len(frames.decode(frames.label(NoteSequence(), 0).as_posteriors())) == 0
    )


def test_plateau_gives_one_onset():
    onset = np.array([0, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0])
    assert frames.onset_peaks(onset, 0.4).tolist() == [1]


def test_last_frame_can_be_an_onset():
    assert frames.onset_peaks(np.array([0, 0, 0.9]), 0.4).tolist() == [2]


def test_parabola_finds_onsets_inside_the_frame():
    errors = []
    for shift in np.linspace(0, 0.02, 21)[:-1]:
        notes = NoteSequence([(0.5 + shift, 1.0, 60)])
        targets = frames.label(notes, 100, onset_width=2)
        found = frames.decode(targets.as_posteriors())
        errors.append(abs(found[0].onset - notes[0].onset))
    assert max(errors) < 0.005  # half a frame, 10 ms, without it


def test_singing_without_onset_is_rescued():
    targets = frames.label(NoteSequence([(0.2, 1.2, 64)]), 100)
    posteriors = frames.FramePosteriors(
        np.zeros(100), targets.silence, targets.as_posteriors().pitch
    )
    (note,) = frames.decode(posteriors)
    assert (note.onset, note.offset, note.midi) == (
        pytest.approx(0.2),
        pytest.approx(1.2),
        64,
    )
    assert len(frames.decode(posteriors, rescue_s=None)) == 0


def test_gaps_are_bridged_on_request():
    targets = frames.label(NoteSequence([(0.2, 1.2, 64)]), 100)
    silence = targets.silence.copy()
    silence[30:32] = 1.0  # 40 ms
    posteriors = frames.FramePosteriors(
        targets.onset, silence, targets.as_posteriors().pitch
    )
    assert frames.decode(posteriors)[0].offset == pytest.approx(0.6)
    bridged = frames.decode(posteriors, max_gap_s=0.04)
    assert bridged[0].offset == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("onset_threshold", 0.0),
        ("silence_threshold", 1.5),
        ("min_duration_s", -1.0),
        ("method", "magic"),
    ],
)
def test_decoder_refuses_nonsense(key, value):
    with pytest.raises(ConfigError, match=key.split("_")[0]):
        frames.NoteDecoder(**{key: value})


# ---- the published rules ------------------------------------------------


@pytest.mark.parametrize("frame_rate", [49.8, 50.0])
@pytest.mark.parametrize("seed", range(10))
def test_published_labels_equal_the_loop(seed, frame_rate):
    notes = melody(np.random.default_rng(seed), 80)
    rows = [(n.onset, n.offset, n.midi) for n in notes]
    count = int(notes.end * frame_rate) - 5
    expected = np.array(label_loop(rows, count, frame_rate))
    assert np.array_equal(
        frames.label_published(notes, count, frame_rate), expected
    )


def test_published_labels_of_nothing():
    expected = np.array(label_loop([], 4, 50.0))
    assert np.array_equal(frames.label_published([], 4, 50.0), expected)


@pytest.mark.parametrize("seed", range(20))
def test_published_decoding_equals_the_loop(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 3000))
    # Smooth enough that notes last, rough enough for every branch.
    kernel = np.ones(3) / 3
    onset = np.convolve(rng.uniform(0, 1, count), kernel, "same")
    silence = np.convolve(rng.uniform(0, 0.9, count), kernel, "same")
    octave = rng.normal(size=(count, 5))
    pitch_class = rng.normal(size=(count, 13))
    expected = decode_loop(onset, silence, octave, pitch_class, 49.8)
    expected = [row for row in expected if row[1] > row[0]]
    o, c = octave.argmax(1), pitch_class.argmax(1)
    pitch = np.where((o < 4) & (c < 12), 36 + 12 * o + c, -1)
    assert frames.decode_published(onset, silence, pitch, 49.8) == expected
    if count > 100:
        assert len(expected) > 3


def test_published_decoder_on_the_shared_grid():
    notes = melody(np.random.default_rng(1), 30, shortest=0.2)
    targets = frames.label(notes, frames.n_frames(notes.end) + 5)
    decoder = frames.NoteDecoder(method="published")
    assert f_measure(notes, decoder(targets.as_posteriors())) > 0.9


@pytest.mark.parametrize("seed", range(5))
def test_published_decoder_behind_the_published_head(seed):
    """Frames that the head calls "none" do not vote, as in the loop."""
    rng = np.random.default_rng(seed)
    head = NoteHead(1, pitch="octave_class", low=36, n_pitches=48)
    # Half of the frames say "none" in one part or the other.
    logits = 2 * rng.normal(size=(400, head.output_size)).astype(np.float32)
    logits[:, [6, 19]] += 2
    posteriors = head.posteriors(torch.from_numpy(logits))
    assert 0.2 < posteriors.voiced.mean() < 0.8
    expected = decode_loop(
        posteriors.onset, posteriors.silence, logits[:, 2:7], logits[:, 7:], 50
    )
    expected = [row for row in expected if row[1] > row[0]]
    cut = frames.FramePosteriors.concatenate(
        [head.posteriors(torch.from_numpy(p)) for p in np.split(logits, 4)]
    )
    found = frames.NoteDecoder(method="published")(cut)
    assert found.midi.tolist() == [row[2] for row in expected]
    # Our frame k is centred at (k + 0.5) x 20 ms, the loop's at k x 20 ms.
    rows = np.array([row[:2] for row in expected])
    assert np.allclose(found.intervals, rows + 0.01, atol=1e-9)
    assert len(found) > 10
