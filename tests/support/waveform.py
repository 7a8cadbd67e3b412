"""Reading a waveform as a player would: audiowaveform's binary data format, version 2, by its description alone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Waveform:
    """A waveform of one channel."""

    rate_hz: int
    window_samples: int
    #: Of each window the lowest and the highest sample, from -128 to 127.
    pairs: list[tuple[int, int]]

    @property
    def seconds(self) -> float:
        """How long it is, to within a window."""
        return len(self.pairs) * self.window_samples / self.rate_hz

    def heights(self) -> list[int]:
        """The largest magnitude in each window."""
        return [max(-lowest, highest) for lowest, highest in self.pairs]


def read(data: bytes) -> Waveform:
    """Read one; whatever it should not have is an AssertionError."""

    def word(at: int) -> int:
        return int.from_bytes(data[4 * at : 4 * at + 4], "little")

    version, flags, rate_hz, window_samples, length, channels = map(word, range(6))
    assert (version, flags, channels) == (2, 1, 1)
    assert len(data) == 24 + 2 * length
    signed = [byte - 256 if byte > 127 else byte for byte in data[24:]]
    pairs = list(zip(signed[::2], signed[1::2], strict=True))
    assert all(lowest <= highest for lowest, highest in pairs)
    return Waveform(rate_hz, window_samples, pairs)
