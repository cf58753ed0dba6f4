"""Opening and decoding what ffmpeg's libraries read, through PyAV."""

from __future__ import annotations

# Formats that are lists of other files, which a stranger's file could choose.
_LISTS = {"concat", "dash", "hls", "image2", "imf", "rtsp", "sdp", "smil"}


def open_container(path, error, what="an audio or video file"):
    """Open a local file; nothing that it names elsewhere is fetched.

    Arguments
    ---------
    path : str or Path
        An existing file.
    error : type
        Exception to raise.
    what : str
        What the file should be, for the message. Default: "an audio or video
        file".

    Returns
    -------
    av.container.InputContainer

    Raises
    ------
    error
        If no library knows the file.

    Example
    -------
    >>> path = getfixture("tmp_path") / "song.wav"
    >>> _ = path.write_text("la la")
    >>> open_container(path, ValueError)
    Traceback (most recent call last):
    ValueError: .../song.wav: is not an audio or video file, or is damaged
    """
    import av

    try:
        container = av.open(
            f"file:{path}", options={"protocol_whitelist": "file"}
        )
    except (av.FFmpegError, OSError, ValueError):
        raise error(f"{path}: is not {what}, or is damaged") from None
    if _LISTS & set(container.format.name.split(",")):
        container.close()
        raise error(f"{path}: is not {what} but a list of files: name those")
    return container


def decode_frames(container, stream, damage):
    """Decode a stream; a fault ends it only where nothing follows.

    Faults before the first frame are passed over, if a frame comes.

    Arguments
    ---------
    container : av.container.InputContainer
    stream : av.stream.Stream
        One of its streams.
    damage : callable
        Without arguments; gives the exception to raise. Called when a fault
        has been met and the next frame has come, or none at all.

    Yields
    ------
    av.frame.Frame
    """
    import av

    broken = started = False
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            frames = packet.decode() if packet is not None else None
        except (av.FFmpegError, ValueError):
            broken = True
            continue
        if frames is None:
            break
        for frame in frames:
            if broken and started:
                raise damage()
            broken, started = False, True
            yield frame
    if broken and not started:
        raise damage()
