"""Small recordings and a small model, made on the spot."""

from fractions import Fraction

import av
import numpy as np
import pytest

TINY_MODEL = """\
model_name: tiny
sample_rate: 16000
width: 8
chunk_s: 4
encoder: !new:speechbrain_ext.encoders.spectral.SpectralEncoder
  channels: !ref <width>
  front_channels: [2, 2, 4]
  dilations: [1, 4]
head: !new:speechbrain_ext.heads.NoteHead
  input_size: !ref <width>
decoder: !new:speechbrain_ext.frames.NoteDecoder
  onset_threshold: 0.4
"""


@pytest.fixture(scope="session")
def noise():
    """Samples (samples, channels) of white noise, always the same."""

    def make(seconds, rate=16000, channels=1, seed=0):
        shape = (round(seconds * rate), channels)
        generator = np.random.default_rng(seed)
        return generator.uniform(-0.5, 0.5, shape).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def write_media():
    """Write audio and video with ffmpeg's encoders."""

    def write(path, wav=None, rate=44100, codec="aac", video_s=0, late_s=0):
        with av.open(str(path), "w") as container:
            if video_s:
                video = container.add_stream("mpeg4", rate=25)
                video.width = video.height = 32
                video.pix_fmt = "yuv420p"
            if wav is not None:
                layout = {1: "mono", 2: "stereo"}[wav.shape[1]]
                sound = container.add_stream(codec, rate=rate, layout=layout)
                sound.bit_rate = 128000
            for index in range(round(25 * video_s)):
                picture = av.VideoFrame(32, 32, "yuv420p")
                picture.pts, picture.time_base = index, Fraction(1, 25)
                container.mux(video.encode(picture))
            if wav is not None:
                planar = np.ascontiguousarray(wav.T)
                frame = av.AudioFrame.from_ndarray(planar, "fltp", layout)
                frame.sample_rate = rate
                frame.time_base = Fraction(1, rate)
                frame.pts = round(late_s * rate)
                sound.codec_context.open(strict=False)
                pieces = av.AudioResampler(
                    sound.codec_context.format,
                    layout,
                    rate,
                    frame_size=sound.codec_context.frame_size or None,
                )
                for piece in (*pieces.resample(frame), *pieces.resample(None)):
                    container.mux(sound.encode(piece))
                container.mux(sound.encode(None))
            if video_s:
                container.mux(video.encode(None))
        return path

    return write


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Folder of a transcriber with random weights, small enough for tests."""
    import torch

    from speechbrain_ext.inference.model_folder import (
        export_model,
        load_hyperparams,
    )

    torch.manual_seed(0)
    hparams = load_hyperparams(TINY_MODEL)
    # The silence output of random weights: sing everywhere.
    with torch.no_grad():
        hparams["head"].linear.bias[1] = -10
    folder = tmp_path_factory.mktemp("models") / "tiny"
    modules = {name: hparams[name] for name in ("encoder", "head")}
    return export_model(folder, TINY_MODEL, modules, "# Tiny\n")
