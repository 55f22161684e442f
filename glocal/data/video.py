"""Video as arrays: frames at given times out of a file that may hold many episodes, and arrays into a file."""

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

os.environ.setdefault("SVT_LOG", "1")  # errors alone, of the AV1 encoder

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from glocal.runtime.files import UserError, atomic_write

Frame = NDArray[np.uint8]
"""A picture (h, w, 3), RGB."""
CODECS = {
    "h264": ("libx264", {"crf": "12", "preset": "fast", "g": "2"}),
    "av1": ("libsvtav1", {"crf": "18", "preset": "8", "g": "2"}),
}
"""Encoders and their options: every second frame can be sought, and no loss that matters at robot's resolutions."""
FORMAT = "mp4"
"""Of videos that are read: others, such as playlists and lists of files, lead FFmpeg to files elsewhere."""
SIDE = 4096
"""Pixels along a side of a picture that is decoded, at most."""
LEAD = 20_000
"""Frames that are decoded, at most, on the way to the one that is sought."""


def read_frames(path: Path, first: float, count: int, fps: float) -> Iterator[Frame]:
    """The `count` frames at `first`, `first` + 1 / `fps`, ... seconds, each within half a period.

    Raises `UserError` naming the file where it cannot be decoded, or has no frame at one of these times.
    """
    found, lead = 0, 0
    reformatter: Any = VideoReformatter()  # one for all: a frame's own is set up, with threads, for each
    try:
        with av.open(str(path), format=FORMAT) as container:
            stream = _video_stream(container, path)
            if 0 < stream.frames < count:
                raise UserError(f"{path} holds {stream.frames} frames, expected {count} from {first:.3f} s on")
            stream.thread_type = "AUTO"
            base = float(stream.time_base or Fraction(1, 90_000))
            container.seek(max(0, int((first - 0.5 / fps) / base)), stream=stream, backward=True)
            for frame in container.decode(stream):
                wanted = first + found / fps
                if frame.time is None or frame.time < wanted - 0.5 / fps:
                    lead += 1
                    if lead > LEAD:
                        raise UserError(f"{path} has {LEAD} frames and more that lead up to the one at {wanted:.3f} s")
                    continue
                if frame.time > wanted + 0.5 / fps:
                    raise UserError(f"{path} has no frame at {wanted:.3f} s: the next one is at {frame.time:.3f} s")
                yield reformatter.reformat(frame, format="rgb24").to_ndarray()
                found += 1
                if found == count:
                    return
    except (FFmpegError, OSError, ValueError, ArithmeticError) as error:
        raise UserError(f"{path} cannot be decoded as video ({error}); it is damaged, cut short or no video") from error
    wanted = first + found / fps
    raise UserError(f"{path} ends before {wanted:.3f} s: {found} of {count} frames were found from {first:.3f} s on")


def stacked(frames: Iterable[Frame], count: int, shape: tuple[int, ...]) -> Frame:
    """So many pictures of a shape (h, w, 3) one behind the other; raises `ValueError` where one is of another, or
    their number is."""
    stack, row = None, 0
    for row, frame in enumerate(frames, 1):
        if frame.shape != shape or row > count:
            raise ValueError(f"picture {row} of {count} is {frame.shape}, expected {shape}")
        stack = np.empty((count, *shape), np.uint8) if stack is None else stack
        stack[row - 1] = frame
    if stack is None or row != count:
        raise ValueError(f"{row} of {count} pictures are there")
    return stack


def _video_stream(container: Any, path: Path) -> Any:
    """The first video stream; raises `UserError` where there is none, or its pictures are beyond the bounds."""
    if not container.streams.video or container.streams.video[0].codec_context is None:
        raise UserError(f"{path} holds no video stream that can be decoded; it is damaged, or of an unknown codec")
    stream = container.streams.video[0]
    if max(stream.codec_context.height, stream.codec_context.width) > SIDE:
        size = f"{stream.codec_context.height}x{stream.codec_context.width}"
        raise UserError(f"{path} shows pictures of {size}, expected up to {SIDE} pixels a side")
    stream.codec_context.options = {"max_pixels": str(SIDE * SIDE)}
    return stream


def video_info(path: Path) -> dict[str, Any]:
    """Codec, pixel format, size, rate and number of frames (0 if the file does not say) of a video file."""
    try:
        with av.open(str(path), format=FORMAT) as container:
            stream = _video_stream(container, path)
            context = stream.codec_context
            return {
                "codec": context.name,
                "pix_fmt": context.pix_fmt,
                "height": context.height,
                "width": context.width,
                "fps": float(stream.average_rate or 0),
                "frames": stream.frames,
            }
    except (FFmpegError, OSError, ValueError, ArithmeticError) as error:
        raise UserError(f"{path} cannot be read as video ({error}); it is damaged, cut short or no video") from error


class VideoWriter:
    """An mp4 that grows by pictures of one size: `with VideoWriter(path, fps) as video: video.add(frame)`."""

    def __init__(self, path: Path, fps: float, codec: str = "h264"):
        if codec not in CODECS:
            raise UserError(f"there is no codec {codec!r}; expected one of {', '.join(CODECS)}")
        self.path, self.codec, self.count = path, codec, 0
        self.rate = Fraction(fps).limit_denominator(1001)
        self.container: Any = av.open(str(path), "w", format="mp4")
        self.stream: Any = None

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self.stream is not None:
            self.container.mux(self.stream.encode())
        self.container.close()

    @property
    def megabytes(self) -> float:
        """What has reached the file by now; encoders hold some back."""
        return self.path.stat().st_size / 1e6 if self.path.exists() else 0.0

    def add(self, frame: Frame) -> None:
        """One more picture (h, w, 3)."""
        if self.stream is None:
            encoder, options = CODECS[self.codec]
            self.stream = self.container.add_stream(encoder, rate=self.rate, options=options)
            self.stream.height, self.stream.width = frame.shape[:2]
            odd = self.codec == "h264" and any(side % 2 for side in frame.shape[:2])  # colours of pairs of pixels
            self.stream.pix_fmt = "yuv444p" if odd else "yuv420p"
        if frame.shape != (self.stream.height, self.stream.width, 3):
            size = (self.stream.height, self.stream.width, 3)
            raise UserError(f"picture {self.count} of {self.path} is {frame.shape}, the first one was {size}")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        self.container.mux(self.stream.encode(picture))
        self.count += 1


def write_frames(path: Path, frames: Iterable[Frame], fps: float, codec: str = "h264") -> int:
    """Write pictures of one size as an mp4, whole or not at all; returns how many there were."""
    with atomic_write(path) as draft:
        with VideoWriter(draft, fps, codec) as video:
            for frame in frames:
                video.add(frame)
        if not video.count:
            raise UserError(f"there are no frames to write to {path}")
    return video.count
