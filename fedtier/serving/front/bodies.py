"""The body of a request whose length is known, read straight into whoever wants it."""

from __future__ import annotations

from gunicorn.http.body import Body, LengthReader

from fedtier.serving.front.flows import Inflow


class SizedBody(Body):
    """gunicorn's body, that can also be read into a buffer of the reader's: each byte is then copied once.

    Parameters
    ----------
    inflow : Inflow
    length : int
        Bytes that come.
    """

    def __init__(self, inflow: Inflow, length: int) -> None:
        self._inflow = inflow
        self._rest = LengthReader(inflow, length)
        super().__init__(self._rest)

    def readinto(self, buffer: memoryview) -> int:
        """Read once, as much as has come and there is room for.

        Parameters
        ----------
        buffer : memoryview
            Of bytes.

        Returns
        -------
        int
            How many bytes were read; 0 after the last one, and where no more will come.

        Raises
        ------
        TooSlow, OSError
        """
        most = min(len(buffer), self._rest.length)
        if not most:
            return 0
        try:
            count = self._inflow.readinto(buffer[:most])
        except Exception:
            self.failed = True
            raise
        self._rest.length -= count
        return count


def sized(body: Body, inflow: Inflow) -> Body:
    """Return a body as one that can be read into a buffer, where nothing of it was read and its length is known."""
    reader = body.reader
    return SizedBody(inflow, reader.length) if isinstance(reader, LengthReader) else body
