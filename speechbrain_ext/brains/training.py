"""What the training of all systems shares: checkpoints, rates, seeds."""

import re
import shlex
import sys
import zlib
from contextlib import contextmanager
from io import StringIO

import numpy as np
import speechbrain as sb
import torch
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from speechbrain.utils.checkpoints import Checkpointer
from speechbrain.utils.distributed import get_rank
from torch.nn.parallel import DistributedDataParallel

from speechbrain_ext.errors import ConfigError, ModelError


class Checkpoints(Checkpointer):
    """A checkpointer that tells on one line what it cannot load.

    Arguments
    ---------
    *args, **kwargs
        See `speechbrain.utils.checkpoints.Checkpointer`.
    """

    def recover_if_possible(self, *args, **kwargs):
        """Load a checkpoint if there is one.

        Arguments
        ---------
        *args, **kwargs
            Which one: see `speechbrain.utils.checkpoints.Checkpointer`.

        Returns
        -------
        Checkpoint or None

        Raises
        ------
        ModelError
            If it is damaged or belongs to another model.
        """
        place = self.checkpoints_dir
        try:
            found = self.find_checkpoint(*args, **kwargs)
            if found is not None:
                place = found.path
                self.load_checkpoint(found)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise ModelError(
                f"{place}: is damaged or the checkpoint of another model: "
                "move it away, use the settings it was made with, or name "
                f"another output_folder ({reason[:150]})"
            ) from error
        return found


class WarmupCosine:
    """Learning-rate factor that rises linearly and falls along a cosine.

    Arguments
    ---------
    warmup : float
        Share of the training spent rising. Default: 0.15.
    final : float
        Factor at the end. Default: 0.001.

    Example
    -------
    >>> schedule = WarmupCosine(warmup=0.5, final=0.0)
    >>> [round(schedule(p), 3) for p in (0.25, 0.5, 0.75, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """

    def __init__(self, warmup=0.15, final=0.001):
        self.warmup = warmup
        self.final = final

    def __call__(self, progress: float) -> float:
        """Factor at a point of the training.

        Arguments
        ---------
        progress : float
            Share of all steps done, 0 to 1.

        Returns
        -------
        float
        """
        if progress < self.warmup:
            return progress / self.warmup
        rest = (progress - self.warmup) / max(1e-9, 1 - self.warmup)
        cosine = 0.5 * (1 + np.cos(np.pi * min(1.0, rest)))
        return float(self.final + (1 - self.final) * cosine)


@contextmanager
def config_errors(name):
    """Blame what a class says about its arguments on the YAML.

    Arguments
    ---------
    name : str
        Key of the YAML.

    Yields
    ------
    None

    Raises
    ------
    ConfigError
        Instead of a TypeError or ValueError of the block.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {error}") from error


def unwrap(module):
    """Return the module inside a distributed wrapper, or the module itself.

    Arguments
    ---------
    module : torch.nn.Module

    Returns
    -------
    torch.nn.Module
    """
    return getattr(module, "module", module)


def agreed(value):
    """What the main process has of a value, in all processes.

    So that they end a training together: figures of processes that computed
    the same may differ in the last digit.

    Arguments
    ---------
    value : object

    Returns
    -------
    object

    Example
    -------
    >>> agreed(3.5)
    3.5
    """
    if not torch.distributed.is_initialized():
        return value
    values = [value]
    torch.distributed.broadcast_object_list(values, src=0)
    return values[0]


class RecipeBrain(sb.Brain):
    """Base of the Brains of recipes.

    Hyper-parameters: `seed`, `epoch_counter`, `number_of_epochs`,
    `lr_schedule`.
    """

    def make_dataloader(self, dataset, stage, **kwargs):
        """Remember how many batches an epoch of training has.

        Arguments
        ---------
        dataset : Dataset
        stage : speechbrain.Stage
        **kwargs : dict
            See `speechbrain.Brain.make_dataloader`.

        Returns
        -------
        DataLoader
        """
        with config_errors(f"{stage.name.lower()} loader"):
            loader = super().make_dataloader(dataset, stage, **kwargs)
        if stage == sb.Stage.TRAIN:
            self.train_batches = max(1, len(loader))
        return loader

    def _wrap_distributed(self):
        """Wrap modules for a distributed training, on CPUs too.

        Batch statistics are shared by processes on GPUs; on CPUs, which torch
        has no synchronised normalisation for, each has its own.
        """
        on_cpu = torch.device(self.device).type == "cpu"
        if not (self.distributed_launch and on_cpu):
            super()._wrap_distributed()
            return
        for name, module in self.modules.items():
            if any(p.requires_grad for p in module.parameters()):
                self.modules[name] = DistributedDataParallel(
                    module, find_unused_parameters=self.find_unused_parameters
                )

    def build_optimizers(self, parts):
        """Make the optimisers and let checkpoints hold them.

        Arguments
        ---------
        parts : dict of str to iterable of torch.nn.Parameter
            By name of the optimiser, whose factory is the hyper-parameter
            `<name>_optimizer`; None, or parts without weights to train, get
            none.
        """
        self.optimizers_dict = {}
        for name, parameters in parts.items():
            factory = getattr(self.hparams, f"{name}_optimizer")
            trainable = [p for p in parameters if p.requires_grad]
            if factory is not None and trainable:
                with config_errors(f"{name}_optimizer"):
                    self.optimizers_dict[name] = factory(trainable)
        self.remember_rates()
        if self.checkpointer is not None:
            for name, optimizer in self.optimizers_dict.items():
                self.checkpointer.add_recoverable(
                    f"{name}_optimizer", optimizer
                )

    def remember_rates(self):
        """Note the optimisers' rates, the peaks of the schedule."""
        self.peak_rates = {
            name: optimizer.param_groups[0]["lr"]
            for name, optimizer in self.optimizers_dict.items()
        }

    def forget_losses(self):
        """Begin to count the terms of the loss anew, for a stage."""
        self.loss_sums, self.loss_count = {}, 0

    def count_losses(self, terms):
        """Add the terms of a batch's loss.

        Arguments
        ---------
        terms : dict of str to torch.Tensor
            Scalars by name.
        """
        for name, value in terms.items():
            total = self.loss_sums.get(name, 0.0)
            self.loss_sums[name] = total + value.item()
        self.loss_count += 1

    def mean_losses(self):
        """Give the means of all terms since they were forgotten.

        Returns
        -------
        dict of str to float
            By the names that logs have, `<name>_loss`.
        """
        return {
            f"{name}_loss": value / max(1, self.loss_count)
            for name, value in self.loss_sums.items()
        }

    def on_fit_batch_start(self, batch, should_step):
        """Seed the step and set its learning rates.

        With dropout drawn from (seed, epoch, step), a resumed training ends
        in the same weights as one that was never interrupted.

        Arguments
        ---------
        batch : PaddedBatch
        should_step : bool
        """
        epoch = self.hparams.epoch_counter.current
        key = f"{self.hparams.seed}/{epoch}/{self.step}/{get_rank() or 0}"
        torch.manual_seed(zlib.crc32(key.encode()))
        if self.hparams.lr_schedule is None:
            return
        done = (epoch - 1) * self.train_batches + self.step
        total = self.hparams.number_of_epochs * self.train_batches
        factor = self.hparams.lr_schedule(done / total)
        for name, optimizer in self.optimizers_dict.items():
            for group in optimizer.param_groups:
                group["lr"] = self.peak_rates[name] * factor

    def on_evaluate_start(self, max_key=None, min_key=None):
        """Load the best checkpoint.

        Arguments
        ---------
        max_key, min_key : str, optional
            See `speechbrain.Brain.on_evaluate_start`.

        Raises
        ------
        ModelError
            If nothing has been trained yet.
        """
        if self.checkpointer is None:
            return
        found = self.checkpointer.recover_if_possible(
            max_key=max_key, min_key=min_key
        )
        if found is None and not self.debug:
            raise ModelError(
                f"{self.checkpointer.checkpoints_dir}: holds no checkpoint "
                "of a whole epoch: train first"
            )


