"""Phones heard in recordings of people, and alignment by them."""

import numpy as np
import pytest

from speechbrain_ext.audio import read_audio
from speechbrain_ext.inference.aligner import LyricsAligner
from speechbrain_ext.lyrics.acoustic import POCKETSPHINX, PocketSphinxModel
from speechbrain_ext.lyrics.align import parse_lyrics
from speechbrain_ext.lyrics.phones import INDEX, fold

pocketsphinx = pytest.importorskip("pocketsphinx")
pytestmark = [pytest.mark.realdata, pytest.mark.slow]

# Harvard sentences, as they are read.
SENTENCES = {
    "spk1_snt1": "the child almost hurt the small dog",
    "spk1_snt2": "drop the two when you add the figures",
    "spk1_snt3": "at that high level the air is pure",
    "spk1_snt5": "sunday is the best part of the week",
    "spk1_snt6": "the pencils have all been used",
    "spk2_snt2": "what joy there is in living",
    "spk2_snt3": "tear a thin sheet from the yellow pad",
    "spk2_snt4": "mend the coat before you go out",
    "spk2_snt5": "jump the fence and hurry up the bank",
}


def own_alignment(wav, text):
    """What pocketsphinx itself says: words with phones, in frames of 10 ms."""
    decoder = pocketsphinx.Decoder(
        lm=None, loglevel="FATAL", beam=1e-80, wbeam=1e-60
    )
    pcm = (wav * 32767).astype(np.int16).tobytes()
    decoder.set_align_text(text)
    for again in (False, True):
        if again:
            decoder.set_alignment()
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
    return [
        (word.name, word.start, [(p.name, p.start, p.duration) for p in word])
        for word in decoder.get_alignment()
    ]


@pytest.fixture(scope="module")
def sentences(shared_data):
    folder = shared_data / "speech_noise" / "sb_asr"
    if not folder.is_dir():
        pytest.skip("no read speech in ../shared/data/speech_noise/sb_asr")
    found = []
    for name, text in SENTENCES.items():
        wav = read_audio(folder / f"{name}.wav", sample_rate=16000)
        found.append((wav, text, own_alignment(wav, text)))
    return found


def test_phones_agree_with_pocketsphinx(sentences):
    model = PocketSphinxModel()
    right, near, total = 0, 0, 0
    for wav, _, words in sentences:
        # Its windows begin, and ours are centred, on multiples of 10 ms: its
        # frame k is at our k + 1.
        probs = model.posteriorgram(wav, 16000).probs[1:]
        ranks = np.argsort(-probs, axis=1)
        for _, _, phones in words:
            for name, start, length in phones:
                rows = ranks[start : start + length]
                rows = rows == INDEX[fold(name)[0]]
                right += rows[:, 0].sum()
                near += rows[:, :3].any(axis=1).sum()
                total += len(rows)
    assert total > 2000
    # 61.6 and 85.7 % in another implementation, on other files.
    assert right / total > 0.60
    assert near / total > 0.85


def test_words_agree_with_pocketsphinx(sentences):
    aligner = LyricsAligner.from_hparams(POCKETSPHINX)
    errors = []
    for wav, text, words in sentences:
        found = aligner.align(wav, 16000, text)
        # "the(2)" is another way to say it.
        named = [w for w in words if not w[0].startswith(("<", "["))]
        assert len(found) == len(named)
        errors += [
            abs(ours.onset - start / 100)
            for ours, (_, start, _) in zip(found, named, strict=True)
        ]
    assert np.median(errors) < 0.05
    assert np.mean(np.array(errors) < 0.1) > 0.8


def test_words_of_a_song_are_placed_where_it_is_sung(shared_data):
    song = shared_data / "songs" / "spleeter_example.mp3"
    if not song.is_file():
        pytest.skip("no songs/spleeter_example.mp3 in ../shared/data")
    aligner = LyricsAligner.from_hparams(isolate=True)
    line = "It always seems like time stands still when I'm with you"
    found = aligner.align_file(song, parse_lyrics(line))
    assert [word.word for word in found] == line.split()
    onsets = [word.onset for word in found]
    assert onsets == sorted(onsets)
    # The voice comes in at 2.4 s and is gone at 9.8 s, by eye.
    assert onsets[0] > 2.2
    assert found[-1].offset < 10.0
