"""The Brain of transcription from sound and lips."""

import numpy as np
import speechbrain as sb
import torch

from speechbrain_ext.brains.training import unwrap
from speechbrain_ext.brains.transcription import (
    NOTE_COLUMNS,
    TranscriptionBrain,
    tune_decoder,
)
from speechbrain_ext.encoders.two_stream import streams_of
from speechbrain_ext.errors import ConfigError
from speechbrain_ext.frames import UNKNOWN
from speechbrain_ext.lip_datasets import add_lips


class TwoStreamBrain(TranscriptionBrain):
    """Trains and evaluates an `encoders.two_stream.TwoStreamEncoder`.

    As `TranscriptionBrain`, with hyper-parameters besides: `lip_augment`,
    `lip_decoder_state`, `lip_decoder_grid`, `lip_metrics`, `lip_pitch_share`,
    `audio_optimizer` (None: the encoder of sound stays as it is, bit by bit),
    `audio_annealing`, `start_audio_from`. Songs that are only seen have a
    decoder of their own; it is chosen by the F1 of `lip_metrics`.
    """

    modalities: dict

    @classmethod
    def load_start(cls, hparams):
        """Load the weights that training starts from, if any are named.

        Arguments
        ---------
        hparams : dict
            Of the recipe: `start_from`, a model folder of sound and lips, or
            None; `start_audio_from`, one of sound alone whose encoder and head
            are taken, or None.

        Raises
        ------
        ConfigError
            If there is no encoder of sound to be loaded.
        """
        super().load_start(hparams)
        audio = hparams["encoder"].audio
        if audio is not None and hparams["audio_optimizer"] is None:
            # Before the modules are wrapped for several processes.
            audio.requires_grad_(False)
        if hparams["head_optimizer"] is None:
            hparams["head"].requires_grad_(False)
        source = hparams["start_audio_from"]
        if not source or hparams["start_from"]:
            return
        from speechbrain_ext.inference.model_folder import (
            find_model,
            load_weights,
        )

        if audio is None:
            raise ConfigError(
                f"start_audio_from is {source} but the encoder hears nothing: "
                "write null"
            )
        load_weights(
            find_model(source), {"encoder": audio, "head": hparams["head"]}
        )

    def dataset(self, rows, training=False):
        """Data set of a manifest's rows, with lips.

        Arguments
        ---------
        rows : list of dict
            As they are, or from `lip_datasets.seen_as`.
        training : bool
            See `TranscriptionBrain.dataset`. Default: False.

        Returns
        -------
        DynamicItemDataset
        """
        if not hasattr(self, "modalities"):
            self.modalities = {}
        for row in rows:
            picture = row.get("picture", {"modality": "both"})
            self.modalities[row["song_id"]] = picture["modality"]
        return add_lips(
            super().dataset(rows, training),
            rows,
            seed=self.hparams.seed,
            epoch_counter=self.hparams.epoch_counter,
            augment=self.hparams.lip_augment if training else None,
        )

    def encode(self, batch, lengths):
        """Features of a batch.

        Arguments
        ---------
        batch : PaddedBatch
        lengths : torch.Tensor (batch,) or None

        Returns
        -------
        torch.Tensor (batch, frames, channels)
        """
        return self.modules.encoder(
            batch.sig.data, lengths, batch.lips.data, batch.streams.data
        )

    def compute_objectives(self, logits, batch, stage):
        """Loss of a batch; what is only seen teaches little about pitch.

        Arguments
        ---------
        logits : torch.Tensor (batch, frames, outputs)
        batch : PaddedBatch
        stage : speechbrain.Stage

        Returns
        -------
        torch.Tensor
            Scalar. In training, the pitch of items without sound counts in a
            share of them, `lip_pitch_share`, so that the model gives a likely
            one; their contour never does.
        """
        if stage == sb.Stage.TRAIN:
            seen_only = ~batch.streams.data[:, 0]
            batch.f0_target.data[seen_only] = float("nan")
            drawn = torch.rand(len(seen_only)).to(seen_only.device)
            spared = drawn >= self.hparams.lip_pitch_share
            batch.pitch.data[seen_only & spared] = UNKNOWN
        return super().compute_objectives(logits, batch, stage)

    def parts(self) -> dict:
        """Parameters by part: `head`, `encoder` (lips, fusion) and `audio`.

        Returns
        -------
        dict of str to list of torch.nn.Parameter
        """
        encoder = unwrap(self.modules.encoder)
        audio = [] if encoder.audio is None else encoder.audio.parameters()
        audio = list(audio)
        theirs = {id(parameter) for parameter in audio}
        return {
            "head": list(self.modules.head.parameters()),
            "encoder": [p for p in encoder.parameters() if id(p) not in theirs],
            "audio": audio,
        }

    def on_fit_batch_start(self, batch, should_step):
        """Seed the step, set its rates, and keep what does not learn as it is.

        Arguments
        ---------
        batch : PaddedBatch
        should_step : bool
        """
        super().on_fit_batch_start(batch, should_step)
        audio = unwrap(self.modules.encoder).audio
        if audio is not None and self.hparams.audio_optimizer is None:
            audio.eval()

    def _seen_only(self, song_id):
        return self.modalities[song_id] == "video"

    def decoders(self) -> dict:
        """The tuned decoders: with sound, and for lips alone.

        Returns
        -------
        dict of str to NoteDecoder
        """
        return {
            **super().decoders(),
            "lip_decoder": self.hparams.lip_decoder_state.decoder,
        }

    def decoder(self, song_id):
        """The decoder of a song.

        Arguments
        ---------
        song_id : str

        Returns
        -------
        NoteDecoder
        """
        if self._seen_only(song_id):
            return self.hparams.lip_decoder_state.decoder
        return super().decoder(song_id)

    def tune(self, songs, notes, contours):
        """Choose both decoders' settings on validation songs.

        Arguments
        ---------
        songs, notes, contours
            See `TranscriptionBrain.tune`.
        """
        state = self.hparams.lip_decoder_state
        seen = {k for k in songs if self._seen_only(k)}
        if seen and self.hparams.lip_decoder_grid:
            state.decoder = tune_decoder(
                state.decoder,
                [(songs[k], notes[k]) for k in notes if k in seen],
                self.hparams.lip_decoder_grid,
                self.hparams.lip_metrics,
            )
        heard = [
            {k: v for k, v in found.items() if k not in seen}
            for found in (songs, notes, contours)
        ]
        if heard[0]:
            super().tune(*heard)

    def _means(self, seen_only):
        """Mean F1 by metric of the songs that are, or are not, only seen."""
        chosen = [
            song.scores
            for song in self.stats.songs
            if self._seen_only(song.song_id) == seen_only
        ]
        return {
            name: float(np.mean([scores[name].f1 for scores in chosen]))
            for name in NOTE_COLUMNS
            if chosen
        }

    def valid_logs(self) -> dict:
        """Scores for the training log.

        Returns
        -------
        dict of str to float
            Of songs with sound, and as `lips_...` of songs without.
        """
        lips = self._means(True)
        return self._means(False) | {
            f"lips_{name}": lips[name]
            for name in self.hparams.lip_metrics
            if lips
        }

    def quality(self) -> float:
        """What the best checkpoint is chosen by; more is better.

        Returns
        -------
        float
            Mean of COnPOff with sound and of `lip_metrics` without.
        """
        heard, seen = self._means(False), self._means(True)
        scores = [heard["COnPOff"]] if heard else []
        if seen:
            scores.append(np.mean([seen[k] for k in self.hparams.lip_metrics]))
        return float(np.mean(scores))


def conditions(rows, wanted, noise=None):
    """Test sets of the same songs, heard and seen in different ways.

    Arguments
    ---------
    rows : list of dict
        Manifest rows.
    wanted : list of dict
        One per test set, with `modality` and, where they apply, `noise` and
        `db` (`datasets.noisy`), `missing` and `late_s`
        (`lip_datasets.seen_as`).
    noise : dict of str to (str or None), optional
        Folders of recordings by kind of noise.

    Returns
    -------
    dict of str to list of dict
        By a name that says what is special.
    """
    from speechbrain_ext.datasets import noisy
    from speechbrain_ext.lip_datasets import seen_as

    found = {}
    for options in wanted:
        options = dict(options)
        kind, level = options.pop("noise", None), options.pop("db", None)
        chosen, name = rows, []
        if kind is not None:
            chosen = noisy(rows, kind, level, (noise or {}).get(kind))
            name.append(f"{kind}{level:+g}dB")
        streams_of(options["modality"])
        name.append(options["modality"])
        if options.get("missing"):
            name.append(f"missing{100 * options['missing']:g}%")
        if options.get("late_s"):
            name.append(f"late{1000 * options['late_s']:g}ms")
        found["-".join(name)] = seen_as(chosen, **options)
    return found
