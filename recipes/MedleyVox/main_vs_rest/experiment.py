"""Train and test a separator of a main voice and the rest.

    python experiment.py mini.yaml
    python experiment.py params.yaml --data_folder /path/to/corpora

The first command runs on synthetic singers and takes minutes on two CPU cores;
the second takes days on a GPU. `params.yaml` says where it looks for what.
"""

from speechbrain_ext import recipe
from speechbrain_ext.brains.singers import run_singers
from speechbrain_ext.datasets import corpora_rows


def main(hparams, run_opts):
    """Prepare the voices, mix and learn them, test on held-out singers."""
    rows = corpora_rows(hparams, hparams["corpora"], hparams["preparation"])
    run_singers(hparams, run_opts, rows)


if __name__ == "__main__":
    recipe.run(main)
