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
        ("sustain_s", -0.1),
        ("pitch", "hertz"),
        ("method", "magic"),
    ],
)
def test_decoder_refuses_nonsense(key, value):
    with pytest.raises(ConfigError, match=key.split("_")[0]):
        frames.NoteDecoder(**{key: value})


# ---- voicing and fundamental frequency ----------------------------------


def drawn(notes, count, voicing=None, f0=None):
    """Certain posteriors of notes on frame borders, with these contours."""
    ideal = frames.label(NoteSequence(notes), count).as_posteriors()
    if voicing is not None:
        voicing = np.asarray(voicing, dtype=np.float32)
    if f0 is not None:
        f0 = np.asarray(f0, dtype=np.float32)
    return frames.FramePosteriors(
        ideal.onset,
        ideal.silence,
        ideal.pitch,
        ideal.low,
        ideal.voiced,
        voicing,
        f0,
    )


def spread(values, count):
    """Array of zeros but for {(first, last): value}, the last not included."""
    array = np.zeros(count)
    for (first, last), value in values.items():
        array[first:last] = value
    return array


# Frames 5 to 9 and 20 to 24 of 40; found to start in the middle of a frame.
TWO_NOTES = [(0.1, 0.2, 60), (0.4, 0.5, 62)]


def ends(posteriors, **settings):
    """Last borders of the notes found, in frames."""
    found = frames.decode(posteriors, **settings)
    return (found.intervals[:, 1] * 50).round(6).tolist()


@pytest.mark.parametrize(
    ("voiced", "sustain_s", "expected"),
    [
        # Two frames of voice after the first note, none after the second.
        ({(5, 12): 1, (20, 25): 1}, 0.1, [12, 25]),
        ({(5, 12): 1, (20, 25): 1}, 0.02, [11, 25]),  # at most one frame
        ({(5, 12): 1, (20, 25): 1}, 0.0, [10, 25]),
        # A half is voiced, less is not.
        ({(5, 10): 1, (10, 13): 0.5, (13, 15): 0.49}, 1.0, [13, 25]),
        # A gap ends the note, however short; voice before its end is not asked.
        ({(10, 11): 1, (12, 19): 1}, 1.0, [11, 25]),
        ({(11, 19): 1}, 1.0, [10, 25]),
        # Never past the next onset, in the middle of frame 20, or the end.
        ({(0, 40): 1}, 10.0, [20.5, 40]),
        ({(0, 40): 1}, 0.1, [15, 30]),
        ({(0, 40): 1}, 0.18, [19, 34]),
        ({(0, 40): 1}, 0.2, [20.5, 35]),
        ({}, 1.0, [10, 25]),
    ],
)
def test_notes_are_sustained_while_there_is_voice(voiced, sustain_s, expected):
    posteriors = drawn(TWO_NOTES, 40, voicing=spread(voiced, 40))
    assert ends(posteriors, sustain_s=sustain_s) == expected
    found = frames.decode(posteriors, sustain_s=sustain_s)
    assert found.midi.tolist() == [60, 62]
    assert np.allclose(found.intervals[:, 0], [0.11, 0.41])


def test_sustain_without_voicing_changes_nothing():
    posteriors = drawn(TWO_NOTES, 40)
    assert ends(posteriors, sustain_s=1.0) == [10, 25]


def test_sustained_notes_meet_where_the_next_one_begins():
    """Inside the frame, where the parabola puts the onset."""
    ideal = frames.label(
        NoteSequence([(0.1, 0.2, 60), (0.405, 0.5, 62)]), 40, onset_width=2
    ).as_posteriors()
    posteriors = frames.FramePosteriors(
        ideal.onset, ideal.silence, ideal.pitch, voicing=np.ones(40)
    )
    first, second = frames.decode(posteriors, sustain_s=1.0)
    assert first.offset == second.onset
    assert 0.4 < second.onset < 0.41


