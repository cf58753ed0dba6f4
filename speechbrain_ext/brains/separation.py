"""The Brain of systems that separate a voice from its accompaniment."""

import re
from contextlib import ExitStack, suppress
from io import StringIO
from pathlib import Path

import numpy as np
import speechbrain as sb
import torch
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.epoch_loop import EpochCounterWithStopper
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from speechbrain_ext.audio import write_audio
from speechbrain_ext.brains.training import (
    RecipeBrain,
    agreed,
    config_errors,
    model_card,
    unwrap,
)
from speechbrain_ext.files import atomic_path
from speechbrain_ext.metrics.bss_eval import si_sdr
from speechbrain_ext.metrics.separation import SeparationStats
from speechbrain_ext.separation.dataset import separation_dataset
from speechbrain_ext.separation.unet import UNet

# Longer songs are tested piece by piece, s.
WHOLE_S = 30.0


class SeparationObjective(nn.Module):
    """A separator together with its loss, as one module.

    So that gradients of every loss, whichever parts of the separator it runs,
    are averaged over the processes of a distributed training.

    Arguments
    ---------
    separator : torch.nn.Module
    loss : callable
        Called with (separator, mixture, sources, epoch), gives a dictionary
        of terms to be added up (`losses`).
    """

    def __init__(self, separator, loss):
        super().__init__()
        self.separator = separator
        self.loss = loss

    def forward(self, mixture, sources, epoch):
        """Terms of the loss of a batch.

        Arguments
        ---------
        mixture : torch.Tensor (batch, channels, samples)
        sources : torch.Tensor (batch, sources, channels, samples)
        epoch : int

        Returns
        -------
        dict of str to torch.Tensor
        """
        return self.loss(self.separator, mixture, sources, epoch)


def _running_average(decay):
    """An exponential average that soon forgets the weights it began with."""

    def update(averaged, current, count):
        share = min(decay, (1 + int(count)) / (10 + int(count)))
        get_ema_multi_avg_fn(share)(averaged, current, count)

    return update


