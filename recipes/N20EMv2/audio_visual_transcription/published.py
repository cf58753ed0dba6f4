"""Train and test the two-stage system of Gu et al. (ACM TOMM 2024) on N20EMv2.

    python published.py mini_published.yaml
    python published.py params_published.yaml --data_folder /path/to/N20EMv2 \
        --audio_model AUDIO --video_model VIDEO --noise_folder MUSAN_CLIPS

The README says where AUDIO, VIDEO and MUSAN_CLIPS come from. Dumps the features
of both systems, trains one model for each noise and level, with lips and with
zeros instead, and tests each in its own noise. It goes on where it was stopped.
With the accompaniment 10 dB above the voice, a COn of 79.3 % with lips and of
33.5 % without is published.
"""

from speechbrain_ext import recipe
from speechbrain_ext.brains.two_stage import run_two_stage
from speechbrain_ext.datasets import corpora_rows


def main(hparams, run_opts):
    """Prepare the corpus, dump features, train and test all models."""
    rows = corpora_rows(hparams, ["n20emv2"])["n20emv2"]
    run_two_stage(hparams, run_opts, rows)


if __name__ == "__main__":
    recipe.run(main)