@pytest.mark.parametrize("seed", range(10))
def test_sustained_notes_only_grow(seed):
    """Against a walk over the frames, for any posteriors."""
    rng = np.random.default_rng(seed)
    notes = melody(rng, 40)
    count = frames.n_frames(notes.end) + 20
    voicing = np.convolve(rng.uniform(0, 1, count), np.ones(5) / 5, "same")
    posteriors = drawn(notes, count, voicing=voicing + 0.05)
    plain = frames.decode(posteriors)
    found = frames.decode(posteriors, sustain_s=0.14)
    assert len(found) == len(plain) == 40
    grown = 0
    for k, (before, after) in enumerate(zip(plain, found, strict=True)):
        following = plain[k + 1].onset if k < 39 else count / 50
        if before.offset == following:  # the notes touch
            end = following
        else:
            last, stop = round(50 * before.offset), frames.n_frames(following)
            limit = min(last + 7, stop)  # 0.14 s
            while last < limit and posteriors.voicing[last] >= 0.5:
                last += 1
                grown += 1
            # Who reaches the frame of the next onset reaches the onset.
            end = following if last == stop else last / 50
        assert after.onset == before.onset
        assert after.offset == pytest.approx(end, abs=1e-9)
    assert grown > 10


@pytest.mark.parametrize(
    ("f0", "voicing", "expected"),
    [
        ([60.1, 60.2, 60.3, 60.3, 60.3], [1] * 5, 60.3),  # the median
        ([60.1, 60.2, 60.3, 60.3, 60.3], [1, 1, 0.49, 0.1, 0], 60.15),
        ([59.7, 60.2, 59.7, 59.7, 60.2], [0.5] * 5, 59.7),
        # At most 49 cents away, so that rounding gives the semitone.
        ([60.8] * 5, [1] * 5, 60.49),
        ([59.2] * 5, [1] * 5, 59.51),
        # Frames a semitone or more away say nothing about this note.
        ([72.3, 72.3, 72.3, 60.2, 61.0], [1] * 5, 60.2),
        ([72.3] * 5, [1] * 5, 60.0),
        # Without voice there is no pitch.
        ([60.3] * 5, [0.4] * 5, 60.0),
    ],
)
def test_continuous_pitch_by_hand(f0, voicing, expected):
    whole_f0, whole_voicing = np.full(20, 60.4), np.ones(20)
    whole_f0[5:10], whole_voicing[5:10] = f0, voicing
    posteriors = drawn([(0.1, 0.2, 60)], 20, whole_voicing, whole_f0)
    (note,) = frames.decode(posteriors, pitch="continuous")
    assert note.midi == pytest.approx(expected, abs=1e-6)
    (note,) = frames.decode(posteriors)
    assert note.midi == 60


def test_continuous_pitch_of_several_notes():
    f0 = spread({(5, 10): 60.25, (20, 25): 61.75}, 40)
    posteriors = drawn(TWO_NOTES, 40, np.ones(40), f0)
    found = frames.decode(posteriors, pitch="continuous")
    assert np.allclose(found.midi, [60.25, 61.75])
    assert np.allclose(found.intervals, [[0.11, 0.2], [0.41, 0.5]])


def test_continuous_pitch_looks_at_sustained_frames_too():
    f0 = spread({(5, 10): 60.1, (10, 20): 60.3}, 40)
    posteriors = drawn(TWO_NOTES[:1], 40, np.ones(40), f0)
    (note,) = frames.decode(posteriors, pitch="continuous", sustain_s=0.2)
    assert note.offset == pytest.approx(0.4)
    assert note.midi == pytest.approx(60.3)


def test_continuous_pitch_without_frequencies_is_the_semitone():
    posteriors = drawn(TWO_NOTES, 40, voicing=np.ones(40))
    found = frames.decode(posteriors, pitch="continuous")
    assert found.midi.tolist() == [60, 62]


def test_continuous_pitch_without_voicing():
    """Both fields are optional; without voicing every frame of a note counts.

    The least that must not happen is a failure.
    """
    posteriors = drawn(TWO_NOTES, 40, f0=np.full(40, 60.25))
    found = frames.decode(posteriors, pitch="continuous")
    assert found.midi[0] in (60, 60.25)


@pytest.mark.parametrize(("midi", "f0"), [(127, 127.3), (0, -0.3)])
def test_continuous_pitch_stays_in_the_range_of_midi(midi, f0):
    posteriors = drawn([(0.1, 0.2, midi)], 20, np.ones(20), np.full(20, f0))
    (note,) = frames.decode(posteriors, pitch="continuous")
    assert note.midi == midi


