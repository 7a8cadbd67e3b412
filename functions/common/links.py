"""Signed links: whoever holds one may GET and HEAD one job's result and waveform until it ends, and nothing else."""

import time
from typing import Final
from urllib.parse import urlencode

from itsdangerous import BadData, URLSafeSerializer

from functions.common.errors import NotFound

#: How long a link from the API opens its result.
API_LINK_SECONDS: Final = 15 * 60


class Links:
    """Makes and checks download links.

    Args:
        key: the secret they are signed with, `LINK_KEY`.
    """

    def __init__(self, key: str) -> None:
        self._serializer = URLSafeSerializer(key, salt="download")

    def make(self, job_id: str, *, seconds: float, path: str = "/download") -> str:
        """A relative link that opens the job's result for so many seconds from now, and at its other path the waveform.

        Args:
            job_id: the job's.
            seconds: how long it holds.
            path: of what it is a link.
        """
        signature = self._serializer.dumps([job_id, int(time.time() + seconds)])
        return f"{path}?" + urlencode({"fid": job_id, "signature": signature})

    def check(self, job_id: str, signature: str) -> None:
        """Accept a signature that was made for this job and has not ended.

        Raises:
            NotFound: any other, with the answer for a job that does not exist.
        """
        try:
            signed_id, ends = self._serializer.loads(signature)
        except (BadData, ValueError, TypeError) as error:
            raise NotFound from error
        if signed_id != job_id or ends < time.time():
            raise NotFound
