"""Crops of the mouth."""

import numpy as np

from speechbrain_ext.frames import FRAME_RATE


def pictures_at(path, times):
    """Pictures at given times.

    Arguments
    ---------
    path : str or Path
    times : np.ndarray (frames,)

    Returns
    -------
    np.ndarray (frames, height, width) uint8
    """
    crops = np.load(path, mmap_mode="r", allow_pickle=False)
    index = np.floor(np.asarray(times) * FRAME_RATE + 1e-6).astype(int)
    inside = (index >= 0) & (index < len(crops))
    result = np.zeros((len(index), *crops.shape[1:]), np.uint8)
    if inside.any():
        first, last = index[inside].min(), index[inside].max() + 1
        piece = np.asarray(crops[first:last])
        result[inside] = piece[index[inside] - first]
    return result