def test_decoder_passes_its_settings_on():
    posteriors = drawn(TWO_NOTES, 40, np.ones(40), np.full(40, 60.25))
    decoder = frames.NoteDecoder(sustain_s=0.06, pitch="continuous")
    found = decoder(posteriors)
    assert found[0].offset == pytest.approx(0.26)
    assert found[0].midi == pytest.approx(60.25)
    assert decoder.settings()["sustain_s"] == 0.06
    assert frames.NoteDecoder(**decoder.settings()) == decoder


def test_published_decoder_knows_no_voicing():
    plain = drawn(TWO_NOTES, 40)
    more = drawn(TWO_NOTES, 40, np.ones(40), np.full(40, 60.25))
    decoder = frames.NoteDecoder(
        method="published", sustain_s=1.0, pitch="continuous"
    )
    found = decoder(more)
    assert np.array_equal(found.intervals, decoder(plain).intervals)
    assert found.midi.tolist() == decoder(plain).midi.tolist() == [60, 62]
    assert len(found) == 2


@pytest.mark.parametrize(
    ("voicing", "f0"),
    [(None, None), (np.ones(40), None), (np.arange(40), np.arange(40) + 0.5)],
)
def test_concatenation_joins_what_is_there(voicing, f0):
    whole = drawn(TWO_NOTES, 40, voicing, f0)

    def cut(first, last):
        return frames.FramePosteriors(
            whole.onset[first:last],
            whole.silence[first:last],
            whole.pitch[first:last],
            whole.low,
            voicing=None if voicing is None else whole.voicing[first:last],
            f0=None if f0 is None else whole.f0[first:last],
        )

    joined = frames.FramePosteriors.concatenate([cut(0, 7), cut(7, 40)])
    assert len(joined) == 40 and joined.voiced is None
    for name in ("onset", "silence", "pitch", "voicing", "f0"):
        expected, got = getattr(whole, name), getattr(joined, name)
        assert (got is None) == (expected is None)
        if expected is not None:
            assert np.array_equal(got, expected)


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


def glide(pitches, n=60):
    """Posteriors of one note on 60 from frame 5 to 55, sung as given."""
    onset, silence = np.zeros(n), np.ones(n)
    onset[5], silence[5:55] = 1.0, 0.0
    logs = np.full((n, 24), -9.0)
    logs[:, 60 - 48] = 0.0
    f0, voicing = np.full(n, 60.0), np.zeros(n)
    voicing[5:55] = 1.0
    for first, last, pitch in pitches:
        f0[first:last] = pitch
    return frames.FramePosteriors(
        onset, silence, logs, 48, voicing=voicing, f0=f0
    )


def as_frames(notes):
    return [
        (int(n.onset * 50 + 0.1), round(n.offset * 50), n.midi) for n in notes
    ]


def test_split_by_hand():
    for pitches, wanted in (
        ([], [(5, 55, 60)]),
        # Six frames of 61 in the middle, at the end, and at the beginning.
        ([(20, 26, 61)], [(5, 20, 60), (20, 26, 61), (26, 55, 60)]),
        ([(49, 55, 58.8)], [(5, 49, 60), (49, 55, 59)]),
        ([(5, 11, 62)], [(5, 11, 62), (11, 55, 60)]),
        # Too short, or too near.
        ([(20, 25, 61)], [(5, 55, 60)]),
        ([(20, 40, 60.7)], [(5, 55, 60)]),
        # Two frames are left before and after: they go with the run.
        ([(7, 53, 63)], [(5, 55, 63)]),
    ):
        posteriors = glide(pitches)
        notes = frames.decode(posteriors, split_s=0.12)
        assert as_frames(notes) == wanted
        assert as_frames(frames.decode(posteriors)) == [(5, 55, 60)]
        # Pieces touch: no time is lost.
        assert notes[0].onset == pytest.approx(0.11)
        for early, late in zip(notes[:-1], notes[1:], strict=True):
            assert early.offset == late.onset


def test_split_needs_a_pitch():
    posteriors = glide([(20, 40, 63)])
    without = frames.FramePosteriors(
        posteriors.onset, posteriors.silence, posteriors.pitch, 48
    )
    assert len(frames.decode(without, split_s=0.1)) == 1
    # Unvoiced frames say nothing.
    posteriors.voicing[20:40] = 0.0
    assert len(frames.decode(posteriors, split_s=0.1)) == 1
    with pytest.raises(ConfigError, match="split_s is -1"):
        frames.NoteDecoder(split_s=-1)


