"""Train and test singing voice transcription from lip video on N20EMv2.

    python experiment.py mini.yaml
    python experiment.py params.yaml --data_folder /path/to/N20EMv2

The first command needs no data: it writes MiniSinging, with lip videos, in the
layout of N20EMv2 first. Lips tell when notes start and end and hardly their
pitch: Gu et al. (ACM TOMM 2024) report COn 78.6 %, COff 78.8 % and COnP 8.8 %
on the N20EMv2 test songs.
"""

from speechbrain_ext import recipe
from speechbrain_ext.brains.transcription import run_transcription
from speechbrain_ext.brains.two_stream import TwoStreamBrain, conditions
from speechbrain_ext.datasets import corpora_rows


def main(hparams, run_opts):
    """Prepare the corpus, train on its lips and test on them."""
    rows = corpora_rows(hparams, ["n20emv2"])["n20emv2"]
    (valid,) = conditions(rows["valid"], hparams["valid_conditions"]).values()
    run_transcription(
        hparams,
        run_opts,
        train=rows["train"],
        valid=valid,
        tests=conditions(rows["test"], hparams["test_conditions"]),
        brain_class=TwoStreamBrain,
    )


if __name__ == "__main__":
    recipe.run(main)
