"""Train and test singing voice transcription from sound and lips on N20EMv2.

    python experiment.py mini.yaml
    python experiment.py params.yaml --data_folder /path/to/N20EMv2
    python evaluate_noise.py params.yaml --data_folder /path/to/N20EMv2

The first command needs no data: it writes MiniSinging, with lip videos, in the
layout of N20EMv2 first. One model is trained for sound, for lips and for both.
With the accompaniment 10 dB above the voice, Gu et al. (ACM TOMM 2024) report
a COn of 33.5 % from sound alone and of 79.3 % from both.
"""

from speechbrain_ext import recipe
from speechbrain_ext.brains.transcription import run_transcription
from speechbrain_ext.brains.two_stream import TwoStreamBrain, conditions
from speechbrain_ext.datasets import corpora_rows


def main(hparams, run_opts):
    """Prepare the corpus, train on it, test what is heard and seen."""
    rows = corpora_rows(hparams, ["n20emv2"])["n20emv2"]
    noise = hparams["test_noise"]
    tuning = conditions(rows["valid"], hparams["valid_conditions"], noise)
    run_transcription(
        hparams,
        run_opts,
        train=rows["train"],
        valid=[row for chosen in tuning.values() for row in chosen],
        tests=conditions(rows["test"], hparams["test_conditions"], noise),
        brain_class=TwoStreamBrain,
    )


if __name__ == "__main__":
    recipe.run(main)
