"""Encoders: from a waveform or mouth pictures to features at 50 fps.

- `spectral.py`: compact encoders that train from nothing, `HarmonicEncoder`
  for pitch and `MelEncoder` for phones.
- `ssl.py`: `SSLEncoder` (wav2vec 2.0, HuBERT, WavLM, data2vec-audio) and
  `WhisperEncoder`, pretrained speech models through transformers.
- `lips.py`: `LipEncoder`, small, trains from nothing; `LipResNet`.
- `av_hubert.py`: `AVHubertEncoder` for pictures, voices or both, and the
  conversion of a checkpoint that a user has; `fairseq.py` reads such files.

Those of waveforms share one contract. `forward(wavs, wav_lens=None)` takes
float32 waveforms (batch, samples) at `sample_rate` and, for padded batches,
relative lengths (batch,) in (0, 1]; it returns (batch, samples // 320,
`output_size`). Frame k is centred at (k + 0.5) x 20 ms, and N seconds give
50 N frames. An item's frames depend neither on the other items nor on its
padding. `context_s` says how many seconds to each side of a frame chunked
inference has to add.

Those of pictures share it, with `forward(video, lengths=None)` for grey values
from 0 to 255 (batch, frames, size, size) of at least `picture_size` pixels, 50
(`frame_rate`) per second. A picture of zeros is missing; an item without any
gives zeros.
"""
