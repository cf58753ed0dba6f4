"""The Brain of separators that are told what is sung."""

import speechbrain as sb

from speechbrain_ext.brains.separation import (
    SeparationBrain,
    SeparationObjective,
    separate_songs,
)
from speechbrain_ext.separation.side_input import informed_dataset


class InformedObjective(SeparationObjective):
    """A separator that is told what is sung, with its loss.

    Arguments
    ---------
    separator : separation.informed.InformedSeparator
    loss : callable
        As in `SeparationObjective`.
    """

    def forward(self, mixture, sources, epoch, side):
        """Terms of the loss of a batch.

        Arguments
        ---------
        mixture : torch.Tensor (batch, channels, samples)
        sources : torch.Tensor (batch, sources, channels, samples)
        epoch : int
        side : torch.Tensor (batch, frames, features)

        Returns
        -------
        dict of str to torch.Tensor
        """
        told = self.separator.told(side)
        return self.loss(told, mixture, sources, epoch)


class InformedBrain(SeparationBrain):
    """Trains and evaluates a separator that is told what is sung.

    As `SeparationBrain`; batches have `side` as well
    (`separation.side_input.informed_dataset`).

    Arguments
    ---------
    *args, **kwargs
        See `speechbrain.Brain`.
    """

    purpose = (
        "Voice and accompaniment from a recording of both and the phones that "
        "are sung in it."
    )
    usage = "--phones FILE"
    objective_class = InformedObjective

    @staticmethod
    def make_dataset(rows, separator, **options):
        """Data set of a recipe.

        Arguments
        ---------
        rows : list of dict
            From `separation.side_input.with_control`.
        separator : separation.informed.InformedSeparator
        **options
            See `separation.side_input.informed_dataset`.

        Returns
        -------
        speechbrain.dataio.dataset.DynamicItemDataset
        """
        return informed_dataset(rows, separator, **options)

    def compute_forward(self, batch, stage):
        """Loss terms of a batch, and in evaluation its estimates.

        Arguments
        ---------
        batch : PaddedBatch
        stage : speechbrain.Stage

        Returns
        -------
        (dict of str to torch.Tensor, torch.Tensor or None)
            Scalars; (batch, sources, channels, samples).
        """
        sources = self.sources_of(batch).to(self.device)
        side = batch.side.data.to(self.device)
        mixture = sources.sum(1)
        epoch = self.hparams.epoch_counter.current
        if stage == sb.Stage.TRAIN:
            return self.modules.objective(mixture, sources, epoch, side), None
        separator = self.separator.eval()
        told = separator.told(side)
        if stage == sb.Stage.VALID:
            return self.validate(told, mixture, sources, epoch)
        songs = [separator.following(rows) for rows in side.cpu().numpy()]
        return {}, separate_songs(
            mixture, told, self.test_rate, self.device, songs
        )
