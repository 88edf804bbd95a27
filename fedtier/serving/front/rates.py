"""The least rate at which a body has to move, as a stock of patience: spent by waiting, earned by bytes."""

from __future__ import annotations


class LeastRate:
    """Says how long the other end of a transfer may still be waited for.

    Patience begins full. A second of waiting spends a second of it, and `rate` bytes earn one, up to what
    it was at first. So a transfer that keeps the rate over every `patience` seconds goes on for ever, one that waits
    for T seconds in all has moved more than ``(T - patience) * rate`` bytes, and fast beginnings are not
    credited to slow ends. Only waiting counts: what the server itself takes for a block is nobody's fault.

    Parameters
    ----------
    rate : int
        Bytes per second; 0 lets any byte fill the patience again.
    patience : float
        Seconds.
    """

    def __init__(self, rate: int, patience: float) -> None:
        self._rate = rate
        self._most = patience
        self.patience = patience
        """Seconds that the next bytes may take; 0 once the transfer is too slow."""

    def moved(self, num_bytes: int, waited: float) -> None:
        """Take note of bytes that came or went.

        Parameters
        ----------
        num_bytes : int
            0 where none did.
        waited : float
            Seconds that were spent waiting for them.
        """
        left = max(self.patience - max(waited, 0.0), 0.0)
        earned = num_bytes / self._rate if self._rate else self._most * bool(num_bytes)
        self.patience = min(self._most, left + earned)
