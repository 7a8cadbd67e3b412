"""How sound is made louder or quieter, without a sample's peak going beyond a ceiling: filters for ffmpeg."""

from dataclasses import dataclass
from typing import Final

#: True peaks show between samples; so many times the rate is what ITU-R BS.1770-5, annex 2, looks for them at.
_OVERSAMPLING: Final = 4
#: How far ahead the limiter looks, and how slowly it lets go.
_AHEAD_MS: Final = 5
_RELEASE_MS: Final = 50


@dataclass(frozen=True)
class Level:
    """A change of level."""

    gain_db: float
    #: In dBTP; None where no peak comes near it.
    ceiling_dbtp: float | None
    #: Sample rate.
    rate_hz: int

    def filters(self) -> str:
        """The filters, as ffmpeg's -af takes them; there are as many samples behind them as before."""
        gain = f"volume={self.gain_db:.2f}dB:precision=float"
        if self.ceiling_dbtp is None:
            return gain
        rate_hz = _OVERSAMPLING * self.rate_hz
        ahead = rate_hz * _AHEAD_MS // 1000
        # The limiter delays by what it looks ahead, and counts that in whole samples of all channels, rounded down.
        attack_ms = (ahead + 0.5) * 1000 / rate_hz
        limit = 10 ** (self.ceiling_dbtp / 20)
        limiter = f"alimiter=limit={limit:.6f}:level=false:attack={attack_ms:.6f}:release={_RELEASE_MS}"
        late = f"apad=pad_len={ahead},{limiter},atrim=start_sample={ahead}"
        return f"{gain},aresample={rate_hz},{late},aresample={self.rate_hz}"