class SeparationBrain(RecipeBrain):
    """Trains and evaluates a separator.

    Modules: `objective`, a `SeparationObjective`. Hyper-parameters: those of
    `RecipeBrain`, and `separator`, `optimizer`, `average_decay`,
    `keep_checkpoints`, `train_logger`, `output_folder`, `experiment`,
    `scoring`, `train_loader`, `test_loader`. With an `EpochCounterWithStopper`
    for `epoch_counter`, training ends when validation no longer gets better.

    Besides the weights in training, their running average over the last steps
    is kept (Polyak and Juditsky, 1992): that is validated, tested and exported.
    `average_decay` is its share kept per step, less at the start of a training;
    0 means the weights themselves.

    Arguments
    ---------
    *args, **kwargs
        See `speechbrain.Brain`.
    """

    purpose = "Voice and accompaniment from a recording of both."
    command = "separate"  # of singbrain, which uses its models
    usage = ""  # options of that command that its models need
    objective_class = SeparationObjective

    @staticmethod
    def make_dataset(rows, separator, **options):
        """Data set of a recipe.

        Arguments
        ---------
        rows : list of dict
            Of manifests.
        separator : torch.nn.Module
            What shall learn from it.
        **options
            See `separation.dataset.separation_dataset`.

        Returns
        -------
        speechbrain.dataio.dataset.DynamicItemDataset
        """
        return separation_dataset(rows, **options)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.test_rate = None
        self.average = AveragedModel(
            unwrap(self.modules.objective).separator,
            multi_avg_fn=_running_average(self.hparams.average_decay),
            use_buffers=True,
        )
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("average", self.average)

    @property
    def separator(self):
        """The separator that is evaluated."""
        return self.average.module

    # ---- one batch ------------------------------------------------------

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
        mixture = sources.sum(1)
        epoch = self.hparams.epoch_counter.current
        if stage == sb.Stage.TRAIN:
            return self.modules.objective(mixture, sources, epoch), None
        separator = self.separator.eval()
        if stage == sb.Stage.VALID:
            return self.validate(separator, mixture, sources, epoch)
        return {}, self.separate(mixture)

    def sources_of(self, batch):
        """Sources of the items of a batch.

        Arguments
        ---------
        batch : PaddedBatch

        Returns
        -------
        torch.Tensor (batch, sources, channels, samples)
        """
        return batch.sources.data

    def validate(self, separator, mixture, sources, epoch):
        """Loss terms and estimates of a batch in validation.

        Arguments
        ---------
        separator : torch.nn.Module
        mixture : torch.Tensor (batch, channels, samples)
        sources : torch.Tensor (batch, sources, channels, samples)
        epoch : int

        Returns
        -------
        (dict of str to torch.Tensor, torch.Tensor)
            Scalars; (batch, sources, channels, samples).
        """
        loss = unwrap(self.modules.objective).loss
        terms = loss(separator, mixture, sources, epoch)
        return terms, separator(mixture)

    def separate(self, mixture):
        """Separate tested songs, long ones in bounded memory.

        As `VoiceSeparator` does it, also where the songs have another sample
        rate than the separator.

        Arguments
        ---------
        mixture : torch.Tensor (batch, channels, samples)
            At the rate of the test.

        Returns
        -------
        torch.Tensor (batch, sources, channels, samples)
        """
        return separate_songs(
            mixture, self.separator, self.test_rate, self.device
        )

    def compute_objectives(self, predictions, batch, stage):
        """Loss of a batch; in evaluation also scores the estimates.

        Arguments
        ---------
        predictions : tuple
            From `compute_forward`.
        batch : PaddedBatch
        stage : speechbrain.Stage

        Returns
        -------
        torch.Tensor
            Scalar.
        """
        terms, estimates = predictions
        self.count_losses(terms)
        if estimates is not None:
            self._score(batch, estimates.float().cpu().numpy(), stage)
        return sum(terms.values(), torch.zeros((), device=self.device))

    def _score(self, batch, estimates, stage):
        score = self.validate_item if stage == sb.Stage.VALID else self.score
        for k, sources in enumerate(self.sources_of(batch).cpu().numpy()):
            score(batch, k, sources, estimates[k])

    def validate_item(self, batch, number, sources, estimates):
        """Note what an item gains in validation.

        Arguments
        ---------
        batch : PaddedBatch
        number : int
            Of the item in the batch.
        sources, estimates : np.ndarray (sources, channels, samples)
        """
        mixture = np.broadcast_to(sources.sum(0), sources.shape)
        gains = si_sdr(sources, estimates) - si_sdr(sources, mixture)
        for name, gain in zip(self.separator.sources, gains, strict=True):
            self.gains.setdefault(name, []).append(gain)

    def score(self, batch, number, sources, estimates):
        """Score an item of a test.

        Arguments
        ---------
        batch : PaddedBatch
        number : int
            Of the item in the batch.
        sources, estimates : np.ndarray (sources, channels, samples)
        """
        song_id = batch.song_id[number]
        self.stats.append(
            song_id,
            sources,
            estimates,
            self.test_rate,
            batch.singer[number] or None,
        )
        self.on_estimate(song_id, estimates)

    def on_estimate(self, song_id, estimates):
        """Called with the estimates of every tested song; keeps them on disk.

        Arguments
        ---------
        song_id : str
        estimates : np.ndarray (sources, channels, samples)
        """
        if self.estimates_folder is None or not if_main_process():
            return
        for name, wav in zip(self.separator.sources, estimates, strict=True):
            write_audio(
                self.estimates_folder / f"{song_id}_{name}.wav",
                wav.T,
                self.test_rate,
                overwrite=True,
                subtype="FLOAT",
            )

    # ---- optimisation ---------------------------------------------------

    def init_optimizers(self):
        """One optimiser for all weights."""
        with config_errors("optimizer"):
            self.optimizers_dict = {
                "separator": self.hparams.optimizer(
                    self.modules.objective.parameters()
                )
            }
        self.remember_rates()
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable(
                "optimizer", self.optimizers_dict["separator"]
            )

    def on_fit_batch_end(self, batch, outputs, loss, should_step):
        """Update the average of the weights.

        Arguments
        ---------
        batch, outputs, loss, should_step
            See `speechbrain.Brain`.
        """
        if should_step:
            self.average.update_parameters(
                unwrap(self.modules.objective).separator
            )

    # ---- stages ---------------------------------------------------------

    def on_stage_start(self, stage, epoch=None):
        """Reset what is gathered during a stage.

        Arguments
        ---------
        stage : speechbrain.Stage
        epoch : int, optional
        """
        self.forget_losses()
        self.gains = {}
        self.stats = self.new_stats()

    def new_stats(self):
        """Statistics of a test, still empty.

        Returns
        -------
        SeparationStats
        """
        return SeparationStats(self.hparams.scoring, self.separator.sources)

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Log and keep checkpoints.

        Arguments
        ---------
        stage : speechbrain.Stage
        stage_loss : float
        epoch : int, optional
        """
        logs = {"loss": stage_loss}
        if len(self.loss_sums) > 1:
            logs |= self.mean_losses()
        if stage == sb.Stage.TRAIN:
            self.train_logs = logs
            return
        if stage == sb.Stage.TEST:
            return
        gains = {
            name: float(np.ma.masked_invalid(values).mean() or 0.0)
            for name, values in self.gains.items()
        }
        for name, gain in gains.items():
            logs[f"{name}_SI-SDRi"] = gain
        score = agreed(float(np.mean([*gains.values()] or [0.0])))
        rate = self.optimizers_dict["separator"].param_groups[0]["lr"]
        self.hparams.train_logger.log_stats(
            {"epoch": epoch, "lr": rate}, self.train_logs, valid_stats=logs
        )
        self.on_score(score)
        if self.checkpointer is not None:
            self.checkpointer.save_and_keep_only(
                meta={"SI-SDRi": score, "epoch": epoch},
                max_keys=["SI-SDRi"],
                num_to_keep=self.hparams.keep_checkpoints,
            )

    def on_score(self, score):
        """Called with the mean gain of every validation; may stop early.

        Arguments
        ---------
        score : float
            SI-SDRi, dB, the same in all processes.
        """
        counter = self.hparams.epoch_counter
        if isinstance(counter, EpochCounterWithStopper):
            counter.update_metric(score)

    def learn(self, train, valid):
        """Train, with the data loaders that the hyper-parameters tell.

        Arguments
        ---------
        train, valid : Dataset
        """
        self.fit(
            self.hparams.epoch_counter,
            train,
            valid,
            train_loader_kwargs=dict(self.hparams.train_loader),
            valid_loader_kwargs=dict(self.hparams.test_loader),
        )

    # ---- results --------------------------------------------------------

    def test(
        self,
        name,
        dataset,
        folder,
        loader_kwargs,
        keep=False,
        sample_rate=None,
    ):
        """Evaluate the best checkpoint on a test set and write the results.

        Arguments
        ---------
        name : str
            Of the test set; results go to `folder/name`.
        dataset : DynamicItemDataset
            Whole songs.
        folder : str or Path
            Existing results in it are replaced.
        loader_kwargs : dict
            For the data loader.
        keep : bool
            Whether the estimates are written, to `estimates/`. Default: False.
        sample_rate : int, optional
            Of the songs, hertz. Default: that of the separator.

        Returns
        -------
        SeparationStats
            Also written: `scores.csv` (per song), `scores.txt` (table).
        """
        folder = Path(folder) / name
        folder.mkdir(parents=True, exist_ok=True)
        self.test_rate = sample_rate or self.separator.sample_rate
        self.estimates_folder = folder / "estimates" if keep else None
        if keep:
            self.estimates_folder.mkdir(exist_ok=True)
        self.evaluate(
            dataset, max_key="SI-SDRi", test_loader_kwargs=dict(loader_kwargs)
        )
        if if_main_process():
            self.stats.write_csv(folder / "scores.csv", overwrite=True)
            with atomic_path(folder / "scores.txt", overwrite=True) as path:
                path.write_text(f"{name}\n{self.stats.table()}\n")
        return self.stats

    def export(self, folder, name, card):
        """Write the best checkpoint as a folder that `VoiceSeparator` loads.

        Arguments
        ---------
        folder : str or Path
            An existing model folder is replaced.
        name : str
            Name of the model.
        card : str
            Model card, Markdown.
        """
        self.on_evaluate_start(max_key="SI-SDRi")
        if not if_main_process():
            return
        from speechbrain_ext.inference.model_folder import export_model

        resolved = Path(self.hparams.output_folder) / "hyperparams.yaml"
        yaml = YAML()
        tree = yaml.load(resolved.read_text(encoding="utf-8"))
        model = CommentedMap(
            model_name=name,
            sample_rate=self.separator.sample_rate,
            separator=tree["separator"],
        )
        stream = StringIO()
        yaml.dump(model, stream)
        # The title of what came next in the recipe is not about the model.
        text = re.sub(r"(\n[ ]*(#.*)?)+$", "", stream.getvalue())
        export_model(
            folder,
            text + "\n",
            {"separator": self.separator},
            card,
            overwrite=True,
        )

    def results_folder(self):
        """Where results go: those of two batches not over real ones.

        Returns
        -------
        Path
        """
        output = Path(self.hparams.output_folder)
        return output / "debug" if self.debug else output

    def finish(self, results, rows):
        """Export the model, write the summary, draw the curves.

        Arguments
        ---------
        results : dict of str to SongStats
            By test set.
        rows : list of dict
            Manifest rows of the training data.
        """
        output, name = self.results_folder(), self.hparams.experiment
        table = "\n\n".join(
            f"{test}\n{stats.table()}" for test, stats in results.items()
        )
        use = [f"singbrain {self.command} FILE", *self.usage.split()]
        use += ["--model FOLDER_OF_THIS_CARD -o FOLDER"]
        # What the oracles score is not about the model.
        own = "\n\n".join(
            f"{test}\n{stats.table()}"
            for test, stats in results.items()
            if ", oracle " not in test
        )
        card = model_card(name, rows, own, self.purpose, " ".join(use))
        self.export(output / "model", name, card)
        if not if_main_process():
            return
        from speechbrain_ext.report.plots import read_train_log, training_curves

        log = self.hparams.train_logger.save_file
        if Path(log).exists():
            training_curves(read_train_log(log), output / "training.png", True)
        (output / "results").mkdir(exist_ok=True)  # without a test, none is
        with atomic_path(output / "results" / "summary.txt", True) as path:
            path.write_text(table + "\n", encoding="utf-8")
        print(f"\n{table}\n\nresults: {output / 'results'}")
        print(f"model: {output / 'model'}")


def separate_songs(mixture, separator, rate, device, singly=None):
    """Separate songs, long ones or those of another rate piece by piece.

    Arguments
    ---------
    mixture : torch.Tensor (batch, channels, samples)
    separator : torch.nn.Module
        With `sources` and `sample_rate`.
    rate : int
        Of the songs, hertz.
    device : str or torch.device
        Where the separator is.
    singly : sequence of torch.nn.Module, optional
        What to separate each song with piece by piece
        (`inference.transfer.estimate_sources`). Default: the separator.

    Returns
    -------
    torch.Tensor (batch, sources, channels, samples)
    """
    size = round(WHOLE_S * rate)
    if rate == separator.sample_rate and mixture.shape[-1] <= size:
        return separator(mixture)
    from speechbrain_ext.inference.transfer import estimate_sources

    estimates = []
    for song, own in zip(
        mixture, singly or [separator] * len(mixture), strict=True
    ):
        blocks = (
            np.ascontiguousarray(part.T.cpu().numpy())
            for part in song.split(size, dim=1)
        )
        parts = estimate_sources(own, blocks, rate, device=device)
        whole = np.concatenate([part for _, part in parts])
        estimates.append(torch.from_numpy(whole.transpose(1, 2, 0)))
    return torch.stack(estimates)


def load_start(source, separator):
    """Load the weights that a training starts from.

    Those of a whole separator, or those of a separator with one stage into the
    first stage of one with two. A U-net may have more blocks at the bottom
    than the one it starts from.

    Arguments
    ---------
    source : str or Path
        See `inference.model_folder.find_model`.
    separator : separation.separator.MaskSeparator

    Raises
    ------
    ModelError
        If there is no such model, or its weights do not fit.
    """
    from safetensors import SafetensorError, safe_open

    from speechbrain_ext.inference.model_folder import (
        WEIGHTS,
        find_model,
        load_weights,
    )

    folder = find_model(source)
    target = separator
    network = getattr(separator, "network", None)
    names = []
    # `load_weights` tells of a file that is missing or damaged.
    with (
        suppress(OSError, SafetensorError),
        safe_open(folder / WEIGHTS, "pt") as file,
    ):
        names = list(file.keys())
    staged = any(".network.refiner." in name for name in names)
    if hasattr(network, "stages") and names and not staged:
        target = nn.ModuleDict({"network": network.first})
    blocks = {
        int(found[1])
        for name in names
        if (found := re.search(r"\.bottom\.(\d+)\.", name))
    }
    with ExitStack() as stack:
        for module in target.modules():
            if isinstance(module, UNet) and blocks:
                stack.enter_context(module.shallower(len(blocks)))
        load_weights(folder, {"separator": target})
