"""Stage 1 alone of the published two-stage system: features of all songs.

    python dump_features.py params_published.yaml --data_folder N20EMv2 \
        --audio_model AUDIO --video_model VIDEO --noise_folder MUSAN_CLIPS

What `published.py` does first, with the same settings: the encoders of the
audio and the video system run over all songs of all splits, clean and in each
noise at each level. It goes on where it was stopped. Each version of the
corpus takes 3 GB of the disk in float16.
"""

from speechbrain_ext import recipe
from speechbrain_ext.brains.two_stage import dump_songs
from speechbrain_ext.datasets import corpora_rows


def main(hparams, run_opts):
    """Prepare the corpus, dump the features of its songs."""
    dump_songs(hparams, run_opts, corpora_rows(hparams, ["n20emv2"])["n20emv2"])


if __name__ == "__main__":
    recipe.run(main)