def load_start(hparams, names):
    """Load the weights that a training starts from, if any are named.

    Arguments
    ---------
    hparams : dict
        Of the recipe: `start_from`, a model folder or None, and the modules.
    names : sequence of str
        Keys of the modules.
    """
    if not hparams["start_from"]:
        return
    from speechbrain_ext.inference.model_folder import find_model, load_weights

    load_weights(
        find_model(hparams["start_from"]), {key: hparams[key] for key in names}
    )


def model_map(resolved, name, modules, **settings) -> CommentedMap:
    """Give what a model folder's `hyperparams.yaml` says of its parts.

    Arguments
    ---------
    resolved : str
        The recipe's YAML with references resolved.
    name : str
        Name of the model.
    modules : dict of str to object
        Parts by key of the YAML, the encoder among them. If one, or a module
        among its arguments, has `offline_arguments` (a dictionary), these
        replace its arguments, so that nothing is looked up on a hub.
    **settings
        Plain values for the top.

    Returns
    -------
    CommentedMap
    """
    tree = YAML().load(resolved)
    model = CommentedMap(
        model_name=name, sample_rate=modules["encoder"].sample_rate, **settings
    )
    for key, module in modules.items():
        _take_offline(tree[key], module)
        model[key] = tree[key]
    return model


def _take_offline(node, module):
    """Write arguments that need no hub into a module's YAML and its parts'."""
    if hasattr(module, "offline_arguments"):
        node.clear()
        node.update(module.offline_arguments())
        return
    for key, value in node.items():
        part = getattr(module, str(key), None)
        if hasattr(value, "items") and isinstance(part, torch.nn.Module):
            _take_offline(value, part)


def yaml_text(model) -> str:
    """Text of a mapping from `model_map`.

    Arguments
    ---------
    model : CommentedMap

    Returns
    -------
    str
        Without the title of what came next in the recipe.
    """
    stream = StringIO()
    YAML().dump(model, stream)
    return re.sub(r"(\n[ ]*(#.*)?)+$", "\n", stream.getvalue())


def model_card(name, rows, table, purpose, use, limits="") -> str:
    """Model card of a freshly trained model.

    Arguments
    ---------
    name : str
    rows : list of dict
        Manifest rows of the training data.
    table : str
        Scores.
    purpose : str
        What the model does, one sentence.
    use : str
        Command that uses it.
    limits : str
        What it is not for, before what is true of all models. Default: nothing.

    Returns
    -------
    str
        Markdown: use, data, command, scores, limits.
    """
    hours = sum(row["stop"] - row["start"] for row in rows) / 3600
    songs = len({row["song_id"] for row in rows})
    licences = ", ".join(sorted({row.get("license", "?") for row in rows}))
    command = shlex.join(["python", *map(str, sys.argv)])
    limits = f"{limits}; " if limits else ""
    return f"""# {name}

{purpose}

- Use: `{use}`
- Training data: {songs} songs, {hours:.1f} h, licence {licences}
- Training command: `{command}`
- Limits: {limits}only as good on other material than that of the table as you
  find it to be on a sample of your own.

```
{table}
```
"""