def test_split_only_where_the_pitch_is_probable():
    posteriors = glide([(20, 40, 63)])
    # The new pitch has a mean probability of 0.5 there, 0.25 + 0.75 by turns.
    for first, probability in ((20, 0.25), (21, 0.75)):
        posteriors.pitch[first:40:2] = np.log(1e-3)
        posteriors.pitch[first:40:2, 63 - 48] = np.log(probability)
    posteriors.pitch[5:20, 60 - 48] = 0.0
    cut = [(5, 20, 60), (20, 40, 63), (40, 55, 60)]
    for sure, wanted in ((0.0, cut), (0.49, cut), (0.51, [(5, 55, 60)])):
        notes = frames.decode(posteriors, split_s=0.1, split_sure=sure)
        assert as_frames(notes) == wanted
    # A pitch that has no column is not sure.
    posteriors.f0[20:40] = 140
    assert len(frames.decode(posteriors, split_s=0.1, split_sure=0.1)) == 1
    with pytest.raises(ConfigError, match="split_sure is 1.2"):
        frames.NoteDecoder(split_sure=1.2)


# ---- what a contour alone says about notes --------------------------------


def contour(*parts):
    """Concatenate (MIDI number or array, frames)."""
    return np.concatenate([np.broadcast_to(m, n) for m, n in parts])


def onsets_of(f0):
    """Frames that are called onsets."""
    return np.flatnonzero(frames.label_from_f0(f0).onset == 1).tolist()


@pytest.mark.parametrize(
    "f0, expected",
    [
        # A glide between two held pitches: its middle.
        (contour((60, 10), (np.linspace(60.4, 62.6, 6), 6), (63, 10)), [13]),
        (contour((63, 10), (60, 10)), [10]),
        # Too near, too far, too slow, or not held.
        (contour((60, 10), (61, 10)), []),
        (contour((60, 10), (72, 10)), []),
        (contour((60, 10), (np.linspace(60, 64, 30), 30), (64, 10)), []),
        (contour((60, 10), (64, 6), (60, 10)), []),
        # After a pause of three frames, not of two; not at the very start.
        (contour((60, 10), (0, 3), (60, 10)), [13]),
        (contour((60, 10), (0, 2), (60, 10)), []),
        (contour((0, 3), (60, 6), (0, 3)), []),
        (contour((np.nan, 5), (60, 10)), []),
        (contour((0, 20)), []),
        (contour((60, 3)), []),
        (np.zeros(0), []),
    ],
)
def test_steps_and_pauses_of_a_contour_are_onsets(f0, expected):
    assert onsets_of(f0) == expected


@pytest.mark.parametrize("rate_hz", [4.5, 5.5, 7.0])
@pytest.mark.parametrize("depth", [0.3, 0.6, 1.0, 1.5])
def test_vibrato_is_no_onset(rate_hz, depth):
    time = frames.frame_centres(100)
    assert (
        onsets_of(60 + depth * np.sin(2 * np.pi * rate_hz * time + 1.0)) == []
    )


def test_labels_of_a_contour_agree_with_those_of_its_notes():
    notes = NoteSequence(
        [(0.4, 1.0, 60), (1.0, 1.6, 62), (1.6, 2.0, 67), (2.4, 3.0, 65)]
    )
    f0 = np.maximum(frames.label(notes, 170).pitch, 0).astype(float)
    true, said = frames.label(notes, 170), frames.label_from_f0(f0)
    for name in ("onset", "silence", "pitch"):
        known = (
            said.pitch != frames.UNKNOWN
            if name == "pitch"
            else ~np.isnan(getattr(said, name))
        )
        assert known.sum() > 20
        assert (getattr(true, name)[known] == getattr(said, name)[known]).all()
    assert (said.onset == 1).sum() == 4


def test_pitches_of_a_contour_that_is_out_of_tune_are_unknown():
    for midi, expected in ((60.2, 60), (60.4, frames.UNKNOWN)):
        assert set(frames.label_from_f0(np.full(9, midi)).pitch) == {expected}
