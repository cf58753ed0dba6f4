"""Real recordings: slices and streams equal the whole."""

import numpy as np
import pytest

from speechbrain_ext.audio import (
    SLICE_TOLERANCE,
    audio_info,
    read_audio,
    seconds_to_samples,
    stream_audio,
)

pytestmark = pytest.mark.realdata


@pytest.mark.parametrize(
    "pattern",
    ["songs/*.mp3", "grid/*.mpg", "nit_song070/*.wav", "mir1k/Wavfile/Ani_1*"],
)
def test_slices_and_streams(shared_data, pattern):
    path = sorted(shared_data.glob(pattern))[0]
    rate = audio_info(path).sample_rate
    for wanted in (None, 16000):
        whole = read_audio(path, sample_rate=wanted)
        seconds = len(whole) / (wanted or rate)
        tolerance = SLICE_TOLERANCE
        if wanted in (None, rate):
            tolerance = 1e-6 if path.suffix == ".mp3" else 0
        for share in (0.0, 0.31, 0.77):
            start = share * seconds
            part = read_audio(path, start, start + 0.5, sample_rate=wanted)
            first = seconds_to_samples(start, wanted or rate)
            difference = part - whole[first : first + len(part)]
            assert np.abs(difference).max() <= tolerance
        streamed = np.concatenate(
            list(stream_audio(path, 1.5, sample_rate=wanted))
        )
        assert streamed.shape == whole.shape
        assert np.abs(streamed - whole).max() <= 1e-5
